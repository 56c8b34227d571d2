//! A run of one network on the labels alone: how nnU-Net trains.

use super::course::{Clock, Course, label_terms};
use super::patches::{self, FoldPatches};
use super::settings::{Member, RunSettings};
use super::step::StepValue;
use crate::loss::SegmentationLoss;
use crate::plan::TrainingPlan;
use crate::report::log::EpochRecord;
use crate::report::run::{RunFacts, RunFolder};
use crate::work::Work;
use scanside_app::error::{Error, ErrorKind};
use std::time::Instant;

/// Hears how a run goes on.
pub trait Progress {
    /// A run begins, or goes on after `epochs_done` epochs.
    fn begins(&mut self, _facts: &RunFacts, _epochs_done: usize) {}

    /// A step is done.
    fn step(&mut self, _facts: &RunFacts, _epoch: usize, _step: usize, _value: &StepValue) {}

    /// An epoch is done and saved.
    fn epoch(&mut self, _facts: &RunFacts, _record: &EpochRecord) {}
}

/// A progress that nobody watches.
impl Progress for () {}

/// Trains `member` to the last epoch. With `resume` a run of its name goes on; without, there must be none.
///
/// # Errors
/// The work folder is not prepared, the settings contradict the run there is, something cannot be written, or the user
/// stopped the run.
pub fn train(
    work: &Work,
    plan: &TrainingPlan,
    settings: &RunSettings,
    member: &Member,
    resume: bool,
    progress: &mut dyn Progress,
) -> Result<RunFolder, Error> {
    let split = patches::split(work, settings)?;
    let mut course = Course::open(work, plan, settings, &split, member, resume)?;
    let facts = course.facts().clone();
    if course.epochs_done() >= settings.epochs {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("{} is finished; train longer under another name", course.folder().path().display()),
        ));
    }
    progress.begins(&facts, course.epochs_done());
    let loss = SegmentationLoss::new(plan.targets.clone(), plan.batch_dice);
    let mut patches = FoldPatches::new(work, plan, settings, &split, course.epochs_done(), None)?;
    for epoch in course.epochs_done()..settings.epochs {
        let (begun, waited) = (Instant::now(), patches.waited());
        for step in 0..settings.steps_per_epoch {
            let batch = patches.next_batch()?;
            let value =
                course.step(epoch, &batch.images, false, |seen| label_terms(&loss, seen.logits, &batch.labels))?;
            progress.step(&facts, epoch, step, &value);
        }
        course.steps_done()?;
        patches.watch(|batch| course.watch(batch, &loss))?;
        let clock = Clock {
            seconds: begun.elapsed().as_secs_f64(),
            wait_seconds: (patches.waited() - waited).as_secs_f64(),
            teacher_passes: 0,
        };
        let record = course.end_epoch(epoch, clock)?;
        progress.epoch(&facts, &record);
    }
    course.finish()?;
    Ok(course.folder().clone())
}
