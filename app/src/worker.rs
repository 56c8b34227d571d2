//! Jobs in a process of their own, so that the memory that one model took does not count for the next.
//!
//! A program that offers this calls [`serve`] for the command [`COMMAND`]. Another process of the same program, or of
//! another one, starts it and exchanges one JSON document each way over standard input and output.

use crate::choose::{WeighOptions, Weighed, weigh};
use crate::error::{Error, ErrorKind, OrError};
use crate::measure::{MeasureOptions, Measured, measure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The command that a program offers for its own use.
pub const COMMAND: &str = "worker";

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    /// Both sides are of one version, or the figures would be another program's.
    version: String,
    job: Job,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Job {
    Measure { model: PathBuf, options: MeasureOptions },
    Weigh { model: PathBuf, options: WeighOptions },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer<T> {
    Done(T),
    Failed { kind: ErrorKind, sentence: String },
}

/// A program that offers [`COMMAND`].
#[derive(Clone, Debug)]
pub struct Worker {
    program: PathBuf,
}

impl Worker {
    /// This program.
    ///
    /// # Errors
    /// The system does not tell its path.
    pub fn this_program() -> Result<Worker, Error> {
        let program = std::env::current_exe();
        let program = program.or_error_with(ErrorKind::Internal, || "the path of this program is not known")?;
        Ok(Worker { program })
    }

    /// The program `name` in this program's folder, if it is there and of this version.
    ///
    /// # Errors
    /// The system does not tell this program's path.
    pub fn beside_this_program(name: &str) -> Result<Option<Worker>, Error> {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        let worker = Worker { program: Self::this_program()?.program.with_file_name(file) };
        let version = Command::new(&worker.program).arg("--version").stdin(Stdio::null()).output();
        let same = version.is_ok_and(|output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success() && text.split_whitespace().last() == Some(env!("CARGO_PKG_VERSION"))
        });
        Ok(same.then_some(worker))
    }

    /// Measures a model: [`measure`].
    ///
    /// # Errors
    /// Those of [`measure`]; the process could not be started or ended without an answer.
    pub fn measure(&self, model: &Path, options: &MeasureOptions) -> Result<Measured, Error> {
        self.ask(Job::Measure { model: model.to_owned(), options: options.clone() })
    }

    /// Weighs a model: [`weigh`].
    ///
    /// # Errors
    /// Those of [`weigh`]; the process could not be started or ended without an answer.
    pub fn weigh(&self, model: &Path, options: &WeighOptions) -> Result<Weighed, Error> {
        self.ask(Job::Weigh { model: model.to_owned(), options: options.clone() })
    }

    fn ask<T: DeserializeOwned>(&self, job: Job) -> Result<T, Error> {
        let failed = || format!("{} could not be started as a worker", self.program.display());
        let request = Request { version: env!("CARGO_PKG_VERSION").to_owned(), job };
        let request = serde_json::to_vec(&request).or_error(ErrorKind::Internal)?;
        let mut process = Command::new(&self.program)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .or_error_with(ErrorKind::Internal, failed)?;
        if let Some(mut input) = process.stdin.take() {
            // A worker that ends early says why in its answer or its exit status.
            let _ = input.write_all(&request);
        }
        let output = process.wait_with_output().or_error_with(ErrorKind::Internal, failed)?;
        let answer = serde_json::from_slice(&output.stdout).map_err(|e| {
            let sentence = format!("the worker {} ended without a result ({})", self.program.display(), output.status);
            Error::with_source(ErrorKind::Internal, sentence, e)
        })?;
        match answer {
            Answer::Done(found) => Ok(found),
            Answer::Failed { kind, sentence } => Err(Error::new(kind, sentence)),
        }
    }
}

/// Handles one request: the command [`COMMAND`] of a program. The error of a failed job is a result, too.
///
/// # Errors
/// The request cannot be read, or the result cannot be written.
pub fn serve(mut input: impl Read, output: impl Write) -> Result<(), Error> {
    let mut text = String::new();
    input.read_to_string(&mut text).or_error_with(ErrorKind::Usage, || "no request on standard input")?;
    let request: Request =
        serde_json::from_str(&text).or_error_with(ErrorKind::Usage, || "standard input holds no request")?;
    if request.version != env!("CARGO_PKG_VERSION") {
        let sentence = format!("this worker is of version {}, not {}", env!("CARGO_PKG_VERSION"), request.version);
        return answer::<()>(output, Err(Error::new(ErrorKind::Internal, sentence)));
    }
    match request.job {
        Job::Measure { model, options } => answer(output, measure(&model, &options)),
        Job::Weigh { model, options } => answer(output, weigh(&model, &options)),
    }
}

fn answer<T: Serialize>(mut output: impl Write, outcome: Result<T, Error>) -> Result<(), Error> {
    let answer = match outcome {
        Ok(found) => Answer::Done(found),
        Err(error) => Answer::Failed { kind: error.kind(), sentence: error.chain() },
    };
    let text = serde_json::to_string(&answer).or_error(ErrorKind::Internal)?;
    writeln!(output, "{text}").or_error_with(ErrorKind::Output, || "the result could not be written")
}
