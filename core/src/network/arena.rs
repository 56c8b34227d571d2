//! Where the tensors of a run lie in its workspace.
//!
//! Every tensor lives from the step that writes it to the last that reads it; offsets are chosen once. Where memory is
//! scarce, a convolution writes its output over the input that nothing reads after it: bands of planes are computed one
//! after the other, and the output lies so far before the input that a band ends where the planes begin which that band,
//! and those after it, still read. Of two full-size tensors one and a margin remain, and nothing is computed twice.

use super::spec::{Graph, Kind, PartSpec, Place, Step};
use crate::arch::{Block, blocks_for};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// Planes of a band where memory is short. The margin is one more for a kernel of three, and two planes of input are read
/// again for each.
pub(super) const NARROW: usize = 8;
/// Planes of a band where memory is worth a little time.
pub(super) const WIDE: usize = 16;

/// A part of the workspace, in blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) offset: usize,
    pub(super) len: usize,
}

impl Region {
    fn end(self) -> usize {
        self.offset + self.len
    }

    /// The smallest region that holds both.
    pub(super) fn with(self, other: Region) -> Region {
        let offset = self.offset.min(other.offset);
        Region { offset, len: self.end().max(other.end()) - offset }
    }
}

/// The arena of a run: all tensors that its steps share.
#[derive(Debug)]
pub(super) struct Arena {
    pub(super) buffers: Vec<Region>,
    /// Weights that a step prepares when it starts.
    pub(super) weights: Vec<Region>,
    /// Scale and shift of each instance norm.
    pub(super) tables: Vec<Region>,
    /// The buffer that a step writes over.
    pub(super) overwritten: Vec<Option<usize>>,
    /// Planes that such a step computes at a time.
    band: usize,
    pub(super) blocks: usize,
}

/// A tensor to be placed.
#[derive(Clone, Copy)]
struct Buffer {
    /// First and last step that use it.
    first: usize,
    last: usize,
    /// Blocks; 0 where there is nothing to place.
    len: usize,
    /// Tensors of one group overlap on purpose and lie at fixed distances: the number of the group, and the place of this
    /// tensor in it. Places of a group begin at 0 once all of its tensors are known, and may be negative before.
    alias_group: usize,
    at: isize,
}

impl Buffer {
    fn is_used_beside(&self, other: &Buffer) -> bool {
        other.first <= self.last && self.first <= other.last
    }
}

impl Arena {
    /// Places the tensors of `graph`, whose steps prepare `weights` blocks of weights each; with `band` convolutions write
    /// over their input, so many planes at a time.
    ///
    /// The graph is a checked one. All its tensors one after the other have less than `isize::MAX` blocks.
    pub(super) fn new(graph: &Graph, weights: &[usize], band: Option<usize>) -> Arena {
        let mut buffers = lifetimes(graph);
        let mut overwritten = vec![None; graph.steps.len()];
        if let Some(band) = band {
            let mut writers = vec![None; graph.buffers];
            for (i, over) in overwritten.iter_mut().enumerate() {
                *over = overwrite_input(graph, i, &mut buffers, &writers, band);
                if let Place::Buffer(b) = graph.steps[i].place {
                    writers[b] = Some(i);
                }
            }
        }
        for (i, &len) in weights.iter().enumerate() {
            buffers.push(Buffer { first: i, last: i, len, alias_group: buffers.len(), at: 0 });
        }
        let offsets = pack(&buffers);
        let mut regions: Vec<Region> =
            buffers.iter().zip(&offsets).map(|(b, &offset)| Region { offset, len: b.len }).collect();
        let mut blocks = regions.iter().map(|r| r.end()).max().unwrap_or(0);
        let weights = regions.split_off(graph.buffers);
        let tables = graph.tables.iter().map(|channels| {
            let len = table_blocks(*channels);
            blocks += len;
            Region { offset: blocks - len, len }
        });
        Arena {
            tables: tables.collect(),
            buffers: regions,
            weights,
            overwritten,
            band: band.unwrap_or(usize::MAX),
            blocks,
        }
    }

    /// The planes of step `i` that are computed at a time.
    pub(super) fn bands(&self, i: usize, step: &Step) -> impl Iterator<Item = Range<usize>> + use<> {
        bands(step.grid[0], if self.overwritten[i].is_some() { self.band } else { usize::MAX })
    }
}

/// Blocks for the scale and shift of an instance norm.
pub(super) fn table_blocks(channels: usize) -> usize {
    blocks_for(8 * channels)
}

/// When each buffer is in use, and how large it is; each is in a group of its own.
fn lifetimes(graph: &Graph) -> Vec<Buffer> {
    let unused = |b| Buffer { first: usize::MAX, last: 0, len: 0, alias_group: b, at: 0 };
    let mut buffers: Vec<Buffer> = (0..graph.buffers).map(unused).collect();
    for (i, step) in graph.steps.iter().enumerate() {
        let mut used = |p: Place, len: usize| {
            if let Place::Buffer(b) = p {
                let buffer = &mut buffers[b];
                buffer.first = buffer.first.min(i);
                buffer.last = buffer.last.max(i);
                buffer.len = buffer.len.max(len);
            }
        };
        used(step.place, blocks_for(step.bytes()));
        step.inputs.iter().for_each(|v| v.places(&mut |p| used(p, 0)));
    }
    buffers
}

/// Runs of `band` planes.
fn bands(planes: usize, band: usize) -> impl Iterator<Item = Range<usize>> {
    (0..planes).step_by(band).map(move |z| z..planes.min(z.saturating_add(band)))
}

/// The first plane of its input that a convolution still reads when its output begins at plane `z`.
fn first_read(step: &Step, z: usize) -> usize {
    match &step.kind {
        Kind::Conv(g, _) => (z * g.stride[0]).saturating_sub(g.pad[0]).min(g.input[0]),
        _ => 0,
    }
}

/// Lets step `i` write over the largest tensor that it is the last to read, where it can. `writers` holds the step before
/// it that last wrote each buffer.
fn overwrite_input(
    graph: &Graph,
    i: usize,
    buffers: &mut [Buffer],
    writers: &[Option<usize>],
    band: usize,
) -> Option<usize> {
    let step = &graph.steps[i];
    let Place::Buffer(out) = step.place else { return None };
    if !matches!(step.kind, Kind::Conv(..)) || buffers[out].first != i {
        return None;
    }
    let mut reads = Vec::new();
    step.inputs.iter().for_each(|v| {
        v.places(&mut |p| {
            if let Place::Buffer(b) = p {
                reads.push(b);
            }
        })
    });
    reads.sort_unstable();
    let read_once = |b: usize| reads.partition_point(|&r| r <= b) - reads.partition_point(|&r| r < b) == 1;
    let parts = step.inputs.iter().flat_map(|v| &v.parts);
    let last_read = parts.filter_map(|part| match part {
        PartSpec::Stored { place: Place::Buffer(b), .. } => (buffers[*b].last == i && read_once(*b)).then_some(*b),
        _ => None,
    });
    let over = last_read.max_by_key(|&b| buffers[b].len)?;
    let writer = &graph.steps[writers[over]?];
    let plane = |s: &Step| s.bytes() / s.grid[0];
    let needed = bands(step.grid[0], band).map(|band| {
        blocks_for(band.end * plane(step))
            .saturating_sub(first_read(step, band.start) * plane(writer) / size_of::<Block>())
    });
    let distance = needed.max()?;
    if distance >= buffers[out].len {
        return None;
    }
    // The output before the input.
    (buffers[out].alias_group, buffers[out].at) = (buffers[over].alias_group, buffers[over].at - distance as isize);
    Some(over)
}

/// The tensors that have to be placed, group by group, the group of the largest first; and in each the largest first.
/// Gives each tensor with its place in the group, counted from the group's start.
fn groups(buffers: &[Buffer]) -> Vec<Vec<(usize, usize)>> {
    let mut starts = vec![0isize; buffers.len()];
    for b in buffers.iter().filter(|b| b.len > 0) {
        starts[b.alias_group] = starts[b.alias_group].min(b.at);
    }
    let mut order: Vec<usize> = (0..buffers.len()).filter(|&i| buffers[i].len > 0).collect();
    order.sort_by_key(|&i| core::cmp::Reverse(buffers[i].len));
    let mut numbers = vec![usize::MAX; buffers.len()];
    let mut groups: Vec<Vec<(usize, usize)>> = Vec::new();
    for i in order {
        let Buffer { alias_group, at, .. } = buffers[i];
        if numbers[alias_group] == usize::MAX {
            numbers[alias_group] = groups.len();
            groups.push(Vec::new());
        }
        groups[numbers[alias_group]].push((i, (at - starts[alias_group]) as usize));
    }
    groups
}

/// Offsets for tensors with lifetimes: group by group, each at the lowest place where all its tensors are free while they
/// are in use. Tensors of no length get 0.
fn pack(buffers: &[Buffer]) -> Vec<usize> {
    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut taken: Vec<Range<usize>> = Vec::new();
    for group in groups(buffers) {
        // Where the group must not start: there, one of its tensors would overlap one that is in use beside it.
        taken.clear();
        for &(i, at) in &group {
            let beside = placed.iter().filter(|&&j| buffers[i].is_used_beside(&buffers[j]));
            taken.extend(beside.filter_map(|&j| {
                let end = (offsets[j] + buffers[j].len).checked_sub(at).filter(|&end| end > 0)?;
                Some((offsets[j] + 1).saturating_sub(at + buffers[i].len)..end)
            }));
        }
        taken.sort_unstable_by_key(|range| range.start);
        let mut start = 0;
        for range in &taken {
            if range.start > start {
                break;
            }
            start = start.max(range.end);
        }
        for (i, at) in group {
            offsets[i] = start + at;
            placed.push(i);
        }
    }
    offsets
}

/// Splits disjoint regions out of the arena, in the order asked for.
pub(super) fn carve<'a>(arena: &'a mut [Block], wanted: &[Region]) -> Vec<&'a mut [Block]> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&i| (wanted[i].offset, wanted[i].len));
    let mut slices: Vec<&'a mut [Block]> = wanted.iter().map(|_| Default::default()).collect();
    let mut rest = arena;
    let mut start = 0;
    for i in order {
        if wanted[i].len == 0 {
            continue;
        }
        let (_, tail) = core::mem::take(&mut rest).split_at_mut(wanted[i].offset - start);
        let (slice, tail) = tail.split_at_mut(wanted[i].len);
        slices[i] = slice;
        rest = tail;
        start = wanted[i].end();
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_in_use_together_never_overlap() {
        for groups in [60, 17] {
            let buffers: Vec<Buffer> = (0..60)
                .map(|i| {
                    let first = (i * 7) % 23;
                    // Those of one group are not in use together, as those that overlap in a run are not.
                    let last = if groups == 60 { first + (i * 5) % 9 } else { first };
                    let at = (i / groups * 11) as isize - 20;
                    Buffer { first, last, len: 1 + (i * 37) % 101, alias_group: i % groups, at }
                })
                .collect();
            let at = pack(&buffers);
            for i in 0..buffers.len() {
                for j in 0..i {
                    let (a, b) = (&buffers[i], &buffers[j]);
                    if a.alias_group == b.alias_group {
                        assert_eq!(at[i] as isize - at[j] as isize, a.at - b.at, "{i} and {j}");
                        continue;
                    }
                    let apart = at[i] + a.len <= at[j] || at[j] + b.len <= at[i];
                    assert!(!a.is_used_beside(b) || apart, "{i} and {j}");
                }
            }
        }
    }

    #[test]
    fn what_no_step_uses_takes_no_place() {
        let used = Buffer { first: 0, last: 3, len: 7, alias_group: 0, at: 0 };
        let unused = |i| Buffer { first: usize::MAX, last: 0, len: 0, alias_group: i, at: 0 };
        let buffers: Vec<Buffer> = core::iter::once(used).chain((1..50_000).map(unused)).collect();
        assert_eq!(groups(&buffers), [[(0, 0)]]);
        assert_eq!(pack(&buffers).iter().sum::<usize>(), 0);
    }
}
