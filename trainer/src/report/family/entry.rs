//! A validated run, read from its files.

use super::speed::Speed;
use crate::export::plans::Described;
use crate::plan::Cost;
use crate::report::log::{self, EpochRecord};
use crate::report::page::mean_dice;
use crate::report::progress::{Progress, State};
use crate::report::run::{RunFacts, RunFolder, TRAINER};
use crate::validate::Validation;
use crate::work::read_text;
use scanside_app::error::Error;

/// Key of the note in which a student names its teachers.
const TEACHER: &str = "teacher";
/// Key of the note that states when its teachers run.
const TEACHER_SIGNAL: &str = "teacher_speaks";
/// Key of the note with a run's losses.
const LOSS: &str = "loss";

/// A validated run.
pub(super) struct Entry {
    pub(super) run: RunFolder,
    pub(super) facts: RunFacts,
    pub(super) validation: Validation,
    pub(super) log: Vec<EpochRecord>,
    pub(super) progress: Progress,
    /// Multiply-adds per patch without mirroring; `None` where the run has no plans.
    pub(super) macs: Option<u64>,
    /// Size of the exported network.
    pub(super) model_bytes: Option<u64>,
    pub(super) speed: Option<Speed>,
    /// Remarks, in sentences.
    pub(super) remarks: Vec<String>,
}

impl Entry {
    /// Reads a run that has a `validation.json`. Numbers from other files that are damaged are missing, with a remark.
    ///
    /// # Errors
    /// `run.json`, the log or `validation.json` is damaged.
    pub(super) fn read(run: RunFolder) -> Result<Entry, Error> {
        let facts = RunFacts::read(&run)?;
        let validation = Validation::read(&run.validation())?;
        let log = log::read(&run.log())?;
        let progress = Progress::of(&run, &facts, &log);
        let mut remarks = Vec::new();
        let mut known = |what: &str, found: Result<Option<u64>, Error>| {
            found.unwrap_or_else(|error| {
                remarks.push(format!("{}: {what} not known: {}", facts.name, error.chain()));
                None
            })
        };
        let mut macs = known("its multiply-adds are", macs(&run, &facts));
        let mut speed = None;
        match Speed::read(&run.speed()) {
            Ok(found) => speed = found,
            Err(error) => remarks.push(format!("{}: its speed is not known: {}", facts.name, error.chain())),
        }
        // Imported runs have no plans; their measurement contains the number.
        macs = macs.or_else(|| speed.as_ref()?.gmac.map(|gmac| (gmac * 1e9).round() as u64));
        if ![State::Finished, State::Imported].contains(&progress.state) {
            remarks.push(format!(
                "{} is not finished ({} of {} epochs); its numbers are those of its validation",
                facts.name, progress.done, progress.epochs
            ));
        }
        let model_bytes = std::fs::metadata(run.model()).ok().filter(|about| about.is_file()).map(|about| about.len());
        Ok(Entry { run, facts, validation, log, progress, macs, model_bytes, speed, remarks })
    }

    /// The teachers that its notes name; `None` for a run without a teacher.
    pub(super) fn teacher(&self) -> Option<&str> {
        self.facts.notes.get(TEACHER).map(String::as_str)
    }

    /// Its losses.
    pub(super) fn loss(&self) -> Option<&str> {
        self.facts.notes.get(LOSS).map(String::as_str)
    }

    /// Notes on neither teacher nor loss: averaged weights, first weights.
    pub(super) fn other_notes(&self) -> Vec<(&String, &String)> {
        let of_distillation = [TEACHER, TEACHER_SIGNAL, LOSS];
        self.facts.notes.iter().filter(|(key, _)| !of_distillation.contains(&key.as_str())).collect()
    }

    /// Names of the cases measured.
    pub(super) fn cases(&self) -> Vec<&str> {
        self.validation.agreement.cases.iter().map(|case| case.case.as_str()).collect()
    }

    /// Dice by case and class, in the order of `cases`.
    pub(super) fn dice(&self, cases: &[&str]) -> Vec<Vec<Option<f64>>> {
        let measured = &self.validation.agreement.cases;
        let of = |id: &&str| measured.iter().find(|case| case.case == *id);
        cases.iter().filter_map(of).map(|case| case.classes.iter().map(|class| class.dice).collect()).collect()
    }

    /// Mean Dice over the classes of a case.
    pub(super) fn case_dice(&self, id: &str) -> Option<f64> {
        self.validation.agreement.cases.iter().find(|case| case.case == id).and_then(mean_dice)
    }
}

fn macs(run: &RunFolder, facts: &RunFacts) -> Result<Option<u64>, Error> {
    if !run.plans().is_file() || !run.dataset().is_file() {
        return Ok(None);
    }
    let (plans, dataset) = (read_text(&run.plans())?, read_text(&run.dataset())?);
    let described = Described::read(&plans, &dataset, &facts.configuration, TRAINER)?;
    Ok(Some(Cost::of(&described.unet, &facts.patch_zyx).macs))
}
