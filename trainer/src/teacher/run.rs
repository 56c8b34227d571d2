//! The run from its first epoch, or from where it stopped, to its last.

use super::checkpoint::{self, State};
use super::settings::{Start, TeacherSettings};
use super::step::{StepValue, Trainee, observe, tensors};
use crate::augment;
use crate::dataset::cache::CachedCase;
use crate::dataset::splits::{self, Split};
use crate::loader::{CaseData, Loader, Settings, Stream};
use crate::loss::{HardCounts, SegmentationLoss};
use crate::network::{Engine, Initialise, Network};
use crate::optimise::{AveragedWeights, Sgd, SgdSettings, poly_learning_rate};
use crate::plan::TrainingPlan;
use crate::report::log::{EpochLog, EpochRecord};
use crate::report::run::{self, RunFacts, RunFolder};
use crate::targets::{Heads, Targets};
use crate::work::Work;
use scanside::exit::{Exit, Failure, OrExit};
use scanside::output::write_whole;
use scanside_core::manifest::Normalization;
use scanside_core::nnunet::checkpoint::Checkpoint;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tch::Tensor;

/// Batches that each worker of the loader has ready.
const AHEAD: usize = 2;
/// How much of the pseudo-Dice of earlier epochs goes on.
const EMA: f64 = 0.9;

/// Hears how a run goes on.
pub trait Progress {
    /// The run begins, or goes on after `epochs_done` epochs.
    fn begins(&mut self, _facts: &RunFacts, _epochs_done: usize) {}

    /// A step is done.
    fn step(&mut self, _epoch: usize, _step: usize, _value: &StepValue) {}

    /// An epoch is done and saved.
    fn epoch(&mut self, _record: &EpochRecord) {}
}

/// A progress that nobody watches.
impl Progress for () {}

/// Trains to the last epoch. With `resume` a run of this name goes on; without, there must be none.
///
/// # Errors
/// The work folder is not prepared, the settings contradict the run there is, something cannot be written, or the user
/// stopped the run.
pub fn train(
    work: &Work,
    settings: &TeacherSettings,
    resume: bool,
    progress: &mut dyn Progress,
) -> Result<RunFacts, Failure> {
    let plan = TrainingPlan::read(work)?;
    let ids = prepared_ids(work)?;
    let split = splits::fold(&splits::read(&work.splits(), &ids)?, &ids, settings.fold)?;
    let folder = RunFolder::new(work.runs().join(&settings.name));
    let began = folder.facts().is_file();
    if began && !resume {
        return Err(Failure::says(
            Exit::Usage,
            format!(
                "{} is there already; go on with --resume, or give the run another --name",
                folder.path().display()
            ),
        ));
    }
    let mut trainee = begin(&plan, settings)?;
    let facts = facts(&plan, settings, &split, &trainee.network);
    let mut state = State::default();
    if began {
        agree(&RunFacts::read(&folder)?, &facts)?;
        if folder.last().is_file() {
            return Err(Failure::says(
                Exit::Usage,
                format!("{} is finished; train longer under another --name", folder.path().display()),
            ));
        }
        if folder.latest().is_file() {
            state = checkpoint::restore(&folder.latest(), &mut trainee, settings.device)?;
        }
    } else {
        write_whole(&folder.plans(), plan.plans_json.as_bytes())?;
        write_whole(&folder.dataset(), plan.dataset_json.as_bytes())?;
        facts.write(&folder)?;
    }
    progress.begins(&facts, state.epochs_done);

    let mut log = EpochLog::open(&folder.log())?;
    let loss = SegmentationLoss::new(plan.targets.clone(), plan.batch_dice);
    let done = state.epochs_done as u64;
    let mut training =
        loader(work, &plan, settings, &split.train, Stream::Training, done * settings.steps_per_epoch as u64)?;
    let mut watching = match split.val.is_empty() || settings.validation_steps == 0 {
        true => None,
        false => {
            let first = done * settings.validation_steps as u64;
            Some(loader(work, &plan, settings, &split.val, Stream::Validation, first)?)
        }
    };
    // What is watched, and used later, are the averaged weights.
    let mut averaged = match trainee.average {
        Some(_) => Some((Network::new(&plan.unet, settings.device).or_exit(Exit::BadModel)?, engine(&plan, settings)?)),
        None => None,
    };
    for epoch in state.epochs_done..settings.epochs {
        let begun = Instant::now();
        let waited = training.waited();
        let rate = poly_learning_rate(settings.initial_lr, epoch, settings.epochs);
        let mut sum = StepValue::default();
        for step in 0..settings.steps_per_epoch {
            scanside::interrupt::requested().then(stopped).map_or(Ok(()), Err)?;
            let batch = training.next_batch().or_exit(Exit::BadInput)?;
            let (images, labels) = tensors(&batch, settings.device).or_exit(Exit::DoesNotFit)?;
            training.recycle(batch);
            let value = trainee.step(&loss, &images, &labels, rate).or_exit(Exit::DoesNotFit)?;
            if !value.loss.is_finite() {
                return Err(Failure::says(
                    Exit::BadInput,
                    format!("the loss of epoch {epoch}, step {step} is {}; try a smaller --learning-rate", value.loss),
                ));
            }
            sum = StepValue {
                loss: sum.loss + value.loss,
                dice: sum.dice + value.dice,
                cross_entropy: sum.cross_entropy + value.cross_entropy,
                gradient_norm: sum.gradient_norm + value.gradient_norm,
            };
            progress.step(epoch, step, &value);
        }
        let (network, engine) = match (&mut averaged, &trainee.average) {
            (Some((network, engine)), Some(average)) => {
                for (parameter, values) in network.parameters.iter().zip(average.values()) {
                    tch::no_grad(|| parameter.tensor.shallow_clone().f_copy_(values)).or_exit(Exit::DoesNotFit)?;
                }
                engine.weights_changed();
                (&*network, engine)
            }
            _ => (&trainee.network, &mut trainee.engine),
        };
        let watched = match &mut watching {
            Some(loader) => Some(watch(network, engine, loader, &loss, &plan.targets, settings)?),
            None => None,
        };
        let mean = watched.as_ref().and_then(|(_, dice)| mean(dice));
        state.ema_dice = match (state.ema_dice, mean) {
            (Some(ema), Some(mean)) => Some(EMA * ema + (1.0 - EMA) * mean),
            (ema, mean) => ema.or(mean),
        };
        state.epochs_done = epoch + 1;
        let steps = settings.steps_per_epoch as f64;
        let record = EpochRecord {
            epoch,
            lr: rate,
            loss: sum.loss / steps,
            dice_loss: sum.dice / steps,
            ce: sum.cross_entropy / steps,
            val_loss: watched.as_ref().map(|(loss, _)| *loss),
            pseudo_dice: watched.map_or(Vec::new(), |(_, dice)| dice),
            ema_dice: state.ema_dice,
            samples: (facts.batch_size * settings.steps_per_epoch) as u64,
            seconds: begun.elapsed().as_secs_f64(),
            wait_seconds: (training.waited() - waited).as_secs_f64(),
        };
        // The log first: an epoch that is logged twice counts once, one that is missing is a hole.
        log.append(&record)?;
        checkpoint::save(&folder.latest(), &trainee, &state)?;
        progress.epoch(&record);
    }
    let cannot = || format!("{} cannot be written", folder.last().display());
    std::fs::rename(folder.latest(), folder.last()).or_exit_with(Exit::CouldNotWrite, cannot)?;
    Ok(facts)
}

fn stopped() -> Failure {
    Failure::says(Exit::Interrupted, "stopped; the run goes on from its last whole epoch with --resume")
}

/// Ids of the cases that were prepared, in order.
fn prepared_ids(work: &Work) -> Result<Vec<String>, Failure> {
    let missing = || format!("{} has no prepared cases; run scanside-train plan first", work.root().display());
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(work.cache()).or_exit_with(Exit::BadInput, missing)? {
        let name = entry.or_exit_with(Exit::BadInput, missing)?.file_name();
        ids.extend(name.to_str().and_then(|name| name.strip_suffix(".scase")).map(str::to_string));
    }
    if ids.is_empty() {
        return Err(Failure::says(Exit::BadInput, missing()));
    }
    ids.sort();
    Ok(ids)
}

/// A network with its first weights.
fn begin(plan: &TrainingPlan, settings: &TeacherSettings) -> Result<Trainee, Failure> {
    let mut network = Network::new(&plan.unet, settings.device).or_exit(Exit::BadModel)?;
    network.initialise(settings.seed).or_exit(Exit::DoesNotFit)?;
    if let Start::Folder(folder, fold) = &settings.start {
        let path = folder.join(format!("fold_{fold}")).join("checkpoint_final.pth");
        let mut checkpoint = Checkpoint::open(&path).or_exit(Exit::BadModel)?;
        network
            .parameters
            .load(&mut checkpoint)
            .or_exit_with(Exit::BadModel, || format!("{} does not fit the plan of this work folder", path.display()))?;
    }
    let descent = Sgd::new(SgdSettings::default(), &network.parameters);
    let average = match settings.average {
        Some(decay) => Some(AveragedWeights::new(decay, &network.parameters).or_exit(Exit::DoesNotFit)?),
        None => None,
    };
    Ok(Trainee { network, engine: engine(plan, settings)?, descent, average })
}

fn engine(plan: &TrainingPlan, settings: &TeacherSettings) -> Result<Engine, Failure> {
    Engine::new(&plan.unet, plan.patch_zyx, settings.device, settings.threads).or_exit(Exit::DoesNotFit)
}

fn facts(plan: &TrainingPlan, settings: &TeacherSettings, split: &Split, network: &Network) -> RunFacts {
    let skip_background = usize::from(matches!(plan.targets.heads, Heads::Labels(_)));
    let mut notes = BTreeMap::from([("loss".to_string(), "Dice + cross entropy, deep supervision".to_string())]);
    if let Some(decay) = settings.average {
        notes.insert("averaged_weights".into(), format!("{decay}"));
    }
    if let Start::Folder(folder, fold) = &settings.start {
        notes.insert("initial_weights".into(), format!("{}, fold {fold}", folder.display()));
    }
    RunFacts {
        format: run::FORMAT,
        name: settings.name.clone(),
        started_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        dataset: plan.dataset_name.clone(),
        plans: plan.plans_name.clone(),
        configuration: plan.configuration.clone(),
        plans_sha256: crate::dataset::source::text_sha256(&plan.plans_json),
        fold: settings.fold.to_string(),
        training_cases: split.train.clone(),
        validation_cases: split.val.clone(),
        classes: plan.label_names[skip_background..].to_vec(),
        features_per_stage: plan.unet.stages.iter().map(|stage| stage.features).collect(),
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
fn agree(there: &RunFacts, asked: &RunFacts) -> Result<(), Failure> {
    let same = RunFacts { started_unix: there.started_unix, device: there.device.clone(), ..asked.clone() };
    if *there == same {
        return Ok(());
    }
    let (there, asked) = (serde_json::to_value(there), serde_json::to_value(same));
    let (Ok(serde_json::Value::Object(there)), Ok(serde_json::Value::Object(asked))) = (there, asked) else {
        return Err(Failure::says(Exit::Usage, "the run was begun with other settings"));
    };
    let different: Vec<String> = there
        .iter()
        .filter(|(key, value)| asked.get(*key) != Some(*value))
        .map(|(key, value)| match asked.get(key) {
            Some(now) if value.to_string().len() < 60 => format!("{key} was {value} and would be {now}"),
            _ => key.clone(),
        })
        .collect();
    Err(Failure::says(
        Exit::Usage,
        format!("the run was begun with other settings: {}; give the same ones to resume", different.join(", ")),
    ))
}

fn loader(
    work: &Work,
    plan: &TrainingPlan,
    settings: &TeacherSettings,
    ids: &[String],
    stream: Stream,
    first: u64,
) -> Result<Loader, Failure> {
    let masked: Vec<bool> = plan
        .channels
        .iter()
        .map(|channel| matches!(channel.normalization, Normalization::ZScore { masked: true }))
        .collect();
    let cases = ids
        .iter()
        .map(|id| Ok(Arc::new(CachedCase::open(&work.case(id))?) as Arc<dyn CaseData>))
        .collect::<Result<Vec<_>, Failure>>()?;
    let loading = Settings {
        plan: augment::Plan::new(plan.patch_zyx, &masked),
        batch: settings.batch_size.unwrap_or(plan.batch_size),
        stream,
        annotated: plan.targets.ignore.map(|_| classes(&plan.targets)),
        ahead: AHEAD,
    };
    Loader::start(cases, loading, settings.seed, first, settings.threads).or_exit(Exit::BadInput)
}

/// Classes whose voxels a case lists; where there is an ignore label, the list of all annotated voxels follows them.
fn classes(targets: &Targets) -> usize {
    HardCounts::new(targets).dice().len()
}

/// The mean loss and the Dice per class over some batches of validation patches.
fn watch(
    network: &Network,
    engine: &mut Engine,
    loader: &mut Loader,
    loss: &SegmentationLoss,
    targets: &Targets,
    settings: &TeacherSettings,
) -> Result<(f64, Vec<Option<f64>>), Failure> {
    let mut counts = HardCounts::new(targets);
    let mut sum = 0.0;
    for _ in 0..settings.validation_steps {
        scanside::interrupt::requested().then(stopped).map_or(Ok(()), Err)?;
        let batch = loader.next_batch().or_exit(Exit::BadInput)?;
        let (images, labels): (Tensor, Tensor) = tensors(&batch, settings.device).or_exit(Exit::DoesNotFit)?;
        loader.recycle(batch);
        sum += observe(network, engine, loss, targets, &images, &labels, &mut counts).or_exit(Exit::DoesNotFit)?;
    }
    Ok((sum / settings.validation_steps as f64, counts.dice()))
}

fn mean(values: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}
