//! The preparation of a work folder for training, from a raw dataset.

use super::examine::{Remark, examine};
use super::prepare::{Cache, Job, Outcome};
use super::raw::RawDataset;
use super::source::{Source, text_sha256};
use super::splits::{self, Split};
use crate::plan::fingerprint::Fingerprint;
use crate::plan::{CONFIGURATION, DatasetFacts, Planner, TrainingPlan, json, plan};
use crate::work::Work;
use scanside_app::error::{Error, ErrorKind, OrError, OrPathError};
use scanside_app::interrupt::Stop;
use scanside_app::output::write_whole;
use std::collections::BTreeSet;
use std::path::Path;

/// Names of files of the work folder, as the record has them.
const PLANS: &str = "plans.json";
/// As [`PLANS`].
const SPLITS: &str = "splits_final.json";

/// How to prepare a dataset.
#[derive(Clone, Copy, Debug)]
pub struct ReadyOptions {
    /// Which of nnU-Net's planners to use.
    pub planner: Planner,
    /// Cases processed at a time.
    pub threads: usize,
    /// Replace cases that another plan has preprocessed, a plan that was edited for another dataset or planner, and folds.
    pub overwrite: bool,
}

/// What was done with a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was read and examined.
    Examined,
    /// It was preprocessed.
    Prepared,
    /// Its file was current.
    Reused,
}

/// A work folder that is ready for training.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The plan.
    pub plan: TrainingPlan,
    /// The dataset's fingerprint.
    pub fingerprint: Fingerprint,
    /// The folds.
    pub splits: Vec<Split>,
    /// Numbers of preprocessed cases.
    pub outcome: Outcome,
    /// What does not prevent training, but may be a mistake.
    pub warnings: Vec<Remark>,
}

/// Examines a dataset, plans its training, preprocesses its cases and splits them into folds. Existing files that are
/// current are kept: a second run changes nothing, and after a change only what depends on it is computed again. Nothing is
/// written before the whole dataset was examined. `stop` is checked before every case that is preprocessed.
///
/// A `splits_final.json` of the raw dataset is used, and so is one in the work folder that fits the cases. A `plans.json`
/// that was edited there is used as long as dataset and planner stay the same.
///
/// # Errors
/// The dataset has faults, all of them listed; the work folder contains files of another plan, or edited ones, that would be
/// replaced; a file cannot be written; or the caller asked to stop.
pub fn make_ready(
    raw: &RawDataset,
    work: &Work,
    options: ReadyOptions,
    stop: &Stop,
    progress: &(dyn Fn(&str, Step) + Sync),
) -> Result<Ready, Error> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build()
        .or_error_with(ErrorKind::Internal, || format!("{} threads cannot be started", options.threads))?;
    // A damaged or missing record only costs time.
    let known = Source::read(work).unwrap_or_default();
    let mut source = pool.install(|| Source::of(raw, known));
    let dataset_sha256 = source.dataset_sha256(raw);
    let mut warnings = duplicates(raw, &source);
    let kept = if source.examined.as_ref() == Some(&dataset_sha256) { read_fingerprint(work) } else { None };
    let fingerprint = match kept {
        Some(fingerprint) => fingerprint,
        None => {
            let mut findings = pool.install(|| examine(raw, &|id| progress(id, Step::Examined)));
            stop.check()?;
            warnings.append(&mut findings.warnings);
            let error = findings.error(raw);
            findings.fingerprint.ok_or(error)?
        }
    };

    let plans = plans_of(raw, work, options, &fingerprint, &source)?;
    if !plans.ours {
        let what = format!("{} was edited, and is used as it is", work.plans().display());
        warnings.push(Remark { case: None, what });
    }
    let dataset_path = raw.folder.join("dataset.json");
    let plan = TrainingPlan::parse(plans.text.clone(), &work.plans(), raw.json.clone(), &dataset_path, CONFIGURATION)?;
    let ids: Vec<String> = raw.cases.iter().map(|case| case.id.clone()).collect();
    let (splits, splits_file) = splits_of(raw, work, options, &ids, &source)?;
    let cache = Cache::check(raw, &plan, work, options.overwrite)?;
    write_changed(raw, work, &fingerprint, [&plans.text, &splits_file.text])?;
    // The record goes last: files that would be written like this today count as written, recorded or not.
    source.examined = Some(dataset_sha256);
    for (name, file) in [(PLANS, &plans), (SPLITS, &splits_file)] {
        if file.ours {
            source.written.insert(name.into(), text_sha256(&file.text));
        }
    }
    source.write(work)?;
    let notify = |id: &str, new: bool| progress(id, if new { Step::Prepared } else { Step::Reused });
    let job = Job { raw, plan: &plan, work, source: &source, stop };
    let outcome = pool.install(|| cache.fill(&job, &notify))?;
    Ok(Ready { plan, fingerprint, splits, outcome, warnings })
}

/// Warnings about cases with the same images.
fn duplicates(raw: &RawDataset, source: &Source) -> Vec<Remark> {
    let warning = |(one, other): (&str, &str)| Remark {
        case: Some(other.to_string()),
        what: format!(
            "its images equal those of case {one}, byte for byte; in different folds, the validation would not be \
             independent of the training"
        ),
    };
    source.twins(raw).into_iter().map(warning).collect()
}

/// Writes the files of the work folder that differ from what they would be: `texts` are plans and splits.
fn write_changed(
    raw: &RawDataset,
    work: &Work,
    fingerprint: &Fingerprint,
    [plans, splits]: [&String; 2],
) -> Result<(), Error> {
    let fingerprint = json::pretty(&serde_json::json!(fingerprint));
    let files = [
        (work.fingerprint(), &fingerprint),
        (work.dataset(), &raw.json),
        (work.plans(), plans),
        (work.splits(), splits),
    ];
    for (path, text) in files {
        if std::fs::read_to_string(&path).ok().as_ref() != Some(text) {
            write_whole(&path, text.as_bytes())?;
        }
    }
    Ok(())
}

fn read_fingerprint(work: &Work) -> Option<Fingerprint> {
    serde_json::from_str(&std::fs::read_to_string(work.fingerprint()).ok()?).ok()
}

/// A file of the work folder.
struct WorkFile {
    text: String,
    /// This program wrote it: it does not come with the dataset, and nobody edited it.
    ours: bool,
}

impl WorkFile {
    /// The file at `path` and whether its text is as this program wrote it; `None` where it does not exist.
    fn read(path: &Path, name: &str, source: &Source) -> Option<WorkFile> {
        let text = std::fs::read_to_string(path).ok()?;
        let ours = source.written.get(name) == Some(&text_sha256(&text));
        Some(WorkFile { text, ours })
    }
}

/// The plans to use.
fn plans_of(
    raw: &RawDataset,
    work: &Work,
    options: ReadyOptions,
    fingerprint: &Fingerprint,
    source: &Source,
) -> Result<WorkFile, Error> {
    let facts = DatasetFacts {
        name: &raw.name,
        channels: &raw.dataset.channels,
        label_entries: raw.label_entries,
        cases: raw.announced.unwrap_or(raw.cases.len() as u64),
    };
    let planned = json::pretty(&plan(fingerprint, &facts, options.planner));
    let existing = WorkFile::read(&work.plans(), PLANS, source).filter(|file| file.text != planned);
    match existing {
        // What was edited is today's plan.
        Some(file) if !file.ours && source.written.get(PLANS) == Some(&text_sha256(&planned)) => Ok(file),
        Some(file) if !file.ours && !options.overwrite => Err(Error::new(
            ErrorKind::Input,
            format!(
                "{} was edited or comes from elsewhere, and is not the plan of this dataset and planner; replace it with \
                 --overwrite, or use another work folder",
                work.plans().display()
            ),
        )),
        Some(_) if !options.overwrite && has_runs(work) => Err(Error::new(
            ErrorKind::Input,
            format!(
                "{} contains training runs of another plan than that of this dataset and planner; plan again with \
                 --overwrite, or use another work folder",
                work.runs().display()
            ),
        )),
        _ => Ok(WorkFile { text: planned, ours: true }),
    }
}

fn has_runs(work: &Work) -> bool {
    std::fs::read_dir(work.runs()).is_ok_and(|mut entries| entries.next().is_some())
}

/// The folds, and their file.
fn splits_of(
    raw: &RawDataset,
    work: &Work,
    options: ReadyOptions,
    ids: &[String],
    source: &Source,
) -> Result<(Vec<Split>, WorkFile), Error> {
    let given = raw.splits();
    if given.is_file() {
        let text = std::fs::read_to_string(&given).or_cannot_read(ErrorKind::Input, &given)?;
        return Ok((splits::read(&given, ids)?, WorkFile { text, ours: false }));
    }
    let made = splits::k_fold(ids);
    let own = WorkFile { text: splits::to_json(&made), ours: true };
    let Some(existing) = WorkFile::read(&work.splits(), SPLITS, source) else {
        return Ok((made, own));
    };
    if existing.text == own.text || options.overwrite {
        return Ok((made, own));
    }
    let covers_all = |splits: &[Split]| {
        let covered: BTreeSet<&String> = splits.iter().flat_map(|split| split.train.iter().chain(&split.val)).collect();
        covered.len() == ids.len()
    };
    match splits::read(&work.splits(), ids) {
        Ok(splits) if !existing.ours || covers_all(&splits) => Ok((splits, existing)),
        Err(error) if !existing.ours => Err(error),
        // Written for the cases that the dataset had before.
        _ => Ok((made, own)),
    }
}
