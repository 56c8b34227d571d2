//! A work folder that trains in seconds: the example scans, and a network small enough for a test.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The built program with these arguments.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scanside-train"));
    command.args(arguments);
    command
}

/// Runs it.
pub(crate) fn run(arguments: &[&str]) -> Output {
    program(arguments).output().unwrap()
}

/// Runs it, and panics with its words if it fails.
pub(crate) fn succeeds(arguments: &[&str]) {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The example scans as a raw dataset, planned, and the plan's network made small enough for a test.
pub(crate) fn work(folder: &Path) -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hippocampus");
    let raw = folder.join("Dataset900_Examples");
    for (from, to) in [("images", "imagesTr"), ("labels", "labelsTr")] {
        std::fs::create_dir_all(raw.join(to)).unwrap();
        for entry in std::fs::read_dir(examples.join(from)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, raw.join(to).join(path.file_name().unwrap())).unwrap();
        }
    }
    let dataset = r#"{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "Anterior": 1, "Posterior": 2},
                      "numTraining": 3, "file_ending": ".nii.gz"}"#;
    std::fs::write(raw.join("dataset.json"), dataset).unwrap();
    let work = folder.join("work");
    succeeds(&["plan", raw.to_str().unwrap(), "-o", work.to_str().unwrap()]);

    let path = work.join("plans.json");
    let mut plans: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let configuration = &mut plans["configurations"]["3d_fullres"];
    configuration["patch_size"] = json!([24, 24, 24]);
    configuration["batch_size"] = json!(2);
    let network = &mut configuration["architecture"]["arch_kwargs"];
    for (key, value) in [
        ("n_stages", json!(3)),
        ("features_per_stage", json!([4, 8, 16])),
        ("kernel_sizes", json!([[3, 3, 3], [3, 3, 3], [3, 3, 3]])),
        ("strides", json!([[1, 1, 1], [2, 2, 2], [2, 2, 2]])),
        ("n_conv_per_stage", json!([1, 1, 1])),
        ("n_conv_per_stage_decoder", json!([1, 1])),
    ] {
        network[key] = value;
    }
    std::fs::write(&path, serde_json::to_string_pretty(&plans).unwrap()).unwrap();
    work
}
