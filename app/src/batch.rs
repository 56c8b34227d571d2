//! All cases of an input, one after the other: bad ones are reported and the rest goes on, and what was done before is
//! recognised by its content.

use crate::cases::{self, Case, Cases};
use crate::digest;
use crate::error::{Error, ErrorKind};
use crate::interrupt::Stop;
use crate::machine;
use crate::model::Model;
use crate::output::refuse_existing;
use crate::plan::PlanReport;
use crate::record::{CaseRecord, FileRecord, RunRecord};
use crate::run::{self, CaseOptions, Destination, PlannedCase};
use scanside_core::pipeline::Observer;
use scanside_formats::stem;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What to segment, where to, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchOptions {
    /// One folder of cases, or the files of one case.
    pub input: Vec<PathBuf>,
    /// A label file, or a folder for label files.
    pub output: PathBuf,
    /// Replace label files that were not made from the same input with the same model.
    pub overwrite: bool,
    /// How to run each case.
    pub case: CaseOptions,
}

/// Receives the events of a batch while it runs.
pub trait BatchObserver {
    /// A case was planned and begins to run.
    fn planned(&mut self, case: &Case, planned: &PlannedCase, plan: &PlanReport);

    /// Receives the progress of this case.
    fn progress(&mut self, case: &Case) -> Box<dyn Observer + '_>;

    /// A case's labels are there: written now, or before.
    fn finished(&mut self, record: &CaseRecord);

    /// A case failed.
    fn failed(&mut self, name: &str, error: &Error);
}

/// What came of a batch.
pub struct Batch {
    /// What was run, for [`RunRecord::write`].
    pub record: RunRecord,
    /// The cases that failed, by name.
    pub failures: Vec<(String, Error)>,
    /// Cases in all, failed ones included.
    pub cases: usize,
    /// The input was a folder.
    pub folder: bool,
}

/// Segments all cases of the input with the model from `model_path`.
///
/// # Errors
/// The input holds no scan, or the model's file cannot be read. A case that fails is no error: it is in the result, and the
/// others go on. After a request to stop, the cases that are left are neither run nor reported.
pub fn segment(
    model: &Model,
    model_path: &Path,
    options: &BatchOptions,
    stop: &Stop,
    observer: &mut dyn BatchObserver,
) -> Result<Batch, Error> {
    let started = Instant::now();
    let found = cases::find(&options.input, model.manifest.channels.len())?;
    let record = RunRecord::new(model, model_path, &options.case)?;
    let (cases, folder) = (found.good.len() + found.bad.len(), found.folder);
    let mut batch = Batch { record, failures: Vec::new(), cases, folder };
    for (name, sentence) in &found.bad {
        batch.fail(name, Error::new(ErrorKind::Input, sentence), observer);
    }
    for case in &found.good {
        match stop.check().and_then(|()| one_case(model, case, &found, options, stop, observer)) {
            Ok(done) => {
                observer.finished(&done);
                batch.record.cases.push(done);
            }
            Err(error) => {
                let stopped = error.kind() == ErrorKind::Interrupted;
                batch.fail(&case.name, error, observer);
                if stopped {
                    break;
                }
            }
        }
    }
    batch.record.finish(started.elapsed());
    Ok(batch)
}

impl Batch {
    fn fail(&mut self, name: &str, error: Error, observer: &mut dyn BatchObserver) {
        self.record.cases.push(CaseRecord::failed(name, &error));
        observer.failed(name, &error);
        self.failures.push((name.to_owned(), error));
    }
}

/// Where the labels of a case go.
fn output_path(case: &Case, folder: bool, output: &Path) -> Result<PathBuf, Error> {
    let named_as_file = stem(output).is_some() && !output.is_dir();
    match (folder, named_as_file) {
        (true, true) => Err(Error::new(
            ErrorKind::Usage,
            format!("the input is a folder, so the output must be one too, but {} names a file", output.display()),
        )),
        (false, true) => Ok(output.to_owned()),
        _ => Ok(output.join(format!("{}.nii.gz", case.name))),
    }
}

fn one_case(
    model: &Model,
    case: &Case,
    cases: &Cases,
    options: &BatchOptions,
    stop: &Stop,
    observer: &mut dyn BatchObserver,
) -> Result<CaseRecord, Error> {
    let started = Instant::now();
    let path = output_path(case, cases.folder, &options.output)?;
    let inputs = hash_files(&case.channels)?;
    let hashes: Vec<String> = inputs.iter().map(|input| input.sha256.clone()).collect();
    let key = run::result_key(model, &hashes, &options.case);
    if path.exists() && !options.overwrite {
        if run::is_result_of(&path, &key) {
            return CaseRecord::resumed(&case.name, inputs, &path);
        }
        refuse_existing(&path, Some("was not made from this input with this model"))?;
    }
    let planned = run::plan(model, case, &options.case)?;
    let plan = PlanReport::new(model, case, &planned);
    observer.planned(case, &planned, &plan);
    let to = Destination { path: &path, key: &key };
    let phases = run::run(planned, to, observer.progress(case).as_mut(), stop)?;
    Ok(CaseRecord {
        plan: Some(plan),
        phase_seconds: Some(phases),
        seconds: Some(started.elapsed().as_secs_f64()),
        peak_rss_bytes: machine::resident_bytes().map(|(_, peak)| peak),
        ..CaseRecord::done(&case.name, inputs, &path)?
    })
}

fn hash_files(paths: &[PathBuf]) -> Result<Vec<FileRecord>, Error> {
    let hash = |path: &PathBuf| {
        let sha256 = digest::file_sha256(path).map_err(|e| Error::cannot_read(ErrorKind::Input, path, e))?;
        Ok(FileRecord { path: path.clone(), sha256 })
    };
    paths.iter().map(hash).collect()
}
