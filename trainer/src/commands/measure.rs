//! `scanside-train measure`: seconds and memory of runs' networks, on this machine.

use super::runs::{self, WhichWeights};
use super::{measuring_worker, say, speed};
use crate::exit::Exit;
use crate::export::onnx::{self, Precision};
use crate::report::run::{self, RunFolder};
use crate::stop;
use crate::work::Work;
use clap::{Args, ValueEnum};
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::measure::{self as measuring, MeasureOptions, Measured};
use scanside_app::model::PrecisionChoice;
use std::path::{Path, PathBuf};

/// Which runs, and how.
#[derive(Args, Debug)]
pub struct MeasureArgs {
    /// The work folder.
    #[arg(value_name = "WORK")]
    pub work: PathBuf,
    /// Runs: their folders, or their names in the work folder [default: all that have a checkpoint].
    #[arg(short, long, value_name = "RUN", num_args = 1..)]
    pub model: Vec<PathBuf>,
    /// Threads of the network [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// How the network's weights and tensors are stored.
    #[arg(long, value_enum, default_value = "auto")]
    pub precision: StoredAs,
    /// One JSON document a line on standard output instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// How a network is stored while it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoredAs {
    /// As the run's model file would store it.
    Auto,
    /// Single precision.
    F32,
    /// Half precision; sums are made in single precision.
    F16,
}

impl From<StoredAs> for PrecisionChoice {
    fn from(stored: StoredAs) -> Self {
        match stored {
            StoredAs::Auto => PrecisionChoice::Auto,
            StoredAs::F32 => PrecisionChoice::F32,
            StoredAs::F16 => PrecisionChoice::F16,
        }
    }
}

/// Measures each run's network in a process of its own, and writes what it finds to the run's `speed.json`.
///
/// # Errors
/// A run that was named has no checkpoint; a result cannot be written; the user interrupts. One of several runs that
/// cannot be measured is no error: it is named, and the exit code tells.
pub fn run(args: &MeasureArgs) -> Result<Exit, Error> {
    let work = Work::new(&args.work);
    let chosen = chosen(&work, &args.model)?;
    if !args.json {
        say(&measuring::header());
    }
    let mut failed = false;
    for run in &chosen {
        stop::check()?;
        match of_run(run, args.threads, args.precision.into()) {
            Ok(measured) => {
                say(&if args.json {
                    serde_json::to_string(&measured).or_error(ErrorKind::Output)?
                } else {
                    measured.line()
                });
            }
            Err(failure) if chosen.len() == 1 => return Err(failure),
            Err(failure) => {
                failed = true;
                eprintln!("{}: {}", run.path().display(), failure.chain());
            }
        }
    }
    Ok(if failed { Exit::SomeFailed } else { Exit::Done })
}

fn chosen(work: &Work, named: &[PathBuf]) -> Result<Vec<RunFolder>, Error> {
    let no_run = |path: &Path| {
        Error::new(ErrorKind::Input, format!("{} is no run of {}", path.display(), work.root().display()))
    };
    if !named.is_empty() {
        return named.iter().map(|path| runs::find(work, path).ok_or_else(|| no_run(path))).collect();
    }
    let mut all = run::list(work)?;
    all.retain(runs::has_network);
    if all.is_empty() {
        return Err(Error::new(
            ErrorKind::Input,
            format!("{} holds no training run with a checkpoint to measure", work.root().display()),
        ));
    }
    Ok(all)
}

/// Exports a run's network to a file that is thrown away, measures that, and writes what it finds to the run's `speed.json`.
///
/// # Errors
/// The run has no checkpoint, its network cannot be measured, or the result cannot be written.
pub(super) fn of_run(run: &RunFolder, threads: Option<u16>, precision: PrecisionChoice) -> Result<Measured, Error> {
    let worker = measuring_worker()?;
    let options = MeasureOptions { threads, precision, ..MeasureOptions::default() };
    if let Some(model) = runs::taken_over(run) {
        let measured = worker.measure(&model, &options)?;
        speed::write(run, &measured)?;
        return Ok(measured);
    }
    let trained = runs::read(run, WhichWeights::default())?;
    let folder = tempfile::tempdir().or_error_with(ErrorKind::Output, || "no temporary folder could be made")?;
    let name = run.path().file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
    let file = folder.path().join(format!("{name}.onnx"));
    onnx::write_unchecked(&file, &trained.network, &trained.facts, Precision::F32)?;
    drop(trained);
    let measured = worker.measure(&file, &options)?;
    speed::write(run, &measured)?;
    Ok(measured)
}
