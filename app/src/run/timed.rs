//! Seconds spent in each phase of a run.

use crate::interrupt::Stop;
use crate::machine;
use scanside_core::pipeline::{Observer, Phase};
use std::time::Instant;

/// Seconds spent in each phase of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct PhaseSeconds {
    /// Reading the scan, statistics, normalising, resampling to the network's grid.
    pub prepare: f64,
    /// The network.
    pub network: f64,
    /// Adding up overlapping tiles.
    pub stitch: f64,
    /// Bringing logits to the scan's grid, and writing labels.
    pub export: f64,
}

/// Time and memory of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timing {
    /// Seconds by phase.
    pub seconds: PhaseSeconds,
    /// The most resident memory of the process that was seen after a tile or phase, in bytes; nothing where the system does
    /// not report it.
    pub peak_bytes: Option<usize>,
}

/// Measures phases and memory, passes everything on to another observer, and ends the run when a stop is requested. The
/// stop is told when the run computes.
pub struct Timed<'a> {
    observer: &'a mut dyn Observer,
    stop: &'a Stop,
    phase: Option<(Phase, Instant)>,
    seconds: PhaseSeconds,
    statistics: f64,
    peak_bytes: Option<usize>,
}

impl<'a> Timed<'a> {
    /// Measures the phases, and passes all events on to `observer`.
    pub fn new(observer: &'a mut dyn Observer, stop: &'a Stop) -> Timed<'a> {
        Timed { observer, stop, phase: None, seconds: PhaseSeconds::default(), statistics: 0.0, peak_bytes: None }
    }

    /// Seconds of the statistics alone, which [`PhaseSeconds::prepare`] holds as well.
    pub(crate) fn statistics(&self) -> f64 {
        self.statistics
    }

    /// Ends the last phase.
    pub fn finish(mut self) -> Timing {
        self.close();
        Timing { seconds: self.seconds, peak_bytes: self.peak_bytes }
    }

    /// The system keeps a peak of the whole process alone, so memory is read where the run holds most of it: after each tile
    /// and phase.
    fn sample_memory(&mut self) {
        self.peak_bytes = self.peak_bytes.max(machine::resident_bytes().map(|(now, _)| now));
    }

    fn close(&mut self) {
        self.stop.set_computing(false);
        if let Some((phase, since)) = self.phase.take() {
            let seconds = since.elapsed().as_secs_f64();
            if phase == Phase::Statistics {
                self.statistics += seconds;
            }
            let sum = match phase {
                Phase::Statistics | Phase::Prepare => &mut self.seconds.prepare,
                Phase::Network => &mut self.seconds.network,
                Phase::Stitch => &mut self.seconds.stitch,
                Phase::Export => &mut self.seconds.export,
            };
            *sum += seconds;
        }
    }
}

impl Observer for Timed<'_> {
    fn phase(&mut self, phase: Phase) {
        self.close();
        self.sample_memory();
        self.phase = Some((phase, Instant::now()));
        self.stop.set_computing(matches!(phase, Phase::Network | Phase::Stitch));
        self.observer.phase(phase);
    }

    fn passes_done(&mut self, done: usize, passes: usize) -> bool {
        self.sample_memory();
        self.observer.passes_done(done, passes) && !self.stop.requested()
    }
}
