//! Models as they are found: folders with more or fewer folds than expected, trainers of other people, graphs that end in an
//! activation, manifests beside them, and files that are no models.

use scanside_testing::data::golden;
use scanside_tests::program::scanside;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

const BAD_MODEL: i32 = 4;

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = scanside().args(args).output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A model folder whose folds hold these files, each a copy of `checkpoint`.
fn folder(checkpoint: &Path, folds: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["plans.json", "dataset.json"] {
        fs::copy(golden().join("faults/folder").join(file), folder.path().join(file)).expect("a copy");
    }
    for (fold, name) in folds {
        let fold = folder.path().join(format!("fold_{fold}"));
        fs::create_dir(&fold).expect("a folder");
        if name.is_empty() {
            fs::write(fold.join("progress.png"), b"").expect("a file");
        } else {
            fs::copy(checkpoint, fold.join(name)).expect("a copy");
        }
    }
    folder
}

fn good() -> PathBuf {
    golden().join("faults/folder/fold_0/checkpoint_final.pth")
}

/// Segments the small scan of the broken files.
fn segment(model: &Path, extra: &[&str]) -> (Option<i32>, String) {
    let out = tempfile::tempdir().expect("a folder");
    let (scan, labels) = (golden().join("faults/nifti/ok.nii.gz"), out.path().join("labels.nii"));
    let args = [&["segment", "-m", text(model), "-i", text(&scan), "-o", text(&labels)], extra].concat();
    let (code, _, said) = run(&args);
    assert_eq!(labels.is_file(), code == Some(0), "{said}");
    (code, said)
}

#[test]
fn the_folds_that_are_averaged_are_named() {
    let name = "checkpoint_final.pth";
    let mut folds: Vec<(&str, &str)> = ["0", "1", "2", "4", "5", "6", "all"].map(|fold| (fold, name)).to_vec();
    folds.push(("3", ""));
    let model = folder(&good(), &folds);
    let (code, said) = segment(model.path(), &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("folds averaged: 0 1 2 4\n"), "{said}");
    assert!(said.contains("folds without the checkpoint, left out: 3\n"), "{said}");
    assert!(said.contains("folds left out: 5 6 all (--folds 0 1 2 4 5 6 all averages them, too)"), "{said}");
    let (code, said) = segment(model.path(), &["--folds", "6", "5"]);
    assert!(code == Some(0) && said.contains("folds averaged: 6 5\n") && !said.contains("left out"), "{said}");
    let (_, said) = segment(model.path(), &["--quiet"]);
    assert_eq!(said, "");
}

#[test]
fn the_option_that_takes_what_is_there_is_named() {
    let best = folder(&good(), &[("0", "checkpoint_best.pth"), ("1", "")]);
    for extra in [&[][..], &["--folds", "0"]] {
        let (code, said) = segment(best.path(), extra);
        assert_eq!(code, Some(BAD_MODEL), "{said}");
        assert!(
            said.trim_end().ends_with("; there is checkpoint_best.pth (--checkpoint checkpoint_best.pth)"),
            "{said}"
        );
    }
    let (code, said) = segment(best.path(), &["--checkpoint", "checkpoint_best.pth"]);
    assert_eq!(code, Some(0), "{said}");

    let later = folder(&good(), &[("5", "checkpoint_final.pth"), ("8", "checkpoint_final.pth")]);
    let (code, said) = segment(later.path(), &[]);
    assert!(code == Some(BAD_MODEL) && said.trim_end().ends_with("it has 5, 8 (--folds 5 8)"), "{said}");
}

#[test]
fn a_trainer_of_other_people_is_used_where_it_is_trusted() {
    let faults = golden().join("faults/checkpoints");
    let model = folder(&faults.join("trainer_unknown.pth"), &[("0", "checkpoint_final.pth")]);
    let (code, said) = segment(model.path(), &[]);
    assert_eq!(code, Some(BAD_MODEL), "{said}");
    assert!(said.contains("does not come with nnU-Net") && said.trim_end().ends_with("(--trust-trainer)"), "{said}");
    // Wherever a model is opened.
    let out = tempfile::tempdir().expect("a folder");
    let (onnx, image) = (out.path().join("m.onnx"), out.path().join("m.image"));
    let folder_path = text(model.path());
    for args in [
        &["inspect", folder_path][..],
        &["bench", "--runs", "1", "-m", folder_path],
        &["import", folder_path, "-o", text(&onnx)],
        &["compile", folder_path, "-o", text(&image)],
    ] {
        let (code, _, said) = run(args);
        assert!(code == Some(BAD_MODEL) && said.contains("(--trust-trainer)"), "{args:?}: {said}");
        let (code, _, said) = run(&[args, &["--trust-trainer"]].concat());
        assert_eq!(code, Some(0), "{args:?}: {said}");
    }
    let (code, said) = segment(model.path(), &["--trust-trainer"]);
    assert_eq!(code, Some(0), "{said}");
    // Trust is in the trainer, not in its tensors.
    let model = folder(&faults.join("tensor_missing.pth"), &[("0", "checkpoint_final.pth")]);
    let (code, said) = segment(model.path(), &["--trust-trainer"]);
    assert!(code == Some(BAD_MODEL) && said.contains("1 tensors are missing"), "{said}");
}

#[test]
fn probabilities_are_not_taken_for_logits() {
    let sigmoid = golden().join("sigmoid");
    let out = tempfile::tempdir().expect("a folder");
    let labels = out.path().join("labels.nii");
    let (model, scan) = (sigmoid.join("model.onnx"), sigmoid.join("scan.nii.gz"));
    let image = out.path().join("m.image");
    let (code, _, said) = run(&["compile", text(&model), "-o", text(&image)]);
    assert_eq!(code, Some(0), "{said}");
    let expected = scanside_formats::read_labels(sigmoid.join("labels.nii.gz")).expect("labels").labels;
    for (model, extra) in [(&model, &[][..]), (&model, &["--engine", "tract"]), (&image, &[])] {
        let args = ["segment", "-m", text(model), "-i", text(&scan), "-o", text(&labels), "--overwrite"];
        let (code, _, said) = run(&[&args[..], extra].concat());
        assert_eq!(code, Some(0), "{said}");
        let got = scanside_formats::read_labels(&labels).expect("labels").labels;
        let differ = got.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert!(differ * 10_000 <= expected.len(), "{differ} of {} voxels differ", expected.len());
    }
}

#[test]
fn every_command_finds_the_manifest_beside_a_model() {
    let out = tempfile::tempdir().expect("a folder");
    let model = out.path().join("m.onnx");
    fs::copy(golden().join("sigmoid/model.onnx"), &model).expect("a copy");
    let bench = |extra: &[&str]| run(&[&["bench", "--runs", "1", "--json", "-m", text(&model)], extra].concat());
    // Without a manifest nobody says how large a patch of free axes is.
    let (code, _, said) = bench(&[]);
    assert!(
        code == Some(BAD_MODEL) && said.contains("m.onnx") && said.contains("axes of its input are free"),
        "{said}"
    );
    let patch = |said: &str| serde_json::from_str::<Value>(said).expect("JSON")["patch"].clone();
    let manifest = golden().join("sigmoid/model.json");
    let (code, said, _) = bench(&["--manifest", text(&manifest)]);
    assert_eq!((code, patch(&said)), (Some(0), serde_json::json!([16, 20, 24])));
    fs::copy(&manifest, out.path().join("m.json")).expect("a copy");
    let (code, said, _) = bench(&["--volume", "48x40x32"]);
    assert_eq!((code, patch(&said)), (Some(0), serde_json::json!([16, 20, 24])));
    let windows = &serde_json::from_str::<Value>(&said).expect("JSON")["whole_scan"]["windows"];
    assert_eq!(*windows, serde_json::json!(27));
}

#[test]
fn what_is_no_model_is_called_by_its_name() {
    let out = tempfile::tempdir().expect("a folder");
    let scan = golden().join("faults/nifti/ok.nii.gz");
    let pointer = out.path().join("pointer.onnx");
    fs::write(&pointer, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n").expect("a file");
    let dicom = out.path().join("dicom.onnx");
    fs::write(&dicom, [&[0; 128], b"DICM".as_slice()].concat()).expect("a file");
    let safetensors = out.path().join("model.safetensors");
    fs::write(&safetensors, [&64u64.to_le_bytes(), b"{\"w\":{}}".as_slice()].concat()).expect("a file");
    let good = golden().join("faults/onnx/ok.onnx");
    for (model, says) in [
        (&pointer, "pointer.onnx cannot be used as a model: not a usable ONNX file: it is a git-lfs pointer"),
        (&dicom, "it is a DICOM file"),
        (&safetensors, "it is a safetensors file"),
        (&scan, "it is compressed with gzip, as scans are"),
        (&golden().join("faults/folder/fold_0/checkpoint_final.pth"), "checkpoint_final.pth cannot be used"),
        (
            &golden().join("faults/folder/fold_0/checkpoint_final.pth"),
            "it is a PyTorch checkpoint; give the nnU-Net model",
        ),
        (&golden().join("faults/folder/plans.json"), "it is a JSON file"),
        (&golden().join("faults/folder/fold_0"), "faults/folder and choose the fold"),
        (&golden().join("faults"), "faults/folder is one"),
    ] {
        let (code, said) = segment(model, &[]);
        assert!(code == Some(BAD_MODEL) && said.contains(says), "{says}: {said}");
        // Of several models, the bad one is named.
        let (code, _, said) = run(&["choose", "-m", text(&good), text(model), "-i", text(&scan)]);
        assert!(code == Some(BAD_MODEL) && said.contains(says), "{says}: {said}");
    }
    // A file of a folder that was not downloaded.
    let model = folder(&pointer, &[("0", "checkpoint_final.pth")]);
    let (code, said) = segment(model.path(), &[]);
    assert!(code == Some(BAD_MODEL) && said.contains("checkpoint_final.pth: it is a git-lfs pointer"), "{said}");
    fs::copy(&pointer, model.path().join("plans.json")).expect("a copy");
    let (code, said) = segment(model.path(), &[]);
    assert!(code == Some(BAD_MODEL) && said.contains("plans.json: it is a git-lfs pointer"), "{said}");
}
