//! `scanside-train status`: lists the runs of a work folder.

use super::print;
use crate::exit::Exit;
use crate::report::log::{self, EpochRecord};
use crate::report::progress::{Progress, State, human_duration};
use crate::report::run::{self, RunFacts, RunFolder};
use crate::work::Work;
use clap::Args;
use scanside_app::error::{Error, ErrorKind};
use std::path::PathBuf;

/// Characters of a curve.
const WIDTH: usize = 32;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Which work folder.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// The work folder.
    #[arg(value_name = "WORK")]
    pub work: PathBuf,
}

/// Prints the state of every run.
///
/// # Errors
/// The folder cannot be read, or standard output cannot be written. A run with damaged files is listed with its error.
pub fn run(args: &StatusArgs) -> Result<Exit, Error> {
    let work = Work::new(&args.work);
    if !work.root().is_dir() {
        return Err(Error::new(ErrorKind::Input, format!("{} is not a folder", work.root().display())));
    }
    let runs = run::list(&work)?;
    if runs.is_empty() {
        print(&format!("{} has no training run", work.root().display()))?;
        return Ok(Exit::Done);
    }
    for run in runs {
        match describe(&run) {
            Ok(text) => print(&text)?,
            Err(error) => print(&format!("{}\n  {}\n", run.path().display(), error.chain()))?,
        }
    }
    Ok(Exit::Done)
}

fn describe(run: &RunFolder) -> Result<String, Error> {
    let facts = RunFacts::read(run)?;
    let log = log::read(&run.log())?;
    let progress = Progress::of(run, &facts, &log);
    if progress.state == State::Imported {
        let model = facts.notes.get(run::IMPORTED_FROM).map_or("another program", String::as_str);
        return Ok(format!("{}: imported from {model}\n  {}, fold {}\n", facts.name, facts.dataset, facts.fold));
    }
    let mut text = format!(
        "{}: {}, {} of {} epochs{}\n",
        facts.name,
        progress.state.name(),
        progress.done,
        progress.epochs,
        match (progress.state, progress.left_seconds) {
            (State::Stopped, Some(left)) => format!(", {} left after --resume", human_duration(left)),
            (_, Some(left)) => format!(", about {} left", human_duration(left)),
            _ => format!(", {} in total", human_duration(progress.spent_seconds)),
        }
    );
    text += &format!("  {}, {}, fold {}, on {}\n", facts.dataset, facts.configuration, facts.fold, facts.device);
    if let (Some((best, epoch)), Some(last)) = (progress.best, progress.last) {
        text +=
            &format!("  Dice {}  best {best:.3} (epoch {epoch}), last {last:.3}\n", sparkline(&log, |r| r.ema_dice));
    }
    if let Some(last) = log.last() {
        text += &format!("  loss {}  last {:.3}\n", sparkline(&log, |r| Some(r.loss)), last.loss);
    }
    if run.page().is_file() {
        text += &format!("  page {}\n", run.page().display());
    }
    Ok(text)
}

/// A curve as a line of text; the bars range from the lowest value to the highest.
fn sparkline(log: &[EpochRecord], of: impl Fn(&EpochRecord) -> Option<f64>) -> String {
    let values: Vec<f64> = log.iter().filter_map(&of).filter(|value| value.is_finite()).collect();
    let columns = values.len().min(WIDTH);
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    (0..columns)
        .map(|column| {
            // Each column is the mean of its part of the epochs.
            let share = &values[column * values.len() / columns..(column + 1) * values.len() / columns];
            let mean = share.iter().sum::<f64>() / share.len() as f64;
            let height = if high > low { (mean - low) / (high - low) } else { 0.0 };
            BARS[(height * (BARS.len() - 1) as f64).round() as usize]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(values: &[f64]) -> Vec<EpochRecord> {
        let record = |(epoch, value): (usize, &f64)| EpochRecord {
            epoch,
            lr: 0.01,
            loss: *value,
            val_loss: None,
            pseudo_dice: vec![],
            ema_dice: None,
            samples: 1,
            seconds: 1.0,
            wait_seconds: 0.0,
            teacher_passes: 0,
            terms: Default::default(),
            term_gradients: Default::default(),
        };
        values.iter().enumerate().map(record).collect()
    }

    #[test]
    fn curves_rise_and_fall_within_their_width() {
        let line = |values: &[f64]| sparkline(&log(values), |r| Some(r.loss));
        assert_eq!(line(&[0.0, 7.0, 3.0]), "▁█▄");
        assert_eq!(line(&[1.0, f64::NAN, 1.0]), "▁▁");
        assert_eq!(line(&[]), "");
        let many: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(line(&many).chars().count(), WIDTH);
        assert!(line(&many).starts_with('▁') && line(&many).ends_with('█'));
    }
}
