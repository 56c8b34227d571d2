//! One network's run: its folder, its state, its epochs.

use super::checkpoint::{self, State};
use super::lift::Lift;
use super::patches::Patches;
use super::settings::{Member, RunSettings, Start};
use super::step::{Seen, StepValue, Term, Trainee};
use crate::dataset::source::text_sha256;
use crate::dataset::splits::Split;
use crate::export::plans::for_network;
use crate::loss::{HardCounts, SegmentationLoss};
use crate::network::{Engine, Initialise, Network, Precision};
use crate::optimise::{AveragedWeights, Sgd, SgdSettings, poly_learning_rate};
use crate::plan::TrainingPlan;
use crate::report::log::{EpochLog, EpochRecord};
use crate::report::page;
use crate::report::run::{self, RunFacts, RunFolder};
use crate::targets::{Heads, Targets};
use crate::work::Work;
use anyhow::Result as AnyResult;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::model::DEFAULT_CHECKPOINT;
use scanside_app::output::write_whole;
use scanside_core::nnunet::checkpoint::Checkpoint;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};
use tch::Tensor;

/// How much of the pseudo-Dice of earlier epochs goes on.
const EMA: f64 = 0.9;

/// A network's run.
#[derive(Debug)]
pub struct Course {
    folder: RunFolder,
    facts: RunFacts,
    settings: RunSettings,
    trainee: Trainee,
    /// Averaged weights as a network, to be watched.
    averaged: Option<(Network, Engine)>,
    state: State,
    log: EpochLog,
    targets: Targets,
    tally: Tally,
}

/// Sums over an epoch.
#[derive(Debug)]
struct Tally {
    steps: usize,
    loss: f64,
    terms: BTreeMap<&'static str, f64>,
    pulls: BTreeMap<&'static str, (f64, usize)>,
    watched: usize,
    watched_loss: f64,
    counts: HardCounts,
}

impl Tally {
    fn new(targets: &Targets) -> Tally {
        Tally {
            steps: 0,
            loss: 0.0,
            terms: BTreeMap::new(),
            pulls: BTreeMap::new(),
            watched: 0,
            watched_loss: 0.0,
            counts: HardCounts::new(targets),
        }
    }
}

/// Seconds of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clock {
    /// From its beginning to its end, watching included.
    pub seconds: f64,
    /// Of these, waiting for patches.
    pub wait_seconds: f64,
    /// Batches that teachers looked at.
    pub teacher_passes: u64,
}

impl Course {
    /// Begins a run, or with `resume` goes on with the one of this name.
    ///
    /// # Errors
    /// There is a run of this name and `resume` is off; it was begun with other settings, or is finished; its files are
    /// damaged or cannot be written.
    pub fn open(
        work: &Work,
        plan: &TrainingPlan,
        settings: &RunSettings,
        split: &Split,
        member: &Member,
        resume: bool,
    ) -> Result<Course, Error> {
        let folder = RunFolder::new(work.runs().join(&member.name));
        let began = folder.facts().is_file();
        if began && !resume {
            return Err(Error::new(
                ErrorKind::Usage,
                format!(
                    "{} is there already; go on with --resume, or give the run another name",
                    folder.path().display()
                ),
            ));
        }
        let plans_json = for_network(&plan.plans_json, &plan.configuration, &member.unet)?;
        let mut trainee = begin(plan, settings, member)?;
        let facts = facts(plan, settings, split, member, &plans_json, &trainee.network);
        let mut state = State::default();
        if began {
            agree(&RunFacts::read(&folder)?, &facts)?;
            let saved = [folder.last(), folder.latest()].into_iter().find(|path| path.is_file());
            if let Some(saved) = saved {
                state = checkpoint::restore(&saved, &mut trainee, settings.device)?;
            }
        } else {
            write_whole(&folder.plans(), plans_json.as_bytes())?;
            write_whole(&folder.dataset(), plan.dataset_json.as_bytes())?;
            facts.write(&folder)?;
        }
        // What is watched, and used later, are the averaged weights.
        let averaged = match trainee.average {
            Some(_) => Some((
                Network::new(&member.unet, settings.device).or_error(ErrorKind::Model)?,
                engine(plan, settings, member)?,
            )),
            None => None,
        };
        let log = EpochLog::open(&folder.log())?;
        let (targets, tally) = (plan.targets.clone(), Tally::new(&plan.targets));
        Ok(Course { folder, facts, settings: settings.clone(), trainee, averaged, state, log, targets, tally })
    }

    /// What is trained, and how.
    pub fn facts(&self) -> &RunFacts {
        &self.facts
    }

    /// Its folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Epochs done so far.
    pub fn epochs_done(&self) -> usize {
        self.state.epochs_done
    }

    /// One step of epoch `epoch`.
    ///
    /// # Errors
    /// libtorch refuses an operation, or the loss is no number any more.
    pub fn step(
        &mut self,
        epoch: usize,
        images: &Tensor,
        weigh: bool,
        loss: impl FnOnce(&Seen<'_>) -> AnyResult<Vec<Term>>,
    ) -> Result<StepValue, Error> {
        let rate = poly_learning_rate(self.settings.initial_lr, epoch, self.settings.epochs);
        let value = self.trainee.step(images, rate, weigh, loss).or_error(ErrorKind::DoesNotFit)?;
        if !value.loss.is_finite() {
            return Err(Error::new(
                ErrorKind::Input,
                format!(
                    "{}: the loss of epoch {epoch}, step {} is {}; try a smaller --learning-rate",
                    self.facts.name, self.tally.steps, value.loss
                ),
            ));
        }
        self.tally.steps += 1;
        self.tally.loss += value.loss;
        for (name, term) in &value.terms {
            *self.tally.terms.entry(name).or_default() += term;
        }
        for (name, pull) in &value.pulls {
            let sum = self.tally.pulls.entry(name).or_default();
            *sum = (sum.0 + pull, sum.1 + 1);
        }
        Ok(value)
    }

    /// Must be called between an epoch's last step and its first [`Course::watch`].
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn steps_done(&mut self) -> Result<(), Error> {
        if let (Some((network, engine)), Some(average)) = (&mut self.averaged, &self.trainee.average) {
            for (parameter, values) in network.parameters.iter().zip(average.values()) {
                tch::no_grad(|| parameter.tensor.shallow_clone().f_copy_(values)).or_error(ErrorKind::DoesNotFit)?;
            }
            engine.weights_changed();
        }
        Ok(())
    }

    /// Looks at patches that are not trained on: their loss, and what the network decides.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn watch(&mut self, patches: &Patches, loss: &SegmentationLoss) -> Result<(), Error> {
        let (network, engine) = match &mut self.averaged {
            Some((network, engine)) => (&*network, engine),
            None => (&self.trainee.network, &mut self.trainee.engine),
        };
        let logits = engine.infer(network, &patches.images).or_error(ErrorKind::DoesNotFit)?;
        let labels = &patches.labels;
        let value = tch::no_grad(|| -> AnyResult<f64> {
            self.tally.counts.add(&self.targets, &logits[0], &loss.truth(labels)?, labels)?;
            let value = loss.deep(&logits, labels)?;
            Ok(f64::try_from(&value.dice.f_add(&value.cross_entropy)?)?)
        });
        self.tally.watched_loss += value.or_error(ErrorKind::DoesNotFit)?;
        self.tally.watched += 1;
        Ok(())
    }

    /// Ends epoch `epoch`: a line in the log, the state saved, the page drawn again.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn end_epoch(&mut self, epoch: usize, clock: Clock) -> Result<EpochRecord, Error> {
        let tally = std::mem::replace(&mut self.tally, Tally::new(&self.targets));
        let steps = tally.steps.max(1) as f64;
        let pseudo_dice = if tally.watched > 0 { tally.counts.dice() } else { Vec::new() };
        self.state.ema_dice = match (self.state.ema_dice, mean(&pseudo_dice)) {
            (Some(ema), Some(mean)) => Some(EMA * ema + (1.0 - EMA) * mean),
            (ema, mean) => ema.or(mean),
        };
        self.state.epochs_done = epoch + 1;
        let record = EpochRecord {
            epoch,
            lr: poly_learning_rate(self.settings.initial_lr, epoch, self.settings.epochs),
            loss: tally.loss / steps,
            val_loss: (tally.watched > 0).then(|| tally.watched_loss / tally.watched as f64),
            pseudo_dice,
            ema_dice: self.state.ema_dice,
            samples: (self.facts.batch_size * tally.steps) as u64,
            seconds: clock.seconds,
            wait_seconds: clock.wait_seconds,
            teacher_passes: clock.teacher_passes,
            terms: tally.terms.iter().map(|(name, sum)| (name.to_string(), sum / steps)).collect(),
            pulls: tally.pulls.iter().map(|(name, (sum, n))| (name.to_string(), sum / *n as f64)).collect(),
        };
        // The log first: an epoch that is logged twice counts once, one that is missing is a hole.
        self.log.append(&record)?;
        checkpoint::save(&self.folder.latest(), &self.trainee, &self.state)?;
        page::write(&self.folder, &[])?;
        Ok(record)
    }

    /// Ends the run.
    ///
    /// # Errors
    /// The last checkpoint cannot be given its name.
    pub fn finish(&mut self) -> Result<(), Error> {
        if !self.folder.latest().is_file() {
            return Ok(());
        }
        let cannot = || format!("{} cannot be written", self.folder.last().display());
        std::fs::rename(self.folder.latest(), self.folder.last()).or_error_with(ErrorKind::Output, cannot)?;
        page::write(&self.folder, &[])
    }
}

/// Names of the terms that every run has.
pub const DICE: &str = "dice";
/// The other one.
pub const CROSS_ENTROPY: &str = "cross_entropy";

/// The terms of the labels' loss.
///
/// # Errors
/// libtorch refuses an operation.
pub fn label_terms(loss: &SegmentationLoss, logits: &[Tensor], labels: &Tensor) -> AnyResult<Vec<Term>> {
    let value = loss.deep(logits, labels)?;
    Ok(vec![
        Term { name: DICE, weight: 1.0, value: value.dice },
        Term { name: CROSS_ENTROPY, weight: 1.0, value: value.cross_entropy },
    ])
}

/// A network with its first weights.
fn begin(plan: &TrainingPlan, settings: &RunSettings, member: &Member) -> Result<Trainee, Error> {
    let mut network = Network::new(&member.unet, settings.device).or_error(ErrorKind::Model)?;
    network.initialise(settings.seed).or_error(ErrorKind::DoesNotFit)?;
    if let Start::Folder(folder, fold) = &member.start {
        let path = folder.join(format!("fold_{fold}")).join(DEFAULT_CHECKPOINT);
        let mut checkpoint = Checkpoint::open(&path).or_error(ErrorKind::Model)?;
        network.parameters.load(&mut checkpoint).or_error_with(ErrorKind::Model, || {
            format!("{} does not fit the plan of this work folder", path.display())
        })?;
    }
    let lifts = member.lifts.iter().map(|lift| Lift::new(lift, settings.device)).collect::<Result<Vec<_>, _>>();
    let lifts = lifts.or_error(ErrorKind::DoesNotFit)?;
    let descent = Sgd::new(SgdSettings::default(), network.parameters.len() + lifts.len());
    let average = match settings.average {
        Some(decay) => Some(AveragedWeights::new(decay, &network.parameters).or_error(ErrorKind::DoesNotFit)?),
        None => None,
    };
    Ok(Trainee { network, engine: engine(plan, settings, member)?, descent, average, lifts })
}

fn engine(plan: &TrainingPlan, settings: &RunSettings, member: &Member) -> Result<Engine, Error> {
    if settings.autograd {
        return Ok(Engine::Torch(settings.precision));
    }
    Engine::new(&member.unet, plan.patch_zyx, settings.device, settings.threads, settings.precision)
        .or_error(ErrorKind::DoesNotFit)
}

fn facts(
    plan: &TrainingPlan,
    settings: &RunSettings,
    split: &Split,
    member: &Member,
    plans_json: &str,
    network: &Network,
) -> RunFacts {
    let skip_background = usize::from(matches!(plan.targets.heads, Heads::Labels(_)));
    let mut notes = member.notes.clone();
    if let Some(decay) = settings.average {
        notes.insert("averaged_weights".into(), format!("{decay}"));
    }
    if settings.precision == Precision::Bf16 {
        notes.insert("convolutions".into(), "in bfloat16".into());
    }
    if let Start::Folder(folder, fold) = &member.start {
        notes.insert("initial_weights".into(), format!("{}, fold {fold}", folder.display()));
    }
    RunFacts {
        format: run::FORMAT,
        name: member.name.clone(),
        started_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        dataset: plan.dataset_name.clone(),
        plans: plan.plans_name.clone(),
        configuration: plan.configuration.clone(),
        plans_sha256: text_sha256(plans_json),
        fold: settings.fold.to_string(),
        training_cases: split.train.clone(),
        validation_cases: split.val.clone(),
        classes: plan.label_names[skip_background..].to_vec(),
        features_per_stage: member.unet.stages.iter().map(|stage| stage.features).collect(),
        parameters: network.parameter_count(),
        mirror_axes: vec![0, 1, 2],
        patch_zyx: plan.patch_zyx,
        batch_size: settings.batch_size.unwrap_or(plan.batch_size),
        steps_per_epoch: settings.steps_per_epoch,
        epochs: settings.epochs,
        initial_lr: settings.initial_lr,
        seed: settings.seed,
        device: format!("{:?}", settings.device).to_lowercase(),
        notes,
    }
}

/// Whether a run that is there was begun with these settings.
fn agree(there: &RunFacts, asked: &RunFacts) -> Result<(), Error> {
    let same = RunFacts { started_unix: there.started_unix, device: there.device.clone(), ..asked.clone() };
    if *there == same {
        return Ok(());
    }
    let (there, asked) = (serde_json::to_value(there), serde_json::to_value(same));
    let (Ok(serde_json::Value::Object(there)), Ok(serde_json::Value::Object(asked))) = (there, asked) else {
        return Err(Error::new(ErrorKind::Usage, "the run was begun with other settings"));
    };
    let different: Vec<String> = there
        .iter()
        .filter(|(key, value)| asked.get(*key) != Some(*value))
        .map(|(key, value)| match asked.get(key) {
            Some(now) if value.to_string().len() < 60 => format!("{key} was {value} and would be {now}"),
            _ => key.clone(),
        })
        .collect();
    Err(Error::new(
        ErrorKind::Usage,
        format!("the run was begun with other settings: {}; give the same ones to resume", different.join(", ")),
    ))
}

fn mean(values: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}
