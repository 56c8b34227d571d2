//! The description of a run in `run.json`, and whether a run that is resumed was started with the same settings.

use super::settings::{InitialWeights, RunSpec, TrainingContext};
use crate::dataset::source::text_sha256;
use crate::dataset::splits::Split;
use crate::network::{Network, Precision};
use crate::report::run::{self, RunFacts};
use crate::targets::Heads;
use scanside_app::error::{Error, ErrorKind};
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longer values of `run.json` are not quoted in errors.
const MAX_QUOTED: usize = 60;

/// The description of a run that begins now.
pub(super) fn describe(
    context: &TrainingContext<'_>,
    split: &Split,
    spec: &RunSpec,
    plans_json: &str,
    network: &Network,
) -> RunFacts {
    let TrainingContext { plan, settings, .. } = *context;
    let background = usize::from(matches!(plan.targets.heads, Heads::Labels(_)));
    let mut notes = spec.notes.clone();
    if let Some(decay) = settings.average {
        notes.insert("averaged_weights".into(), format!("{decay}"));
    }
    if settings.precision == Precision::Bf16 {
        notes.insert("convolutions".into(), "in bfloat16".into());
    }
    if let InitialWeights::NnUnetFolder(folder, fold) = &spec.initial_weights {
        notes.insert("initial_weights".into(), format!("{}, fold {fold}", folder.display()));
    }
    RunFacts {
        format: run::FORMAT,
        name: spec.name.clone(),
        started_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        dataset: plan.dataset_name.clone(),
        plans: plan.plans_name.clone(),
        configuration: plan.configuration.clone(),
        plans_sha256: text_sha256(plans_json),
        fold: settings.fold.to_string(),
        training_cases: split.train.clone(),
        validation_cases: split.val.clone(),
        classes: plan.label_names[background..].to_vec(),
        features_per_stage: spec.unet.stages.iter().map(|stage| stage.features).collect(),
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

/// Compares an existing run with the one that was asked for. Time of start and device may differ.
///
/// # Errors
/// Anything else differs; the sentence names it.
pub(super) fn check_same(existing: &RunFacts, asked: &RunFacts) -> Result<(), Error> {
    let asked = RunFacts { started_unix: existing.started_unix, device: existing.device.clone(), ..asked.clone() };
    if *existing == asked {
        return Ok(());
    }
    let entries = |facts: &RunFacts| match serde_json::to_value(facts) {
        Ok(Value::Object(entries)) => entries,
        _ => serde_json::Map::new(),
    };
    let asked = entries(&asked);
    let different: Vec<String> = entries(existing)
        .iter()
        .filter(|(key, value)| asked.get(*key) != Some(*value))
        .map(|(key, value)| match asked.get(key) {
            Some(now) if value.to_string().len() < MAX_QUOTED => format!("{key} was {value} and would be {now}"),
            _ => key.clone(),
        })
        .collect();
    let sentence =
        format!("the run was started with other settings: {}; resume with the same ones", different.join(", "));
    Err(Error::new(ErrorKind::Usage, sentence))
}
