//! Everything about a run that follows from the model's manifest and the scan's geometry alone.

use crate::manifest::{Manifest, Normalization, Resampling};
use crate::postprocess::Decision;
use crate::preprocess::{AxisMap, GridMap, target_shape};
use crate::tiling::Tiling;
use crate::volume::{Box3, Index3, checked_voxels};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// What the user may choose about a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunOptions {
    /// Largest distance between tiles as a fraction of the patch, in `(0, 1]`.
    pub step: f64,
    /// Average mirrored passes along the axes the model allows.
    pub mirror: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions { step: 0.5, mirror: true }
    }
}

/// Why a model cannot run on a scan.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum LayoutError {
    /// The network grid would have no voxels, or more than can be addressed.
    Grid {
        /// Extents of the cropped scan, network order.
        scan: Index3,
        /// Extents on the network grid.
        network: Index3,
    },
    /// This kind of resampling is not done.
    Resampling(&'static str),
    /// The number of channels differs.
    Channels {
        /// Channels the model wants.
        expected: usize,
        /// Channels the scan has.
        got: usize,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LayoutError::Grid { scan, network } => write!(
                f,
                "a scan of {} x {} x {} voxels would be {} x {} x {} on the model's grid, which cannot be segmented; \
                 check the scan's spacing",
                scan[0], scan[1], scan[2], network[0], network[1], network[2]
            ),
            LayoutError::Resampling(what) => write!(f, "{what}"),
            LayoutError::Channels { expected, got } => {
                write!(f, "the model takes {expected} channel(s), but {got} were given")
            }
        }
    }
}

impl core::error::Error for LayoutError {}

/// Grids, maps between them, tiles and passes of a run.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Extents of the scan as filed.
    pub file_shape: Index3,
    /// The part that is segmented, in file axes.
    pub bounds: Box3,
    /// Network axis `i` is file axis `transpose[i]`.
    pub transpose: Index3,
    /// Spacing of the scan along network axes, millimetres.
    pub scan_spacing: [f64; 3],
    /// Spacing of the network grid, millimetres.
    pub network_spacing: [f64; 3],
    /// From the cropped scan to the network grid.
    pub data_map: GridMap,
    /// From the network grid to the cropped scan.
    pub logit_map: GridMap,
    /// Tiles on the network grid.
    pub tiling: Tiling,
    /// Sets of network axes to mirror, the plain pass (no axis) first.
    pub mirrors: Vec<Vec<usize>>,
    /// How logits become labels.
    pub decision: Decision,
}

impl Layout {
    /// Lays a run out.
    ///
    /// `file_shape` and `file_spacing` are `z, y, x`; `bounds` is the box that [`crate::preprocess::find_box`] found.
    ///
    /// # Errors
    /// A grid without voxels, or resampling that is not done.
    pub fn new(
        manifest: &Manifest,
        file_shape: Index3,
        file_spacing: [f64; 3],
        bounds: Box3,
        options: RunOptions,
    ) -> Result<Layout, LayoutError> {
        let grid = &manifest.grid;
        let transpose = grid.transpose_forward;
        let scan_shape = bounds.shape_along(transpose);
        let scan_spacing = transpose.map(|a| file_spacing[a]);
        let network_spacing = core::array::from_fn(|k| grid.spacing_mm[k].unwrap_or(scan_spacing[k]));
        let network_shape = match manifest.resample_data {
            Resampling::Keep => scan_shape,
            _ => target_shape(scan_shape, scan_spacing, network_spacing),
        };
        let padded = core::array::from_fn(|k| network_shape[k].max(grid.patch_zyx[k]));
        // f64 reciprocals of absurd spacings saturate, so the product is checked before any table is made.
        const MOST_VOXELS: u64 = 1 << 40;
        let addressable = checked_voxels(padded).is_some_and(|n| n as u64 <= MOST_VOXELS);
        if network_shape.contains(&0) || !addressable {
            return Err(LayoutError::Grid { scan: scan_shape, network: network_shape });
        }
        let data_map = GridMap::new(manifest.resample_data, scan_shape, network_shape, scan_spacing, network_spacing);
        let logit_map =
            GridMap::new(manifest.resample_logits, network_shape, scan_shape, network_spacing, scan_spacing);
        if manifest.resample_logits == Resampling::Keep && network_shape != scan_shape {
            return Err(LayoutError::Resampling(
                "the model's plan resamples the scan but keeps the logits' grid, so labels would not fit the scan",
            ));
        }
        if logit_map.axes.iter().any(|a| matches!(a, AxisMap::Cubic(_))) {
            return Err(LayoutError::Resampling(
                "the model's plan asks for cubic resampling of logits (order 3), which is not supported; \
                 order 1 and 0 are",
            ));
        }
        if data_map.separate.is_some_and(|k| k != 0 && matches!(data_map.axes[k], AxisMap::Linear(_)))
            && data_map.axes.iter().any(|a| matches!(a, AxisMap::Cubic(_)))
        {
            return Err(LayoutError::Resampling(
                "the model's plan asks for linear resampling (order_z 1) along a separate axis that is not the first, \
                 which is not supported; order_z 0 is",
            ));
        }
        let tiling = Tiling::new(network_shape, grid.patch_zyx, options.step, grid.two_dimensional);
        let mirrors = if options.mirror { combinations(&manifest.mirror_axes) } else { vec![Vec::new()] };
        Ok(Layout {
            file_shape,
            bounds,
            transpose,
            scan_spacing,
            network_spacing,
            data_map,
            logit_map,
            tiling,
            mirrors,
            decision: Decision::new(&manifest.labels),
        })
    }

    /// The file axis along which resampled values are clipped slice by slice, if statistics per slice are needed.
    pub fn clip_axis(&self) -> Option<usize> {
        let cubic = self.data_map.axes.iter().any(|a| matches!(a, AxisMap::Cubic(_)));
        self.data_map.separate.filter(|&k| k != 0 && cubic).map(|k| self.transpose[k])
    }

    /// Network passes of the run: tiles times mirrored variants times folds.
    pub fn passes(&self, folds: usize) -> usize {
        self.tiling.tiles() * self.mirrors.len() * folds
    }
}

/// Whether a channel of this manifest needs the nonzero mask.
pub(crate) fn needs_mask(manifest: &Manifest) -> bool {
    manifest.channels.iter().any(|c| c.normalization == Normalization::ZScore { masked: true })
}

/// Every subset of the axes, smaller ones first, in the order in which the reference adds them.
fn combinations(axes: &[usize]) -> Vec<Vec<usize>> {
    let mut sets: Vec<Vec<usize>> = (0..1usize << axes.len())
        .map(|bits| axes.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, &a)| a).collect())
        .collect();
    let place = |set: &Vec<usize>| -> Vec<usize> {
        set.iter().map(|a| axes.iter().position(|b| a == b).unwrap_or(0)).collect()
    };
    sets.sort_by_key(|set| (set.len(), place(set)));
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_as_singles_pairs_triple() {
        let got = combinations(&[0, 1, 2]);
        let expected: [&[usize]; 8] = [&[], &[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]];
        assert_eq!(got, expected);
        assert_eq!(combinations(&[]), [Vec::<usize>::new()]);
    }
}
