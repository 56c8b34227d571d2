//! The training run of one network: its folder, its state, its epochs.

use super::batches::DeviceBatch;
use super::checkpoint::{self, Progress};
use super::epoch::{EpochCost, EpochSums};
use super::facts;
use super::projection::Projection;
use super::settings::{InitialWeights, RunSettings, RunSpec, TrainingContext};
use super::step::{Outputs, StepValue, TrainingState};
use super::terms::LossTerm;
use crate::dataset::splits::Split;
use crate::export::plans::for_network;
use crate::loss::SegmentationLoss;
use crate::network::{Engine, Initialise, Network};
use crate::optimise::{AveragedWeights, Sgd, SgdSettings, poly_learning_rate};
use crate::report::log::{EpochLog, EpochRecord};
use crate::report::page;
use crate::report::run::{RunFacts, RunFolder};
use crate::targets::Targets;
use crate::torch_error::OrTorchError;
use scanside_app::error::{Error, ErrorKind, OrError, OrPathError};
use scanside_app::model::DEFAULT_CHECKPOINT;
use scanside_app::output::write_whole;
use scanside_core::nnunet::checkpoint::Checkpoint;
use tch::{TchError, Tensor};

/// Weight of earlier epochs in the smoothed pseudo-Dice.
const DICE_DECAY: f64 = 0.9;

/// The training run of one network.
#[derive(Debug)]
pub struct TrainingRun {
    folder: RunFolder,
    facts: RunFacts,
    settings: RunSettings,
    state: TrainingState,
    /// A network that holds the averaged weights, for validation patches.
    averaged: Option<(Network, Engine)>,
    progress: Progress,
    log: EpochLog,
    targets: Targets,
    sums: EpochSums,
}

impl TrainingRun {
    /// Starts a run, or with [`TrainingContext::resume`] continues the one of this name.
    ///
    /// # Errors
    /// A run of this name exists and is not to be resumed; it was started with other settings; its files are damaged or
    /// cannot be written; libtorch fails or has no memory.
    pub fn open(context: &TrainingContext<'_>, split: &Split, spec: &RunSpec) -> Result<TrainingRun, Error> {
        let TrainingContext { work, plan, settings, .. } = *context;
        let folder = RunFolder::new(work.runs().join(&spec.name));
        let exists = folder.facts().is_file();
        if exists && !context.resume {
            let sentence = format!(
                "the run {} already exists; continue it with --resume, or choose another name",
                folder.path().display()
            );
            return Err(Error::new(ErrorKind::Usage, sentence).about(folder.path()));
        }
        let plans_json = for_network(&plan.plans_json, &plan.configuration, &spec.unet)?;
        let mut state = initial_state(context, spec)?;
        let facts = facts::describe(context, split, spec, &plans_json, &state.network);
        let mut progress = Progress::default();
        if exists {
            facts::check_same(&RunFacts::read(&folder)?, &facts)?;
            let saved = [folder.last(), folder.latest()].into_iter().find(|path| path.is_file());
            if let Some(saved) = saved {
                progress = checkpoint::restore(&saved, &mut state, settings.device)?;
            }
        } else {
            write_whole(&folder.plans(), plans_json.as_bytes())?;
            write_whole(&folder.dataset(), plan.dataset_json.as_bytes())?;
            facts.write(&folder)?;
        }
        // Validation and export use the averaged weights where they are kept.
        let averaged = match state.average {
            Some(_) => {
                let network = Network::new(&spec.unet, settings.device).or_error(ErrorKind::Model)?;
                Some((network, engine(context, spec)?))
            }
            None => None,
        };
        let log = EpochLog::open(&folder.log())?;
        let (targets, sums) = (plan.targets.clone(), EpochSums::new(&plan.targets));
        Ok(TrainingRun { folder, facts, settings: settings.clone(), state, averaged, progress, log, targets, sums })
    }

    /// What is trained, and how.
    pub fn facts(&self) -> &RunFacts {
        &self.facts
    }

    /// Its folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Completed epochs.
    pub fn epochs_done(&self) -> usize {
        self.progress.epochs_done
    }

    /// One step of epoch `epoch` on `images`, `[n, channels, z, y, x]`; see [`TrainingState::step`].
    ///
    /// # Errors
    /// The loss is not a finite number; libtorch fails or has no memory; or what `loss` returns.
    pub fn step(
        &mut self,
        epoch: usize,
        images: &Tensor,
        measure_gradients: bool,
        loss: impl FnOnce(&Outputs<'_>) -> Result<Vec<LossTerm>, Error>,
    ) -> Result<StepValue, Error> {
        let rate = poly_learning_rate(self.settings.initial_lr, epoch, self.settings.epochs);
        let value = self.state.step(images, rate, measure_gradients, loss)?;
        if !value.loss.is_finite() {
            return Err(self.diverged(epoch, value.loss));
        }
        self.sums.add_step(&value);
        Ok(value)
    }

    /// The loss is not a number: the settings are to be changed, so the error is one of usage.
    fn diverged(&self, epoch: usize, loss: f64) -> Error {
        let sentence = format!(
            "{}: the training diverged: the loss is {loss} in epoch {}, step {}; remove {} and train again with a smaller \
             --learning-rate (it was {})",
            self.facts.name,
            epoch + 1,
            self.sums.steps + 1,
            self.folder.path().display(),
            self.settings.initial_lr
        );
        Error::new(ErrorKind::Usage, sentence).about(self.folder.path())
    }

    /// Must be called between an epoch's last step and its first [`TrainingRun::validate`].
    ///
    /// # Errors
    /// libtorch fails.
    pub fn steps_done(&mut self) -> Result<(), Error> {
        if let (Some((network, engine)), Some(average)) = (&mut self.averaged, &self.state.average) {
            for (parameter, values) in network.parameters.iter().zip(average.values()) {
                tch::no_grad(|| parameter.tensor.shallow_clone().f_copy_(values)).or_torch_error()?;
            }
            engine.weights_changed();
        }
        Ok(())
    }

    /// Measures loss and decisions on a batch of validation patches.
    ///
    /// # Errors
    /// libtorch fails or has no memory.
    pub fn validate(&mut self, batch: &DeviceBatch, loss: &SegmentationLoss) -> Result<(), Error> {
        let (network, engine) = match &mut self.averaged {
            Some((network, engine)) => (&*network, engine),
            None => (&self.state.network, &mut self.state.engine),
        };
        let logits = engine.infer(network, &batch.images)?;
        let labels = &batch.labels;
        let counts = &mut self.sums.counts;
        let value = tch::no_grad(|| -> Result<f64, TchError> {
            counts.add(&self.targets, &logits[0], &loss.truth(labels)?, labels)?;
            let value = loss.deep(&logits, labels)?;
            f64::try_from(&value.dice.f_add(&value.cross_entropy)?)
        });
        self.sums.add_validation(value.or_torch_error()?);
        Ok(())
    }

    /// Ends epoch `epoch`: writes a line of the log, the checkpoint and the page.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn end_epoch(&mut self, epoch: usize, cost: EpochCost) -> Result<EpochRecord, Error> {
        let sums = std::mem::replace(&mut self.sums, EpochSums::new(&self.targets));
        let pseudo_dice = sums.pseudo_dice();
        self.progress.ema_dice = match (self.progress.ema_dice, mean(&pseudo_dice)) {
            (Some(ema), Some(mean)) => Some(DICE_DECAY * ema + (1.0 - DICE_DECAY) * mean),
            (ema, mean) => ema.or(mean),
        };
        self.progress.epochs_done = epoch + 1;
        let record = EpochRecord {
            epoch,
            lr: poly_learning_rate(self.settings.initial_lr, epoch, self.settings.epochs),
            loss: sums.loss(),
            val_loss: sums.validation_loss(),
            pseudo_dice,
            ema_dice: self.progress.ema_dice,
            samples: (self.facts.batch_size * sums.steps) as u64,
            seconds: cost.seconds,
            wait_seconds: cost.wait_seconds,
            teacher_passes: cost.teacher_passes,
            terms: sums.terms(),
            term_gradients: sums.term_gradients(),
        };
        // The log first: an epoch that is logged twice counts once, a missing one cannot be restored.
        self.log.append(&record)?;
        checkpoint::save(&self.folder.latest(), &self.state, &self.progress)?;
        page::write(&self.folder, &[])?;
        Ok(record)
    }

    /// Ends the run: the latest checkpoint becomes the final one.
    ///
    /// # Errors
    /// A file cannot be renamed or written.
    pub fn finish(&mut self) -> Result<(), Error> {
        if !self.folder.latest().is_file() {
            return Ok(());
        }
        std::fs::rename(self.folder.latest(), self.folder.last()).or_cannot_write(&self.folder.last())?;
        page::write(&self.folder, &[])
    }
}

/// A network with its weights before the first step.
fn initial_state(context: &TrainingContext<'_>, spec: &RunSpec) -> Result<TrainingState, Error> {
    let settings = context.settings;
    let mut network = Network::new(&spec.unet, settings.device).or_error(ErrorKind::Model)?;
    network.initialise(settings.seed).or_torch_error()?;
    if let InitialWeights::NnUnetFolder(folder, fold) = &spec.initial_weights {
        let path = folder.join(format!("fold_{fold}")).join(DEFAULT_CHECKPOINT);
        let mut checkpoint = Checkpoint::open(&path).or_error(ErrorKind::Model)?;
        network.parameters.load(&mut checkpoint).or_error_with(ErrorKind::Model, || {
            format!("{} does not fit the plan of this work folder", path.display())
        })?;
    }
    let projections = spec.projections.iter().map(|projection| Projection::new(projection, settings.device));
    let projections = projections.collect::<Result<Vec<_>, _>>().or_torch_error()?;
    let optimiser = Sgd::new(SgdSettings::default(), network.parameters.len() + projections.len());
    let average = match settings.average {
        Some(decay) => Some(AveragedWeights::new(decay, &network.parameters).or_torch_error()?),
        None => None,
    };
    Ok(TrainingState { network, engine: engine(context, spec)?, optimiser, average, projections })
}

fn engine(context: &TrainingContext<'_>, spec: &RunSpec) -> Result<Engine, Error> {
    let RunSettings { device, threads, precision, autograd, .. } = *context.settings;
    if autograd {
        return Ok(Engine::Torch(precision));
    }
    Engine::new(&spec.unet, context.plan.patch_zyx, device, threads, precision)
}

fn mean(values: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}
