//! From a raw dataset to a work folder that training can start in.

use super::examine::{Remark, examine};
use super::prepare::{Cache, Outcome};
use super::raw::RawDataset;
use super::source::{Source, text_sha256};
use super::splits::{self, Split};
use crate::plan::fingerprint::Fingerprint;
use crate::plan::{CONFIGURATION, DatasetFacts, Planner, TrainingPlan, json, plan};
use crate::work::Work;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::output::write_whole;
use std::collections::BTreeSet;
use std::path::Path;

/// How a dataset is made ready.
#[derive(Clone, Copy, Debug)]
pub struct ReadyOptions {
    /// Which planner plans.
    pub planner: Planner,
    /// Cases at a time.
    pub threads: usize,
    /// Replace cases that another plan has preprocessed, a plan that was edited for another dataset or planner, and folds.
    pub overwrite: bool,
}

/// What is done with a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was read and examined.
    Examined,
    /// It was preprocessed.
    Prepared,
    /// It was preprocessed before.
    Reused,
}

/// A work folder that is ready.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The plan.
    pub plan: TrainingPlan,
    /// The dataset as the planner sees it.
    pub fingerprint: Fingerprint,
    /// The folds.
    pub splits: Vec<Split>,
    /// What became of the cases.
    pub outcome: Outcome,
    /// What may not be meant.
    pub warnings: Vec<Remark>,
}

/// Examines a dataset, plans it, preprocesses its cases and splits them into folds. What is there already and still
/// holds is kept: a second run changes nothing, and after a change only what depends on it is made again. Nothing is
/// written before the whole dataset was found sound.
///
/// A `splits_final.json` of the raw dataset is taken; so is one that lies in the work folder and fits the cases. A
/// `plans.json` that was edited there is taken as long as the dataset and the planner stay the same.
///
/// # Errors
/// The dataset has faults, all of them listed; the work folder holds something of another plan or edited that would have
/// to go; a file cannot be written.
pub fn make_ready(
    raw: &RawDataset,
    work: &Work,
    options: ReadyOptions,
    progress: &(dyn Fn(&str, Step) + Sync),
) -> Result<Ready, Error> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build()
        .or_error_with(ErrorKind::DoesNotFit, || format!("{} threads could not be started", options.threads))?;
    // A damaged or missing record is no reason to stop: all it saves is time.
    let known = Source::read(work).unwrap_or_default();
    let mut source = pool.install(|| Source::of(raw, known));
    let dataset_sha256 = source.dataset_sha256(raw);

    let mut warnings: Vec<Remark> = source
        .twins(raw)
        .into_iter()
        .map(|(one, other)| Remark {
            case: Some(other.to_string()),
            what: format!(
                "its images equal those of case {one}, byte for byte; in different folds they would be known already"
            ),
        })
        .collect();
    let kept = if source.examined.as_ref() == Some(&dataset_sha256) { read_fingerprint(work) } else { None };
    let fingerprint = match kept {
        Some(fingerprint) => fingerprint,
        None => {
            let mut findings = pool.install(|| examine(raw, &|id| progress(id, Step::Examined)));
            crate::stop::check()?;
            warnings.append(&mut findings.warnings);
            let failure = findings.failure(raw);
            findings.fingerprint.ok_or(failure)?
        }
    };

    let (plans_json, edited) = plans(raw, work, options, &fingerprint, &source)?;
    if edited {
        let what = format!("{} was edited, and is taken as it is", work.plans().display());
        warnings.push(Remark { case: None, what });
    }
    let plan = TrainingPlan::parse(
        plans_json.clone(),
        &work.plans(),
        raw.json.clone(),
        &raw.folder.join("dataset.json"),
        CONFIGURATION,
    )?;
    let ids: Vec<String> = raw.cases.iter().map(|case| case.id.clone()).collect();
    let (splits, splits_json, made) = splits_of(raw, work, options, &ids, &source)?;
    let cache = Cache::check(raw, &plan, work, options.overwrite)?;

    let fingerprint_json = json::pretty(&serde_json::json!(fingerprint));
    for (path, text) in [
        (work.fingerprint(), &fingerprint_json),
        (work.dataset(), &raw.json),
        (work.plans(), &plans_json),
        (work.splits(), &splits_json),
    ] {
        if std::fs::read_to_string(&path).ok().as_ref() != Some(text) {
            write_whole(&path, text.as_bytes())?;
        }
    }
    // The record goes last: files that are as they would be written today count as written, recorded or not.
    source.examined = Some(dataset_sha256);
    if !edited {
        source.written.insert("plans.json".into(), text_sha256(&plans_json));
    }
    if made {
        source.written.insert("splits_final.json".into(), text_sha256(&splits_json));
    }
    source.write(work)?;
    let told = |id: &str, new: bool| progress(id, if new { Step::Prepared } else { Step::Reused });
    let outcome = pool.install(|| cache.fill(raw, &plan, work, &source, &told))?;
    Ok(Ready { plan, fingerprint, splits, outcome, warnings })
}

fn read_fingerprint(work: &Work) -> Option<Fingerprint> {
    serde_json::from_str(&std::fs::read_to_string(work.fingerprint()).ok()?).ok()
}

/// A file of the work folder: whether it is there, and whether it still is as this program wrote it.
fn edited(path: &Path, name: &str, source: &Source) -> Option<(String, bool)> {
    let text = std::fs::read_to_string(path).ok()?;
    let edited = source.written.get(name) != Some(&text_sha256(&text));
    Some((text, edited))
}

/// The plans to work by, and whether somebody edited them.
fn plans(
    raw: &RawDataset,
    work: &Work,
    options: ReadyOptions,
    fingerprint: &Fingerprint,
    source: &Source,
) -> Result<(String, bool), Error> {
    let facts = DatasetFacts {
        name: &raw.name,
        channels: &raw.dataset.channels,
        label_entries: raw.label_entries,
        cases: raw.announced.unwrap_or(raw.cases.len() as u64),
    };
    let planned = json::pretty(&plan(fingerprint, &facts, options.planner));
    match edited(&work.plans(), "plans.json", source) {
        // The edit was made on what would be planned today.
        Some((text, true)) if text != planned && source.written.get("plans.json") == Some(&text_sha256(&planned)) => {
            Ok((text, true))
        }
        Some((text, true)) if text != planned && !options.overwrite => Err(Error::new(
            ErrorKind::Input,
            format!(
                "{} was edited or comes from elsewhere, and is not the plan of this dataset and planner; --overwrite plans \
                 anew, and another work folder keeps both",
                work.plans().display()
            ),
        )),
        Some((text, _)) if !options.overwrite && text != planned && has_runs(work) => Err(Error::new(
            ErrorKind::Input,
            format!(
                "{} holds training runs by another plan than that of this dataset and planner; --overwrite plans anew, and \
                 another work folder keeps both",
                work.runs().display()
            ),
        )),
        _ => Ok((planned, false)),
    }
}

fn has_runs(work: &Work) -> bool {
    std::fs::read_dir(work.runs()).is_ok_and(|mut entries| entries.next().is_some())
}

/// The folds, their file's text, and whether they were made here.
fn splits_of(
    raw: &RawDataset,
    work: &Work,
    options: ReadyOptions,
    ids: &[String],
    source: &Source,
) -> Result<(Vec<Split>, String, bool), Error> {
    let text_of = |path: &Path| {
        std::fs::read_to_string(path).or_error_with(ErrorKind::Input, || format!("{} cannot be read", path.display()))
    };
    if raw.splits().is_file() {
        return Ok((splits::read(&raw.splits(), ids)?, text_of(&raw.splits())?, false));
    }
    let made = splits::k_fold(ids);
    let text = splits::to_json(&made);
    let Some((there, edited)) = edited(&work.splits(), "splits_final.json", source) else {
        return Ok((made, text, true));
    };
    if there == text || options.overwrite {
        return Ok((made, text, true));
    }
    let read = splits::read(&work.splits(), ids);
    let shown = |splits: &[Split]| {
        let shown: BTreeSet<&String> = splits.iter().flat_map(|split| split.train.iter().chain(&split.val)).collect();
        shown.len() == ids.len()
    };
    match read {
        Ok(splits) if edited || shown(&splits) => Ok((splits, there, !edited)),
        Err(failure) if edited => Err(failure),
        // Made for the cases that there were.
        _ => Ok((made, text, true)),
    }
}
