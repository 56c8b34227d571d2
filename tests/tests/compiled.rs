//! Compiled models: the same labels as the file they were made from, and a clear refusal of what cannot be.

use scanside_testing::data::{golden, workspace};
use scanside_tests::program::scanside;
use std::path::{Path, PathBuf};
use std::process::Output;

fn model() -> PathBuf {
    workspace().join("models/hippocampus-nnunet-slim.onnx")
}

fn run(args: &[&str], paths: &[&Path]) -> Output {
    let mut program = scanside();
    let mut paths = paths.iter();
    for arg in args {
        match *arg {
            "{}" => program.arg(paths.next().expect("a path for each {}")),
            text => program.arg(text),
        };
    }
    program.output().expect("the program starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn compile(folder: &Path, extra: &[&str]) -> PathBuf {
    let image = folder.join("student.image");
    let mut args = vec!["compile", "{}", "-o", "{}", "--overwrite"];
    args.extend(extra);
    let result = run(&args, &[&model(), &image]);
    assert!(result.status.success(), "{}", said(&result));
    image
}

/// The voxels alone: the header names the model that made them.
fn voxels(file: &Path) -> Vec<u32> {
    scanside_formats::read_labels(file).expect("labels").labels
}

#[test]
fn a_compiled_model_gives_the_labels_of_its_source() {
    let out = tempfile::tempdir().expect("a folder");
    let scan = workspace().join("examples/hippocampus/images/hippocampus_052_0000.nii.gz");
    let labels = |model: &Path, name: &str, extra: &[&str]| {
        let file = out.path().join(name);
        let mut args = vec!["segment", "-m", "{}", "-i", "{}", "-o", "{}"];
        args.extend(extra);
        let result = run(&args, &[model, &scan, &file]);
        assert!(result.status.success(), "{}", said(&result));
        voxels(&file)
    };
    let image = compile(out.path(), &[]);
    assert!(labels(&image, "a.nii", &[]) == labels(&model(), "b.nii", &[]), "the labels differ");
    let single = std::fs::metadata(&image).expect("the image").len();
    let halves = ["--precision", "f16"];
    let image = compile(out.path(), &halves);
    assert!(labels(&image, "c.nii", &[]) == labels(&model(), "d.nii", &halves), "the labels in half precision differ");
    let half = std::fs::metadata(&image).expect("the image").len();
    assert!(10 * half < 6 * single, "{half} bytes in half precision, {single} in single");

    let about = said(&run(&["inspect", "{}"], &[&image]));
    assert!(about.contains("native") && about.contains("nterior"), "{about}");
    let measured = said(&run(&["bench", "-m", "{}", "--runs", "1", "--json"], &[&image]));
    assert!(measured.contains("\"precision\":\"f16\""), "{measured}");
}

#[test]
fn what_cannot_be_compiled_or_opened_is_refused() {
    let out = tempfile::tempdir().expect("a folder");
    let image = compile(out.path(), &[]);
    let refused = |args: &[&str], paths: &[&Path], code: i32, sentence: &str| {
        let result = run(args, paths);
        assert_eq!(result.status.code(), Some(code), "{args:?}: {}", said(&result));
        assert!(said(&result).contains(sentence), "{args:?}: {}", said(&result));
    };
    let compile = ["compile", "{}", "-o", "{}"];
    refused(&compile, &[&model(), &image], 6, "exists already; --overwrite replaces it");
    let other = out.path().join("other.image");
    refused(&compile, &[&image, &other], 4, "is a compiled model already");
    // A graph that only tract runs: the operator is named.
    let facts = out.path().join("odd.toml");
    std::fs::write(
        &facts,
        "format = 1\nname = \"odd\"\nchannels = [{ name = \"a\", normalization = { kind = \"none\" } }]\n\
         grid = { patch_zyx = [8, 10, 12], spacing_mm = [1.0, 1.0, 1.0] }\n\
         labels = { kind = \"exclusive\", heads = [{ name = \"no\", value = 0 }, { name = \"yes\", value = 1 }] }\n",
    )
    .expect("a manifest");
    let odd = golden().join("onnx/odd.onnx");
    let with_facts = ["compile", "{}", "--manifest", "{}", "-o", "{}"];
    refused(&with_facts, &[&odd, &facts, &other], 4, "grouped");
    assert!(!other.exists(), "a refused model left a file");
    refused(&["inspect", "{}"], &[&out.path().join("nothing")], 4, "does not exist");
    let segment = ["segment", "-m", "{}", "-i", "{}", "-o", "{}", "--precision", "f16"];
    refused(&segment, &[&image, &image, &other], 2, "compile the original model again");

    let mut bytes = std::fs::read(&image).expect("the image");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&other, &bytes).expect("a damaged image");
    refused(&["inspect", "{}"], &[&other], 4, "checksum");
    std::fs::write(&other, &bytes[..middle]).expect("half an image");
    refused(&["inspect", "{}"], &[&other], 4, "length");
    bytes[8] = 9;
    std::fs::write(&other, &bytes).expect("an image of the future");
    refused(&["inspect", "{}"], &[&other], 4, "format 9");
}
