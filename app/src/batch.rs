//! Segments all cases of an input, one after the other. Bad cases are reported and the others continue. Results that
//! exist already are recognised by their content.

use crate::cases::{self, Case};
use crate::digest;
use crate::error::{Error, ErrorKind};
use crate::interrupt::Stop;
use crate::machine::Threads;
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

    /// Something about a case that is no error: the case's labels were made all the same.
    fn warned(&mut self, case: &Case, warning: &str);

    /// Receives the progress of this case.
    fn progress(&mut self, case: &Case) -> Box<dyn Observer + '_>;

    /// The labels of a case exist: written now, or by an earlier run.
    fn finished(&mut self, record: &CaseRecord);

    /// A case failed.
    fn failed(&mut self, name: &str, error: &Error);
}

/// The result of a batch.
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
    options.case.extras.check(found.folder)?;
    let record = RunRecord::new(model, model_path, &options.case)?;
    let (cases, folder) = (found.good.len() + found.bad.len(), found.folder);
    let mut batch = Batch { record, failures: Vec::new(), cases, folder };
    for (name, sentence) in &found.bad {
        batch.fail(name, Error::new(ErrorKind::Input, sentence), observer);
    }
    let mut context = Context { model, folder, options, stop, threads: Threads::new(1)? };
    for case in &found.good {
        match stop.check().and_then(|()| context.one_case(case, observer)) {
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

/// What all cases of a batch share. One set of threads serves all of them.
struct Context<'a> {
    model: &'a Model,
    folder: bool,
    options: &'a BatchOptions,
    stop: &'a Stop,
    threads: Threads,
}

impl Context<'_> {
    fn one_case(&mut self, case: &Case, observer: &mut dyn BatchObserver) -> Result<CaseRecord, Error> {
        let Context { model, options, .. } = *self;
        let started = Instant::now();
        let path = output_path(case, self.folder, &options.output)?;
        let inputs = hash_files(&case.channels)?;
        let hashes: Vec<String> = inputs.iter().map(|input| input.sha256.clone()).collect();
        let key = run::result_key(model, &hashes, &options.case);
        if path.exists() && !options.overwrite {
            if run::is_result_of(&path, &key) {
                options.case.extras.make(case, &path, &model.manifest)?;
                return CaseRecord::resumed(&case.name, inputs, &path);
            }
            refuse_existing(&path, Some("was not made from this input with this model"))?;
        }
        let planned = run::plan(model, case, &options.case)?;
        let plan = PlanReport::new(model, case, &planned);
        planned.scan().warnings().iter().for_each(|warning| observer.warned(case, warning));
        if let Some(outside) = planned.outside() {
            observer.warned(case, outside);
        }
        observer.planned(case, &planned, &plan);
        let to = Destination { path: &path, key: &key };
        let mut warnings: Vec<String> = planned.scan().warnings().to_vec();
        warnings.extend(planned.outside().map(str::to_owned));
        let finished = run::run(planned, to, &mut self.threads, observer.progress(case).as_mut(), self.stop)?;
        let timing = finished.timing;
        if let Some(outside) = finished.outside {
            observer.warned(case, &outside);
            warnings.push(outside);
        }
        options.case.extras.make(case, &path, &model.manifest)?;
        Ok(CaseRecord {
            plan: Some(plan),
            phase_seconds: Some(timing.seconds),
            seconds: Some(started.elapsed().as_secs_f64()),
            peak_rss_bytes: timing.peak_bytes,
            warnings,
            ..CaseRecord::done(&case.name, inputs, &path)?
        })
    }
}

fn hash_files(paths: &[PathBuf]) -> Result<Vec<FileRecord>, Error> {
    let hash = |path: &PathBuf| {
        let sha256 = digest::file_sha256(path).map_err(|e| Error::cannot_read(ErrorKind::Input, path, e))?;
        Ok(FileRecord { path: path.clone(), sha256 })
    };
    paths.iter().map(hash).collect()
}
