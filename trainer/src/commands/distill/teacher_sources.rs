//! The networks of the teachers that `distill` is given.

use super::super::runs::{self, WhichWeights};
use crate::dataset::splits;
use crate::distill::model_teacher::ModelFile;
use crate::distill::source::{TeacherNetwork, TeacherSource, cases_of_file, cases_of_fold};
use crate::export::TrainedNetwork;
use crate::export::plans::Described;
use crate::plan::TrainingPlan;
use crate::report::run::{RunFacts, RunFolder};
use crate::training::batches;
use crate::work::{Work, read_text};
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::model::DEFAULT_CHECKPOINT;
use scanside_core::nnunet;
use scanside_core::nnunet::checkpoint::Checkpoint;
use scanside_core::nnunet::layers::Layers;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The networks of a run, a model folder or a model file.
///
/// # Errors
/// `given` is none of these, or cannot be read.
pub(super) fn read(work: &Work, plan: &TrainingPlan, given: &Path) -> Result<Vec<TeacherSource>, Error> {
    if let Some(run) = runs::find(work, given) {
        return Ok(vec![of_run(plan, &run)?]);
    }
    if given.is_file() {
        return Ok(vec![of_file(work, plan, given)?]);
    }
    if nnunet::is_model_folder(given) {
        return of_folder(work, plan, given);
    }
    let sentence =
        format!("{} is neither a training run, nor an nnU-Net v2 model folder, nor a model file", given.display());
    Err(Error::new(ErrorKind::Model, sentence).about(given))
}

/// The training cases of several networks, if they are known for all.
pub(super) fn training_cases(networks: &[TeacherSource]) -> Option<Vec<String>> {
    let cases: Option<Vec<&Vec<String>>> = networks.iter().map(|network| network.trained_on.as_ref()).collect();
    let cases: BTreeSet<&String> = cases?.into_iter().flatten().collect();
    Some(cases.into_iter().cloned().collect())
}

fn of_run(plan: &TrainingPlan, run: &RunFolder) -> Result<TeacherSource, Error> {
    let facts = RunFacts::read(run)?;
    let known = facts.dataset == plan.dataset_name && !facts.training_cases.is_empty();
    let network = match runs::imported_model(run) {
        Some(model) => TeacherNetwork::Model(Box::new(ModelFile::read(&model)?)),
        None => TeacherNetwork::Trained(runs::read(run, WhichWeights::Auto)?.network),
    };
    Ok(TeacherSource { name: facts.name, network, trained_on: known.then_some(facts.training_cases) })
}

fn of_file(work: &Work, plan: &TrainingPlan, path: &Path) -> Result<TeacherSource, Error> {
    let ids = batches::prepared_ids(work)?;
    let known = splits::read(&work.splits(), &ids)?;
    let file = ModelFile::read(path)?;
    let trained_on = cases_of_file(&file.manifest().provenance, &plan.dataset_name, &known, &ids)?;
    let network = TeacherNetwork::Model(Box::new(file));
    Ok(TeacherSource { name: path.display().to_string(), network, trained_on })
}

/// All folds of a folder.
fn of_folder(work: &Work, plan: &TrainingPlan, folder: &Path) -> Result<Vec<TeacherSource>, Error> {
    let ids = batches::prepared_ids(work)?;
    let known = splits::read(&work.splits(), &ids)?;
    let (plans, dataset) = (read_text(&folder.join("plans.json"))?, read_text(&folder.join("dataset.json"))?);
    let mut sources = Vec::new();
    let folds = nnunet::Folds::find(folder, DEFAULT_CHECKPOINT).or_error(ErrorKind::Model)?;
    for fold in folds.numbered_or_all() {
        let path = folder.join(format!("fold_{fold}")).join(DEFAULT_CHECKPOINT);
        let mut checkpoint = Checkpoint::open(&path).or_error(ErrorKind::Model)?;
        let (configuration, trainer) = (checkpoint.configuration().to_string(), checkpoint.trainer_name().to_string());
        let described = Described::read(&plans, &dataset, &configuration, &trainer)?;
        let mut weights = BTreeMap::new();
        for tensor in Layers::of(&described.unet).expected() {
            let values = checkpoint.read_f32(tensor.name()).or_error(ErrorKind::Model)?;
            weights.insert(tensor.names[0].clone(), (tensor.shape, values));
        }
        let network = TeacherNetwork::Trained(TrainedNetwork::new(described.unet, weights)?);
        let trained_on = cases_of_fold(&described.plans.dataset_name, &plan.dataset_name, fold, &known, &ids)?;
        sources.push(TeacherSource { name: format!("{}, fold {fold}", folder.display()), network, trained_on });
    }
    Ok(sources)
}
