//! Progress: a bar with the time left on a terminal, plain lines elsewhere, nothing when asked to be quiet.

use crate::print::note;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use scanside_app::batch::Position;
use scanside_app::units::human_seconds;
use scanside_core::pipeline::Observer;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Plain lines come at most this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How far a run over many cases is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overall {
    at: Position,
    /// Cases that were run to their end, and the seconds that they took.
    run: usize,
    seconds: f64,
}

impl Overall {
    pub(crate) fn new() -> Self {
        Overall { at: Position { number: 1, of: 1 }, run: 0, seconds: 0.0 }
    }

    /// The case at this position begins.
    pub(crate) fn begins(&mut self, at: Position) {
        self.at = at;
    }

    /// A case was run in so many seconds.
    pub(crate) fn ran(&mut self, seconds: f64) {
        self.run += 1;
        self.seconds += seconds;
    }

    /// "Case i of n", where there are several.
    pub(crate) fn position(&self) -> Option<String> {
        (self.at.of > 1).then(|| format!("case {} of {}", self.at.number, self.at.of))
    }

    /// Seconds left for this case and those after it, where this one takes `whole` seconds and has `left` of them left. The
    /// others are taken to be like those that were run; of labels that are there already, it is less.
    fn left(&self, whole: f64, left: f64) -> f64 {
        let each = (self.seconds + whole) / (self.run + 1) as f64;
        left + each * self.at.of.saturating_sub(self.at.number) as f64
    }
}

/// Shows how far a case is.
pub(crate) struct Progress {
    case: String,
    overall: Overall,
    bar: Option<ProgressBar>,
    lines: bool,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    pub(crate) fn new(case: &str, overall: Overall, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let case = match overall.position() {
            Some(position) => format!("{position}, {case}"),
            None => case.to_owned(),
        };
        let bar = (terminal && !quiet).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} passes, {prefix}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.set_message(case.clone());
            bar.set_prefix("time left not known yet");
            bar
        });
        let now = Instant::now();
        Progress { case, overall, bar, lines: !terminal && !quiet, started: now, last_line: now }
    }

    /// The time left, in words.
    fn left(&self, done: usize, passes: usize) -> String {
        let each = self.started.elapsed().as_secs_f64() / done.max(1) as f64;
        let left = each * passes.saturating_sub(done) as f64;
        let case = format!("about {} left", human_seconds(left));
        match self.overall.position() {
            Some(_) => {
                let all = self.overall.left(each * passes as f64, left);
                format!("{case}, {} for all cases", human_seconds(all))
            }
            None => case,
        }
    }
}

impl Observer for Progress {
    fn passes_done(&mut self, done: usize, passes: usize) -> bool {
        if let Some(bar) = &self.bar {
            bar.set_length(passes as u64);
            bar.set_position(done as u64);
            bar.set_prefix(self.left(done, passes));
        } else if self.lines && self.last_line.elapsed() >= LINE_EVERY && done < passes {
            self.last_line = Instant::now();
            note!("{}: {done} of {passes} passes, {}", self.case, self.left(done, passes));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_all_cases() {
        let mut overall = Overall::new();
        assert_eq!((overall.position(), overall.left(60.0, 20.0)), (None, 20.0));
        overall.begins(Position { number: 1, of: 4 });
        // Three more like this one.
        assert_eq!(overall.left(60.0, 20.0), 20.0 + 3.0 * 60.0);
        overall.ran(60.0);
        overall.begins(Position { number: 3, of: 4 });
        assert_eq!(overall.position().as_deref(), Some("case 3 of 4"));
        assert_eq!(overall.left(30.0, 10.0), 10.0 + 45.0);
    }
}
