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
struct Tenant {
    /// First and last step that use it.
    first: usize,
    last: usize,
    len: usize,
    /// Tensors with a common party lie at fixed distances: which one, and how far from its start.
    party: usize,
    at: usize,
}

impl Arena {
    /// Places the tensors of `graph`, whose steps prepare `weights` blocks of weights each; with `band` convolutions write
    /// over their input, so many planes at a time.
    pub(super) fn new(graph: &Graph, weights: &[usize], band: Option<usize>) -> Arena {
        let mut tenants: Vec<Tenant> =
            (0..graph.buffers).map(|b| Tenant { first: usize::MAX, last: 0, len: 0, party: b, at: 0 }).collect();
        for (i, step) in graph.steps.iter().enumerate() {
            let mut used = |p: Place, len: usize| {
                if let Place::Buffer(b) = p {
                    let tenant = &mut tenants[b];
                    tenant.first = tenant.first.min(i);
                    tenant.last = tenant.last.max(i);
                    tenant.len = tenant.len.max(len);
                }
            };
            used(step.place, blocks_for(step.bytes()));
            step.inputs.iter().for_each(|v| v.places(&mut |p| used(p, 0)));
        }
        let mut overwritten = vec![None; graph.steps.len()];
        if let Some(band) = band {
            for (i, over) in overwritten.iter_mut().enumerate() {
                *over = join(graph, i, &mut tenants, band);
            }
        }
        for (i, &len) in weights.iter().enumerate() {
            tenants.push(Tenant { first: i, last: i, len, party: tenants.len(), at: 0 });
        }
        let offsets = pack(&tenants);
        let mut regions: Vec<Region> =
            tenants.iter().zip(&offsets).map(|(t, &offset)| Region { offset, len: t.len }).collect();
        let mut blocks = regions.iter().map(|r| r.end()).max().unwrap_or(0);
        let weights = regions.split_off(graph.buffers);
        let tables = graph.tables.iter().map(|channels| {
            let len = blocks_for(8 * channels);
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

/// Lets step `i` write over the largest tensor that it is the last to read, where it can.
fn join(graph: &Graph, i: usize, tenants: &mut [Tenant], band: usize) -> Option<usize> {
    let step = &graph.steps[i];
    let Place::Buffer(out) = step.place else { return None };
    if !matches!(step.kind, Kind::Conv(..)) || tenants[out].first != i {
        return None;
    }
    let mut reads = Vec::new();
    step.inputs.iter().for_each(|v| v.places(&mut |p| reads.push(p)));
    let parts = step.inputs.iter().flat_map(|v| &v.parts);
    let last_read = parts.filter_map(|part| match part {
        PartSpec::Stored { place: place @ Place::Buffer(b), .. } => {
            (tenants[*b].last == i && reads.iter().filter(|p| *p == place).count() == 1).then_some(*b)
        }
        _ => None,
    });
    let over = last_read.max_by_key(|&b| tenants[b].len)?;
    let writer = graph.steps[..i].iter().rfind(|s| s.place == Place::Buffer(over))?;
    let plane = |s: &Step| s.bytes() / s.grid[0];
    let needed = bands(step.grid[0], band).map(|band| {
        blocks_for(band.end * plane(step))
            .saturating_sub(first_read(step, band.start) * plane(writer) / size_of::<Block>())
    });
    let distance = needed.max()?;
    if distance >= tenants[out].len {
        return None;
    }
    // The output before the input: the whole party moves up where it would begin below zero.
    let party = tenants[over].party;
    let lift = distance.saturating_sub(tenants[over].at);
    tenants.iter_mut().filter(|t| t.party == party).for_each(|t| t.at += lift);
    (tenants[out].party, tenants[out].at) = (party, tenants[over].at - distance);
    Some(over)
}

/// Offsets for tensors with lifetimes, the largest party first, each at the lowest place where all its tensors are free
/// while they live.
fn pack(tenants: &[Tenant]) -> Vec<usize> {
    let mut parties: Vec<Vec<usize>> = Vec::new();
    let mut order: Vec<usize> = (0..tenants.len()).collect();
    order.sort_by_key(|&i| core::cmp::Reverse(tenants[i].len));
    for &i in &order {
        match parties.iter_mut().find(|p| tenants[p[0]].party == tenants[i].party) {
            Some(party) => party.push(i),
            None => parties.push(vec![i]),
        }
    }
    let mut offsets = vec![0; tenants.len()];
    let mut placed: Vec<usize> = Vec::new();
    for party in &parties {
        // Where a tensor of the party ends up behind one that lives beside it, or at the start.
        let beside = |i: usize, j: usize| tenants[j].first <= tenants[i].last && tenants[i].first <= tenants[j].last;
        let mut starts = vec![0];
        for &i in party {
            let ends = placed.iter().filter(|&&j| beside(i, j)).map(|&j| offsets[j] + tenants[j].len);
            starts.extend(ends.map(|end| end.saturating_sub(tenants[i].at)));
        }
        starts.sort_unstable();
        let free = |start: usize| {
            party.iter().all(|&i| {
                let at = start + tenants[i].at;
                placed
                    .iter()
                    .filter(|&&j| beside(i, j))
                    .all(|&j| at + tenants[i].len <= offsets[j] || offsets[j] + tenants[j].len <= at)
            })
        };
        // Behind everything there is always room.
        let start = starts.iter().copied().find(|&s| free(s)).unwrap_or(0);
        party.iter().for_each(|&i| offsets[i] = start + tenants[i].at);
        placed.extend(party);
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
    fn tensors_that_live_together_never_overlap() {
        for parties in [60, 17] {
            let tenants: Vec<Tenant> = (0..60)
                .map(|i| {
                    let first = (i * 7) % 23;
                    // Those of one party do not live together, as those that overlap in a run do not.
                    let last = if parties == 60 { first + (i * 5) % 9 } else { first };
                    Tenant { first, last, len: 1 + (i * 37) % 101, party: i % parties, at: i / parties * 11 }
                })
                .collect();
            let at = pack(&tenants);
            for i in 0..tenants.len() {
                for j in (0..i).filter(|j| tenants[*j].party != tenants[i].party) {
                    let together = tenants[i].first <= tenants[j].last && tenants[j].first <= tenants[i].last;
                    let apart = at[i] + tenants[i].len <= at[j] || at[j] + tenants[j].len <= at[i];
                    assert!(!together || apart, "{i} and {j}");
                }
            }
        }
    }
}
