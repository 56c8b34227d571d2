//! All cases of a raw dataset preprocessed into the cache, and only where something changed. Each file appears whole or not
//! at all.

use super::cache::{self, CachedCase};
use super::memory_budget::MemoryBudget;
use super::preprocess::{bytes_of, preprocess};
use super::raw::{RawCase, RawDataset};
use super::source::Source;
use crate::plan::TrainingPlan;
use crate::work::Work;
use rayon::prelude::*;
use scanside_app::error::{Error, ErrorKind, OrError, OrPathError};
use scanside_app::interrupt::Stop;
use std::path::PathBuf;

/// Numbers of cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Cases preprocessed now.
    pub prepared: usize,
    /// Cases that existed and are current.
    pub reused: usize,
    /// Cached cases that were removed because the dataset no longer has them.
    pub removed: usize,
}

/// A cache that can be filled.
#[derive(Debug)]
pub struct Cache {
    plan_sha256: String,
    without_case: Vec<PathBuf>,
}

impl Cache {
    /// Checks the cache of a work folder.
    ///
    /// # Errors
    /// It cannot be listed, or contains cases of another plan and `overwrite` is off.
    pub fn check(raw: &RawDataset, plan: &TrainingPlan, work: &Work, overwrite: bool) -> Result<Cache, Error> {
        let folder = work.cache();
        let mut cache = Cache { plan_sha256: plan.preprocessing_sha256(), without_case: Vec::new() };
        if !folder.is_dir() {
            return Ok(cache);
        }
        let mut of_other_plans = 0;
        for entry in std::fs::read_dir(&folder).or_cannot_read(ErrorKind::Input, &folder)? {
            let path = entry.or_cannot_read(ErrorKind::Input, &folder)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(id) = name.and_then(|name| name.strip_suffix(".scase")) else { continue };
            // A damaged file belongs to no plan: it is written again, or removed.
            if CachedCase::open(&path).is_ok_and(|case| case.facts().plan_sha256 != cache.plan_sha256) {
                of_other_plans += 1;
            }
            if raw.case(id).is_none() {
                cache.without_case.push(path);
            }
        }
        if of_other_plans > 0 && !overwrite {
            return Err(Error::new(
                ErrorKind::Input,
                format!(
                    "{} contains {of_other_plans} case(s) that were preprocessed by another plan; replace them with \
                     --overwrite, or use another work folder",
                    folder.display()
                ),
            ));
        }
        Ok(cache)
    }

    /// Fills the cache on the threads of the current pool. `progress` is called after each case with its name and whether
    /// it was written.
    ///
    /// A case is current if its file is whole and was computed from the same raw bytes by a plan that preprocesses in the
    /// same way. An interrupted run therefore continues where it stopped.
    ///
    /// # Errors
    /// Cases that cannot be preprocessed, all of them named; a file that cannot be written; a request to stop.
    pub fn fill(self, job: &Job<'_>, progress: &(dyn Fn(&str, bool) + Sync)) -> Result<Outcome, Error> {
        let memory = MemoryBudget::of_this_machine();
        let one = |case: &RawCase| -> Result<bool, Error> {
            job.stop.check()?;
            let new = self.update(job, case, &memory)?;
            progress(&case.id, new);
            Ok(new)
        };
        // A file that cannot be written ends the run; faults of cases are collected.
        let done: Vec<Result<bool, Error>> = job
            .raw
            .cases
            .par_iter()
            .with_max_len(1)
            .map(|case| match one(case) {
                Err(error) if error.kind() != ErrorKind::Input => Err(error),
                other => Ok(other),
            })
            .collect::<Result<_, Error>>()?;
        let mut outcome = Outcome::default();
        let mut errors = Vec::new();
        for result in done {
            match result {
                Ok(true) => outcome.prepared += 1,
                Ok(false) => outcome.reused += 1,
                Err(error) => errors.push(error.chain()),
            }
        }
        if !errors.is_empty() {
            return Err(Error::new(ErrorKind::Input, errors.join("\n")));
        }
        for path in &self.without_case {
            std::fs::remove_file(path)
                .or_error_with(ErrorKind::Output, || format!("{} cannot be removed", path.display()))?;
        }
        outcome.removed = self.without_case.len();
        Ok(outcome)
    }

    /// Preprocesses a case unless its file is current; `true` where it was written.
    fn update(&self, job: &Job<'_>, case: &RawCase, memory: &MemoryBudget) -> Result<bool, Error> {
        let path = job.work.case(&case.id);
        let raw_sha256 = job.source.case_sha256(case);
        let current = CachedCase::open(&path).and_then(|cached| {
            cached.verify()?;
            Ok(cached.facts().plan_sha256 == self.plan_sha256 && cached.facts().raw_sha256 == raw_sha256)
        });
        // A file that cannot be read is written again.
        if current.unwrap_or(false) {
            return Ok(false);
        }
        let _reserved = memory.reserve(bytes_of(case, job.plan));
        let mut made = preprocess(case, job.plan)?;
        made.facts.plan_sha256.clone_from(&self.plan_sha256);
        made.facts.raw_sha256 = raw_sha256;
        cache::write(&path, &made.facts, &made.image, &made.labels, &made.locations)?;
        Ok(true)
    }
}

/// What to preprocess, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The raw dataset.
    pub raw: &'a RawDataset,
    /// Its plan.
    pub plan: &'a TrainingPlan,
    /// The work folder.
    pub work: &'a Work,
    /// The hashes of the raw files.
    pub source: &'a Source,
    /// A request to stop, checked before every case.
    pub stop: &'a Stop,
}
