//! How long a case will take: what it consists of, counted, times what each part costs on this machine just now.
//!
//! The network's windows are timed by themselves ([`super::window`]). Everything around them is timed on a small made-up
//! scan that goes through the same pipeline ([`super::rehearsal`]). Reading is timed while the scan is looked at.

use super::rehearsal::{self, Rates};
use super::window::WindowTimes;
use crate::error::Error;
use crate::machine::{self, FreeMemory, Threads};
use crate::model::Model;
use crate::run::PlannedCase;
use scanside_core::pipeline::{MemoryPlan, Work};
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
pub(crate) fn add_up(work: &Work, counts: &CaseCounts, rates: &Rates, timed: &Timed) -> Prediction {
    let phases = RunSeconds {
        load: timed.load,
        read: timed.look + timed.pass * counts.passes_over_scan + rates.hash * counts.hashed_bytes,
        prepare: rates.count * work.counted + rates.resample * work.resampled,
        network: timed.round * counts.rounds + rates.tile * work.tiled,
        stitch: rates.stitch * work.tiled,
        export: rates.decide * work.decided,
        write: rates.write * counts.label_voxels,
    };
    Prediction { seconds_per_window: timed.window, phases }
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

    /// The memory that is free here, where that is less than a planned run takes: then nothing can be timed.
    pub fn too_large_to_time(&self, memory: &MemoryPlan) -> Option<FreeMemory> {
        machine::free_memory().filter(|free| memory.peak_bytes > free.bytes)
    }

    /// Predicts the run of a planned case; times a few windows for it.
    ///
    /// # Errors
    /// The network cannot be run.
    pub fn predict(&mut self, model: &Model, case: &PlannedCase<'_>) -> Result<Prediction, Error> {
        let (planned, memory) = (&case.planned, case.memory());
        let threads = Threads::new(memory.workers)?;
        let round = self.windows.seconds_per_round(model, memory, &threads)?;
        let rates = rehearsal::rates(model, case, &threads)?;
        let model_file = [self.model.as_path()].into_iter().filter(|p| p.is_file());
        let hashed = case.scan.paths().into_iter().chain(model_file);
        let counts = CaseCounts {
            rounds: planned.rounds() as f64,
            passes_over_scan: planned.passes_over_scan() as f64,
            hashed_bytes: hashed.map(|path| std::fs::metadata(path).map_or(0.0, |m| m.len() as f64)).sum(),
            label_voxels: case.layout().file_shape.iter().map(|&n| n as f64).product(),
        };
        let timed = Timed {
            load: self.load,
            look: case.looked.seconds,
            pass: case.looked.pass_seconds,
            round,
            window: round / memory.tiles.max(1) as f64,
        };
        Ok(add_up(&case.run().work(), &counts, &rates, &timed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rates_times_amounts() {
        let work = Work { counted: 10.0, resampled: 20.0, tiled: 30.0, decided: 40.0 };
        let counts = CaseCounts { rounds: 6.0, passes_over_scan: 2.0, hashed_bytes: 100.0, label_voxels: 50.0 };
        let rates = Rates { count: 0.1, resample: 0.2, tile: 0.3, stitch: 0.4, decide: 0.5, write: 0.6, hash: 0.01 };
        let timed = Timed { load: 1.0, look: 3.0, pass: 2.0, round: 5.0, window: 2.5 };
        let Prediction { seconds_per_window, phases: got } = add_up(&work, &counts, &rates, &timed);
        let expected = [1.0, 3.0 + 4.0 + 1.0, 1.0 + 4.0, 30.0 + 9.0, 12.0, 20.0, 30.0];
        let parts = [got.load, got.read, got.prepare, got.network, got.stitch, got.export, got.write];
        for (part, expected) in parts.iter().zip(expected) {
            assert!((part - expected).abs() < 1e-9, "{got:?}");
        }
        assert!((got.sum() - expected.iter().sum::<f64>()).abs() < 1e-9);
        assert_eq!(seconds_per_window, 2.5);
    }
}
