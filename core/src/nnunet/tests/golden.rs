//! Folders made by `tests/golden/make_nnunet.py` with nnU-Net's own classes, run in tract against PyTorch's answer.

use super::files::{File, Saved};
use crate::manifest::{Labels, Manifest, Normalization, Resampling};
use crate::nnunet::checkpoint::Checkpoint;
use crate::nnunet::{FoldName, ImportOptions, import_folder, is_model_folder};
use crate::onnx::OnnxModel;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tract_onnx::prelude::*;

fn folder(variant: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nnunet").join(variant)
}

/// PyTorch's input and the logits of each fold, with their shapes.
struct Expected {
    input_shape: Vec<usize>,
    output_shape: Vec<usize>,
    input: Vec<f32>,
    logits: Vec<Vec<f32>>,
}

fn expected(variant: &str) -> Expected {
    let facts: Value = serde_json::from_slice(&fs::read(folder(variant).join("expected.json")).unwrap()).unwrap();
    assert_eq!(facts["version"], 1);
    let shape = |key: &str| -> Vec<usize> {
        facts[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
    };
    let (input_shape, output_shape) = (shape("input_shape"), shape("output_shape"));
    let bytes = fs::read(folder(variant).join("expected.f32")).unwrap();
    let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let (input, rest) = values.split_at(input_shape.iter().product());
    let logits: Vec<Vec<f32>> = rest.chunks_exact(output_shape.iter().product()).map(<[f32]>::to_vec).collect();
    assert_eq!(logits.len(), facts["folds"].as_array().unwrap().len());
    Expected { input: input.to_vec(), input_shape, output_shape, logits }
}

fn check_logits(model: &OnnxModel, expected: &Expected) {
    let runnable = tract_onnx::onnx()
        .model_for_proto_model(&model.proto)
        .unwrap()
        .into_optimized()
        .unwrap()
        .into_runnable()
        .unwrap();
    let input = Tensor::from_shape(&expected.input_shape, &expected.input).unwrap();
    let outputs = runnable.run(tvec!(input.into())).unwrap();
    assert_eq!(outputs.len(), expected.logits.len());
    for (output, logits) in outputs.iter().zip(&expected.logits) {
        assert_eq!(output.shape(), expected.output_shape);
        let output = output.to_plain_array_view::<f32>().unwrap();
        let worst = output.iter().zip(logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-4, "logits differ by {worst}");
    }
}

fn check(variant: &str) -> Manifest {
    let path = folder(variant);
    assert!(is_model_folder(&path));
    let (manifest, model) = import_folder(&path, &ImportOptions::default()).unwrap();
    assert_eq!(model.proto.ir_version, 8);
    let expected = expected(variant);
    assert_eq!(manifest.folds, expected.logits.len());
    assert_eq!(manifest.labels.heads().len(), expected.output_shape[1]);
    check_logits(&model, &expected);
    manifest
}

#[test]
fn a_plain_network_with_regions() {
    let manifest = check("plain_regions");
    assert_eq!(manifest.name, "Dataset901_plain_regions 3d_fullres");
    assert_eq!(manifest.grid.patch_zyx, [8, 12, 8]);
    assert_eq!(manifest.grid.spacing_mm, [Some(1.5), Some(0.8), Some(0.8)]);
    assert_eq!(manifest.grid.transpose_forward, [2, 0, 1]);
    assert_eq!(manifest.mirror_axes, [0, 2]);
    assert!(manifest.crop_to_nonzero);
    assert!(matches!(&manifest.labels, Labels::Regions { heads } if heads[0].name == "whole"));
    let masked: Vec<_> = manifest.channels.iter().map(|c| c.normalization.clone()).collect();
    assert_eq!(masked, [Normalization::ZScore { masked: true }, Normalization::ZScore { masked: false }]);
}

#[test]
fn a_residual_network_of_two_folds_without_bias() {
    let manifest = check("resenc_folds");
    assert_eq!(manifest.provenance["folds"], "0 2");
    assert_eq!(manifest.provenance["checkpoint_sha256_fold_2"].len(), 64);
    assert_eq!(manifest.resample_data, Resampling::Torch { force_separate_z: Some(false) });
    // The checkpoint has no such key.
    assert!(manifest.mirror_axes.is_empty());
}

#[test]
fn a_residual_network_of_bottlenecks() {
    // The checkpoint says `None`.
    assert!(check("resenc_bottleneck").mirror_axes.is_empty());
}

#[test]
fn a_network_without_affine_and_bias() {
    // The checkpoint has an empty tuple.
    assert!(check("plain_bare").mirror_axes.is_empty());
}

#[test]
fn a_trainer_with_batch_norm() {
    let manifest = check("batch_norm");
    assert_eq!(manifest.mirror_axes, [0, 1, 2]);
    assert_eq!(
        manifest.channels[0].normalization,
        Normalization::Ct { mean: 98.7, std: 173.4, lower: -870.0, upper: 612.3 }
    );
}

#[test]
fn a_2d_network_of_old_plans_in_half_precision() {
    let manifest = check("legacy_2d");
    assert_eq!(manifest.grid.patch_zyx, [1, 16, 12]);
    assert!(manifest.grid.two_dimensional);
    assert_eq!(manifest.grid.spacing_mm, [None, Some(0.8), Some(0.8)]);
    assert_eq!(manifest.mirror_axes, [1, 2]);
    let names: Vec<_> = manifest.labels.heads().iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["background", "a", "b"]);
}

#[test]
fn folds_can_be_chosen_and_the_manifest_survives_json() {
    let options = ImportOptions { folds: Some(vec![FoldName::Number(2)]), ..ImportOptions::default() };
    let (manifest, model) = import_folder(&folder("resenc_folds"), &options).unwrap();
    let mut expected = expected("resenc_folds");
    expected.logits.remove(0);
    check_logits(&model, &expected);
    let text = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
}

/// The weights of `plain_bare`, to be written back in another form.
fn bare() -> File {
    let path = folder("plain_bare").join("fold_0/checkpoint_final.pth");
    let mut checkpoint = Checkpoint::open(&path).unwrap();
    let names: Vec<(String, Vec<usize>)> =
        checkpoint.weights().map(|(name, info)| (name.to_string(), info.shape.clone())).collect();
    let tensors = names
        .into_iter()
        .map(|(name, shape)| Saved { values: checkpoint.read_f32(&name).unwrap(), name, shape })
        .collect();
    File {
        tensors,
        trainer: "nnUNetTrainer",
        configuration: "3d_fullres",
        byteorder: "little",
        mirror: b"K\x01\x85",
        surplus: 0,
    }
}

/// Imports the folder of `plain_bare` with another checkpoint.
fn import(file: &File, options: &ImportOptions) -> Result<(Manifest, OnnxModel), String> {
    let folder_with_file = tempfile::tempdir().unwrap();
    let path = folder_with_file.path();
    for name in ["plans.json", "dataset.json"] {
        fs::copy(folder("plain_bare").join(name), path.join(name)).unwrap();
    }
    fs::create_dir(path.join("fold_all")).unwrap();
    fs::write(path.join("fold_all/checkpoint_final.pth"), file.zip()).unwrap();
    import_folder(path, options).map_err(|error| error.to_string())
}

fn refusal(file: &File) -> String {
    import(file, &ImportOptions::default()).unwrap_err()
}

#[test]
fn a_minimal_checkpoint_is_enough() {
    let (manifest, model) = import(&bare(), &ImportOptions::default()).unwrap();
    assert_eq!(manifest.mirror_axes, [1]);
    assert_eq!(manifest.provenance["folds"], "all");
    check_logits(&model, &expected("plain_bare"));
}

#[test]
fn of_copies_that_disagree_the_last_in_module_order_counts() {
    let mut file = bare();
    for tensor in &mut file.tensors {
        let last = if tensor.name.contains("encoder.") { "decoder.encoder." } else { "decoder.stages." };
        let unit = tensor.name.contains(".convs.");
        if unit && !(tensor.name.starts_with(last) && tensor.name.contains(".all_modules.")) {
            tensor.values.fill(9.0);
        }
    }
    let (_, model) = import(&file, &ImportOptions::default()).unwrap();
    check_logits(&model, &expected("plain_bare"));
}

#[test]
fn loading_is_strict() {
    let mut file = bare();
    let taken = file.tensors.remove(3);
    let error = refusal(&file);
    assert!(error.contains(&format!("1 tensors are missing (`{}`)", taken.name)), "{error}");

    file = bare();
    file.tensors[0].name = "module.x".into();
    let error = refusal(&file);
    assert!(error.contains("missing") && error.contains("1 are not part of it (`module.x`)"), "{error}");

    file = bare();
    file.tensors[0].shape.reverse();
    let error = refusal(&file);
    assert!(error.contains("has shape [3, 3, 3, 1, 4]") && error.contains("[4, 1, 3, 3, 3]"), "{error}");
}

#[test]
fn trainers_that_may_build_another_network_are_refused() {
    let mut file = bare();
    file.trainer = "nnUNet_Primus_M_Trainer";
    assert!(refusal(&file).contains("Primus"));
    file.trainer = "TheirTrainer";
    assert!(refusal(&file).contains("the trainer TheirTrainer does not come with nnU-Net"));
    let options = ImportOptions { trust_unknown_trainer: true, ..ImportOptions::default() };
    assert!(import(&file, &options).is_ok());
    // Batch normalisation has tensors that the file lacks.
    file.trainer = "nnUNetTrainerBN";
    let error = refusal(&file);
    assert!(error.contains("are missing") && error.contains("norm.weight"), "{error}");
}

#[test]
fn contradictions_are_refused() {
    type Change = fn(&mut File);
    let cases: [(Change, &str); 6] = [
        (|f| f.byteorder = "big", "big-endian"),
        (|f| f.configuration = "2d", "`configurations` has no 2d; it has 3d_fullres"),
        (|f| f.surplus = 1, "the archive's entry"),
        (|f| f.mirror = b"K\x03\x85", "mirroring along [3] does not fit a network of 3 axes"),
        (|f| f.mirror = b"K\x01K\x01\x86", "mirroring along [1, 1]"),
        (|f| f.mirror = b"K\x01", "should be a tuple of axis numbers"),
    ];
    for (change, says) in cases {
        let mut file = bare();
        change(&mut file);
        let error = refusal(&file);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_folder_without_folds_is_told_from_a_model() {
    let empty = tempfile::tempdir().unwrap();
    for name in ["plans.json", "dataset.json"] {
        fs::copy(folder("plain_bare").join(name), empty.path().join(name)).unwrap();
    }
    assert!(!is_model_folder(empty.path()));
    let error = import_folder(empty.path(), &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("has no fold_0"), "{error}");
    let error = import_folder(&empty.path().join("none"), &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("dataset.json cannot be read"), "{error}");
}
