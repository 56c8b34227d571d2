//! Every case of a raw dataset preprocessed into the cache, whole or not at all, and only where something changed.

use super::cache::{self, CachedCase};
use super::preprocess::{bytes_of, preprocess};
use super::raw::{RawCase, RawDataset};
use super::room::Room;
use super::source::Source;
use crate::plan::TrainingPlan;
use crate::stop;
use crate::work::Work;
use rayon::prelude::*;
use scanside_app::error::{Error, ErrorKind, OrError};
use std::path::PathBuf;

/// What became of the cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Cases preprocessed now.
    pub prepared: usize,
    /// Cases that were there already.
    pub reused: usize,
    /// Cached cases removed because the dataset has them no more.
    pub removed: usize,
}

/// A cache that may be filled.
#[derive(Debug)]
pub struct Cache {
    plan_sha256: String,
    without_case: Vec<PathBuf>,
}

impl Cache {
    /// Looks through the cache of a work folder.
    ///
    /// # Errors
    /// It cannot be listed, or holds cases of another plan and is not to be overwritten.
    pub fn check(raw: &RawDataset, plan: &TrainingPlan, work: &Work, overwrite: bool) -> Result<Cache, Error> {
        let folder = work.cache();
        let mut cache = Cache { plan_sha256: plan.preprocessing_sha256(), without_case: Vec::new() };
        if !folder.is_dir() {
            return Ok(cache);
        }
        let cannot = || format!("the folder {} cannot be read", folder.display());
        let mut strangers = 0;
        for entry in std::fs::read_dir(&folder).or_error_with(ErrorKind::Input, cannot)? {
            let path = entry.or_error_with(ErrorKind::Input, cannot)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(id) = name.and_then(|name| name.strip_suffix(".scase")) else { continue };
            // A damaged one belongs to no plan: it is made again, or removed.
            if CachedCase::open(&path).is_ok_and(|case| case.facts().plan_sha256 != cache.plan_sha256) {
                strangers += 1;
            }
            if raw.case(id).is_none() {
                cache.without_case.push(path);
            }
        }
        if strangers > 0 && !overwrite {
            return Err(Error::new(
                ErrorKind::Input,
                format!(
                    "{} holds {strangers} case(s) that another plan has preprocessed; --overwrite replaces them, and \
                     another work folder keeps both",
                    folder.display()
                ),
            ));
        }
        Ok(cache)
    }

    /// Fills the cache on the threads of the current pool. `progress` hears of every case once it is done: its name, and
    /// whether it is new.
    ///
    /// A case counts as done if its file is whole and was made from the same raw bytes by a plan that preprocesses in
    /// the same way; so an interrupted run goes on where it stopped.
    ///
    /// # Errors
    /// Cases that cannot be preprocessed, all of them named; a file that cannot be written; a wish to stop.
    pub fn fill(
        self,
        raw: &RawDataset,
        plan: &TrainingPlan,
        work: &Work,
        source: &Source,
        progress: &(dyn Fn(&str, bool) + Sync),
    ) -> Result<Outcome, Error> {
        let room = Room::of_this_machine();
        let one = |case: &RawCase| -> Result<bool, Error> {
            stop::check()?;
            let path = work.case(&case.id);
            let raw_sha256 = source.case_sha256(case);
            let current = CachedCase::open(&path).and_then(|cached| {
                cached.verify()?;
                Ok(cached.facts().plan_sha256 == self.plan_sha256 && cached.facts().raw_sha256 == raw_sha256)
            });
            // One that cannot be read is made again.
            let new = !current.unwrap_or(false);
            if new {
                let _taken = room.take(bytes_of(case, plan));
                let mut made = preprocess(case, plan)?;
                made.facts.plan_sha256.clone_from(&self.plan_sha256);
                made.facts.raw_sha256 = raw_sha256;
                cache::write(&path, &made.facts, &made.image, &made.labels, &made.locations)?;
            }
            progress(&case.id, new);
            Ok(new)
        };
        // What cannot be written for one case cannot be written for the next; faults of cases are told together.
        let done: Vec<Result<bool, Error>> = raw
            .cases
            .par_iter()
            .with_max_len(1)
            .map(|case| match one(case) {
                Err(failure) if failure.kind() != ErrorKind::Input => Err(failure),
                other => Ok(other),
            })
            .collect::<Result<_, Error>>()?;
        let mut outcome = Outcome::default();
        let mut failures = Vec::new();
        for result in done {
            match result {
                Ok(true) => outcome.prepared += 1,
                Ok(false) => outcome.reused += 1,
                Err(failure) => failures.push(failure.chain()),
            }
        }
        if !failures.is_empty() {
            return Err(Error::new(ErrorKind::Input, failures.join("\n")));
        }
        for path in &self.without_case {
            std::fs::remove_file(path)
                .or_error_with(ErrorKind::Output, || format!("{} cannot be removed", path.display()))?;
        }
        outcome.removed = self.without_case.len();
        Ok(outcome)
    }
}
