//! Progress: a bar with the time left on a terminal, plain lines elsewhere, nothing when asked to be quiet.

use crate::interrupt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use scanside_core::pipeline::{Observer, Phase};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Plain lines come at most this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Seconds spent in each phase of a run.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct PhaseSeconds {
    /// Looking at the scan.
    pub prepare: f64,
    /// The network.
    pub network: f64,
    /// Adding up overlapping tiles.
    pub stitch: f64,
    /// Bringing logits to the scan's grid, and writing labels.
    pub export: f64,
}

/// Shows how far a case is, measures its phases, and passes a wish to stop on.
pub(crate) struct Progress {
    case: String,
    bar: Option<ProgressBar>,
    lines: bool,
    started: Instant,
    last_line: Instant,
    phase: Option<(Phase, Instant)>,
    pub(crate) seconds: PhaseSeconds,
}

impl Progress {
    pub(crate) fn new(case: &str, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !quiet).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} tiles, {eta} left");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.set_message(case.to_owned());
            bar
        });
        let now = Instant::now();
        Progress {
            case: case.to_owned(),
            bar,
            lines: !terminal && !quiet,
            started: now,
            last_line: now,
            phase: None,
            seconds: PhaseSeconds::default(),
        }
    }

    /// Ends the current phase and takes the bar away.
    pub(crate) fn finish(&mut self) {
        self.close_phase();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn close_phase(&mut self) {
        if let Some((phase, since)) = self.phase.take() {
            let sum = match phase {
                Phase::Prepare => &mut self.seconds.prepare,
                Phase::Network => &mut self.seconds.network,
                Phase::Stitch => &mut self.seconds.stitch,
                Phase::Export => &mut self.seconds.export,
            };
            *sum += since.elapsed().as_secs_f64();
        }
    }
}

impl Observer for Progress {
    fn phase(&mut self, phase: Phase) {
        self.close_phase();
        self.phase = Some((phase, Instant::now()));
    }

    fn tiles_done(&mut self, done: usize, tiles: usize) -> bool {
        if let Some(bar) = &self.bar {
            bar.set_length(tiles as u64);
            bar.set_position(done as u64);
        } else if self.lines && self.last_line.elapsed() >= LINE_EVERY && done < tiles {
            self.last_line = Instant::now();
            let left = self.started.elapsed().as_secs_f64() / done as f64 * (tiles - done) as f64;
            eprintln!("{}: {done} of {tiles} tiles, about {} left", self.case, human_seconds(left));
        }
        !interrupt::requested()
    }
}

/// Seconds for people.
pub fn human_seconds(seconds: f64) -> String {
    if seconds < 99.5 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02} s", (seconds / 60.0) as u64, (seconds % 60.0) as u64)
    }
}

/// Bytes for people, decimal.
pub fn human_bytes(bytes: usize) -> String {
    let bytes = bytes as f64;
    if bytes >= 1e9 { format!("{:.2} GB", bytes / 1e9) } else { format!("{:.0} MB", (bytes / 1e6).ceil()) }
}
