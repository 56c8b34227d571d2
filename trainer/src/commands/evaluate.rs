//! What follows a training: the networks are validated on the validation cases, and their speed and memory measured.

use super::{measure, note, print, validate};
use crate::exit::Exit;
use crate::report::progress::human_duration;
use crate::report::run::{RunFacts, RunFolder};
use crate::work::Work;
use scanside_app::error::{Error, ErrorKind};
use scanside_app::interrupt::Stop;
use scanside_app::model::PrecisionChoice;
use scanside_app::units::human_bytes;
use scanside_core::nnunet::FoldName;
use std::time::Instant;

/// Validates and measures each run as the commands `validate` and `measure` do by default, and prints a table. A run that
/// cannot be evaluated is named on standard error and changes the exit code; the training itself is saved.
///
/// # Errors
/// The user interrupts, or standard output cannot be written.
pub(super) fn evaluate(work: &Work, runs: &[RunFolder], threads: Option<u16>, stop: &Stop) -> Result<Exit, Error> {
    let mut exit = Exit::Done;
    let mut table =
        format!("{:<32} {:>12} {:>10} {:>11} {:>10}\n", "network", "parameters", "mean Dice", "ms/window", "peak RAM");
    for run in runs {
        match line(work, run, threads, stop) {
            Ok((line, all)) => {
                table += &line;
                if !all {
                    exit = Exit::SomeFailed;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                note!("{} is trained, but cannot be evaluated: {}", run.path().display(), error.chain());
                exit = Exit::SomeFailed;
            }
        }
    }
    print(&table)?;
    Ok(exit)
}

/// A run's line, and whether all its cases could be measured.
fn line(work: &Work, run: &RunFolder, threads: Option<u16>, stop: &Stop) -> Result<(String, bool), Error> {
    let facts = RunFacts::read(run)?;
    let mut all = true;
    // A network that was trained on all cases has no validation cases.
    let dice = if facts.fold == FoldName::All.to_string() {
        None
    } else {
        let started = Instant::now();
        note!("{}: segmenting {} validation cases", facts.name, facts.validation_cases.len());
        let validation = validate::of_run(work, run, threads, stop)?;
        note!("{}: validated in {}", facts.name, human_duration(started.elapsed().as_secs_f64()));
        for failed in &validation.agreement.failed {
            note!("{}: {}: {}", facts.name, failed.case, failed.error);
            all = false;
        }
        validation.mean_dice()
    };
    let measured = measure::of_run(run, threads, PrecisionChoice::Auto)?;
    let line = format!(
        "{:<32} {:>12} {:>10} {:>11.1} {:>10}\n",
        facts.name,
        facts.parameters,
        dice.map_or("-".into(), |dice| format!("{dice:.4}")),
        1e3 * measured.median_seconds,
        measured.peak_rss_bytes.map_or("-".into(), |bytes| human_bytes(bytes as u64)),
    );
    Ok((line, all))
}
