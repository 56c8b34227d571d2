//! `scanside-train measure`: measures the speed and memory of trained networks on this machine.

use super::runs::{self, WhichWeights};
use super::{measuring_worker, note, print, speed};
use crate::exit::Exit;
use crate::export::onnx::{self, Precision};
use crate::report::run::{self, RunFolder};
use crate::work::Work;
use clap::{Args, ValueEnum};
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::interrupt::Stop;
use scanside_app::measure::{self as measuring, MeasureOptions, Measured};
use scanside_app::model::{ModelOptions, PrecisionChoice};
use std::path::{Path, PathBuf};

/// Options of `measure`.
#[derive(Args, Debug)]
pub struct MeasureArgs {
    /// The work folder.
    #[arg(value_name = "WORK")]
    pub work: PathBuf,
    /// Runs to measure: their folders, or their names in the work folder [default: all that have a network].
    #[arg(short, long, value_name = "RUN", num_args = 1..)]
    pub model: Vec<PathBuf>,
    /// Threads of the network [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Number format of weights and tensors.
    #[arg(long, value_enum, default_value = "auto")]
    pub precision: StoredAs,
    /// Print one JSON document per run and line instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Number format of a network while it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoredAs {
    /// That of the run's exported model file.
    Auto,
    /// Single precision.
    F32,
    /// Half precision; sums are computed in single precision.
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

/// Measures each run's network in a process of its own, and writes the result to the run's `speed.json`.
///
/// # Errors
/// A given run has no checkpoint; a result cannot be written; the user interrupts. If one of several runs cannot be
/// measured, it is named on standard error and changes the exit code.
pub fn run(args: &MeasureArgs, stop: &Stop) -> Result<Exit, Error> {
    let work = Work::new(&args.work);
    let chosen = chosen(&work, &args.model)?;
    if !args.json {
        print(&measuring::header())?;
    }
    let mut failed = false;
    for run in &chosen {
        stop.check()?;
        match of_run(run, args.threads, args.precision.into()) {
            Ok(measured) => {
                print(&match args.json {
                    true => serde_json::to_string(&measured).or_error(ErrorKind::Internal)?,
                    false => measured.line(),
                })?;
            }
            Err(error) if chosen.len() == 1 => return Err(error),
            Err(error) => {
                failed = true;
                note!("{}: {}", run.path().display(), error.chain());
            }
        }
    }
    Ok(if failed { Exit::SomeFailed } else { Exit::Done })
}

fn chosen(work: &Work, named: &[PathBuf]) -> Result<Vec<RunFolder>, Error> {
    let not_a_run = |path: &Path| {
        Error::new(ErrorKind::Input, format!("{} is not a run of {}", path.display(), work.root().display()))
    };
    if !named.is_empty() {
        return named.iter().map(|path| runs::find(work, path).ok_or_else(|| not_a_run(path))).collect();
    }
    let mut all = run::list(work)?;
    all.retain(runs::has_network);
    if all.is_empty() {
        return Err(Error::new(
            ErrorKind::Input,
            format!("{} has no training run with a checkpoint to measure", work.root().display()),
        ));
    }
    Ok(all)
}

/// Exports a run's network to a temporary file, measures it, and writes the result to the run's `speed.json`.
///
/// # Errors
/// The run has no checkpoint, its network cannot be measured, or the result cannot be written.
pub(super) fn of_run(run: &RunFolder, threads: Option<u16>, precision: PrecisionChoice) -> Result<Measured, Error> {
    let worker = measuring_worker()?;
    let model = ModelOptions { precision, ..ModelOptions::default() };
    let options = MeasureOptions { threads, model, ..MeasureOptions::default() };
    if let Some(model) = runs::imported_model(run) {
        let measured = worker.measure(&model, &options)?;
        speed::write(run, &measured)?;
        return Ok(measured);
    }
    let trained = runs::read(run, WhichWeights::default())?;
    let folder = tempfile::tempdir().or_error_with(ErrorKind::Output, || "a temporary folder cannot be created")?;
    let name = run.path().file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
    let file = folder.path().join(format!("{name}.onnx"));
    onnx::write_unchecked(&file, &trained.network, &trained.facts, Precision::F32)?;
    drop(trained);
    let measured = worker.measure(&file, &options)?;
    speed::write(run, &measured)?;
    Ok(measured)
}
