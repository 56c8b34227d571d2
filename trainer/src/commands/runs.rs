//! Training runs, as commands refer to them.

use crate::export::plans::Described;
use crate::export::{ModelFacts, TrainedNetwork, tensors};
use crate::report::run::{RunFacts, RunFolder, TRAINER, is_run};
use crate::work::{Work, read_text};
use clap::ValueEnum;
use scanside_app::choose::relatives::RUN;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_core::nnunet::FoldName;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which of a checkpoint's weights to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum WhichWeights {
    /// The averaged weights if the checkpoint has them, otherwise those after the last step.
    #[default]
    Auto,
    /// The averaged weights.
    Averaged,
    /// The weights after the last step.
    Last,
}

/// A run's network, read from its last checkpoint.
pub(super) struct Trained {
    /// The network.
    pub(super) network: TrainedNetwork,
    /// Its description, for exported files.
    pub(super) facts: ModelFacts,
    /// The checkpoint read.
    pub(super) checkpoint: PathBuf,
}

/// The run at a path, or of that name in the work folder.
pub(super) fn find(work: &Work, given: &Path) -> Option<RunFolder> {
    [given.to_path_buf(), work.runs().join(given)].into_iter().find(|path| is_run(path)).map(RunFolder::new)
}

/// Whether a run has a network: a trained or an imported one.
pub(super) fn has_network(run: &RunFolder) -> bool {
    run.last().is_file() || run.latest().is_file() || imported_model(run).is_some()
}

/// The model file of a run that was imported and not trained here.
pub(super) fn imported_model(run: &RunFolder) -> Option<PathBuf> {
    let trained = run.last().is_file() || run.latest().is_file();
    Some(run.model()).filter(|model| !trained && model.is_file())
}

/// Reads a run's network: from its last checkpoint, or the latest if it is not finished.
///
/// # Errors
/// It has no checkpoint yet, or its files do not belong together.
pub(super) fn read(run: &RunFolder, which: WhichWeights) -> Result<Trained, Error> {
    let facts = RunFacts::read(run)?;
    let checkpoint = checkpoint_of(run)?;
    let (plans, dataset) = (read_text(&run.plans())?, read_text(&run.dataset())?);
    let unet = Described::read(&plans, &dataset, &facts.configuration, TRAINER)?.unet;
    let file = tensors::read_tensors(&checkpoint)?;
    let weights = choose(file.tensors, which, &checkpoint)?;
    let network = TrainedNetwork::new(unet, weights).map_err(|error| {
        let sentence = format!("{} does not fit the run's plans.json", checkpoint.display());
        Error::with_source(error.kind(), sentence, error)
    })?;
    let fold: FoldName = facts
        .fold
        .parse()
        .or_error_with(ErrorKind::Input, || format!("{}: {:?} is not a fold", run.facts().display(), facts.fold))?;
    let facts = model_facts(&facts, fold, plans, dataset, file.metadata.get(tensors::EPOCHS_DONE));
    Ok(Trained { network, facts, checkpoint })
}

fn checkpoint_of(run: &RunFolder) -> Result<PathBuf, Error> {
    [run.last(), run.latest()].into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let path = run.path().display();
        let sentence = match imported_model(run) {
            Some(model) => format!("the run {path} was imported as {} and not trained here", model.display()),
            None => format!("the run {path} has no checkpoint yet; it is written after the first epoch"),
        };
        Error::new(ErrorKind::Input, sentence).about(run.path())
    })
}

/// The description of a trained network, for exported files.
fn model_facts(
    facts: &RunFacts,
    fold: FoldName,
    plans: String,
    dataset: String,
    epochs: Option<&String>,
) -> ModelFacts {
    let mut provenance = BTreeMap::from([
        ("source".to_owned(), "trained with scanside-train".to_owned()),
        ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        (RUN.to_owned(), facts.name.clone()),
        ("dataset".to_owned(), facts.dataset.clone()),
        ("plans".to_owned(), facts.plans.clone()),
        ("configuration".to_owned(), facts.configuration.clone()),
        ("plans_sha256".to_owned(), facts.plans_sha256.clone()),
        ("trainer".to_owned(), TRAINER.to_owned()),
        ("folds".to_owned(), facts.fold.clone()),
    ]);
    provenance.extend(epochs.map(|epochs| ("epochs".to_owned(), epochs.clone())));
    ModelFacts {
        plans,
        dataset,
        configuration: facts.configuration.clone(),
        trainer_name: TRAINER.to_owned(),
        fold,
        mirror_axes: facts.mirror_axes.clone(),
        provenance,
        accuracy: BTreeMap::new(),
        measured: Vec::new(),
        family: Vec::new(),
    }
}

fn choose(
    all: BTreeMap<String, crate::export::Tensor>,
    which: WhichWeights,
    checkpoint: &Path,
) -> Result<BTreeMap<String, crate::export::Tensor>, Error> {
    let (mut averaged, mut last) = (BTreeMap::new(), BTreeMap::new());
    for (name, tensor) in all {
        if let Some(name) = name.strip_prefix(tensors::AVERAGE) {
            averaged.insert(name.to_owned(), tensor);
        } else if !name.starts_with(tensors::MOMENTUM) && !name.starts_with(tensors::PROJECTION) {
            last.insert(name, tensor);
        }
    }
    match which {
        WhichWeights::Averaged if averaged.is_empty() => Err(Error::new(
            ErrorKind::Input,
            format!("{} has no averaged weights; use --weights last", checkpoint.display()),
        )),
        WhichWeights::Auto if averaged.is_empty() => Ok(last),
        WhichWeights::Auto | WhichWeights::Averaged => Ok(averaged),
        WhichWeights::Last => Ok(last),
    }
}
