//! Everything about a run that follows from the model's manifest and the scan's geometry alone.

use crate::manifest::{MOST_EXTENT, Manifest, ManifestError, Resampling};
use crate::postprocess::Decision;
use crate::preprocess::{AxisMap, GridMap, target_shape};
use crate::tiling::{Tiling, tile_count};
use crate::volume::{Box3, Index3, checked_voxels, product};
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
    /// The manifest breaks its own rules.
    Manifest(ManifestError),
    /// The scan has no voxels, or more than can be addressed, or the box is not inside it.
    Scan {
        /// Extents of the scan, `z, y, x`.
        shape_zyx: Index3,
        /// The box.
        bounds: Box3,
    },
    /// A distance between the scan's voxels is not a positive finite number of millimetres.
    Spacing([f64; 3]),
    /// The distance between tiles is not in `(0, 1]`, or so small that the tiles cannot be counted.
    Step(f64),
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
            LayoutError::Manifest(e) => write!(f, "the model's manifest is wrong: {e}"),
            LayoutError::Scan { shape_zyx: [z, y, x], bounds: Box3(bounds) } => write!(
                f,
                "the box {bounds:?} of a scan of {z} x {y} x {x} voxels cannot be segmented; axes have 1 to \
                 {MOST_EXTENT} voxels"
            ),
            LayoutError::Spacing([z, y, x]) => {
                write!(f, "the scan's voxels are {z} x {y} x {x} mm apart; each distance must be a positive number")
            }
            LayoutError::Step(step) => {
                write!(
                    f,
                    "tiles cannot be placed {step} patches apart; choose a step above 0 and up to 1, for example 0.5"
                )
            }
            LayoutError::Channels { expected, got } => {
                write!(f, "the model takes {expected} channel(s), but {got} were given")
            }
        }
    }
}

impl core::error::Error for LayoutError {}

/// Most voxels of a grid: far above any scan, and low enough that counts of bytes rarely overflow.
const MOST_VOXELS: u64 = 1 << 40;
/// Most tiles along an axis.
const MOST_TILES: usize = 4 * MOST_EXTENT;

/// The tables of a grid of this shape can be made, and its voxels counted.
fn countable(shape: Index3) -> bool {
    shape.iter().all(|n| (1..=MOST_EXTENT).contains(n))
        && checked_voxels(shape).is_some_and(|n| n as u64 <= MOST_VOXELS)
}

/// Manifest and scan can be laid out together, as far as each can be judged by itself.
pub(super) fn check_inputs(
    manifest: &Manifest,
    shape_zyx: Index3,
    spacing_mm: [f64; 3],
    bounds: &Box3,
) -> Result<(), LayoutError> {
    manifest.check().map_err(LayoutError::Manifest)?;
    let inside = bounds.0.iter().zip(shape_zyx).all(|(range, n)| range.start < range.end && range.end <= n);
    if !inside || !countable(shape_zyx) {
        return Err(LayoutError::Scan { shape_zyx, bounds: bounds.clone() });
    }
    if spacing_mm.iter().any(|mm| !(mm.is_finite() && *mm > 0.0)) {
        return Err(LayoutError::Spacing(spacing_mm));
    }
    Ok(())
}

fn check_resampling(manifest: &Manifest, data_map: &GridMap, logit_map: &GridMap) -> Result<(), LayoutError> {
    if manifest.resample_logits == Resampling::Keep && !logit_map.is_identity() {
        return Err(LayoutError::Resampling(
            "the model's plan resamples the scan but keeps the logits' grid, so labels would not fit the scan",
        ));
    }
    if data_map.separate.is_some_and(|k| k != 0 && matches!(data_map.axes[k], AxisMap::Linear(_)))
        && data_map.is_cubic()
    {
        return Err(LayoutError::Resampling(
            "the model's plan asks for linear resampling (order_z 1) along a separate axis that is not the first, \
             which is not supported; order_z 0 is",
        ));
    }
    Ok(())
}

/// Tiles can be placed at this step, and the passes of all of them counted; each tile takes `variants` passes.
fn check_step(step: f64, padded: Index3, patch: Index3, variants: usize) -> Result<(), LayoutError> {
    let tiles: Index3 = core::array::from_fn(|k| tile_count(padded[k], patch[k], step));
    let placeable = step > 0.0 && step <= 1.0 && tiles.iter().all(|&n| n <= MOST_TILES);
    let countable = product(tiles.into_iter().chain([variants])).is_some();
    if placeable && countable { Ok(()) } else { Err(LayoutError::Step(step)) }
}

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
    /// `file_shape` and `file_spacing` (millimetres) are `z, y, x`; `bounds` is the box that
    /// [`crate::preprocess::find_box`] found.
    ///
    /// # Errors
    /// A manifest that breaks a rule, a scan, spacing or step that cannot be used, a grid without voxels or too large,
    /// or resampling that is not done. No arguments make it panic, or allocate more than tables with an entry per voxel
    /// of an axis.
    pub fn new(
        manifest: &Manifest,
        file_shape: Index3,
        file_spacing: [f64; 3],
        bounds: Box3,
        options: RunOptions,
    ) -> Result<Layout, LayoutError> {
        check_inputs(manifest, file_shape, file_spacing, &bounds)?;
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
        // Absurd spacings give saturated extents, so they are checked before any table is made.
        if network_shape.contains(&0) || !countable(padded) {
            return Err(LayoutError::Grid { scan: scan_shape, network: network_shape });
        }
        let data_map = GridMap::new(manifest.resample_data, scan_shape, network_shape, scan_spacing, network_spacing);
        let logit_map =
            GridMap::new(manifest.resample_logits, network_shape, scan_shape, network_spacing, scan_spacing);
        check_resampling(manifest, &data_map, &logit_map)?;
        let mirrors = if options.mirror { combinations(&manifest.mirror_axes) } else { vec![Vec::new()] };
        check_step(options.step, padded, grid.patch_zyx, mirrors.len() * manifest.folds)?;
        let tiling = Tiling::new(network_shape, grid.patch_zyx, options.step, grid.two_dimensional);
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
            decision: Decision::new(manifest),
        })
    }

    /// The file axis along which resampled values are clipped slice by slice, if statistics per slice are needed.
    pub fn clip_axis(&self) -> Option<usize> {
        self.data_map.separate.filter(|&k| k != 0 && self.data_map.is_cubic()).map(|k| self.transpose[k])
    }
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
