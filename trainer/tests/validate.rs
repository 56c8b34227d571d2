//! Whole cases validated: against the labels and the Dice of nnU-Net itself, which lie under `tests/golden`.

use scanside_app::error::ErrorKind;
use scanside_app::interrupt::Stop;
use scanside_app::model::{Model, ModelOptions};
use scanside_formats::{LabelOptions, LabelType, label_writer, read_labels};
use scanside_trainer::validate::{Options, Validation, ValidationCase, cases};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const IDS: [&str; 3] = ["hippocampus_034", "hippocampus_052", "hippocampus_160"];
const DATASET: &str = r#"{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "Anterior": 1, "Posterior": 2}}"#;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn model() -> Model {
    Model::open(&workspace().join("models/hippocampus-nnunet-slim.onnx"), &ModelOptions::default()).unwrap()
}

fn hippocampi() -> Vec<ValidationCase> {
    let folder = workspace().join("examples/hippocampus");
    let case = |id: &str| ValidationCase {
        id: id.into(),
        images: vec![folder.join(format!("images/{id}_0000.nii.gz"))],
        label: folder.join(format!("labels/{id}.nii.gz")),
    };
    IDS.map(case).into()
}

/// Dice of nnU-Net's own labels, by case and class.
fn golden_dice(kind: &str) -> Vec<Vec<f64>> {
    let text = fs::read(workspace().join("tests/golden/hippocampus/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let of = |id: &str| manifest["cases"][id][kind]["dice"].as_array().unwrap().iter().map(|d| d.as_f64().unwrap());
    IDS.map(|id| of(id).collect()).into()
}

fn dice(validation: &Validation) -> Vec<Vec<f64>> {
    let row = |case: &scanside_app::evaluate::CaseReport| case.classes.iter().map(|c| c.dice.unwrap()).collect();
    validation.agreement.cases.iter().map(row).collect()
}

fn close(a: &[Vec<f64>], b: &[Vec<f64>], tolerance: f64) -> bool {
    a.len() == b.len() && a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() <= tolerance)
}

#[test]
fn labels_and_dice_are_those_of_nnunet_and_are_used_again_the_next_time() {
    let place = tempfile::tempdir().unwrap();
    let labels = place.path().join("labels");
    let model = model();
    let stop = Stop::new();
    let plain = Options { mirror: false, labels: Some(&labels), ..Options::new(DATASET, &stop) };
    let found = cases(&model, &hippocampi(), &plain).unwrap();
    // The manifest's figures have six digits.
    assert!(close(&dice(&found), &golden_dice("labels"), 1e-6), "{:?}", dice(&found));
    for id in IDS {
        let ours = read_labels(labels.join(format!("{id}.nii.gz"))).unwrap().labels;
        let theirs = read_labels(workspace().join(format!("tests/golden/hippocampus/labels/{id}.nii.gz"))).unwrap();
        assert!(ours == theirs.labels, "{id}");
    }
    assert_eq!((found.reused, found.mirroring), (0, false));
    assert!(found.seconds > 0.0);
    assert_eq!(found.model_sha256, model.identity());
    let means: Vec<f64> = found.agreement.means.iter().map(|c| c.means.dice.unwrap().mean).collect();
    let golden = golden_dice("labels");
    for (class, mean) in means.iter().enumerate() {
        assert!((golden.iter().map(|case| case[class]).sum::<f64>() / 3.0 - mean).abs() < 1e-6);
    }
    let overall = found.agreement.mean_over_classes.dice.unwrap();
    assert!(overall.low < overall.mean && overall.mean < overall.high && overall.cases == 3);
    assert_eq!(found.mean_dice(), Some(overall.mean));

    let again = cases(&model, &hippocampi(), &plain).unwrap();
    assert_eq!((again.reused, again.seconds), (3, 0.0));
    assert_eq!(dice(&again), dice(&found));
    // Other choices, other labels: what is there is replaced.
    let mirrored = cases(&model, &hippocampi()[..1], &Options { mirror: true, ..plain.clone() }).unwrap();
    assert_eq!(mirrored.reused, 0);
    assert!(close(&dice(&mirrored), &golden_dice("labels_tta")[..1], 1e-6), "{:?}", dice(&mirrored));

    let path = place.path().join("validation.json");
    found.write(&path).unwrap();
    let back = Validation::read(&path).unwrap();
    assert_eq!(back.to_json().unwrap(), found.to_json().unwrap());
    assert_eq!(back.table(), found.table());
    assert!(found.table().contains("mean over classes"));
}

#[test]
fn regions_are_measured_as_regions() {
    let folder = workspace().join("tests/golden/parity/regions");
    let dataset = fs::read_to_string(folder.join("model/dataset.json")).unwrap();
    let case = ValidationCase {
        id: "pad".into(),
        images: vec![folder.join("pad/pad_0000.nii.gz")],
        label: folder.join("pad/labels.nii.gz"),
    };
    let model = Model::open(&folder.join("model"), &ModelOptions::default()).unwrap();
    let stop = Stop::new();
    let found = cases(&model, &[case], &Options::new(&dataset, &stop)).unwrap();
    let names: Vec<&str> = found.agreement.classes.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["whole", "core", "enh"]);
    // The reference is nnU-Net's own answer of 5240 voxels of label 2 and 3794 of label 3.
    for (class, [least, most]) in
        found.agreement.cases[0].classes.iter().zip([[9199, 9201], [9033, 9035], [3793, 3795]])
    {
        let voxels = (class.label_ml * 1000.0).round() as i64;
        assert!((least..=most).contains(&voxels), "{}: {voxels}", class.name);
        assert!(class.dice.unwrap() > 0.999, "{class:?}");
    }
}

#[test]
fn voxels_to_ignore_do_not_count() {
    let place = tempfile::tempdir().unwrap();
    let mut case = hippocampi().remove(0);
    let labels = workspace().join("tests/golden/hippocampus/labels/hippocampus_034.nii.gz");
    // The model's own answer, with all it says about the posterior part to be ignored.
    let map = read_labels(&labels).unwrap();
    let [_, ny, nx] = map.grid().shape_zyx;
    case.label = place.path().join("label.nii.gz");
    let file = File::create(&case.label).unwrap();
    let options = LabelOptions { path: &case.label, stored: LabelType::U8, description: "" };
    let mut writer = label_writer(Box::new(file), &map.geometry, &options).unwrap();
    for plane in map.labels.chunks(ny * nx) {
        let plane: Vec<u16> = plane.iter().map(|v| if *v == 2 { 3 } else { *v as u16 }).collect();
        writer.write_plane(&plane).unwrap();
    }
    writer.finish().unwrap();
    let dataset = DATASET.replace("\"Posterior\": 2", "\"Posterior\": 2, \"ignore\": 3");
    let stop = Stop::new();
    let options = Options { mirror: false, ..Options::new(&dataset, &stop) };
    let found = cases(&model(), &[case], &options).unwrap();
    let classes = &found.agreement.cases[0].classes;
    assert_eq!(classes.len(), 2);
    assert_eq!((classes[0].dice, classes[1].dice), (Some(1.0), None));
    assert_eq!(classes[1].prediction_ml, 0.0);
}

#[test]
fn a_model_for_other_data_is_refused() {
    let model = model();
    let refusal = |dataset: &str| {
        let stop = Stop::new();
        let error = cases(&model, &hippocampi(), &Options::new(dataset, &stop)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Model);
        error.chain()
    };
    let two = DATASET.replace(r#"{"0": "MRI"}"#, r#"{"0": "T1", "1": "T2"}"#);
    assert_eq!(refusal(&two), "the model takes 1 channel(s), the dataset has 2 (T1, T2)");
    let other = DATASET.replace("Posterior", "tail");
    assert_eq!(
        refusal(&other),
        "the model's labels are 0 background, 1 Anterior, 2 Posterior; the dataset's are 0 background, 1 Anterior, 2 tail"
    );
}

#[test]
fn broken_cases_are_named_and_the_others_measured() {
    let place = tempfile::tempdir().unwrap();
    let mut all = hippocampi();
    all[0].label = place.path().join("nowhere.nii.gz");
    let damaged = place.path().join("damaged_0000.nii.gz");
    fs::write(&damaged, b"not an image").unwrap();
    all[1].images = vec![damaged];
    let stop = Stop::new();
    let options = Options { mirror: false, ..Options::new(DATASET, &stop) };
    let found = cases(&model(), &all, &options).unwrap();
    let failed: Vec<(&str, &str)> =
        found.agreement.failed.iter().map(|f| (f.case.as_str(), f.error.as_str())).collect();
    assert_eq!(failed.len(), 2);
    assert_eq!(failed[0].0, "hippocampus_034");
    assert!(failed[0].1.contains("nowhere.nii.gz does not exist"), "{failed:?}");
    assert_eq!(failed[1].0, "hippocampus_052");
    assert!(failed[1].1.contains("damaged_0000.nii.gz"), "{failed:?}");
    assert_eq!(found.agreement.cases.len(), 1);

    let none = cases(&model(), &[], &options).unwrap_err();
    assert_eq!((none.kind(), none.to_string().as_str()), (ErrorKind::Input, "there is no case to validate on"));
    fs::write(place.path().join("file"), b"").unwrap();
    let labels = place.path().join("file/labels");
    let unwritable = cases(&model(), &hippocampi(), &Options { labels: Some(&labels), ..options }).unwrap_err();
    assert_eq!(unwritable.kind(), ErrorKind::Output);
}
