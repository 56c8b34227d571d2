//! Training of one network on the labels alone, as nnU-Net trains.

use super::batches::{self, FoldBatches};
use super::epoch::EpochCost;
use super::observer::TrainingObserver;
use super::run::TrainingRun;
use super::settings::{RunSpec, TrainingContext};
use super::terms::label_terms;
use crate::loss::SegmentationLoss;
use crate::report::run::RunFolder;
use crate::torch_error::OrTorchError;
use scanside_app::error::{Error, ErrorKind};
use std::time::Instant;

/// Trains `spec` to the last epoch.
///
/// # Errors
/// The work folder is not prepared; the settings contradict the existing run; the training diverges; a file cannot be
/// written; libtorch fails or has no memory; or the caller asked to stop.
pub fn train(
    context: &TrainingContext<'_>,
    spec: &RunSpec,
    observer: &mut dyn TrainingObserver,
) -> Result<RunFolder, Error> {
    let TrainingContext { work, plan, settings, .. } = *context;
    let split = batches::split(work, settings)?;
    let mut run = TrainingRun::open(context, &split, spec)?;
    let facts = run.facts().clone();
    if run.epochs_done() >= settings.epochs {
        let sentence =
            format!("the run {} is finished; choose another name to train again", run.folder().path().display());
        return Err(Error::new(ErrorKind::Usage, sentence).about(run.folder().path()));
    }
    observer.run_started(&facts, run.epochs_done());
    let loss = SegmentationLoss::new(plan.targets.clone(), plan.batch_dice);
    let mut batches = FoldBatches::new(context, &split, run.epochs_done(), None)?;
    for epoch in run.epochs_done()..settings.epochs {
        let (started, waited) = (Instant::now(), batches.waited());
        for step in 0..settings.steps_per_epoch {
            let batch = batches.next_batch()?;
            let value = run.step(epoch, &batch.images, false, |outputs| {
                label_terms(&loss, outputs.logits, &batch.labels).or_torch_error()
            })?;
            observer.step_done(&facts, epoch, step, &value);
        }
        run.steps_done()?;
        batches.validation(|batch| run.validate(batch, &loss))?;
        let cost = EpochCost {
            seconds: started.elapsed().as_secs_f64(),
            wait_seconds: (batches.waited() - waited).as_secs_f64(),
            teacher_passes: 0,
        };
        let record = run.end_epoch(epoch, cost)?;
        observer.epoch_done(&facts, &record);
    }
    run.finish()?;
    Ok(run.folder().clone())
}
