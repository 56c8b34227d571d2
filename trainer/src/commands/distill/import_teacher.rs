//! Imports a teacher of another program as a run of the work folder, so that students can be compared with it: its network as
//! `model.onnx`, and the known facts of its training.

use crate::dataset::splits::Split;
use crate::plan::TrainingPlan;
use crate::report::run::{FORMAT, IMPORTED_FROM, RunFacts, RunFolder};
use crate::work::Work;
use scanside_app::error::{Error, ErrorKind, OrError, OrPathError};
use scanside_app::model::{Model, ModelOptions};
use scanside_app::output::PendingFile;
use scanside_core::nnunet::{self, FoldName, ImportOptions};
use scanside_core::onnx;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Key of the note with the hash of its graph.
const GRAPH: &str = "graph_sha256";
/// Digits of a network's hash in the name of its run, where a run of its name exists.
const HASH_DIGITS: usize = 8;

/// The name of a network's run and its folder: the name of the model, unless another network has it.
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

/// What is known of a teacher's training.
pub(super) struct TeacherFacts<'a> {
    /// The fold whose validation cases it is evaluated on.
    pub(super) fold: FoldName,
    /// The cases of that fold.
    pub(super) split: &'a Split,
    /// The cases that it was trained on, if they are known.
    pub(super) trained_on: Option<&'a [String]>,
}

/// The run of the model file or nnU-Net folder at `given`, created if there is none yet.
///
/// # Errors
/// The model cannot be read, or files cannot be written.
pub(super) fn import(
    work: &Work,
    plan: &TrainingPlan,
    given: &Path,
    facts: &TeacherFacts<'_>,
) -> Result<RunFolder, Error> {
    let (manifest, mut graph) = if nnunet::is_model_folder(given) {
        nnunet::import_folder(given, &ImportOptions::default()).or_error(ErrorKind::Model)?
    } else {
        let loaded = onnx::load(given, None).or_error(ErrorKind::Model)?;
        (loaded.manifest, loaded.model)
    };
    let whole = given.canonicalize().or_cannot_read(ErrorKind::Model, given)?;
    let name = if given.is_dir() { whole.file_name() } else { whole.file_stem() };
    let name = format!("{}_fold_{}", name.unwrap_or_default().to_string_lossy(), facts.fold);
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
    let run_facts = RunFacts {
        format: FORMAT,
        name,
        started_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        dataset: plan.dataset_name.clone(),
        plans: plan.plans_name.clone(),
        configuration: plan.configuration.clone(),
        plans_sha256: String::new(),
        fold: facts.fold.to_string(),
        training_cases: facts.trained_on.map(<[String]>::to_vec).unwrap_or_default(),
        validation_cases: facts.split.val.clone(),
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
        notes: BTreeMap::from([(IMPORTED_FROM.to_owned(), given.display().to_string()), (GRAPH.to_owned(), hash)]),
    };
    // Last: a folder without it is not a run.
    run_facts.write(&run)?;
    Ok(run)
}
