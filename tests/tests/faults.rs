//! Broken and hostile files (`tests/golden/faults`): each is refused with a sentence and the right exit code, quickly,
//! without a panic, and nothing is left where the labels would have been.

use scanside_testing::data::golden;
use scanside_tests::program::scanside;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const BAD_INPUT: i32 = 3;
const BAD_MODEL: i32 = 4;

fn faults() -> PathBuf {
    golden().join("faults")
}

fn index(kind: &str) -> Vec<(String, Value)> {
    let text = std::fs::read(faults().join("index.json")).expect("an index");
    let all: Value = serde_json::from_slice(&text).expect("JSON");
    let entries: Vec<_> = all
        .as_object()
        .expect("an object")
        .iter()
        .filter(|(name, _)| name.starts_with(kind))
        .map(|(name, facts)| (name.clone(), facts.clone()))
        .collect();
    assert!(!entries.is_empty(), "no faults of kind {kind}");
    entries
}

/// Limits memory, so that an allocation by an unchecked length shows.
fn limited(megabytes: u64, program: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -v {}; exec \"$0\" \"$@\"", megabytes * 1024)).arg(program.get_program());
    shell.args(program.get_args());
    shell
}

fn segment(model: &Path, input: &Path, output: &Path) -> Output {
    let mut program = scanside();
    program.args(["segment", "--quiet", "--threads", "1", "-m"]).arg(model).arg("-i").arg(input).arg("-o").arg(output);
    limited(1024, &program).output().expect("the program starts")
}

/// What every refusal has in common.
fn check_refusal(name: &str, result: &Output, code: i32, output: &Path) -> Option<String> {
    let said = String::from_utf8_lossy(&result.stderr);
    let mut wrong = Vec::new();
    if result.status.code() != Some(code) {
        wrong.push(format!("exit {:?} instead of {code}", result.status.code()));
    }
    if said.contains("panicked") || said.trim().len() < "scanside: ".len() + 10 {
        wrong.push("no sentence".into());
    }
    let folder = output.parent().expect("a folder");
    let left = std::fs::read_dir(folder).expect("a folder").count();
    if left != 0 {
        wrong.push(format!("{left} files were left"));
    }
    (!wrong.is_empty()).then(|| format!("{name}: {} ({})", wrong.join(", "), said.trim()))
}

fn check_all(kind: &str, code: i32, run: impl Fn(&str, &Path) -> Output) {
    let mut wrong = Vec::new();
    for (name, facts) in index(kind) {
        let out = tempfile::tempdir().expect("a folder");
        let labels = out.path().join("labels.nii.gz");
        let result = run(&name, &labels);
        if facts["refuse"] == true {
            wrong.extend(check_refusal(&format!("{name} ({})", facts["about"]), &result, code, &labels));
        } else {
            let said = String::from_utf8_lossy(&result.stderr).into_owned();
            // Some good-enough files may be refused too, but never with a crash.
            let known = [Some(0), Some(code)].contains(&result.status.code());
            if !known || said.contains("panicked") {
                wrong.push(format!("{name}: exit {:?}: {said}", result.status.code()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of kind {kind}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn good_files_of_the_set_run() {
    let out = tempfile::tempdir().expect("a folder");
    for (k, model) in ["onnx/ok.onnx", "folder"].iter().enumerate() {
        let labels = out.path().join(format!("{k}.nii.gz"));
        let result = segment(&faults().join(model), &faults().join("nifti/ok.nii.gz"), &labels);
        assert!(result.status.success() && labels.is_file(), "{model}: {}", String::from_utf8_lossy(&result.stderr));
    }
}

#[test]
fn scans() {
    check_all("nifti/", BAD_INPUT, |name, labels| {
        segment(&faults().join("onnx/ok.onnx"), &faults().join(name), labels)
    });
}

#[test]
fn onnx_files() {
    check_all("onnx/", BAD_MODEL, |name, labels| {
        segment(&faults().join(name), &faults().join("nifti/ok.nii.gz"), labels)
    });
}

/// A copy of the good folder with one file exchanged.
fn folder_with(replaced: &str, by: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("fold_0")).expect("a folder");
    for file in ["plans.json", "dataset.json", "fold_0/checkpoint_final.pth"] {
        let from = if file == replaced { by.to_owned() } else { faults().join("folder").join(file) };
        std::fs::copy(from, folder.path().join(file)).expect("a copy");
    }
    folder
}

#[test]
fn checkpoints_plans_and_datasets() {
    for (kind, file) in
        [("checkpoints/", "fold_0/checkpoint_final.pth"), ("plans/", "plans.json"), ("dataset/", "dataset.json")]
    {
        check_all(kind, BAD_MODEL, |name, labels| {
            let folder = folder_with(file, &faults().join(name));
            let result = segment(folder.path(), &faults().join("nifti/ok.nii.gz"), labels);
            assert!(!Path::new("scanside_was_here").exists(), "{name} ran a command");
            result
        });
    }
}

#[test]
fn the_command_line() {
    let out = tempfile::tempdir().expect("a folder");
    let scan = faults().join("nifti/ok.nii.gz");
    let model = faults().join("onnx/ok.onnx");
    let labels = out.path().join("labels.nii.gz");
    let with = |extra: &[&str]| {
        let mut program = scanside();
        program.args(["segment", "-q", "-m"]).arg(&model).arg("-i").arg(&scan).arg("-o").arg(&labels).args(extra);
        program.output().expect("the program starts").status.code()
    };
    assert_eq!(with(&["--step-size", "0"]), Some(2));
    assert_eq!(with(&["--step-size", "1.5"]), Some(2));
    assert_eq!(with(&["--max-ram", "lots"]), Some(2));
    assert_eq!(with(&["--threads", "0"]), Some(2));
    assert_eq!(with(&["--no-such-flag"]), Some(2));
    assert_eq!(with(&["--max-ram", "1M"]), Some(5));
    assert!(!labels.exists());
    let nothing = segment(&model, Path::new("/no/such/scan.nii.gz"), &labels);
    assert_eq!(nothing.status.code(), Some(BAD_INPUT));
    let nothing = segment(Path::new("/no/such/model.onnx"), &scan, &labels);
    assert_eq!(nothing.status.code(), Some(BAD_MODEL));
    let empty = tempfile::tempdir().expect("a folder");
    assert_eq!(segment(&model, empty.path(), &labels).status.code(), Some(BAD_INPUT));
    assert_eq!(segment(empty.path(), &scan, &labels).status.code(), Some(BAD_MODEL));
    assert_eq!(with(&[]), Some(0));
    assert!(labels.is_file());
}

#[test]
fn a_label_file_is_no_scan() {
    let out = tempfile::tempdir().expect("a folder");
    let label = scanside_testing::data::workspace().join("examples/hippocampus/labels/hippocampus_034.nii.gz");
    let labels = out.path().join("labels.nii.gz");
    let result = segment(&faults().join("onnx/ok.onnx"), &label, &labels);
    assert_eq!(check_refusal("a label file", &result, BAD_INPUT, &labels), None);
    assert!(String::from_utf8_lossy(&result.stderr).contains("label map"));
}
