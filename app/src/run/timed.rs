//! Seconds spent in each phase of a run.

use crate::interrupt::Stop;
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

/// Measures phases, passes everything on to another observer, and ends the run when a stop is requested.
pub struct Timed<'a> {
    observer: &'a mut dyn Observer,
    stop: &'a Stop,
    phase: Option<(Phase, Instant)>,
    seconds: PhaseSeconds,
    statistics: f64,
}

impl<'a> Timed<'a> {
    /// Measures the phases, and passes all events on to `observer`.
    pub fn new(observer: &'a mut dyn Observer, stop: &'a Stop) -> Timed<'a> {
        Timed { observer, stop, phase: None, seconds: PhaseSeconds::default(), statistics: 0.0 }
    }

    /// Seconds of the statistics alone, which [`PhaseSeconds::prepare`] holds as well.
    pub(crate) fn statistics(&self) -> f64 {
        self.statistics
    }

    /// Ends the last phase.
    pub fn finish(mut self) -> PhaseSeconds {
        self.close();
        self.seconds
    }

    fn close(&mut self) {
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
        self.phase = Some((phase, Instant::now()));
        self.observer.phase(phase);
    }

    fn tiles_done(&mut self, done: usize, tiles: usize) -> bool {
        self.observer.tiles_done(done, tiles) && !self.stop.requested()
    }
}
