//! A scan far outside of what a model was trained on: a warning on standard error and in the record; refused with
//! `--strict`, and then nothing is written.

use scanside_core::volume::{Grid, VoxelType};
use scanside_formats::nifti::ImageWriter;
use scanside_testing::data::workspace;
use scanside_tests::program::scanside;
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Output;

/// What the warning says of a scan of 10 x 10 x 10 mm.
const SENTENCE: &str = "the scan is far outside of what the model was trained on: it covers 10 x 10 x 10 mm";

/// A cube of ten voxels of 1 mm: the smallest scan in the model's training had 24 mm along its shortest axis.
fn make_scan(folder: &Path) -> PathBuf {
    let path = folder.join("tiny_0000.nii.gz");
    let direction = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let grid = Grid { shape_zyx: [10; 3], spacing_mm: [1.0; 3], origin: [0.0; 3], direction };
    let file = File::create(&path).expect("a file");
    let mut writer = ImageWriter::create(file, &grid, VoxelType::I16, true).expect("a header");
    for z in 0..10 {
        let plane: Vec<f32> = (0..100).map(|i| ((z * 37 + i * 11) % 200) as f32).collect();
        writer.write_plane(&plane).expect("a plane");
    }
    writer.finish().expect("a file");
    path
}

fn segment(scan: &Path, labels: &Path, extra: &[&str]) -> Output {
    let mut program = scanside();
    program.args(["segment", "-m"]).arg(workspace().join("models/hippocampus-r4.onnx")).arg("-i").arg(scan);
    program.arg("-o").arg(labels).arg("--disable-tta").args(extra).output().expect("the program starts")
}

#[test]
fn a_scan_far_outside_is_a_warning_and_refused_when_strict() {
    let folder = tempfile::tempdir().expect("a folder");
    let (scan, labels) = (make_scan(folder.path()), folder.path().join("labels.nii.gz"));
    let record = folder.path().join("record.json");

    let strict = segment(&scan, &labels, &["--strict"]);
    let said = String::from_utf8_lossy(&strict.stderr).into_owned();
    assert_eq!(strict.status.code(), Some(3), "{said}");
    let named = format!("{}: {SENTENCE}", scan.display());
    assert!(said.contains(&named) && said.contains("without --strict"), "{said}");
    assert!(!labels.exists());

    let loose = segment(&scan, &labels, &["--record", record.to_str().expect("a path")]);
    let said = String::from_utf8_lossy(&loose.stderr).into_owned();
    assert_eq!(loose.status.code(), Some(0), "{said}");
    assert!(said.contains(SENTENCE), "{said}");
    assert!(labels.exists());
    let record: Value = serde_json::from_slice(&std::fs::read(record).expect("a record")).expect("JSON");
    let warnings = record["cases"][0]["warnings"].as_array().expect("warnings");
    assert!(warnings.iter().any(|w| w.as_str().is_some_and(|w| w.contains(SENTENCE))), "{warnings:?}");
}
