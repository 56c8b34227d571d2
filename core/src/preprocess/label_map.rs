//! Label maps brought to another grid, the way nnU-Net does for training.
//!
//! With linear maps, every label's indicator is interpolated on its own and the label with the largest value wins. Where
//! several share it, the label of the nearest voxel wins if it is among them, otherwise the smallest of them. Along a
//! separate axis, and with maps to the nearest, voxels are taken as they are.

use super::axis::{AxisMap, GridMap, LinearTap};
use alloc::vec::Vec;

/// The label map `labels` of `map.old` extents on the grid of `map.new` extents, arrays `z, y, x`.
///
/// # Panics
/// `labels` has not `map.old` voxels, or `map` has cubic axes, which label maps do not go through.
pub fn resample_labels(labels: &[i16], map: &GridMap) -> Vec<i16> {
    assert_eq!(labels.len(), map.old.iter().product::<usize>(), "label map and grid differ");
    let taps: [Vec<Tap>; 3] = core::array::from_fn(|k| taps(&map.axes[k], map.old[k]));
    let [_, n1, n2] = map.old;
    let mut out = Vec::with_capacity(map.new.iter().product());
    for z in &taps[0] {
        for y in &taps[1] {
            for x in &taps[2] {
                let at = |z: usize, y: usize, x: usize| labels[(z * n1 + y) * n2 + x];
                let nearest = at(z.nearest, y.nearest, x.nearest);
                // Corners of weight 0 are no candidates: their indicators are interpolated to 0.
                let corners = [z.pair[0], z.pair[1]].into_iter().flat_map(|(iz, wz)| {
                    [y.pair[0], y.pair[1]].into_iter().flat_map(move |(iy, wy)| {
                        [x.pair[0], x.pair[1]].into_iter().map(move |(ix, wx)| (at(iz, iy, ix), wz * wy * wx))
                    })
                });
                out.push(winner(corners, nearest));
            }
        }
    }
    out
}

/// The inputs and weights of one output along one axis.
#[derive(Clone, Copy)]
struct Tap {
    pair: [(usize, f64); 2],
    nearest: usize,
}

fn taps(axis: &AxisMap, voxels: usize) -> Vec<Tap> {
    let one = |i: usize| Tap { pair: [(i, 1.0), (i, 0.0)], nearest: i };
    match axis {
        AxisMap::Identity => (0..voxels).map(one).collect(),
        AxisMap::Nearest(indices) => indices.iter().map(|&i| one(i)).collect(),
        AxisMap::Linear(taps) => taps.iter().map(linear).collect(),
        AxisMap::Cubic(_) => panic!("label maps do not go through splines"),
    }
}

/// Half-way positions are nearest to the upper voxel.
fn linear(tap: &LinearTap) -> Tap {
    let [low, high] = tap.weights;
    Tap { pair: [(tap.low, low), (tap.high, high)], nearest: if high >= low { tap.high } else { tap.low } }
}

/// The label with the largest sum of weights.
fn winner(corners: impl Iterator<Item = (i16, f64)>, nearest: i16) -> i16 {
    let mut sums: [(i16, f64); 8] = [(0, 0.0); 8];
    let mut distinct = 0;
    for (label, weight) in corners {
        match sums[..distinct].iter_mut().find(|(l, _)| *l == label) {
            Some((_, sum)) => *sum += weight,
            None => {
                sums[distinct] = (label, weight);
                distinct += 1;
            }
        }
    }
    let sums = &sums[..distinct];
    let most = sums.iter().fold(0.0, |most: f64, (_, sum)| most.max(*sum));
    let tied = sums.iter().filter(|(_, sum)| *sum == most).map(|(label, _)| *label);
    if tied.clone().any(|label| label == nearest) { nearest } else { tied.min().unwrap_or(nearest) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Resampling;
    use crate::volume::Index3;
    use alloc::vec;

    fn resample(labels: &[i16], old: Index3, new: Index3, spacing: [f64; 3]) -> Vec<i16> {
        let kind = Resampling::Spline { order: 1, order_z: 0, force_separate_z: None };
        resample_labels(labels, &GridMap::new(kind, old, new, spacing, [1.0; 3]))
    }

    #[test]
    fn ties_go_to_the_nearest_and_then_to_the_smallest() {
        // Twice as coarse: every output lies half-way between two inputs, and the upper one is nearest.
        assert_eq!(resample(&[3, 1, 1, 3], [1, 1, 4], [1, 1, 2], [1.0; 3]), [1, 3]);
        // At the block's centre 1 and 2 have 3/8 each; the nearest voxel is a 3.
        assert_eq!(resample(&[3, 1, 1, 1, 2, 2, 2, 3], [2, 2, 2], [1, 1, 1], [1.0; 3]), [1]);
        // The nearest wins where it is among the tied.
        assert_eq!(resample(&[1, 1, 1, 1, 2, 2, 2, 2], [2, 2, 2], [1, 1, 1], [1.0; 3]), [2]);
    }

    #[test]
    fn no_label_between_two_others_is_made_up() {
        let labels = [0, 0, 2, 2, 2, 0, -1, -1];
        for n in 1..40 {
            let out = resample(&labels, [1, 1, 8], [1, 1, n], [1.0; 3]);
            assert!(out.iter().all(|l| [0, 2, -1].contains(l)), "{out:?}");
        }
    }

    #[test]
    fn a_separate_axis_takes_whole_slices() {
        let labels = [vec![1i16; 4], vec![2; 4], vec![3; 4]].concat();
        assert_eq!(resample(&labels, [3, 2, 2], [6, 1, 1], [4.0, 1.0, 1.0]), [1, 1, 2, 2, 3, 3]);
    }
}
