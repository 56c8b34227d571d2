//! Training runs as commands name them.

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
    /// Those averaged over training where the checkpoint has them, else the last ones.
    #[default]
    Auto,
    /// Those averaged over training.
    Averaged,
    /// The last ones.
    Last,
}

/// A run's network, read from its best-known state.
pub(super) struct Trained {
    /// The network.
    pub(super) network: TrainedNetwork,
    /// What files say beside its weights.
    pub(super) facts: ModelFacts,
    /// The checkpoint read.
    pub(super) checkpoint: PathBuf,
}

/// The run at a path, or of that name in the work folder.
pub(super) fn find(work: &Work, given: &Path) -> Option<RunFolder> {
    [given.to_path_buf(), work.runs().join(given)].into_iter().find(|path| is_run(path)).map(RunFolder::new)
}

/// Whether a run has a network: one that is trained here, or one that was taken over.
pub(super) fn has_network(run: &RunFolder) -> bool {
    run.last().is_file() || run.latest().is_file() || taken_over(run).is_some()
}

/// The model file of a run that was not trained here but taken over.
pub(super) fn taken_over(run: &RunFolder) -> Option<PathBuf> {
    let trained = run.last().is_file() || run.latest().is_file();
    Some(run.model()).filter(|model| !trained && model.is_file())
}

/// Reads a run's network: from its last checkpoint, or the latest if it is not finished.
///
/// # Errors
/// It has no checkpoint yet, or its files do not fit each other.
pub(super) fn read(run: &RunFolder, which: WhichWeights) -> Result<Trained, Error> {
    let facts = RunFacts::read(run)?;
    let checkpoint = [run.last(), run.latest()].into_iter().find(|path| path.is_file()).ok_or_else(|| {
        Error::new(
            ErrorKind::Input,
            match taken_over(run) {
                Some(model) => {
                    format!("{} was taken over as {} and not trained here", run.path().display(), model.display())
                }
                None => format!(
                    "the run {} has no checkpoint yet; it writes one after its first epochs",
                    run.path().display()
                ),
            },
        )
    })?;
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
        .or_error_with(ErrorKind::Input, || format!("{}: {:?} is no fold", run.facts().display(), facts.fold))?;
    let epochs = file.metadata.get(tensors::EPOCHS_DONE).cloned();
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
    provenance.extend(epochs.map(|epochs| ("epochs".to_owned(), epochs)));
    let model = ModelFacts {
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
    };
    Ok(Trained { network, facts: model, checkpoint })
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
        } else if !name.starts_with(tensors::MOMENTUM) && !name.starts_with(tensors::LIFT) {
            last.insert(name, tensor);
        }
    }
    match which {
        WhichWeights::Averaged if averaged.is_empty() => Err(Error::new(
            ErrorKind::Input,
            format!("{} holds no averaged weights; take the last ones", checkpoint.display()),
        )),
        WhichWeights::Auto if averaged.is_empty() => Ok(last),
        WhichWeights::Auto | WhichWeights::Averaged => Ok(averaged),
        WhichWeights::Last => Ok(last),
    }
}
