//! A teacher from elsewhere becomes a run of the work folder, so that students can be compared with it: its network as
//! `model.onnx`, and what is known of its training.

use crate::dataset::splits::Split;
use crate::plan::TrainingPlan;
use crate::report::run::{FORMAT, RunFacts, RunFolder, TAKEN_FROM};
use crate::work::Work;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::model::{Model, ModelOptions};
use scanside_app::output::PendingFile;
use scanside_core::nnunet::{self, FoldName, ImportOptions};
use scanside_core::onnx;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Key of the note that holds its hash.
const GRAPH: &str = "graph_sha256";
/// Digits of a network's hash in the name of its run, where its own name is another's.
const HASH_DIGITS: usize = 8;

/// The name of a network's run, and where it lies or can be made: that of the model, unless another network has it.
fn place(work: &Work, name: &str, graph: &str) -> Result<(String, RunFolder), Error> {
    let mut name = name.to_owned();
    loop {
        let run = RunFolder::new(work.runs().join(&name));
        let ours = |facts: RunFacts| facts.notes.get(GRAPH).is_some_and(|other| other == graph);
        if !run.facts().is_file() || ours(RunFacts::read(&run)?) {
            return Ok((name, run));
        }
        name = format!("{name}-{}", &graph[..HASH_DIGITS]);
    }
}

/// The run of the model file or nnU-Net folder at `given`, made if there is none yet. `seen` are the cases it is known to
/// have been trained on; `split` is that of `fold`, by which it will be judged.
///
/// # Errors
/// The model cannot be read, or files cannot be written.
pub(super) fn adopt(
    work: &Work,
    plan: &TrainingPlan,
    given: &Path,
    fold: FoldName,
    split: &Split,
    seen: Option<&[String]>,
) -> Result<RunFolder, Error> {
    let (manifest, mut graph) = if nnunet::is_model_folder(given) {
        nnunet::import_folder(given, &ImportOptions::default()).or_error(ErrorKind::Model)?
    } else {
        let loaded = onnx::load(given, None).or_error(ErrorKind::Model)?;
        (loaded.manifest, loaded.model)
    };
    let whole = given.canonicalize().or_error(ErrorKind::Model)?;
    let name = if given.is_dir() { whole.file_name() } else { whole.file_stem() };
    let name = format!("{}_fold_{fold}", name.unwrap_or_default().to_string_lossy());
    let hash = graph.graph_sha256();
    let (name, run) = place(work, &name, &hash)?;
    if run.facts().is_file() {
        return Ok(run);
    }
    graph.set_manifest(&manifest).or_error(ErrorKind::Model)?;
    let mut file = PendingFile::create(&run.model())?;
    graph
        .write(&mut file)
        .or_error_with(ErrorKind::Output, || format!("{} cannot be written", run.model().display()))?;
    drop(graph);
    file.publish()?;
    let model = Model::open(&run.model(), &ModelOptions::default())?;
    let classes = plan.manifest.labels.heads().iter().filter(|head| head.value != 0);
    let facts = RunFacts {
        format: FORMAT,
        name,
        started_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        dataset: plan.dataset_name.clone(),
        plans: plan.plans_name.clone(),
        configuration: plan.configuration.clone(),
        plans_sha256: String::new(),
        fold: fold.to_string(),
        training_cases: seen.map(<[String]>::to_vec).unwrap_or_default(),
        validation_cases: split.val.clone(),
        classes: classes.map(|head| head.name.clone()).collect(),
        features_per_stage: Vec::new(),
        parameters: model.parameters(),
        mirror_axes: manifest.mirror_axes.clone(),
        patch_zyx: manifest.grid.patch_zyx,
        batch_size: 0,
        steps_per_epoch: 0,
        epochs: 0,
        initial_lr: 0.0,
        seed: 0,
        device: "elsewhere".into(),
        notes: BTreeMap::from([(TAKEN_FROM.to_owned(), given.display().to_string()), (GRAPH.to_owned(), hash)]),
    };
    // Last: a run without it is none.
    facts.write(&run)?;
    Ok(run)
}
