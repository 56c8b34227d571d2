//! `scanside segment`: one scan, or every case of a folder.

use crate::args::SegmentArgs;
use crate::exit::Exit;
use crate::print::{self, say};
use crate::progress::Progress;
use scanside_app::batch::{self, Batch, BatchObserver, BatchOptions};
use scanside_app::cases::Case;
use scanside_app::interrupt::Stop;
use scanside_app::model::Model;
use scanside_app::plan::PlanReport;
use scanside_app::record::{CaseRecord, CaseStatus};
use scanside_app::run::PlannedCase;
use scanside_app::units::{human_bytes, human_seconds};
use scanside_app::{Error, ErrorKind};
use scanside_core::pipeline::Observer;

pub(crate) fn run(args: &SegmentArgs) -> Result<Exit, Error> {
    let stop = Stop::on_signals(Exit::Interrupted as i32)?;
    args.run.check_input()?;
    let model = Model::open(&args.run.model, &args.run.model_options())?;
    if !args.quiet {
        print::folds(&args.run.model, model.folds());
    }
    let options = BatchOptions {
        input: args.run.input.clone(),
        output: args.output.clone(),
        overwrite: args.overwrite,
        case: args.extra.complete(args.run.case_options(), &model.manifest().labels)?,
    };
    let mut words = Words { quiet: args.quiet, folder: args.run.input[0].is_dir(), printed: Ok(()) };
    let batch = batch::segment(&model, &args.run.model, &options, &stop, &mut words)?;
    if let Some(path) = &args.record {
        batch.record.write(path)?;
    }
    let exit = conclude(batch)?;
    words.printed?;
    Ok(exit)
}

/// What is printed while cases run.
struct Words {
    quiet: bool,
    folder: bool,
    /// The first error of printing: it must not end the run.
    printed: Result<(), Error>,
}

impl BatchObserver for Words {
    fn planned(&mut self, case: &Case, _: &PlannedCase, plan: &PlanReport) {
        if self.quiet {
            return;
        }
        eprintln!(
            "{}: {} tile(s), {} network pass(es), peak RAM at most {}",
            case.name,
            plan.tiles,
            plan.network_passes,
            human_bytes(plan.peak_ram_bytes as u64)
        );
    }

    fn warned(&mut self, case: &Case, warning: &str) {
        if !self.quiet {
            eprintln!("{}: warning: {warning}", case.name);
        }
    }

    fn progress(&mut self, case: &Case) -> Box<dyn Observer + '_> {
        Box::new(Progress::new(&case.name, self.quiet))
    }

    fn finished(&mut self, record: &CaseRecord) {
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
        if self.printed.is_ok() {
            self.printed = printed;
        }
    }

    fn failed(&mut self, name: &str, error: &Error) {
        if !self.quiet && self.folder {
            eprintln!("{name}: {}", print::error(error));
        }
    }
}

/// A single scan's error is the program's; of several cases, the list comes last.
fn conclude(mut batch: Batch) -> Result<Exit, Error> {
    if let Some(at) = batch.failures.iter().position(|(_, error)| error.kind() == ErrorKind::Interrupted) {
        return Err(batch.failures.swap_remove(at).1);
    }
    if !batch.folder {
        return batch.failures.pop().map_or(Ok(Exit::Done), |(_, error)| Err(error));
    }
    if batch.failures.is_empty() {
        return Ok(Exit::Done);
    }
    eprintln!("{} of {} cases failed:", batch.failures.len(), batch.cases);
    for (name, error) in &batch.failures {
        eprintln!("  {name}: {}", print::error(error));
    }
    Ok(Exit::SomeFailed)
}
