//! A checked network with the memory of a run laid out: one block of memory whose size is known beforehand and which the
//! caller hands in.

use super::arena::{Arena, NARROW, WIDE};
use super::prepare::{Prepared, float_weights, prepare};
use super::spec::{ConvSpec, Form, Graph, Kind, Place, SpecError, Step};
use super::weights::Weights;
use crate::arch::{Block, Isa};
use crate::kernels::Statistics;
use crate::patch::PatchPrecision;
use alloc::vec::Vec;

/// A network ready to run.
pub struct Network<'w> {
    pub(super) graph: Graph,
    pub(super) weights: Weights<'w>,
    pub(super) isa: Isa,
    pub(super) prepared: Vec<Prepared>,
    roomy: Arena,
    /// Layers in narrow bands, where that takes less.
    tight: Option<Arena>,
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
        let mut prepared = Vec::with_capacity(graph.steps.len());
        let (mut scratch_blocks, mut statistics_bytes) = (0, 0);
        for step in &graph.steps {
            let p = prepare(isa, step, &weights);
            scratch_blocks = scratch_blocks.max(p.scratch_blocks);
            if step.norm.is_some() {
                statistics_bytes = statistics_bytes.max(Statistics::bytes(p.tiles, step.channels));
            }
            prepared.push(p);
        }
        let weight_blocks: Vec<usize> = prepared.iter().map(|p| p.weight_blocks).collect();
        // Who stores halves wants to save memory.
        let usual = if graph.patch_precision() == PatchPrecision::F16 { Some(WIDE) } else { None };
        let roomy = Arena::new(&graph, &weight_blocks, usual);
        let tight = Some(Arena::new(&graph, &weight_blocks, Some(NARROW))).filter(|tight| tight.blocks < roomy.blocks);
        Ok(Network { graph, weights, isa, prepared, roomy, tight, scratch_blocks, statistics_bytes })
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

    /// Blocks of workspace that a run on `workers` threads works best with.
    pub fn workspace_blocks(&self, workers: usize) -> usize {
        self.roomy.blocks + workers * self.scratch_blocks
    }

    /// The least workspace that will do: layers write over their input, band by band of planes, with the same result.
    pub fn least_workspace_blocks(&self, workers: usize) -> usize {
        self.tight.as_ref().unwrap_or(&self.roomy).blocks + workers * self.scratch_blocks
    }

    /// Heap bytes of a run beside the workspace: small tables.
    pub fn run_bytes(&self, workers: usize) -> usize {
        self.statistics_bytes + workers * 1024 + 16 * 1024
    }

    /// The layout that a workspace has room for, its arena, and each worker's scratch; none where it is too small.
    pub(super) fn split<'a>(&self, workspace: &'a mut [Block], workers: usize) -> Option<Parts<'_, 'a>> {
        let scratch = workers * self.scratch_blocks;
        let fits = |arena: &&Arena| arena.blocks + scratch <= workspace.len();
        let layout = [Some(&self.roomy), self.tight.as_ref()].into_iter().flatten().find(fits)?;
        let (arena, rest) = workspace.split_at_mut(layout.blocks);
        Some((layout, arena, rest.chunks_exact_mut(self.scratch_blocks.max(1)).take(workers).collect()))
    }
}

/// A layout, its arena, and each worker's scratch.
type Parts<'l, 'a> = (&'l Arena, &'a mut [Block], Vec<&'a mut [Block]>);
