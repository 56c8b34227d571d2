//! Tile starts, importance map, and the rolling accumulator.
//!
//! The rules are nnU-Net's, to the bit: where tiles start, how they are weighted, and in which order and precision
//! their logits are added.

mod accumulator;
mod importance;

pub use accumulator::{AccumulatorError, LogitPlane, RollingAccumulator};
pub use importance::importance_map;

use crate::half_float::round_half_even;
use crate::volume::Index3;
use alloc::vec::Vec;

/// Number of tiles on one axis of `extent` voxels; the largest count where the arguments are absurd.
pub(crate) fn tile_count(extent: usize, patch: usize, step: f64) -> usize {
    let span = extent.saturating_sub(patch) as f64;
    // A cast from f64 saturates, and takes 0 / 0 for 0.
    (libm::ceil(span / (patch as f64 * step)) as usize).saturating_add(1)
}

/// Tile starts on one axis of `extent` voxels (at least `patch`): `round_half_even(a * i)` with the largest equal
/// step `a` that does not exceed `patch * step`.
///
/// `step` lies in `(0, 1]`, `patch` in `1..=extent`; [`crate::pipeline::Layout::new`] refuses others.
pub fn tile_starts(extent: usize, patch: usize, step: f64) -> Vec<usize> {
    debug_assert!(extent >= patch && patch > 0 && step > 0.0 && step <= 1.0);
    let count = tile_count(extent, patch, step);
    if count == 1 {
        return alloc::vec![0];
    }
    let actual = (extent - patch) as f64 / (count - 1) as f64;
    (0..count).map(|i| round_half_even(actual * i as f64) as usize).collect()
}

/// How a network grid is covered by tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Voxels per tile.
    pub patch: Index3,
    /// Voxels of the network grid.
    pub shape: Index3,
    /// Voxels after padding with zeros up to the patch.
    pub padded: Index3,
    /// Padding below the first voxel, per axis.
    pub pad_below: Index3,
    /// Tile starts in the padded grid, per axis.
    pub starts: [Vec<usize>; 3],
}

impl Tiling {
    /// Covers `shape` with tiles of `patch` at most `step * patch` apart.
    ///
    /// A two-dimensional network (`slice_wise`) takes every plane of axis 0 by itself.
    pub fn new(shape: Index3, patch: Index3, step: f64, slice_wise: bool) -> Self {
        let padded = core::array::from_fn(|k| shape[k].max(patch[k]));
        let pad_below = core::array::from_fn(|k| (padded[k] - shape[k]) / 2);
        let starts = core::array::from_fn(|k| {
            if slice_wise && k == 0 { (0..padded[0]).collect() } else { tile_starts(padded[k], patch[k], step) }
        });
        Tiling { patch, shape, padded, pad_below, starts }
    }

    /// Number of tiles.
    pub fn tiles(&self) -> usize {
        self.starts.iter().map(Vec::len).product()
    }

    /// Starts of the tiles of one row of axis 0, in the order in which the reference adds them.
    pub fn row(&self, row: usize) -> impl Iterator<Item = Index3> + '_ {
        let first = self.starts[0][row];
        self.starts[1].iter().flat_map(move |&y| self.starts[2].iter().map(move |&x| [first, y, x]))
    }

    /// Planes of the padded grid that no tile after row `row` touches, and no earlier row finished.
    pub fn finished_by(&self, row: usize) -> core::ops::Range<usize> {
        let end = self.starts[0].get(row + 1).copied().unwrap_or(self.padded[0]);
        self.starts[0][row]..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_starts() {
        assert_eq!(tile_starts(110, 64, 0.5), [0, 23, 46]);
        assert_eq!(tile_starts(64, 64, 0.5), [0]);
        assert_eq!(tile_starts(65, 64, 0.5), [0, 1]);
        // a * i = 2.5 and 7.5: half to even
        assert_eq!(tile_starts(20, 10, 0.25), [0, 2, 5, 8, 10]);
    }

    proptest! {
        #[test]
        fn every_voxel_is_covered(shape in [1usize..90, 1usize..60, 1usize..60], patch in [1usize..40, 1usize..40, 1usize..40],
                                  step in 0.05f64..=1.0) {
            let tiling = Tiling::new(shape, patch, step, false);
            for k in 0..3 {
                let mut covered_to = 0;
                for &s in &tiling.starts[k] {
                    prop_assert!(s <= covered_to, "gap on axis {k}");
                    covered_to = s + patch[k];
                }
                prop_assert_eq!(covered_to, tiling.padded[k]);
                prop_assert!(tiling.pad_below[k] + shape[k] <= tiling.padded[k]);
            }
        }

        #[test]
        fn rows_finish_every_plane_once_and_in_order(n in 1usize..200, patch in 1usize..50, step in 0.05f64..=1.0) {
            let tiling = Tiling::new([n, 1, 1], [patch, 1, 1], step, false);
            let mut next = 0;
            for row in 0..tiling.starts[0].len() {
                let range = tiling.finished_by(row);
                prop_assert_eq!(range.start, next);
                prop_assert!(range.end <= tiling.starts[0][row] + patch);
                next = range.end;
            }
            prop_assert_eq!(next, tiling.padded[0]);
        }
    }
}
