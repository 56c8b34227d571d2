//! Binds what a step reads to the memory it lies in.

use super::spec::{OpSpec, PartSpec, Place, ValueSpec};
use super::weights::Weights;
use crate::arch::Order;
use crate::kernels::{Data, Op, Read, Resample, Source, Spread, Stored, Upsample, UpsampleWeights};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// The operations pending on a tensor, with their numbers; `table` gives the scale and shift of an instance norm.
pub(super) fn ops_of<'a>(
    ops: &[OpSpec],
    table: &impl Fn(usize) -> Option<(&'a [f32], &'a [f32])>,
    weights: &'a Weights<'_>,
) -> Vec<Op<'a>> {
    ops.iter()
        .map(|op| match op {
            OpSpec::Table(t) => {
                let (scale, shift) = table(*t).unwrap_or_default();
                Op::Affine(scale, shift)
            }
            OpSpec::Affine(scale, shift) => Op::Affine(weights.get(*scale), weights.get(*shift)),
            OpSpec::Act(a) => Op::Act(*a),
            OpSpec::Grid(q) => Op::Grid(*q),
        })
        .collect()
}

/// Binds a value to the memory it lies in. `data` gives a tensor's numbers, their order, and how many of them were
/// overwritten before the first that is left; `table` gives the scale and shift of an instance norm; `float` gives float
/// weights in the order of [`super::prepare::float_weights`].
pub(super) fn source_of<'a>(
    value: &'a ValueSpec,
    data: &impl Fn(Place) -> Option<(Data<'a>, Order, usize)>,
    table: &impl Fn(usize) -> Option<(&'a [f32], &'a [f32])>,
    weights: &'a Weights<'_>,
    float: &mut impl FnMut() -> &'a [f32],
) -> Source<'a> {
    let parts = value.parts.iter().map(|part| -> Box<dyn Read + 'a> {
        match part {
            PartSpec::Stored { place, channels, ops } => {
                let (data, order, gone) = data(*place).unwrap_or((Data::F32(&[]), Order::Planes, 0));
                Box::new(Stored { data, channels: *channels, order, gone, ops: ops_of(ops, table, weights) })
            }
            PartSpec::Upsampled { low, cout, kernel, bias, activation, grids, .. } => {
                let own = float();
                Box::new(Upsample {
                    low: source_of(low, data, table, weights, float),
                    cout: *cout,
                    kernel: *kernel,
                    weights: UpsampleWeights { weights: own, bias: weights.get(*bias) },
                    activation: *activation,
                    grids: grids.clone(),
                })
            }
            PartSpec::Spread { low, by } => {
                Box::new(Spread { low: source_of(low, data, table, weights, float), by: *by })
            }
            PartSpec::Resampled { low, axes: [z, y, x] } => {
                Box::new(Resample { low: source_of(low, data, table, weights, float), axes: [z, y, x] })
            }
        }
    });
    Source { parts: parts.collect(), grid: value.grid }
}
