//! Segments all cases of an input, one after the other. Bad cases are reported and the others continue. Results that
//! exist already are recognised by their content. Several processes may work on one output folder: each case is done by one
//! of them.

mod place;

use crate::cases::{Case, Cases, Listing, NoCase};
use crate::digest;
use crate::error::{Error, ErrorKind};
use crate::input::KeptFiles;
use crate::interrupt::Stop;
use crate::machine::Threads;
use crate::model::Model;
use crate::output::{Claim, refuse_existing, remove_leftovers_beside};
use crate::own_labels::is_result_of;
use crate::plan::PlanReport;
use crate::record::{CaseRecord, CaseStatus, FileRecord, RecordFile, RunRecord, Summary};
use crate::run::{self, CaseOptions, Destination, Finished, PlannedCase};
use place::Place;
use scanside_core::pipeline::Observer;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Failures that are kept to be listed at the end; all of them are counted, reported and recorded.
const MOST_FAILURES: usize = 100;

/// How often a case is looked at again that another process works on.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Waiting longer than this is told.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// Where results go, and how to run.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchOptions {
    /// A label file, or a folder for label files.
    pub output: PathBuf,
    /// Replace label files that were not made from the same input with the same model.
    pub overwrite: bool,
    /// Write a record of the run to this file.
    pub record: Option<PathBuf>,
    /// Further files that are read, and that no output may replace.
    pub read: Vec<PathBuf>,
    /// How to run each case.
    pub case: CaseOptions,
}

/// Which case of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Counted from 1.
    pub number: usize,
    /// Cases in all.
    pub of: usize,
}

/// Receives the events of a batch while it runs.
pub trait BatchObserver {
    /// A case begins: it is looked up, then run if need be.
    fn begins(&mut self, _case: &Case, _at: Position) {}

    /// A case was planned and begins to run.
    fn planned(&mut self, case: &Case, planned: &PlannedCase, plan: &PlanReport);

    /// Something about a case that is no error: the case's labels were made all the same.
    fn warned(&mut self, case: &Case, warning: &str);

    /// Receives the progress of this case.
    fn progress(&mut self, case: &Case) -> Box<dyn Observer + '_>;

    /// Another process works on this case, and the batch waits for it.
    fn waiting(&mut self, _case: &Case) {}

    /// A case's labels are there: written now, or before.
    fn finished(&mut self, record: &CaseRecord);

    /// A case failed.
    fn failed(&mut self, name: &str, error: &Error);
}

/// What came of a batch.
pub struct Batch {
    /// How many cases were done, and what was left out.
    pub summary: Summary,
    /// The first cases that failed, by name.
    pub failures: Vec<(String, Error)>,
    /// The batch was stopped before its end.
    pub stopped: bool,
    /// The input was a folder or a list.
    pub many: bool,
}

/// Segments all cases of the input with the model from `model_path`.
///
/// A case on which another process works comes last: by then its labels are there, or that process is waited for.
///
/// # Errors
/// The input holds no scan, the model's file or the record cannot be used, an output would replace an input. A case that
/// fails is no error: it is in the result, and the others go on. After a request to stop, the cases that are left are
/// neither run nor recorded.
pub fn segment(
    model: &Model,
    model_path: &Path,
    listing: Listing,
    options: &BatchOptions,
    stop: &Stop,
    observer: &mut dyn BatchObserver,
) -> Result<Batch, Error> {
    let started = Instant::now();
    let Cases { found, left_out, many, mut kept } = listing.cases(model.manifest.channels.len())?;
    let place = Place::of(&options.output, many)?;
    options.case.extras.check(many)?;
    kept.add_model(model_path);
    options.read.iter().for_each(|path| kept.add_input(path));
    let begin = |path: &PathBuf| {
        kept.refuse(path)?;
        RecordFile::create(path, &RunRecord::new(model, model_path, &options.case)?)
    };
    let record = options.record.as_ref().map(begin).transpose()?;
    let summary = Summary { cases: found.len(), left_out, ..Summary::default() };
    let batch = Batch { summary, failures: Vec::new(), stopped: false, many };
    let threads = Threads::new(1)?;
    let mut work = Work { model, options, stop, threads, place, kept, record, batch, observer };
    work.all(&found)?;
    let Work { record, batch, .. } = work;
    if let Some(record) = record {
        record.finish(&batch.summary, started.elapsed())?;
    }
    Ok(batch)
}

/// A batch at work.
struct Work<'a> {
    model: &'a Model,
    options: &'a BatchOptions,
    stop: &'a Stop,
    /// One set of threads serves all cases.
    threads: Threads,
    place: Place,
    kept: KeptFiles,
    record: Option<RecordFile>,
    batch: Batch,
    observer: &'a mut dyn BatchObserver,
}

impl Work<'_> {
    fn all(&mut self, found: &[Result<Case, NoCase>]) -> Result<(), Error> {
        let mut later = Vec::new();
        for (index, found) in found.iter().enumerate() {
            match found {
                Err(none) => self.failed(&none.name, none.error())?,
                Ok(case) => {
                    self.begins(case, index);
                    match self.one(case, false) {
                        Ok(None) => later.push((index, case)),
                        outcome => self.ended(case, outcome)?,
                    }
                }
            }
            if self.batch.stopped {
                return Ok(());
            }
        }
        for (index, case) in later {
            self.begins(case, index);
            let outcome = self.after_others(case);
            self.ended(case, outcome)?;
            if self.batch.stopped {
                return Ok(());
            }
        }
        Ok(())
    }

    fn begins(&mut self, case: &Case, index: usize) {
        self.observer.begins(case, Position { number: index + 1, of: self.batch.summary.cases });
    }

    fn ended(&mut self, case: &Case, outcome: Result<Option<CaseRecord>, Error>) -> Result<(), Error> {
        match outcome {
            Ok(Some(done)) => {
                match done.status {
                    CaseStatus::Resumed => self.batch.summary.done_before += 1,
                    _ => self.batch.summary.done += 1,
                }
                self.observer.finished(&done);
                self.record.as_mut().map_or(Ok(()), |record| record.add(&done))
            }
            Ok(None) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                self.batch.stopped = true;
                Ok(())
            }
            Err(error) => self.failed(&case.name, error),
        }
    }

    fn failed(&mut self, name: &str, error: Error) -> Result<(), Error> {
        self.batch.summary.failed += 1;
        self.observer.failed(name, &error);
        if let Some(record) = &mut self.record {
            record.add(&CaseRecord::failed(name, &error))?;
        }
        if self.batch.failures.len() < MOST_FAILURES {
            self.batch.failures.push((name.to_owned(), error));
        }
        Ok(())
    }

    /// Takes a case up that another process worked on, once that process has done it or ended without.
    fn after_others(&mut self, case: &Case) -> Result<Option<CaseRecord>, Error> {
        let (since, mut told) = (Instant::now(), false);
        loop {
            if let Some(done) = self.one(case, true)? {
                return Ok(Some(done));
            }
            if !told && since.elapsed() >= WORTH_TELLING {
                self.observer.waiting(case);
                told = true;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Looks a case up, and runs it if its labels are not there; nothing where another process works on it. `shared`: one
    /// did before, and what it wrote is the result.
    fn one(&mut self, case: &Case, shared: bool) -> Result<Option<CaseRecord>, Error> {
        self.stop.check()?;
        let path = self.place.label_file(case);
        self.kept.refuse(&path)?;
        remove_leftovers_beside(&path);
        let started = Instant::now();
        let mut asked = Asked { case, path: &path, inputs: Vec::new(), key: String::new() };
        let look_up = shared || !self.options.overwrite;
        // Before the claim, which needs a folder that can be written; labels that are there do not.
        if !shared && look_up && path.exists() {
            return self.there(&mut asked).map(Some);
        }
        let Some(_claim) = Claim::take(&path)? else { return Ok(None) };
        if look_up && path.exists() {
            // Another process has written it meanwhile.
            let there = self.there(&mut asked);
            if there.is_ok() || !self.options.overwrite {
                return there.map(Some);
            }
        }
        let key = asked.key(self)?;
        let planned = run::plan(self.model, case, &self.options.case)?;
        let plan = PlanReport::new(self.model, case, &planned);
        let mut warnings: Vec<String> = planned.scan().warnings().to_vec();
        warnings.extend(planned.outside().map(str::to_owned));
        warnings.iter().for_each(|warning| self.observer.warned(case, warning));
        self.observer.planned(case, &planned, &plan);
        let to = Destination { path: &path, key: &key };
        let finished = run::run(planned, to, &mut self.threads, self.observer.progress(case).as_mut(), self.stop)?;
        let Finished { timing, outside } = finished;
        if let Some(outside) = outside {
            self.observer.warned(case, &outside);
            warnings.push(outside);
        }
        self.options.case.extras.make(case, &path, &self.model.manifest)?;
        self.kept.add_labels(&path);
        Ok(Some(CaseRecord {
            plan: Some(plan),
            phase_seconds: Some(timing.seconds),
            seconds: Some(started.elapsed().as_secs_f64()),
            peak_rss_bytes: timing.peak_bytes,
            warnings,
            ..CaseRecord::done(&case.name, asked.inputs, &path)?
        }))
    }

    /// The labels that are there already, if they are what a run would write.
    fn there(&mut self, asked: &mut Asked<'_>) -> Result<CaseRecord, Error> {
        let key = asked.key(self)?;
        if !is_result_of(asked.path, &key) {
            refuse_existing(asked.path, Some("was not made from this input with this model"))?;
        }
        self.options.case.extras.make(asked.case, asked.path, &self.model.manifest)?;
        self.kept.add_labels(asked.path);
        CaseRecord::resumed(&asked.case.name, std::mem::take(&mut asked.inputs), asked.path)
    }
}

/// A case whose labels are asked for.
struct Asked<'a> {
    case: &'a Case,
    path: &'a Path,
    /// Its files; nothing until they were read.
    inputs: Vec<FileRecord>,
    key: String,
}

impl Asked<'_> {
    /// By what its result is recognised. Its files are read once, those included that hold the voxels for a header.
    fn key(&mut self, work: &Work<'_>) -> Result<String, Error> {
        if self.inputs.is_empty() {
            let scan = self.case.open(work.model.manifest.reader)?;
            for path in scan.files() {
                work.stop.check()?;
                let sha256 = digest::file_sha256(path).map_err(|e| Error::cannot_read(ErrorKind::Input, path, e))?;
                self.inputs.push(FileRecord { path: path.to_owned(), sha256 });
            }
            let hashes: Vec<String> = self.inputs.iter().map(|input| input.sha256.clone()).collect();
            self.key = run::result_key(work.model, &hashes, &work.options.case);
        }
        Ok(self.key.clone())
    }
}
