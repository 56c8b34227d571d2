//! Folders of small label files.

use super::*;
use scanside_core::volume::{Grid, VoxelType};
use scanside_formats::nifti::ImageWriter;
use std::fs;
use std::path::Path;

/// The bytes of a label file, described as `z y x spacing_z spacing_y spacing_x`, optionally the origin's `x y z` and the
/// direction of the file's x axis (1 or -1), a line break, and one digit per voxel. A file with too few digits is cut off.
fn label_file(text: &str, gz: bool) -> Vec<u8> {
    let (header, digits) = text.split_once('\n').unwrap();
    let numbers: Vec<f64> = header.split(' ').map(|n| n.parse().unwrap()).collect();
    let (&[z, y, x, sz, sy, sx], place) = numbers.split_first_chunk().unwrap();
    let shape_zyx = [z, y, x].map(|n| n as usize);
    let (origin, along_x) = match *place {
        [x, y, z, along_x] => ([x, y, z], along_x),
        _ => ([0.0; 3], 1.0),
    };
    let direction = [[along_x, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let grid = Grid { shape_zyx, spacing_mm: [sz, sy, sx], origin, direction };
    let voxels: usize = shape_zyx.iter().product();
    let mut values: Vec<f32> = digits.chars().map(|c| c.to_digit(10).unwrap() as f32).collect();
    let missing = voxels - values.len();
    values.resize(voxels, 0.0);
    let mut writer = ImageWriter::create(Vec::new(), &grid, VoxelType::U8, gz).unwrap();
    values.chunks(shape_zyx[1] * shape_zyx[2]).for_each(|plane| writer.write_plane(plane).unwrap());
    let mut bytes = writer.finish().unwrap();
    bytes.truncate(bytes.len() - missing);
    bytes
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        for place in ["data/labels", "predictions"] {
            fs::create_dir_all(folder.0.path().join(place)).unwrap();
        }
        for (name, text) in files {
            let bytes =
                if name.contains(".nii") { label_file(text, name.ends_with(".gz")) } else { text.as_bytes().to_vec() };
            fs::write(folder.0.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn options(&self, predictions: &str, labels: &str) -> EvaluateOptions {
        let path = |name: &str| self.0.path().join(name);
        EvaluateOptions {
            predictions: path(predictions),
            labels: path(labels),
            model: None,
            comparison: Comparison { tolerance_mm: 1.0, ignore_geometry: false },
            threads: None,
        }
    }

    fn report(&self) -> Report {
        evaluate(&self.options("predictions", "data/labels")).unwrap()
    }
}

const LABEL: &str = "1 2 4 2 1 1\n11001022";

#[test]
fn folders_match_by_name_and_the_rest_is_named() {
    let folder = Folder::new(&[
        ("data/labels/a.nii.gz", LABEL),
        ("data/labels/b.nii", LABEL),
        ("data/labels/lonely.nii", LABEL),
        ("data/dataset.json", r#"{"labels": {"background": 0, "one": 1, "two": 2, "never": 3}}"#),
        ("predictions/a.nii", LABEL),
        ("predictions/b.nii", "1 2 4 2 1 1\n11000000"),
        ("predictions/extra.nii", LABEL),
        ("predictions/plans.json", "{}"),
    ]);
    let report = folder.report();
    assert!(!report.nothing_matches() && report.failed.is_empty());
    let notes = report.notes();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert_eq!(notes[0], "1 prediction without a label of its name: extra");
    assert_eq!(notes[1], "1 label without a prediction of its name: lonely");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["cases"][0]["case"], "a");
    assert_eq!(json["cases"][0]["classes"][0]["dice"], 1.0);
    assert_eq!(json["cases"][1]["classes"][0]["dice"], 0.8);
    assert_eq!(json["cases"][1]["classes"][0]["label_ml"], 0.006);
    let missed = &json["cases"][1]["classes"][1];
    assert_eq!((&missed["dice"], &missed["surface_dice"]), (&0.0.into(), &0.0.into()));
    assert!(missed["hausdorff_95_mm"].is_null() && missed["hausdorff_95_infinite"] == true);
    assert!(json["cases"][0]["classes"][2]["dice"].is_null(), "in neither file");
    assert_eq!(json["means"][0]["dice"]["mean"], 0.9);
    assert_eq!(json["means"][1]["hausdorff_95_infinite"], 1);
    assert_eq!(json["means"][1]["hausdorff_95_mm"]["cases"], 1);
    assert!(json["means"][2]["dice"].is_null());
    assert_eq!(json["mean_over_classes"]["dice"]["mean"], 0.7);
    assert_eq!(json["predictions_without_label"][0], "extra");

    let text = render(&report);
    let row = text.lines().find(|line| line.starts_with("b     two")).unwrap();
    assert!(row.contains("0.0000") && row.contains("infinite"), "{text}");
    assert!(text.contains("NSD at 1 mm") && text.contains("HD95 (mm)"), "{text}");
}

#[test]
fn files_without_a_counterpart_are_one_sentence() {
    let names: Vec<String> = (10..60).map(|n| format!("data/labels/case{n}.nii")).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), LABEL)).collect();
    files.push(("predictions/case10.nii", LABEL));
    let report = Folder::new(&files).report();
    assert_eq!(report.notes(), ["49 labels without a prediction of their name: case11, case12, case13, ..."]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["labels_without_prediction"].as_array().unwrap().len(), 49);
}

#[test]
fn labels_that_lie_elsewhere_are_refused_unless_asked_otherwise() {
    let folder = Folder::new(&[
        ("data/labels/flipped.nii", LABEL),
        ("data/labels/rounded.nii", LABEL),
        ("data/labels/shifted.nii", LABEL),
        // The same voxels from the other end: the same place, and yet no voxel is compared with its own.
        ("predictions/flipped.nii", "1 2 4 2 1 1 3 0 0 -1\n11001022"),
        ("predictions/rounded.nii", "1 2 4 2 1 1 0.0001 0 -0.0001 1\n11001022"),
        ("predictions/shifted.nii", "1 2 4 2 1 1 0 100 0 1\n11001022"),
    ]);
    let report = folder.report();
    assert_eq!(report.cases.iter().map(|case| case.case.as_str()).collect::<Vec<_>>(), ["rounded"]);
    assert_eq!(report.elsewhere(), 2);
    assert!(report.failed[0].error.contains("lie 3 mm apart"), "{}", report.failed[0].error);
    let shifted = &report.failed[1].error;
    assert!(shifted.contains("lie 100 mm apart") && shifted.contains("(0, 100, 0) mm in the prediction"), "{shifted}");
    let mut options = folder.options("predictions", "data/labels");
    options.comparison.ignore_geometry = true;
    let report = evaluate(&options).unwrap();
    assert_eq!((report.cases.len(), report.failed.len(), report.elsewhere()), (3, 0, 0));
    assert_eq!(serde_json::to_value(&report).unwrap()["ignore_geometry"], true);
}

#[test]
fn bad_cases_are_told_and_the_others_go_on() {
    let folder = Folder::new(&[
        ("data/labels/far.nii", LABEL),
        ("data/labels/good.nii", LABEL),
        ("data/labels/shape.nii", LABEL),
        ("data/labels/torn.nii", LABEL),
        ("data/labels/twice.nii", LABEL),
        ("predictions/far.nii", "1 2 4 2 1 1.002\n11001022"),
        ("predictions/good.nii", "1 2 4 2 1 1.0005\n11001022"),
        ("predictions/shape.nii", "2 2 2 2 1 1\n11001022"),
        ("predictions/torn.nii", "1 2 4 2 1 1\n11"),
        ("predictions/twice.nii", LABEL),
        ("predictions/twice.nii.gz", LABEL),
    ]);
    let report = folder.report();
    assert_eq!(report.failed.len(), 4);
    assert_eq!(report.cases.len(), 1);
    assert_eq!(report.classes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    let notes = report.notes();
    let expected = [
        "far: the prediction's voxels are 1.002 x 1 x 2 mm apart",
        "shape: the prediction has 2 x 2 x 2",
        "torn",
        "twice",
    ];
    assert_eq!(notes.len(), expected.len());
    for (note, start) in notes.iter().zip(expected) {
        assert!(note.starts_with(start), "{note}");
    }
    assert!(render(&report).contains("1 case(s); 4 failed"));
}

#[test]
fn nothing_in_common_is_an_outcome_of_its_own() {
    let folder = Folder::new(&[("data/labels/a.nii", LABEL), ("predictions/b.nii", LABEL)]);
    assert!(folder.report().nothing_matches());
    assert!(evaluate(&folder.options("nowhere", "data/labels")).is_err());
}

#[test]
fn two_files_need_no_common_name() {
    let folder = Folder::new(&[("data/labels/a.nii", LABEL), ("predictions/b.nii.gz", LABEL)]);
    let report = evaluate(&folder.options("predictions/b.nii.gz", "data/labels/a.nii")).unwrap();
    assert_eq!((report.failed.len(), report.cases.len()), (0, 1));
    assert!(report.notes().is_empty());
    // A file and a folder do.
    let report = evaluate(&folder.options("predictions/b.nii.gz", "data/labels")).unwrap();
    assert!(report.nothing_matches());
}

#[test]
fn regions_models_and_ignored_voxels() {
    let folder = Folder::new(&[
        ("data/labels/a.nii", "1 1 6 1 1 1\n129011"),
        ("predictions/a.nii", "1 1 6 1 1 1\n221001"),
        ("data/dataset.json", r#"{"labels": {"background": 0, "all": [1, 2], "two": 2, "ignore": 9}}"#),
    ]);
    let json = serde_json::to_value(folder.report()).unwrap();
    let all = &json["cases"][0]["classes"][0];
    assert_eq!(
        (&all["true_positive"], &all["false_positive"], &all["false_negative"]),
        (&3.into(), &0.into(), &1.into())
    );
    // A model's classes come first, then the values that it does not know.
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/hippocampus-r4.onnx");
    let options = EvaluateOptions { model: Some(model), ..folder.options("predictions", "data/labels") };
    let report = evaluate(&options).unwrap();
    let names: Vec<&str> = report.classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!(names, ["Anterior", "Posterior", "9"]);
}

#[test]
fn threads_change_nothing() {
    let folder = Folder::new(&[
        ("data/labels/a.nii", "2 3 4 3 1 1\n112002220330102203311110"),
        ("predictions/a.nii", "2 3 4 3 1 1\n102202220330112203301110"),
    ]);
    let with = |threads| {
        let options = EvaluateOptions { threads: Some(threads), ..folder.options("predictions", "data/labels") };
        serde_json::to_string(&evaluate(&options).unwrap()).unwrap()
    };
    assert_eq!(with(1), with(7));
}
