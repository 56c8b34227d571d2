//! A lowered network: a list of steps over regions of one arena whose layout is fixed when the model is loaded.
//!
//! Every buffer lives from the step that writes it to the last that reads it; the offsets are chosen once, so the heap
//! of a run is one block of known size. Concatenations are lists of buffers, never copies. The network's input is read
//! where the caller holds it, and the last step writes into the caller's output.

use super::conv::{Conv, Upsample};
use super::pointwise::{Post, apply};

/// Where a buffer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buffer {
    Input,
    Output,
    /// Index into [`Network::buffers`].
    Arena(usize),
}

/// A tensor `[channels, z, y, x]` in one or several buffers, one after the other along channels.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) parts: Vec<(Buffer, usize)>,
    pub(crate) grid: [usize; 3],
}

impl Value {
    pub(crate) fn channels(&self) -> usize {
        self.parts.iter().map(|p| p.1).sum()
    }

    pub(crate) fn voxels(&self) -> usize {
        self.grid.iter().product()
    }
}

/// What a step computes.
#[derive(Debug)]
pub(crate) enum Kind {
    Conv(Box<Conv>),
    Upsample(Box<Upsample>),
    /// Sum of the two inputs.
    Add,
    /// The input as it is: a copy where a later operation must not touch the original.
    Copy,
    Pool(Pool),
}

/// Maximum or average over a window; voxels outside the input do not count.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) max: bool,
    /// The divisor counts positions in the padding too.
    pub(crate) count_padding: bool,
    pub(crate) kernel: [usize; 3],
    pub(crate) stride: [usize; 3],
    pub(crate) pad_before: [usize; 3],
}

/// One operation and what follows it in place.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kind: Kind,
    pub(crate) inputs: Vec<Value>,
    pub(crate) output: Buffer,
    pub(crate) channels: usize,
    pub(crate) grid: [usize; 3],
    pub(crate) post: Vec<Post>,
}

impl Step {
    fn scratch_floats(&self) -> usize {
        match &self.kind {
            Kind::Conv(c) => c.scratch_floats(),
            Kind::Upsample(u) => u.scratch_floats(),
            _ => 0,
        }
    }

    fn floats(&self) -> usize {
        self.channels * self.grid.iter().product::<usize>()
    }
}

#[derive(Debug, Clone, Copy)]
struct Region {
    offset: usize,
    len: usize,
}

/// A network ready to run.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) steps: Vec<Step>,
    buffers: Vec<Region>,
    scratch: Vec<Region>,
    arena_floats: usize,
}

struct Lifetime {
    first: usize,
    last: usize,
    len: usize,
}

impl Network {
    /// Lays out the arena. `buffers` is the number of [`Buffer::Arena`] indices the steps use.
    pub(crate) fn new(steps: Vec<Step>, buffers: usize) -> Network {
        let mut lives: Vec<Lifetime> = (0..buffers).map(|_| Lifetime { first: usize::MAX, last: 0, len: 0 }).collect();
        for (i, step) in steps.iter().enumerate() {
            if let Buffer::Arena(b) = step.output {
                let life = &mut lives[b];
                life.first = life.first.min(i);
                life.last = life.last.max(i);
                life.len = life.len.max(step.floats());
            }
            for (part, _) in step.inputs.iter().flat_map(|v| &v.parts) {
                if let Buffer::Arena(b) = *part {
                    lives[b].last = lives[b].last.max(i);
                }
            }
        }
        // Scratch lives for one step.
        for (i, step) in steps.iter().enumerate() {
            lives.push(Lifetime { first: i, last: i, len: step.scratch_floats() });
        }
        let offsets = pack(&lives);
        let mut regions: Vec<Region> =
            lives.iter().zip(&offsets).map(|(l, &offset)| Region { offset, len: l.len }).collect();
        let arena_floats = regions.iter().map(|r| r.offset + r.len).max().unwrap_or(0);
        let scratch = regions.split_off(buffers);
        Network { steps, buffers: regions, scratch, arena_floats }
    }

    /// Elements of the arena.
    pub(crate) fn arena_floats(&self) -> usize {
        self.arena_floats
    }

    pub(crate) fn weight_bytes(&self) -> usize {
        self.steps
            .iter()
            .map(|s| {
                let own = match &s.kind {
                    Kind::Conv(c) => c.weight_bytes(),
                    Kind::Upsample(u) => u.weight_bytes(),
                    _ => 0,
                };
                // A kilobyte for the step itself and its small tables.
                own + s.post.iter().map(Post::bytes).sum::<usize>() + 1024
            })
            .sum()
    }

    /// Runs all steps. `arena` has [`Self::arena_floats`] elements; what it held before does not matter.
    pub(crate) fn run(&self, input: &[f32], output: &mut [f32], arena: &mut [f32]) {
        for (i, step) in self.steps.iter().enumerate() {
            let floats = step.floats();
            // In place: the sum goes where its first operand was.
            let in_place = step.inputs.first().is_some_and(|v| v.parts.len() == 1 && v.parts[0].0 == step.output);
            let mut wanted: Vec<Region> = Vec::new();
            if let Buffer::Arena(b) = step.output {
                wanted.push(Region { len: floats, ..self.buffers[b] });
            }
            wanted.push(self.scratch[i]);
            for (b, n) in step.inputs.iter().flat_map(|v| v.parts.iter().map(|p| (p.0, p.1 * v.voxels()))) {
                if let Buffer::Arena(b) = b
                    && Buffer::Arena(b) != step.output
                {
                    wanted.push(Region { offset: self.buffers[b].offset, len: n });
                }
            }
            let mut slices = carve(arena, &wanted);
            let mut slices = slices.iter_mut();
            let out: &mut [f32] = match step.output {
                Buffer::Arena(_) => slices.next().map(core::mem::take).unwrap_or_default(),
                _ => &mut output[..floats],
            };
            let scratch = slices.next().map(core::mem::take).unwrap_or_default();
            let mut planes: Vec<&[f32]> = Vec::new();
            let mut second = 0;
            for (v, value) in step.inputs.iter().enumerate() {
                if v == 1 {
                    second = planes.len();
                }
                for &(b, channels) in &value.parts {
                    let part: &[f32] = match b {
                        Buffer::Input => &input[..channels * value.voxels()],
                        b if b == step.output => continue,
                        _ => slices.next().map(core::mem::take).unwrap_or_default(),
                    };
                    planes.extend(part.chunks_exact(value.voxels()));
                }
            }
            let voxels: usize = step.grid.iter().product();
            match &step.kind {
                Kind::Conv(conv) => conv.run(&planes, out, scratch),
                Kind::Upsample(up) => up.run(&planes, out, scratch),
                Kind::Add if in_place => {
                    for (o, p) in out.chunks_exact_mut(voxels).zip(&planes[second..]) {
                        o.iter_mut().zip(*p).for_each(|(o, p)| *o += *p);
                    }
                }
                Kind::Add => {
                    let (a, b) = planes.split_at(second);
                    for ((o, a), b) in out.chunks_exact_mut(voxels).zip(a).zip(b) {
                        for ((o, a), b) in o.iter_mut().zip(*a).zip(*b) {
                            *o = *a + *b;
                        }
                    }
                }
                Kind::Copy if in_place => {}
                Kind::Copy => {
                    for (o, p) in out.chunks_exact_mut(voxels).zip(&planes) {
                        o.copy_from_slice(p);
                    }
                }
                Kind::Pool(pool) => {
                    for (o, p) in out.chunks_exact_mut(voxels).zip(&planes) {
                        pool.run(p, step.inputs[0].grid, o, step.grid);
                    }
                }
            }
            apply(&step.post, out, voxels);
        }
    }
}

impl Pool {
    fn run(&self, src: &[f32], from: [usize; 3], out: &mut [f32], grid: [usize; 3]) {
        let window = |axis: usize, o: usize| {
            let start = o * self.stride[axis];
            let lo = start.max(self.pad_before[axis]) - self.pad_before[axis];
            let hi = (start + self.kernel[axis]).saturating_sub(self.pad_before[axis]).min(from[axis]);
            // A last window of ceil mode may lie wholly in the padding.
            lo.min(hi)..hi
        };
        let full: usize = self.kernel.iter().product();
        let mut i = 0;
        for z in 0..grid[0] {
            for y in 0..grid[1] {
                for x in 0..grid[2] {
                    let (mut best, mut sum, mut n) = (f32::NEG_INFINITY, 0f32, 0usize);
                    for sz in window(0, z) {
                        for sy in window(1, y) {
                            for &v in &src[(sz * from[1] + sy) * from[2]..][window(2, x)] {
                                best = if v > best || v.is_nan() { v } else { best };
                                sum += v;
                                n += 1;
                            }
                        }
                    }
                    let divisor = if self.count_padding { full } else { n.max(1) };
                    out[i] = if self.max { best } else { sum / divisor as f32 };
                    i += 1;
                }
            }
        }
    }
}

/// Offsets for blocks with lifetimes, the largest first, each at the lowest place that is free while it lives.
fn pack(lives: &[Lifetime]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&i| core::cmp::Reverse(lives[i].len));
    let mut offsets = vec![0; lives.len()];
    let mut placed: Vec<usize> = Vec::new();
    for &i in &order {
        let mut beside: Vec<usize> = placed
            .iter()
            .copied()
            .filter(|&j| lives[j].first <= lives[i].last && lives[i].first <= lives[j].last)
            .collect();
        beside.sort_by_key(|&j| offsets[j]);
        let mut at = 0;
        for j in beside {
            if at + lives[i].len <= offsets[j] {
                break;
            }
            at = at.max(offsets[j] + lives[j].len);
        }
        offsets[i] = at;
        placed.push(i);
    }
    offsets
}

/// Splits disjoint regions out of the arena, in the order asked for. An arena region named twice comes once; the
/// layout never overlaps two buffers that live at the same step.
fn carve<'a>(arena: &'a mut [f32], wanted: &[Region]) -> Vec<&'a mut [f32]> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|&i| (wanted[i].offset, wanted[i].len));
    let mut slices: Vec<&'a mut [f32]> = wanted.iter().map(|_| Default::default()).collect();
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
        start = wanted[i].offset + wanted[i].len;
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_live_together_never_overlap() {
        let lives: Vec<Lifetime> = (0..60)
            .map(|i| {
                let first = (i * 7) % 23;
                Lifetime { first, last: first + (i * 5) % 9, len: 1 + (i * 37) % 101 }
            })
            .collect();
        let at = pack(&lives);
        for i in 0..lives.len() {
            for j in 0..i {
                let together = lives[i].first <= lives[j].last && lives[j].first <= lives[i].last;
                let apart = at[i] + lives[i].len <= at[j] || at[j] + lives[j].len <= at[i];
                assert!(!together || apart, "{i} and {j}");
            }
        }
    }
}
