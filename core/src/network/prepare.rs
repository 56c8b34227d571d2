//! What a step needs beside its tensors: tiles, scratch, and memory for weights that are widened or rearranged.

use super::bind::source_of;
use super::spec::{ConvSpec, Form, Kind, Span, Step};
use super::weights::Weights;
use crate::arch::{Isa, blocks_for};
use crate::kernels::{Conv, Pool, Precision, Squash, Sum};
use alloc::vec::Vec;

/// What a step needs beside its tensors.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) conv: Option<Conv>,
    /// Blocks of weights widened or rearranged for the instruction set when the step starts, in their order of use.
    pub(super) weight_blocks: usize,
    pub(super) scratch_blocks: usize,
    /// Channels, planes and rows of a tile, and how many there are.
    pub(super) step: [usize; 3],
    pub(super) tiles: usize,
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

/// Lays out the tiles, scratch and prepared weights of a checked step.
pub(super) fn prepare(isa: Isa, step: &Step, weights: &Weights<'_>) -> Prepared {
    let mut extra: usize = float_weights(step)
        .iter()
        .map(|(span, form)| if *form == Form::F16 { blocks_for(4 * span.len) } else { 0 })
        .sum();
    // Only sizes are asked of these; the tensors they would read are not there yet.
    let sources: Vec<_> =
        step.inputs.iter().map(|v| source_of(v, &|_| None, &|_| None, weights, &mut || &[])).collect();
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
    Prepared { conv, weight_blocks: extra, scratch_blocks, step: tile_step, tiles }
}
