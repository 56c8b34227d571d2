//! A checked network with the memory of a run laid out.
//!
//! Every buffer lives from the step that writes it to the last that reads it; offsets are chosen once, so a run works in
//! one block of memory whose size is known beforehand and which the caller hands in.

use super::run::source_of;
use super::spec::{ConvSpec, Form, Graph, Kind, Place, Span, SpecError, Step};
use super::weights::Weights;
use crate::arch::{Block, Isa, blocks_for};
use crate::kernels::{Conv, Pool, Precision, Squash, Statistics, Sum};
use alloc::vec;
use alloc::vec::Vec;

/// A part of the workspace, in blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) offset: usize,
    pub(super) len: usize,
}

/// What a step needs beside its tensors.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) conv: Option<Conv>,
    /// Weights widened or rearranged for the instruction set when the step starts, in their order of use.
    pub(super) weights: Region,
    pub(super) scratch_blocks: usize,
    /// Channels, planes and rows of a tile, and how many there are.
    pub(super) step: [usize; 3],
    pub(super) tiles: usize,
}

/// A network ready to run.
pub struct Network<'w> {
    pub(super) graph: Graph,
    pub(super) weights: Weights<'w>,
    pub(super) isa: Isa,
    pub(super) prepared: Vec<Prepared>,
    pub(super) buffers: Vec<Region>,
    /// Scale and shift of each instance norm.
    pub(super) tables: Vec<Region>,
    arena_blocks: usize,
    scratch_blocks: usize,
    statistics_bytes: usize,
}

struct Lifetime {
    first: usize,
    last: usize,
    len: usize,
}

impl<'w> Network<'w> {
    /// Checks a graph against its weights and lays out its memory.
    ///
    /// # Errors
    /// The graph does not hold together, or the weights are not aligned to 64 bytes.
    pub fn new(isa: Isa, graph: Graph, weights: Weights<'w>) -> Result<Network<'w>, SpecError> {
        if weights.bytes().as_ptr().align_offset(64) != 0 {
            return Err(SpecError("its weights do not start at an address divisible by 64".into()));
        }
        graph.check(weights.bytes().len())?;
        let mut lives: Vec<Lifetime> =
            (0..graph.buffers).map(|_| Lifetime { first: usize::MAX, last: 0, len: 0 }).collect();
        for (i, step) in graph.steps.iter().enumerate() {
            let mut used = |p: Place, len: usize| {
                if let Place::Buffer(b) = p {
                    let life = &mut lives[b];
                    life.first = life.first.min(i);
                    life.last = life.last.max(i);
                    life.len = life.len.max(len);
                }
            };
            used(step.place, blocks_for(step.bytes()));
            step.inputs.iter().for_each(|v| v.places(&mut |p| used(p, 0)));
        }
        let mut prepared = Vec::with_capacity(graph.steps.len());
        let (mut scratch_blocks, mut statistics_bytes) = (0, 0);
        for (i, step) in graph.steps.iter().enumerate() {
            let p = prepare(isa, step, &weights);
            lives.push(Lifetime { first: i, last: i, len: p.weights.len });
            scratch_blocks = scratch_blocks.max(p.scratch_blocks);
            if step.norm.is_some() {
                statistics_bytes = statistics_bytes.max(Statistics::bytes(p.tiles, step.channels));
            }
            prepared.push(p);
        }
        let offsets = pack(&lives);
        let mut regions: Vec<Region> =
            lives.iter().zip(&offsets).map(|(l, &offset)| Region { offset, len: l.len }).collect();
        let mut end = regions.iter().map(|r| r.offset + r.len).max().unwrap_or(0);
        let of_steps = regions.split_off(graph.buffers);
        prepared.iter_mut().zip(of_steps).for_each(|(p, r)| p.weights = r);
        let mut tables = Vec::with_capacity(graph.tables.len());
        for channels in &graph.tables {
            let len = blocks_for(8 * channels);
            tables.push(Region { offset: end, len });
            end += len;
        }
        Ok(Network {
            graph,
            weights,
            isa,
            prepared,
            buffers: regions,
            tables,
            arena_blocks: end,
            scratch_blocks,
            statistics_bytes,
        })
    }

    /// What it computes.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Its weights.
    pub fn weights(&self) -> &Weights<'w> {
        &self.weights
    }

    /// Bytes that a step moves at the least: its inputs, weights and output once each.
    pub fn step_bytes(&self, step: &Step) -> usize {
        let place_bytes = |p: Place| match p {
            Place::Input => {
                let voxels: usize = self.graph.patch.iter().product();
                self.graph.patch_precision().bytes() * self.graph.channels * voxels
            }
            p => self.graph.steps.iter().rfind(|s| s.place == p).map_or(0, Step::bytes),
        };
        let mut bytes = step.bytes();
        step.inputs.iter().for_each(|v| v.places(&mut |p| bytes += place_bytes(p)));
        let widths = |form: Form| if form == Form::F32 { 4 } else { 2 };
        bytes += float_weights(step).iter().map(|(span, form)| span.len * widths(*form)).sum::<usize>();
        if let Kind::Conv(_, ConvSpec::Int { weights, .. }) = &step.kind {
            bytes += weights.len;
        }
        bytes
    }

    /// What turns the integer sums of step `i` into values, one of each a channel; none where it computes in floats.
    pub fn int_scale_and_bias(&self, i: usize) -> Option<(&[f32], &[f32])> {
        match &self.graph.steps.get(i)?.kind {
            Kind::Conv(_, ConvSpec::Int { scale, bias, .. }) => {
                Some((self.weights.get(*scale), self.weights.get(*bias)))
            }
            _ => None,
        }
    }

    /// The instruction set it runs with.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Blocks of workspace that a run on `workers` threads needs.
    pub fn workspace_blocks(&self, workers: usize) -> usize {
        self.arena_blocks + workers * self.scratch_blocks
    }

    /// Heap bytes of a run beside the workspace: small tables.
    pub fn run_bytes(&self, workers: usize) -> usize {
        workers * self.statistics_bytes + 16 * 1024
    }

    /// Arena and one worker's scratch, apart.
    pub(super) fn split<'a>(
        &self,
        workspace: &'a mut [Block],
        workers: usize,
    ) -> (&'a mut [Block], impl Iterator<Item = &'a mut [Block]> + use<'a, 'w>) {
        let (arena, rest) = workspace.split_at_mut(self.arena_blocks);
        (arena, rest.chunks_exact_mut(self.scratch_blocks.max(1)).take(workers))
    }
}

/// Float weights that a step uses, in the order in which they are prepared: its own, then those of its inputs.
pub(super) fn float_weights(step: &Step) -> Vec<(Span, Form)> {
    let mut all = Vec::new();
    if let Kind::Conv(_, ConvSpec::Float { weights, form, .. }) = &step.kind {
        all.push((*weights, *form));
    }
    step.inputs.iter().for_each(|v| v.weights(&mut |s, f| all.push((s, f))));
    all
}

fn prepare(isa: Isa, step: &Step, weights: &Weights<'_>) -> Prepared {
    let mut extra: usize = float_weights(step)
        .iter()
        .map(|(span, form)| if *form == Form::F16 { blocks_for(4 * span.len) } else { 0 })
        .sum();
    // Only sizes are asked of these; the tensors they would read are not there yet.
    let sources: Vec<_> =
        step.inputs.iter().map(|v| source_of(v, &|_| None, &|_| None, weights, &mut |_, _| &[])).collect();
    let (conv, scratch_blocks, tile_step) = match (&step.kind, sources.first()) {
        (Kind::Conv(g, spec), Some(source)) => {
            let precision = match spec {
                ConvSpec::Float { .. } => Precision::F32,
                ConvSpec::Int { quant, weights, .. } => {
                    if isa.int_group() != 4 {
                        extra += blocks_for(2 * weights.len);
                    }
                    Precision::Int(*quant)
                }
            };
            let conv = Conv::new(isa, g, precision);
            extra += blocks_for(4 * conv.prepared_weights());
            let (blocks, tile) = (conv.scratch_blocks(source), conv.tile_step());
            (Some(conv), blocks, tile)
        }
        (Kind::Pool(g), Some(source)) => (None, Pool::scratch_blocks(g, source), Pool::tile_step(g)),
        (Kind::Squash(_), Some(source)) => {
            (None, Squash::scratch_blocks(source), Squash::tile_step(step.channels, step.grid))
        }
        _ => {
            let sum = Sum { sources: &sources, in_place: None, channels: step.channels, grid: step.grid };
            (None, sum.scratch_blocks(), Sum::tile_step(step.channels, step.grid))
        }
    };
    let [z, y, _] = step.grid;
    let tiles = step.channels.div_ceil(tile_step[0]) * z.div_ceil(tile_step[1]) * y.div_ceil(tile_step[2]);
    Prepared { conv, weights: Region { offset: 0, len: extra }, scratch_blocks, step: tile_step, tiles }
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
