//! From one grid to another, axis by axis: target extents, which axis is separate, and interpolation weights.

use crate::half_float::round_half_even;
use crate::manifest::Resampling;
use crate::volume::Index3;
use alloc::vec::Vec;

/// Samples of edge value that scipy puts around a volume before it filters splines of order 3.
pub const SPLINE_PAD: usize = 12;

/// A spacing is anisotropic when its largest member exceeds its smallest this many times.
const ANISOTROPY: f64 = 3.0;

/// Extents of a grid of `shape` at `spacing` when sampled at `target`: `round_half_even(spacing / target * n)`.
pub fn target_shape(shape: Index3, spacing: [f64; 3], target: [f64; 3]) -> Index3 {
    // A cast from f64 saturates, so absurd spacings give extents that the memory plan refuses.
    core::array::from_fn(|k| round_half_even(spacing[k] / target[k] * shape[k] as f64) as usize)
}

/// The axis that is resampled by itself because its voxels are much longer than the others, if any.
///
/// `force`: `None` decides by the spacings (the current one first, then the new one), `Some(false)` never separates,
/// `Some(true)` takes the coarsest axis of the current spacing.
pub fn separate_axis(force: Option<bool>, current: [f64; 3], new: [f64; 3]) -> Option<usize> {
    let coarsest = |spacing: [f64; 3]| {
        let largest = spacing.into_iter().fold(f64::MIN, f64::max);
        let mut axes = (0..3).filter(|&k| spacing[k] == largest);
        let axis = axes.next();
        // Two or three coarsest axes: nothing is separate, and the other spacing is not tried.
        if axes.next().is_none() { axis } else { None }
    };
    let anisotropic = |spacing: [f64; 3]| {
        let largest = spacing.into_iter().fold(f64::MIN, f64::max);
        let smallest = spacing.into_iter().fold(f64::MAX, f64::min);
        largest / smallest > ANISOTROPY
    };
    match force {
        Some(false) => None,
        Some(true) => coarsest(current),
        None if anisotropic(current) => coarsest(current),
        None if anisotropic(new) => coarsest(new),
        None => None,
    }
}

/// How one axis is sampled.
#[derive(Clone, Debug, PartialEq)]
pub enum AxisMap {
    /// As it is.
    Identity,
    /// Output `i` takes input `indices[i]`.
    Nearest(Vec<usize>),
    /// Output `i` is `low * (1 - t) + high * t` between two inputs.
    Linear(Vec<LinearTap>),
    /// Output `i` is a sum of four spline coefficients of the padded axis.
    Cubic(Vec<CubicTap>),
}

/// Two neighbours and their weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearTap {
    /// Lower input index.
    pub low: usize,
    /// Upper input index; equals `low` at the end of the axis.
    pub high: usize,
    /// Weights of both.
    pub weights: [f64; 2],
}

/// Four neighbouring coefficients of the padded axis and their weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CubicTap {
    /// Index of the first coefficient, counted on the axis padded by [`SPLINE_PAD`] samples.
    pub first: usize,
    /// Weights of the four.
    pub weights: [f64; 4],
}

/// Centre of output voxel `i` in input voxels.
fn coordinate(i: usize, ratio: f64) -> f64 {
    (i as f64 + 0.5) * ratio - 0.5
}

impl AxisMap {
    /// Samples `new` positions of an axis of `old` voxels with splines of this order (0, 1 or 3), scipy's way.
    pub fn spline(old: usize, new: usize, order: u8) -> Self {
        if old == new {
            return AxisMap::Identity;
        }
        let ratio = old as f64 / new as f64;
        match order {
            0 => AxisMap::nearest(old, new),
            1 => AxisMap::Linear(
                (0..new)
                    .map(|i| {
                        let x = coordinate(i, ratio).clamp(0.0, (old - 1) as f64);
                        linear_tap(x, old)
                    })
                    .collect(),
            ),
            _ => AxisMap::Cubic((0..new).map(|i| cubic_tap(coordinate(i, ratio) + SPLINE_PAD as f64)).collect()),
        }
    }

    /// Samples the nearest voxel; half-way positions take the upper one.
    pub fn nearest(old: usize, new: usize) -> Self {
        if old == new {
            return AxisMap::Identity;
        }
        let ratio = old as f64 / new as f64;
        let last = (old - 1) as f64;
        AxisMap::Nearest((0..new).map(|i| libm::floor(coordinate(i, ratio) + 0.5).clamp(0.0, last) as usize).collect())
    }

    /// PyTorch's trilinear coordinates, which it computes in single precision.
    pub fn torch_linear(old: usize, new: usize) -> Self {
        if old == new {
            return AxisMap::Identity;
        }
        let ratio = old as f32 / new as f32;
        AxisMap::Linear(
            (0..new)
                .map(|i| {
                    let x = ((i as f32 + 0.5) * ratio - 0.5).max(0.0);
                    let low = (x as usize).min(old - 1);
                    let t = (x - low as f32).clamp(0.0, 1.0);
                    LinearTap { low, high: (low + 1).min(old - 1), weights: [(1.0 - t) as f64, t as f64] }
                })
                .collect(),
        )
    }

    /// PyTorch's `nearest-exact`.
    pub fn torch_nearest(old: usize, new: usize) -> Self {
        if old == new {
            return AxisMap::Identity;
        }
        let ratio = old as f32 / new as f32;
        AxisMap::Nearest((0..new).map(|i| (((i as f32 + 0.5) * ratio) as usize).min(old - 1)).collect())
    }

    /// Bytes of the tables.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            AxisMap::Identity => 0,
            AxisMap::Nearest(v) => core::mem::size_of_val(v.as_slice()),
            AxisMap::Linear(v) => core::mem::size_of_val(v.as_slice()),
            AxisMap::Cubic(v) => core::mem::size_of_val(v.as_slice()),
        }
    }
}

fn linear_tap(x: f64, old: usize) -> LinearTap {
    let low = (libm::floor(x) as usize).min(old - 1);
    let t = x - low as f64;
    LinearTap { low, high: (low + 1).min(old - 1), weights: [1.0 - t, t] }
}

/// `x` counts from the first padded sample.
fn cubic_tap(x: f64) -> CubicTap {
    let node = libm::floor(x);
    let t = x - node;
    let u = 1.0 - t;
    let inner = |v: f64| (4.0 - 6.0 * v * v + 3.0 * v * v * v) / 6.0;
    CubicTap { first: node as usize - 1, weights: [u * u * u / 6.0, inner(t), inner(u), t * t * t / 6.0] }
}

/// The maps of all three axes from `old` to `new` extents, and the separate axis if there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct GridMap {
    /// Input extents.
    pub old: Index3,
    /// Output extents.
    pub new: Index3,
    /// Per axis.
    pub axes: [AxisMap; 3],
    /// The axis that is sampled by itself; the other two are resampled slice by slice.
    pub separate: Option<usize>,
    /// Arithmetic is PyTorch's single precision instead of scipy's double precision.
    pub single_precision: bool,
}

impl GridMap {
    /// How `kind` brings a grid of `old` extents at `current` spacing to `new` extents at `target` spacing.
    pub fn new(kind: Resampling, old: Index3, new: Index3, current: [f64; 3], target: [f64; 3]) -> Self {
        let single_precision = matches!(kind, Resampling::Torch { .. });
        if old == new {
            let axes = [AxisMap::Identity, AxisMap::Identity, AxisMap::Identity];
            return GridMap { old, new, axes, separate: None, single_precision };
        }
        let (separate, axes) = match kind {
            Resampling::Spline { order, order_z, force_separate_z } => {
                let separate = separate_axis(force_separate_z, current, target);
                let axes = core::array::from_fn(|k| {
                    let along = if separate == Some(k) { order_z } else { order };
                    AxisMap::spline(old[k], new[k], along)
                });
                (separate, axes)
            }
            Resampling::Torch { force_separate_z } => {
                let separate = separate_axis(force_separate_z, current, target);
                let axes = core::array::from_fn(|k| {
                    if separate == Some(k) {
                        AxisMap::torch_nearest(old[k], new[k])
                    } else {
                        AxisMap::torch_linear(old[k], new[k])
                    }
                });
                (separate, axes)
            }
            Resampling::Keep => {
                // Validation refuses manifests that keep the grid where the shapes differ.
                (None, [AxisMap::Identity, AxisMap::Identity, AxisMap::Identity])
            }
        };
        GridMap { old, new, axes, separate, single_precision }
    }

    /// Nothing is resampled.
    pub fn is_identity(&self) -> bool {
        self.old == self.new
    }

    /// An axis is sampled with cubic splines.
    pub fn is_cubic(&self) -> bool {
        self.axes.iter().any(|axis| matches!(axis, AxisMap::Cubic(_)))
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        self.axes.iter().map(AxisMap::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separation_follows_the_reference_table() {
        let one = [1.0, 1.0, 1.0];
        assert_eq!(separate_axis(None, [3.0, 1.0, 1.0], one), None);
        assert_eq!(separate_axis(None, [3.0001, 1.0, 1.0], one), Some(0));
        assert_eq!(separate_axis(None, [5.0, 5.0, 1.0], [9.0, 1.0, 1.0]), None);
        assert_eq!(separate_axis(None, [1.0, 4.0, 5.0], one), Some(2));
        assert_eq!(separate_axis(None, one, [1.0, 7.0, 1.0]), Some(1));
        assert_eq!(separate_axis(Some(false), [9.0, 1.0, 1.0], one), None);
        assert_eq!(separate_axis(Some(true), [1.5, 1.0, 1.0], one), Some(0));
    }

    #[test]
    fn halves_go_up_when_sampling_the_nearest() {
        assert_eq!(AxisMap::nearest(10, 5), AxisMap::Nearest(alloc::vec![1, 3, 5, 7, 9]));
    }

    #[test]
    fn extents_round_half_to_even() {
        assert_eq!(target_shape([5, 7, 3], [0.5, 0.5, 1.0], [1.0; 3]), [2, 4, 3]);
    }

    #[test]
    fn weights_sum_to_one() {
        for (old, new) in [(7, 19), (19, 7), (1, 4), (30, 31)] {
            let AxisMap::Cubic(taps) = AxisMap::spline(old, new, 3) else { panic!() };
            for tap in taps {
                assert!((tap.weights.iter().sum::<f64>() - 1.0).abs() < 1e-14);
                assert!(tap.first + 3 < old + 2 * SPLINE_PAD);
            }
            let AxisMap::Linear(taps) = AxisMap::spline(old, new, 1) else { panic!() };
            assert!(taps.iter().all(|t| t.weights[0] + t.weights[1] == 1.0 && t.high < old));
        }
    }
}
