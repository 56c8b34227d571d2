//! Progress: a bar with the time left on a terminal, plain lines elsewhere, nothing when asked to be quiet.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use scanside_app::units::human_seconds;
use scanside_core::pipeline::Observer;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Plain lines come at most this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows how far a case is.
pub(crate) struct Progress {
    case: String,
    bar: Option<ProgressBar>,
    lines: bool,
    started: Instant,
    last_line: Instant,
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
        Progress { case: case.to_owned(), bar, lines: !terminal && !quiet, started: now, last_line: now }
    }
}

impl Observer for Progress {
    fn tiles_done(&mut self, done: usize, tiles: usize) -> bool {
        if let Some(bar) = &self.bar {
            bar.set_length(tiles as u64);
            bar.set_position(done as u64);
        } else if self.lines && self.last_line.elapsed() >= LINE_EVERY && done < tiles {
            self.last_line = Instant::now();
            let left = self.started.elapsed().as_secs_f64() / done as f64 * (tiles - done) as f64;
            eprintln!("{}: {done} of {tiles} tiles, about {} left", self.case, human_seconds(left));
        }
        true
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
