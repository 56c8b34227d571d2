//! `scanside segment`: one scan, or every case of a folder or a list.

use crate::args::SegmentArgs;
use crate::exit::Exit;
use crate::print::{self, note, say};
use crate::progress::{Overall, Progress};
use scanside_app::Error;
use scanside_app::batch::{self, Batch, BatchObserver, BatchOptions, Position};
use scanside_app::cases::{Case, LeftOut, Reason};
use scanside_app::interrupt::{OnSignals, Stop};
use scanside_app::model::Model;
use scanside_app::plan::PlanReport;
use scanside_app::record::{CaseRecord, CaseStatus, Summary};
use scanside_app::run::PlannedCase;
use scanside_app::units::{human_bytes, human_seconds};
use scanside_core::pipeline::Observer;
use std::time::Duration;

/// After the first signal, a run that only waits for a disk or a share ends after this time.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &SegmentArgs) -> Result<Exit, Error> {
    let stop = Stop::on_signals(OnSignals {
        exit_code: Exit::Interrupted as i32,
        patience: Some(PATIENCE),
        announce: || note!("scanside: stopping after this pass of the network; Ctrl-C again stops at once"),
    })?;
    // Before the model is opened: what is missing is told at once, and a long list counts as memory of the program.
    let listing = args.run.selection().list()?;
    let model = Model::open(&args.run.model, &args.run.model_options())?;
    if !args.quiet {
        print::folds(&args.run.model, model.folds());
    }
    stop.check()?;
    let options = BatchOptions {
        output: args.output.clone(),
        overwrite: args.overwrite,
        record: args.record.clone(),
        read: args.run.manifest.iter().cloned().collect(),
        case: args.extra.complete(args.run.case_options(), &model.manifest().labels)?,
    };
    let mut words = Words { quiet: args.quiet, overall: Overall::new(), printed: Ok(()) };
    let batch = batch::segment(&model, &args.run.model, listing, &options, &stop, &mut words)?;
    let exit = conclude(batch, &mut words)?;
    words.printed?;
    Ok(exit)
}

/// What is printed while cases run.
struct Words {
    quiet: bool,
    overall: Overall,
    /// The first error of printing: it must not end the run.
    printed: Result<(), Error>,
}

impl Words {
    fn printed(&mut self, outcome: Result<(), Error>) {
        if self.printed.is_ok() {
            self.printed = outcome;
        }
    }
}

impl BatchObserver for Words {
    fn begins(&mut self, _: &Case, at: Position) {
        self.overall.begins(at);
    }

    fn planned(&mut self, case: &Case, _: &PlannedCase, plan: &PlanReport) {
        if self.quiet {
            return;
        }
        note!(
            "{}{}: {} tile(s), {} network pass(es), peak RAM at most {}",
            self.overall.position().map(|position| position + ", ").unwrap_or_default(),
            case.name,
            plan.tiles,
            plan.network_passes,
            human_bytes(plan.peak_ram_bytes as u64)
        );
    }

    fn warned(&mut self, case: &Case, warning: &str) {
        if !self.quiet {
            note!("{}: warning: {warning}", case.name);
        }
    }

    fn progress(&mut self, case: &Case) -> Box<dyn Observer + '_> {
        Box::new(Progress::new(&case.name, self.overall, self.quiet))
    }

    fn waiting(&mut self, case: &Case) {
        if !self.quiet {
            note!("{}: another process works on it; waiting for its end", case.name);
        }
    }

    fn finished(&mut self, record: &CaseRecord) {
        if record.status == CaseStatus::Done {
            self.overall.ran(record.seconds.unwrap_or_default());
        }
        if self.quiet {
            return;
        }
        let path = record.output.as_ref().map(|file| file.path.display().to_string()).unwrap_or_default();
        let printed = match record.status {
            CaseStatus::Resumed => say!("{}: already done, {path} is complete", record.name),
            _ => {
                let ram = record.peak_rss_bytes.map_or("peak RAM unknown on this system".into(), |peak| {
                    format!("peak RAM {}", human_bytes(peak as u64))
                });
                let seconds = human_seconds(record.seconds.unwrap_or_default());
                say!("{}: labels in {path}, {seconds}, {ram}", record.name)
            }
        };
        self.printed(printed);
    }

    fn failed(&mut self, name: &str, error: &Error) {
        // A single scan's error is the program's, and is printed when it ends.
        if !self.quiet && self.overall.position().is_some() {
            note!("{name}: {}", print::error(error));
        }
    }
}

/// A single scan's error is the program's; of several cases, the list comes last.
fn conclude(mut batch: Batch, words: &mut Words) -> Result<Exit, Error> {
    let summary = &batch.summary;
    if batch.many && summary.failed > 0 {
        note!("{} of {} cases failed:", summary.failed, summary.cases);
        for (name, error) in &batch.failures {
            note!("  {name}: {}", print::error(error));
        }
        if summary.failed > batch.failures.len() {
            note!("  ... and {} more", summary.failed - batch.failures.len());
        }
    }
    if batch.many && !words.quiet {
        words.printed(say!("{}", in_one_line(summary)));
    }
    if batch.stopped {
        return Err(Error::interrupted());
    }
    match batch.failures.pop() {
        None => Ok(Exit::Done),
        Some((_, error)) if !batch.many => Err(error),
        Some(_) => Ok(Exit::SomeFailed),
    }
}

/// What came of all cases.
fn in_one_line(summary: &Summary) -> String {
    let Summary { cases, done, done_before, failed, left_out } = summary;
    let s = if *cases == 1 { "" } else { "s" };
    let mut line = format!("{cases} case{s}: {done} done, {done_before} done before, {failed} failed");
    if summary.not_begun() > 0 {
        line += &format!(", {} not begun", summary.not_begun());
    }
    let kinds: Vec<String> = left_out.iter().map(with_option).collect();
    if !kinds.is_empty() {
        line += &format!("; left out: {}", kinds.join(", "));
    }
    line
}

/// What was left out, and the option that takes it in.
fn with_option(left_out: &LeftOut) -> String {
    match left_out.reason {
        Reason::SubFolder => format!("{left_out} (--recursive searches them)"),
        _ => left_out.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_ends_with_one_line_about_everything() {
        let left = |reason, count| LeftOut { reason, count, names: Vec::new() };
        let left_out =
            vec![left(Reason::OwnLabels, 2), left(Reason::SubFolder, 1), left(Reason::NotRead(".xyz".into()), 3)];
        let summary = Summary { cases: 9, done: 4, done_before: 2, failed: 1, left_out };
        let expected = "9 cases: 4 done, 2 done before, 1 failed, 2 not begun; left out: 2 label files that this program \
                        wrote, 1 sub-folder not searched (--recursive searches them), 3 .xyz files (this format is not read)";
        assert_eq!(in_one_line(&summary), expected);
        assert_eq!(
            in_one_line(&Summary { cases: 1, done: 1, ..Summary::default() }),
            "1 case: 1 done, 0 done before, 0 failed"
        );
    }
}
