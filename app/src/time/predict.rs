//! How long a case will take: what it consists of, counted, times what each part costs on this machine just now.
//!
//! The network's windows are timed by themselves ([`super::window`]). Everything around them is timed on a small made-up
//! scan that goes through the same pipeline ([`super::rehearsal`]). Reading is timed while the scan is looked at.

use super::rehearsal;
use super::window::WindowTimes;
use crate::error::Error;
use crate::machine::{self, Threads};
use crate::model::Model;
use crate::run::PlannedCase;
use scanside_core::manifest::{Manifest, Normalization};
use scanside_core::memory::MemoryPlan;
use scanside_core::pipeline::Layout;
use scanside_core::preprocess::{AxisMap, SPLINE_PAD};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a run of one scan will take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Of one window: a pass of the network over one patch. Measured.
    pub seconds_per_window: f64,
    /// Of the run.
    pub phases: RunSeconds,
}

/// Seconds of a run of one scan, from the program's start to the label file, by what they are spent on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSeconds {
    /// Reading the model and preparing its engine; once a run, however many scans. Measured.
    pub load: f64,
    /// Reading the scan as often as the run does, and hashing it.
    pub read: f64,
    /// Statistics, normalising, resampling to the network's grid.
    pub prepare: f64,
    /// The network's windows, their mirroring included.
    pub network: f64,
    /// Adding up overlapping tiles.
    pub stitch: f64,
    /// Bringing logits to the scan's grid, and deciding.
    pub export: f64,
    /// Compressing and writing labels.
    pub write: f64,
}

impl RunSeconds {
    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.load + self.read + self.prepare + self.network + self.stitch + self.export + self.write
    }
}

/// What a run consists of, in units that take the same time each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Amounts {
    /// Voxels whose statistics are taken, of all channels.
    pub(crate) counted: f64,
    /// Voxels that pass through resampling, of all channels: those that go in, and those that come out.
    pub(crate) resampled: f64,
    /// Voxels of all tiles and folds: cut out, mirrored, added up.
    pub(crate) tiled: f64,
    /// Voxels whose logits are brought to the scan's grid, and those of that grid.
    pub(crate) decided: f64,
}

impl Amounts {
    pub(crate) fn of(layout: &Layout, manifest: &Manifest) -> Amounts {
        let voxels = |shape: [usize; 3]| shape.iter().map(|&n| n as f64).product::<f64>();
        let map = &layout.data_map;
        let channels = manifest.channels.len() as f64;
        // Splines see edge voxels beyond both ends. In the plane a plane is padded when it comes in, so that counts for
        // the planes as well.
        let padded = core::array::from_fn(|k| match map.axes[k] {
            AxisMap::Cubic(_) => map.old[k] + 2 * SPLINE_PAD,
            _ => map.old[k],
        });
        let (scan, folds) = (voxels(layout.bounds.shape()), manifest.folds as f64);
        Amounts {
            counted: scan * channels,
            resampled: (voxels(padded) + voxels(map.new)) * channels,
            tiled: layout.tiling.tiles() as f64 * voxels(layout.tiling.patch) * folds,
            decided: scan + voxels(layout.tiling.padded) * folds,
        }
    }
}

/// Seconds of each unit of [`Amounts`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    pub(crate) count: f64,
    pub(crate) resample: f64,
    /// Of a tile, in the network's phase, but without the network.
    pub(crate) tile: f64,
    pub(crate) stitch: f64,
    pub(crate) decide: f64,
    /// Of a voxel of the label file.
    pub(crate) write: f64,
    /// Of a byte hashed.
    pub(crate) hash: f64,
}

/// What else counts of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CaseCounts {
    /// How often calls of the network follow each other, side by side as the memory plan has them.
    pub(crate) rounds: f64,
    /// How often the run goes through the whole scan after it was looked at.
    pub(crate) passes_over_scan: f64,
    /// Bytes of the model and of the scan's files, which are hashed.
    pub(crate) hashed_bytes: f64,
    /// Voxels of the label file.
    pub(crate) label_voxels: f64,
}

/// Times that were measured on the model and the scan themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Timed {
    pub(crate) load: f64,
    /// Looking at the scan.
    pub(crate) look: f64,
    /// Going once through it.
    pub(crate) pass: f64,
    /// A round of windows, side by side.
    pub(crate) round: f64,
    /// One of them.
    pub(crate) window: f64,
}

/// Adds it up.
pub(crate) fn add_up(amounts: &Amounts, counts: &CaseCounts, rates: &Rates, timed: &Timed) -> Prediction {
    let phases = RunSeconds {
        load: timed.load,
        read: timed.look + timed.pass * counts.passes_over_scan + rates.hash * counts.hashed_bytes,
        prepare: rates.count * amounts.counted + rates.resample * amounts.resampled,
        network: timed.round * counts.rounds + rates.tile * amounts.tiled,
        stitch: rates.stitch * amounts.tiled,
        export: rates.decide * amounts.decided,
        write: rates.write * counts.label_voxels,
    };
    Prediction { seconds_per_window: timed.window, phases }
}

/// Calls of the network that follow each other: tiles run side by side within their row.
pub(crate) fn rounds(layout: &Layout, memory: &MemoryPlan, folds: usize) -> usize {
    let [rows, across, along] = layout.tiling.starts.each_ref().map(Vec::len);
    rows * (across * along).div_ceil(memory.tiles.max(1)) * layout.mirrors.len() * folds
}

/// How often a run goes through the scan's file once it was looked at.
pub(crate) fn passes_over_scan(layout: &Layout, memory: &MemoryPlan, manifest: &Manifest) -> usize {
    if memory.resident_source {
        return 1;
    }
    let masked = |n: &Normalization| matches!(n, Normalization::ZScore { masked: true });
    let twice = |n: &Normalization| matches!(n, Normalization::PercentileTo01 { .. });
    let any = |of: &dyn Fn(&Normalization) -> bool| {
        usize::from(manifest.channels.iter().any(|channel| of(&channel.normalization)))
    };
    let statistics = 1 + any(&masked) + any(&twice);
    // Where slabs lie across the file's slices, each reading of planes goes through all of it.
    let slabs =
        if layout.transpose[0] == 0 { 1 } else { layout.data_map.old[0].div_ceil(memory.planes_per_read.max(1)) };
    statistics + slabs
}

/// Predicts how long planned cases of one model will take.
pub struct Clock {
    /// The model's file or folder: its bytes are hashed in a run.
    model: PathBuf,
    /// Seconds of opening the model.
    load: f64,
    /// Windows timed for earlier cases.
    windows: WindowTimes,
}

impl Clock {
    /// For the model from `model`, which took `load` seconds to open.
    pub fn new(model: &Path, load: f64) -> Clock {
        Clock { model: model.to_owned(), load, windows: WindowTimes::default() }
    }

    /// The memory that this machine has free, where that is less than a planned run takes: then nothing can be timed here.
    pub fn too_large_to_time(&self, memory: &MemoryPlan) -> Option<usize> {
        machine::available_bytes().filter(|available| memory.peak_bytes > *available)
    }

    /// Predicts the run of a planned case; times a few windows for it.
    ///
    /// # Errors
    /// The network cannot be run.
    pub fn predict(&mut self, model: &Model, planned: &PlannedCase) -> Result<Prediction, Error> {
        let (layout, memory, manifest) = (&planned.layout, &planned.memory, &model.manifest);
        let threads = Threads::new(memory.workers)?;
        let round = self.windows.seconds_per_round(model, memory, &threads)?;
        let rates = rehearsal::rates(model, planned, &threads)?;
        let model_file = [self.model.as_path()].into_iter().filter(|p| p.is_file());
        let hashed = planned.scan.paths().into_iter().chain(model_file);
        let counts = CaseCounts {
            rounds: rounds(layout, memory, manifest.folds) as f64,
            passes_over_scan: passes_over_scan(layout, memory, manifest) as f64,
            hashed_bytes: hashed.map(|path| std::fs::metadata(path).map_or(0.0, |m| m.len() as f64)).sum(),
            label_voxels: layout.file_shape.iter().map(|&n| n as f64).product(),
        };
        let timed = Timed {
            load: self.load,
            look: planned.looked.seconds,
            pass: planned.looked.pass_seconds,
            round,
            window: round / memory.tiles.max(1) as f64,
        };
        Ok(add_up(&Amounts::of(layout, manifest), &counts, &rates, &timed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scanside_core::manifest::{Channel, Label, Labels, NetworkGrid};
    use scanside_core::pipeline::RunOptions;
    use scanside_core::volume::Box3;

    fn manifest(transpose_forward: [usize; 3], normalization: Normalization) -> Manifest {
        let mut grid = NetworkGrid::new([10; 3], [Some(1.0); 3]);
        grid.transpose_forward = transpose_forward;
        let heads = (0..3).map(|value| Label::new(value.to_string(), value)).collect();
        let mut manifest = Manifest::new(grid, vec![Channel::new("", normalization)], Labels::Exclusive { heads });
        manifest.folds = 2;
        manifest.mirror_axes = vec![0, 1];
        manifest
    }

    fn layout(manifest: &Manifest, shape: [usize; 3], spacing: [f64; 3]) -> Layout {
        let options = RunOptions { step: 0.5, mirror: true };
        Layout::new(manifest, shape, spacing, Box3::full(shape), options).unwrap()
    }

    fn memory(tiles: usize, resident_source: bool) -> MemoryPlan {
        MemoryPlan {
            items: vec![],
            peak_bytes: 0,
            workers: 2,
            tiles,
            workspace_blocks: 0,
            least_workspace: false,
            resident_source,
            planes_per_read: 32,
        }
    }

    #[test]
    fn a_scan_on_the_networks_grid_counts_each_voxel_once_in_and_once_out() {
        let manifest = manifest([0, 1, 2], Normalization::ZScore { masked: false });
        let layout = layout(&manifest, [20, 20, 30], [1.0; 3]);
        let amounts = Amounts::of(&layout, &manifest);
        assert_eq!(amounts.counted, 12e3);
        assert_eq!(amounts.resampled, 24e3);
        // 3 x 3 x 5 tiles of 10^3 voxels, two folds.
        assert_eq!(amounts.tiled, 2.0 * 45.0 * 1e3);
        assert_eq!(amounts.decided, 3.0 * 12e3);
        // Four mirrored variants of each.
        assert_eq!(rounds(&layout, &memory(1, false), 2), 45 * 4 * 2);
        // Rows of 15 tiles, two at a time.
        assert_eq!(rounds(&layout, &memory(2, false), 2), 3 * 8 * 4 * 2);
    }

    #[test]
    fn splines_are_padded() {
        let manifest = manifest([0, 1, 2], Normalization::None);
        let amounts = Amounts::of(&layout(&manifest, [20, 20, 40], [1.0, 1.0, 0.5]), &manifest);
        assert_eq!(amounts.resampled, (20.0 * 20.0 * 64.0) + 20.0 * 20.0 * 20.0);
    }

    #[test]
    fn a_scan_is_read_as_often_as_its_statistics_and_slabs_need_it() {
        let plain = manifest([0, 1, 2], Normalization::ZScore { masked: false });
        let along = layout(&plain, [20, 20, 100], [1.0; 3]);
        assert_eq!(passes_over_scan(&along, &memory(1, false), &plain), 2);
        let masked = manifest([2, 0, 1], Normalization::ZScore { masked: true });
        let across = layout(&masked, [20, 20, 100], [1.0; 3]);
        assert_eq!(passes_over_scan(&across, &memory(1, false), &masked), 2 + 4);
        assert_eq!(passes_over_scan(&across, &memory(1, true), &masked), 1);
    }

    #[test]
    fn seconds_are_rates_times_amounts() {
        let amounts = Amounts { counted: 10.0, resampled: 20.0, tiled: 30.0, decided: 40.0 };
        let counts = CaseCounts { rounds: 6.0, passes_over_scan: 2.0, hashed_bytes: 100.0, label_voxels: 50.0 };
        let rates = Rates { count: 0.1, resample: 0.2, tile: 0.3, stitch: 0.4, decide: 0.5, write: 0.6, hash: 0.01 };
        let timed = Timed { load: 1.0, look: 3.0, pass: 2.0, round: 5.0, window: 2.5 };
        let Prediction { seconds_per_window, phases: got } = add_up(&amounts, &counts, &rates, &timed);
        let expected = [1.0, 3.0 + 4.0 + 1.0, 1.0 + 4.0, 30.0 + 9.0, 12.0, 20.0, 30.0];
        let parts = [got.load, got.read, got.prepare, got.network, got.stitch, got.export, got.write];
        for (part, expected) in parts.iter().zip(expected) {
            assert!((part - expected).abs() < 1e-9, "{got:?}");
        }
        assert!((got.sum() - expected.iter().sum::<f64>()).abs() < 1e-9);
        assert_eq!(seconds_per_window, 2.5);
    }
}
