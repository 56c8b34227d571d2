//! Students trained together: each batch, and each prediction of the teachers, is used for all of them.

use super::levels::Levels;
use super::losses::DistillLosses;
use super::parallel::{self, ThreadShare};
use super::signal::TeacherSignal;
use super::student::StudentSpec;
use super::teacher_batch::{TeacherBatch, labelled_part};
use super::teacher_query::TeacherQuery;
use crate::dataset::splits::Split;
use crate::loss::SegmentationLoss;
use crate::torch_error::OrTorchError;
use crate::training::batches::{self, DeviceBatch, FoldBatches, OpenSoft};
use crate::training::epoch::EpochCost;
use crate::training::observer::TrainingObserver;
use crate::training::run::TrainingRun;
use crate::training::settings::{RunSettings, TrainingContext};
use crate::training::step::StepValue;
use crate::training::terms::label_terms;
use scanside_app::error::Error;
use std::time::Instant;
use tch::Device;

/// Steps between two measurements of the terms' gradients.
const MEASURE_GRADIENTS_EVERY: usize = 25;

/// Patches without labels are drawn with other random numbers than those with labels.
const UNLABELLED_SEED: u64 = 0x5851_f42d_4c95_7f2d;

/// Students to be trained together.
#[derive(Debug)]
pub struct Distillation<'a> {
    /// What the runs share.
    pub context: TrainingContext<'a>,
    /// The students.
    pub students: &'a [StudentSpec],
    /// The losses of distilled students in addition to that on the labels.
    pub losses: &'a DistillLosses,
    /// The training cases whose labels may be used; `None` for all. With it, each step has a batch of these, and distilled
    /// students have as many patches of all training cases in addition, which contribute the distillation losses only.
    pub labelled: Option<&'a [String]>,
}

/// Trains all students to the last epoch.
///
/// # Errors
/// The work folder is not prepared; the settings contradict an existing run; a training diverges; the teachers cannot
/// answer what the losses need; a file cannot be written; libtorch fails or has no memory; or the caller asked to stop.
pub fn train(
    distillation: &Distillation<'_>,
    signal: &mut TeacherSignal,
    observer: &mut dyn TrainingObserver,
) -> Result<Vec<TrainingRun>, Error> {
    let mut training = Training::start(distillation, signal)?;
    for run in &training.runs {
        observer.run_started(run.facts(), run.epochs_done());
    }
    for epoch in training.first_epoch..distillation.context.settings.epochs {
        training.epoch(epoch, observer)?;
    }
    training.runs.iter_mut().try_for_each(TrainingRun::finish)?;
    Ok(training.runs)
}

/// A training of several students.
struct Training<'a> {
    distillation: &'a Distillation<'a>,
    signal: &'a mut TeacherSignal,
    query: TeacherQuery<'a>,
    loss: SegmentationLoss,
    share: ThreadShare,
    runs: Vec<TrainingRun>,
    /// The first epoch that a run has not completed.
    first_epoch: usize,
    labelled: FoldBatches,
    unlabelled: Option<FoldBatches>,
}

impl<'a> Training<'a> {
    fn start(distillation: &'a Distillation<'a>, signal: &'a mut TeacherSignal) -> Result<Training<'a>, Error> {
        let Distillation { context, students, losses, labelled } = *distillation;
        let TrainingContext { work, plan, settings, .. } = context;
        let whole = batches::split(work, settings)?;
        let split = match labelled {
            None => whole.clone(),
            Some(ids) => Split { train: ids.to_vec(), val: whole.val.clone() },
        };
        // Networks that libtorch computes share its threads and its device, and the images of image gradients.
        let one_by_one = settings.autograd || settings.device != Device::Cpu;
        let share = ThreadShare::new(settings.threads, if one_by_one { 1 } else { students.len() });
        share.split();
        let own = RunSettings { threads: share.threads, ..settings.clone() };
        let of_run = TrainingContext { settings: &own, ..context };
        let runs = students.iter().map(|student| TrainingRun::open(&of_run, &split, &student.run));
        let runs = runs.collect::<Result<Vec<TrainingRun>, Error>>()?;
        // After a kill between two checkpoints, some runs are an epoch ahead; they wait for the others.
        let first_epoch = runs.iter().map(TrainingRun::epochs_done).min().unwrap_or(0);

        let open = match signal {
            TeacherSignal::PerPatch(_) => None,
            TeacherSignal::Cached(folder) => Some(folder.clone()),
        };
        let open = open.map(|folder| move |id: &str| folder.open(id));
        let open = open.as_ref().map(|open| open as &OpenSoft<'_>);
        let labelled_batches = FoldBatches::new(&context, &split, first_epoch, open)?;
        let unlabelled = match labelled {
            None => None,
            Some(_) => {
                let settings = RunSettings { seed: settings.seed ^ UNLABELLED_SEED, ..settings.clone() };
                let all = Split { train: whole.train, val: Vec::new() };
                let context = TrainingContext { settings: &settings, ..context };
                Some(FoldBatches::new(&context, &all, first_epoch, open)?)
            }
        };
        let loss = SegmentationLoss::new(plan.targets.clone(), plan.batch_dice);
        let query = TeacherQuery {
            targets: &plan.targets,
            losses,
            levels: Levels::of(&plan.unet),
            label_loss: loss.clone(),
            seed: settings.seed,
        };
        let labelled = labelled_batches;
        Ok(Training { distillation, signal, query, loss, share, runs, first_epoch, labelled, unlabelled })
    }

    fn epoch(&mut self, epoch: usize, observer: &mut dyn TrainingObserver) -> Result<(), Error> {
        let (started, waited, passes) = (Instant::now(), self.labelled.waited(), self.signal.passes());
        let students = self.distillation.students;
        let ask = active(&mut self.runs, students, epoch).any(|(_, student)| student.distilled);
        for step in 0..self.distillation.context.settings.steps_per_epoch {
            let values = self.step(epoch, step, ask)?;
            for ((run, _), value) in active(&mut self.runs, students, epoch).zip(values) {
                observer.step_done(run.facts(), epoch, step, &value);
            }
        }
        self.validate(epoch)?;
        let cost = EpochCost {
            seconds: started.elapsed().as_secs_f64(),
            wait_seconds: (self.labelled.waited() - waited).as_secs_f64(),
            teacher_passes: self.signal.passes() - passes,
        };
        for (run, _) in active(&mut self.runs, students, epoch) {
            let record = run.end_epoch(epoch, cost)?;
            observer.epoch_done(run.facts(), &record);
        }
        Ok(())
    }

    /// One step of all runs that have not completed this epoch. With `ask`, the teachers predict the batch first.
    fn step(&mut self, epoch: usize, step: usize, ask: bool) -> Result<Vec<StepValue>, Error> {
        let settings = self.distillation.context.settings;
        let number = (epoch * settings.steps_per_epoch + step) as u64;
        let batch = self.labelled.next_batch()?;
        let teacher = if ask { Some(self.ask_teachers(&batch, number)?) } else { None };

        let Distillation { context, students, losses, .. } = *self.distillation;
        let (loss, heads) = (&self.loss, &context.plan.targets.heads);
        let ramp = losses.ramp.at(number, (settings.epochs * settings.steps_per_epoch) as u64);
        let inputs = active(&mut self.runs, students, epoch).map(|(run, student)| {
            let teacher = teacher.as_ref().filter(|_| student.distilled).map(TeacherBatch::shallow_clone);
            (run, batch.shallow_clone(), teacher)
        });
        let values = parallel::each(self.share.at_once, inputs.collect(), |(run, batch, teacher)| match teacher {
            Some(teacher) => {
                let measure = step.is_multiple_of(MEASURE_GRADIENTS_EVERY);
                run.step(epoch, &teacher.images, measure, |outputs| {
                    let labelled = batch.labels.size()[0];
                    let logits = labelled_part(outputs.logits, labelled).or_torch_error()?;
                    let mut terms = label_terms(loss, &logits, &batch.labels).or_torch_error()?;
                    terms.extend(losses.terms(heads, outputs, &teacher, labelled, ramp).or_torch_error()?);
                    Ok(terms)
                })
            }
            None => run.step(epoch, &batch.images, false, |outputs| {
                label_terms(loss, outputs.logits, &batch.labels).or_torch_error()
            }),
        });
        values.into_iter().collect()
    }

    fn ask_teachers(&mut self, batch: &DeviceBatch, step: u64) -> Result<TeacherBatch, Error> {
        let unlabelled = self.unlabelled.as_mut().map(FoldBatches::next_batch).transpose()?;
        // The students do not compute meanwhile, so the teachers get all threads.
        self.share.gather();
        let teacher = self.query.ask(self.signal, batch, unlabelled.as_ref(), step);
        self.share.split();
        teacher
    }

    /// The validation patches of all runs that have not completed this epoch.
    fn validate(&mut self, epoch: usize) -> Result<(), Error> {
        let Training { distillation, loss, share, runs, labelled, .. } = self;
        active(runs, distillation.students, epoch).try_for_each(|(run, _)| run.steps_done())?;
        labelled.validation(|batch| {
            let inputs = active(runs, distillation.students, epoch).map(|(run, _)| (run, batch.shallow_clone()));
            let outcomes = parallel::each(share.at_once, inputs.collect(), |(run, batch)| run.validate(&batch, loss));
            outcomes.into_iter().collect()
        })
    }
}

/// The runs that have not completed this epoch, with their students.
fn active<'a>(
    runs: &'a mut [TrainingRun],
    students: &'a [StudentSpec],
    epoch: usize,
) -> impl Iterator<Item = (&'a mut TrainingRun, &'a StudentSpec)> {
    runs.iter_mut().zip(students).filter(move |(run, _)| run.epochs_done() <= epoch)
}
