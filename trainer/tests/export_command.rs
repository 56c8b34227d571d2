//! Commands on a work folder: a run as training leaves it, and a dataset of real cases.

use scanside_app::error::{Error, ErrorKind};
use scanside_app::interrupt::Stop;
use scanside_core::nnunet::checkpoint::Checkpoint;
use scanside_core::nnunet::layers::Layers;
use scanside_core::nnunet::{ImportOptions, import_folder};
use scanside_core::onnx;
use scanside_trainer::commands::export::{self, ExportArgs};
use scanside_trainer::commands::status::{self, StatusArgs};
use scanside_trainer::commands::validate::{self, ValidateArgs};
use scanside_trainer::dataset::raw::RawDataset;
use scanside_trainer::dataset::source::Source;
use scanside_trainer::exit::Exit;
use scanside_trainer::export::plans::Described;
use scanside_trainer::export::{Tensor, tensors};
use scanside_trainer::report::run::{FORMAT, RunFacts, RunFolder};
use scanside_trainer::validate::Validation;
use scanside_trainer::work::Work;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Weights of the golden network, and of one whose every weight is half as large.
fn weights(factor: f32) -> BTreeMap<String, Tensor> {
    let folder = workspace().join("tests/golden/nnunet/plain_bare");
    let mut checkpoint = Checkpoint::open(&folder.join("fold_0/checkpoint_final.pth")).unwrap();
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let described = Described::read(&text("plans.json"), &text("dataset.json"), "3d_fullres", "nnUNetTrainer").unwrap();
    let tensor = |tensor: scanside_core::nnunet::layers::Expected| {
        let values = checkpoint.read_f32(tensor.name()).unwrap().iter().map(|v| v * factor).collect();
        (tensor.names[0].clone(), (tensor.shape, values))
    };
    Layers::of(&described.unet).expected().into_iter().map(tensor).collect()
}

/// A work folder with two real cases, of which fold 0 holds one back, and a run named `teacher`.
fn work(place: &Path) -> Work {
    let golden = workspace().join("tests/golden/nnunet/plain_bare");
    let dataset =
        r#"{"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1, "other": 2}, "file_ending": ".nii.gz"}"#;
    let raw = place.join("Dataset004_Hippocampus");
    for folder in ["imagesTr", "labelsTr"] {
        fs::create_dir_all(raw.join(folder)).unwrap();
    }
    let examples = workspace().join("examples/hippocampus");
    for id in ["hippocampus_034", "hippocampus_052"] {
        let (image, label) = (format!("{id}_0000.nii.gz"), format!("{id}.nii.gz"));
        fs::copy(examples.join("images").join(&image), raw.join("imagesTr").join(&image)).unwrap();
        fs::copy(examples.join("labels").join(&label), raw.join("labelsTr").join(&label)).unwrap();
    }
    fs::write(raw.join("dataset.json"), dataset).unwrap();

    let work = Work::new(place.join("work"));
    let run = RunFolder::new(work.runs().join("teacher"));
    fs::create_dir_all(run.path()).unwrap();
    fs::write(work.dataset(), dataset).unwrap();
    Source::of(&RawDataset::open(&raw).unwrap(), Source::default()).write(&work).unwrap();
    let splits = r#"[{"train": ["hippocampus_034"], "val": ["hippocampus_052"]}, {"train": ["hippocampus_034", "hippocampus_052"], "val": []}]"#;
    fs::write(work.splits(), splits).unwrap();

    let plans = fs::read_to_string(golden.join("plans.json")).unwrap();
    let facts = RunFacts {
        format: FORMAT,
        name: "teacher".into(),
        started_unix: 0,
        dataset: "Dataset004_Hippocampus".into(),
        plans: "nnUNetPlans".into(),
        configuration: "3d_fullres".into(),
        plans_sha256: tensors::sha256(&plans),
        fold: "0".into(),
        training_cases: vec!["hippocampus_034".into()],
        validation_cases: vec!["hippocampus_052".into()],
        classes: vec!["a".into(), "b".into()],
        features_per_stage: vec![4, 6],
        parameters: 1,
        mirror_axes: vec![],
        patch_zyx: [8; 3],
        batch_size: 2,
        steps_per_epoch: 250,
        epochs: 10,
        initial_lr: 0.01,
        seed: 0,
        device: "cpu".into(),
        notes: BTreeMap::new(),
    };
    facts.write(&run).unwrap();
    fs::write(run.plans(), plans).unwrap();
    fs::write(run.dataset(), fs::read_to_string(golden.join("dataset.json")).unwrap()).unwrap();
    work
}

/// A checkpoint with averaged weights and the optimizer's state beside the weights.
fn write_checkpoint(run: &RunFolder) {
    let (last, averaged) = (weights(0.5), weights(1.0));
    let named = |prefix: &str, all: &BTreeMap<String, Tensor>| -> Vec<(String, Tensor)> {
        all.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
    };
    let all = [named("", &last), named("ema.", &averaged), named("momentum.", &last)].concat();
    let all: Vec<(&str, &[usize], &[f32])> =
        all.iter().map(|(n, (shape, values))| (n.as_str(), shape.as_slice(), values.as_slice())).collect();
    let metadata = [("epochs_done".to_owned(), "9".to_owned())].into();
    tensors::write_tensors(&run.latest(), &all, &metadata).unwrap();
}

fn teacher(work: &Work) -> RunFolder {
    RunFolder::new(work.runs().join("teacher"))
}

fn export(run: &RunFolder, change: impl FnOnce(&mut ExportArgs)) -> Result<Exit, Error> {
    let mut args = ExportArgs {
        run: run.path().into(),
        output: None,
        nnunet: None,
        safetensors: None,
        precision: Default::default(),
        weights: Default::default(),
        overwrite: false,
    };
    change(&mut args);
    export::run(&args)
}

#[test]
fn a_run_becomes_files_of_its_averaged_weights() {
    let place = tempfile::tempdir().unwrap();
    let work = work(place.path());
    let run = teacher(&work);
    let nothing = export(&run, |args| args.output = Some(place.path().join("m.onnx"))).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::Input);
    assert!(nothing.to_string().contains("has no checkpoint yet"), "{nothing}");

    write_checkpoint(&run);
    let [onnx_file, folder, safetensors] = ["m.onnx", "m", "m.safetensors"].map(|name| place.path().join(name));
    let all = |args: &mut ExportArgs| {
        args.output = Some(onnx_file.clone());
        args.nnunet = Some(folder.clone());
        args.safetensors = Some(safetensors.clone());
    };
    assert_eq!(export(&run, all).unwrap(), Exit::Done);
    let golden = workspace().join("tests/golden/nnunet/plain_bare");
    let (_, theirs) = import_folder(&golden, &ImportOptions::default()).unwrap();
    let (_, ours) = import_folder(&folder, &ImportOptions::default()).unwrap();
    assert_eq!(ours.graph_sha256(), theirs.graph_sha256());
    let loaded = onnx::load(&onnx_file, None).unwrap();
    assert_eq!(loaded.model.graph_sha256(), theirs.graph_sha256());
    assert_eq!(loaded.manifest.provenance["run"], "teacher");
    assert_eq!(loaded.manifest.provenance["epochs"], "9");
    assert_eq!(tensors::read_tensors(&safetensors).unwrap().tensors, weights(1.0));

    let again = export(&run, |args| args.output = Some(onnx_file.clone())).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Output);
    let last = |args: &mut ExportArgs| {
        args.safetensors = Some(safetensors.clone());
        args.overwrite = true;
        args.weights = clap::ValueEnum::from_str("last", false).unwrap();
    };
    export(&run, last).unwrap();
    assert_eq!(tensors::read_tensors(&safetensors).unwrap().tensors, weights(0.5));
}

#[test]
fn a_checkpoint_of_another_network_is_named() {
    let place = tempfile::tempdir().unwrap();
    let work = work(place.path());
    let run = teacher(&work);
    tensors::write_tensors(&run.last(), &[("x", &[1], &[1.0])], &BTreeMap::new()).unwrap();
    let error = export(&run, |args| args.output = Some(place.path().join("m.onnx"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Model);
    assert!(error.chain().contains("does not fit the run's plans.json"), "{}", error.chain());
    fs::write(run.last(), b"torn").unwrap();
    let error = export(&run, |args| args.output = Some(place.path().join("m.onnx"))).unwrap_err();
    assert!(error.chain().contains("cannot be read as safetensors"), "{}", error.chain());
    assert!(!place.path().join("m.onnx").exists());
}

fn validate_args(work: &Work, model: &Path) -> ValidateArgs {
    ValidateArgs {
        work: work.root().into(),
        model: model.into(),
        fold: None,
        no_mirroring: true,
        weights: Default::default(),
        precision: Default::default(),
        output: None,
        tolerance: 1.0,
        threads: None,
        json: false,
        quiet: true,
    }
}

/// One test, since the program listens to signals once.
#[test]
fn held_back_cases_are_measured_and_seen_in_the_runs_folder() {
    let place = tempfile::tempdir().unwrap();
    let work = work(place.path());
    let run = teacher(&work);
    write_checkpoint(&run);
    // A run by its name in the work folder; the golden network is for the labels of its own dataset.json.
    let other = validate::run(&validate_args(&work, Path::new("teacher")), &Stop::new()).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Model, "{other}");
    fs::copy(run.dataset(), work.dataset()).unwrap();
    assert_eq!(validate::run(&validate_args(&work, Path::new("teacher")), &Stop::new()).unwrap(), Exit::Done);
    let found = Validation::read(&run.validation()).unwrap();
    assert_eq!(found.agreement.cases.len(), 1);
    assert_eq!(found.agreement.cases[0].case, "hippocampus_052");
    assert!(run.labels().join("hippocampus_052.nii.gz").is_file());
    assert!(fs::read_to_string(run.page()).unwrap().contains("Whole cases"));
    assert_eq!(status::run(&StatusArgs { work: work.root().into() }).unwrap(), Exit::Done);

    // The same graph, so the file may say how well it did.
    let file = place.path().join("m.onnx");
    export(&run, |args| args.output = Some(file.clone())).unwrap();
    let accuracy = onnx::load(&file, None).unwrap().manifest.accuracy;
    assert_eq!(accuracy.get("mean_dice").copied(), found.mean_dice());
    assert!(accuracy.contains_key("mean_dice"));

    let mut args = validate_args(&work, &file);
    args.output = Some(place.path().join("elsewhere"));
    assert_eq!(validate::run(&args, &Stop::new()).unwrap(), Exit::Done);
    let elsewhere = Validation::read(&place.path().join("elsewhere/validation.json")).unwrap();
    assert_eq!(elsewhere.mean_dice(), found.mean_dice());

    args.fold = Some("1".parse().unwrap());
    let empty = validate::run(&args, &Stop::new()).unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::Input);
    assert!(empty.to_string().contains("has no validation case"), "{empty}");
    let missing = validate::run(&validate_args(&work, Path::new("nobody")), &Stop::new()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Model);
    assert!(missing.to_string().contains("neither a file, nor a folder, nor a run"), "{missing}");
}
