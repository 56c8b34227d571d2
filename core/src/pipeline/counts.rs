//! How much there is to do: network passes, readings of the scan, voxels of each stage.

use super::look::Run;
use super::plan::PlannedRun;
use crate::manifest::Normalization;
use crate::preprocess::{AxisMap, SPLINE_PAD};
use alloc::vec::Vec;

/// Voxels that a run's stages take, in units of equal cost within a stage. Numbers are exact up to 2^53.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Voxels whose statistics are taken, of all channels.
    pub counted: f64,
    /// Voxels that pass through resampling, of all channels: those that go in, and those that come out.
    pub resampled: f64,
    /// Voxels of all tiles and folds: cut out, mirrored, added up.
    pub tiled: f64,
    /// Voxels whose logits are interpolated to the scan's grid, and those of that grid.
    pub decided: f64,
}

impl Run<'_> {
    /// Network passes: tiles times mirrored variants times folds.
    pub fn passes(&self) -> usize {
        self.layout.tiling.tiles() * self.layout.mirrors.len() * self.manifest.folds
    }

    /// Voxels of each stage.
    pub fn work(&self) -> Work {
        let voxels = |shape: [usize; 3]| shape.iter().map(|&n| n as f64).product::<f64>();
        let map = &self.layout.data_map;
        let channels = self.manifest.channels.len() as f64;
        // Splines see edge voxels beyond both ends. In the plane a plane is padded when it comes in, so that counts for
        // the planes as well.
        let padded = core::array::from_fn(|k| match map.axes[k] {
            AxisMap::Cubic(_) => map.old[k] + 2 * SPLINE_PAD,
            _ => map.old[k],
        });
        let (scan, folds) = (voxels(self.layout.bounds.shape()), self.manifest.folds as f64);
        let tiling = &self.layout.tiling;
        Work {
            counted: scan * channels,
            resampled: (voxels(padded) + voxels(map.new)) * channels,
            tiled: tiling.tiles() as f64 * voxels(tiling.patch) * folds,
            decided: scan + voxels(tiling.padded) * folds,
        }
    }
}

impl<E> PlannedRun<'_, E> {
    /// Network passes that follow each other: tiles run side by side within their row.
    pub fn rounds(&self) -> usize {
        let layout = self.run.layout();
        let [rows, across, along] = layout.tiling.starts.each_ref().map(Vec::len);
        rows * (across * along).div_ceil(self.memory.tiles.max(1)) * layout.mirrors.len() * self.run.manifest().folds
    }

    /// How often the run reads all of the scan's file after the scan was looked at.
    pub fn passes_over_scan(&self) -> usize {
        if self.memory.resident_source {
            return 1;
        }
        let any = |needs: fn(&Normalization) -> bool| {
            usize::from(self.run.manifest().channels.iter().any(|channel| needs(&channel.normalization)))
        };
        let statistics = 1 + any(Normalization::masked) + any(|n| n.percentiles().is_some());
        // Where slabs lie across the file's slices, each reading of planes goes through all of it.
        let layout = self.run.layout();
        let planes = self.memory.planes_per_read.max(1);
        statistics + if layout.transpose[0] == 0 { 1 } else { layout.data_map.old[0].div_ceil(planes) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MemoryPlan, RunOptions};
    use super::*;
    use crate::manifest::{Channel, Label, Labels, Manifest, NetworkGrid};
    use alloc::vec;

    fn manifest(transpose_forward: [usize; 3], normalization: Normalization) -> Manifest {
        let mut grid = NetworkGrid::new([10; 3], [Some(1.0); 3]);
        grid.transpose_forward = transpose_forward;
        let heads = (0..3).map(|value| Label::new("", value)).collect();
        let mut manifest = Manifest::new(grid, vec![Channel::new("", normalization)], Labels::Exclusive { heads });
        manifest.folds = 2;
        manifest.mirror_axes = vec![0, 1];
        manifest
    }

    fn planned(run: &Run<'_>, tiles: usize, resident_source: bool) -> (usize, usize) {
        let memory = MemoryPlan {
            items: vec![],
            peak_bytes: 0,
            workers: 2,
            tiles,
            workspace_blocks: 0,
            least_workspace: false,
            resident_source,
            planes_per_read: 32,
        };
        let planned = PlannedRun { run: run.clone(), engine: &(), memory };
        (planned.rounds(), planned.passes_over_scan())
    }

    #[test]
    fn a_scan_on_the_networks_grid_counts_each_voxel_once_in_and_once_out() {
        let manifest = manifest([0, 1, 2], Normalization::ZScore { masked: false });
        let run = Run::described(&manifest, [20, 20, 30], [1.0; 3], RunOptions::default()).unwrap();
        // 3 x 3 x 5 tiles of 10^3 voxels, two folds.
        let expected = Work { counted: 12e3, resampled: 24e3, tiled: 2.0 * 45.0 * 1e3, decided: 3.0 * 12e3 };
        assert_eq!(run.work(), expected);
        // Four mirrored variants of each.
        assert_eq!(run.passes(), 45 * 4 * 2);
        assert_eq!(planned(&run, 1, false).0, 45 * 4 * 2);
        // Rows of 15 tiles, two at a time.
        assert_eq!(planned(&run, 2, false).0, 3 * 8 * 4 * 2);
    }

    #[test]
    fn splines_are_padded() {
        let manifest = manifest([0, 1, 2], Normalization::None);
        let run = Run::described(&manifest, [20, 20, 40], [1.0, 1.0, 0.5], RunOptions::default()).unwrap();
        assert_eq!(run.work().resampled, (20.0 * 20.0 * 64.0) + 20.0 * 20.0 * 20.0);
    }

    #[test]
    fn a_scan_is_read_as_often_as_its_statistics_and_slabs_need_it() {
        let described = |manifest| Run::described(manifest, [20, 20, 100], [1.0; 3], RunOptions::default()).unwrap();
        let plain = manifest([0, 1, 2], Normalization::ZScore { masked: false });
        assert_eq!(planned(&described(&plain), 1, false).1, 2);
        let masked = manifest([2, 0, 1], Normalization::ZScore { masked: true });
        let across = described(&masked);
        assert_eq!(planned(&across, 1, false).1, 2 + 4);
        assert_eq!(planned(&across, 1, true).1, 1);
    }
}
