//! A checked network with the memory of a run laid out: one block of memory whose size is known beforehand and which the
//! caller hands in.

use super::arena::{Arena, NARROW, WIDE, table_blocks};
use super::check::{MOST_BYTES, check_totals};
use super::prepare::{Prepared, float_weights, prepare};
use super::spec::{ConvSpec, Form, Graph, Kind, Place, SpecError, Step};
use super::weights::Weights;
use crate::arch::{Block, Isa, Moments, blocks_for};
use crate::kernels::Statistics;
use crate::patch::PatchPrecision;
use alloc::format;
use alloc::vec::Vec;

/// A network ready to run.
pub struct Network<'w> {
    pub(super) graph: Graph,
    pub(super) weights: Weights<'w>,
    pub(super) isa: Isa,
    pub(super) prepared: Vec<Prepared>,
    usual: Arena,
    /// Layers in narrow bands, where that takes less.
    least: Option<Arena>,
    scratch_blocks: usize,
    statistics_bytes: usize,
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
        check_totals(&graph, &weights)?;
        let prepared: Vec<Prepared> = graph.steps.iter().map(|step| prepare(isa, step, &weights)).collect();
        let scratch_blocks = prepared.iter().map(|p| p.scratch_blocks).max().unwrap_or(0);
        let statistics_bytes = statistics_bytes(&graph, &prepared)?;
        let weight_blocks: Vec<usize> = prepared.iter().map(|p| p.weight_blocks).collect();
        check_total(&graph, &weight_blocks)?;
        // Half precision is used to save memory, so its layers write over their input by default.
        let band = if graph.patch_precision() == PatchPrecision::F16 { Some(WIDE) } else { None };
        let usual = Arena::new(&graph, &weight_blocks, band);
        let least = Some(Arena::new(&graph, &weight_blocks, Some(NARROW))).filter(|least| least.blocks < usual.blocks);
        Ok(Network { graph, weights, isa, prepared, usual, least, scratch_blocks, statistics_bytes })
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
        step.inputs.iter().for_each(|v| v.places(&mut |p| bytes = bytes.saturating_add(place_bytes(p))));
        for (span, form) in float_weights(step) {
            bytes = bytes.saturating_add(span.len * if form == Form::F32 { 4 } else { 2 });
        }
        if let Kind::Conv(_, ConvSpec::Int { weights, .. }) = &step.kind {
            bytes = bytes.saturating_add(weights.len);
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

    /// Blocks of workspace that a run on `workers` threads works best with.
    pub fn workspace_blocks(&self, workers: usize) -> usize {
        self.usual.blocks.saturating_add(workers.saturating_mul(self.scratch_blocks))
    }

    /// The least workspace that will do: layers write over their input, band by band of planes, with the same result.
    pub fn least_workspace_blocks(&self, workers: usize) -> usize {
        self.least.as_ref().unwrap_or(&self.usual).blocks.saturating_add(workers.saturating_mul(self.scratch_blocks))
    }

    /// Heap bytes of a run beside the workspace: small tables.
    pub fn run_bytes(&self, workers: usize) -> usize {
        self.statistics_bytes.saturating_add(workers.saturating_mul(1024)).saturating_add(16 * 1024)
    }

    /// The layout that a workspace has room for, its arena, and each worker's scratch; none where it is too small.
    pub(super) fn split<'a>(&self, workspace: &'a mut [Block], workers: usize) -> Option<Parts<'_, 'a>> {
        let scratch = workers.saturating_mul(self.scratch_blocks);
        let fits = |arena: &&Arena| arena.blocks.saturating_add(scratch) <= workspace.len();
        let layout = [Some(&self.usual), self.least.as_ref()].into_iter().flatten().find(fits)?;
        let (arena, rest) = workspace.split_at_mut(layout.blocks);
        Some((layout, arena, rest.chunks_exact_mut(self.scratch_blocks.max(1)).take(workers).collect()))
    }
}

/// A layout, its arena, and each worker's scratch.
type Parts<'l, 'a> = (&'l Arena, &'a mut [Block], Vec<&'a mut [Block]>);

/// Heap bytes of the largest statistics of an instance norm.
fn statistics_bytes(graph: &Graph, prepared: &[Prepared]) -> Result<usize, SpecError> {
    let mut most = 0;
    for (step, p) in graph.steps.iter().zip(prepared).filter(|(step, _)| step.norm.is_some()) {
        if p.tiles.checked_mul(step.channels).is_none_or(|n| n > MOST_BYTES / size_of::<Moments>()) {
            let (name, channels, tiles) = (&step.name, step.channels, p.tiles);
            return Err(SpecError(format!(
                "step \"{name}\": the statistics of {channels} channels in {tiles} tiles exceed {MOST_BYTES} bytes"
            )));
        }
        most = most.max(Statistics::bytes(p.tiles, step.channels));
    }
    Ok(most)
}

/// Checks that the offsets of tensors can be counted: they are at most the sum of all lengths, which 64 bits hold.
fn check_total(graph: &Graph, weight_blocks: &[usize]) -> Result<(), SpecError> {
    let tensors = graph.steps.iter().map(|s| blocks_for(s.bytes()));
    let tables = graph.tables.iter().map(|&channels| table_blocks(channels));
    let all: u64 = tensors.chain(tables).chain(weight_blocks.iter().copied()).map(|n| n as u64).sum();
    if all > isize::MAX as u64 {
        return Err(SpecError(format!("its tensors have {all} blocks of 64 bytes, more than can be counted here")));
    }
    Ok(())
}
