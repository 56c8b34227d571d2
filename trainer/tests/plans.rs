//! Fingerprints and plans equal those of nnU-Net: `golden/plans`, made by `golden/make_plans.py`.

use scanside_core::nnunet::labels::Dataset;
use scanside_testing::data::data;
use scanside_trainer::dataset::examine::examine;
use scanside_trainer::dataset::raw::RawDataset;
use scanside_trainer::plan::fingerprint::Fingerprint;
use scanside_trainer::plan::{CONFIGURATION, Cost, DatasetFacts, Planner, TrainingPlan, plan};
use serde_json::Value;
use std::path::{Path, PathBuf};

const PLANNERS: [(Planner, &str); 4] = [
    (Planner::Default, "default"),
    (Planner::ResencM, "resenc-m"),
    (Planner::ResencL, "resenc-l"),
    (Planner::ResencXl, "resenc-xl"),
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Where two values differ, numbers by more than `tolerance` of the larger.
fn differences(ours: &Value, theirs: &Value, tolerance: f64, place: &str, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let (a, b) = (a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null));
                differences(a, b, tolerance, &format!("{place}.{key}"), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differences(a, b, tolerance, &format!("{place}.{i}"), out);
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            let (x, y) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            // Whole numbers are written as such.
            let kind = a.is_f64() == b.is_f64();
            if !kind || (x - y).abs() > tolerance * x.abs().max(y.abs()) {
                out.push(format!("{place}: {a}, should be {b}"));
            }
        }
        _ if ours == theirs => {}
        _ => out.push(format!("{place}: {ours}, should be {theirs}")),
    }
}

fn assert_equal(ours: &Value, theirs: &Value, tolerance: f64, what: &str) {
    let mut found = Vec::new();
    differences(ours, theirs, tolerance, "", &mut found);
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn every_planner_plans_as_in_nnunet() {
    let mut folders: Vec<_> = std::fs::read_dir(golden("plans")).unwrap().flatten().map(|e| e.path()).collect();
    folders.sort();
    assert_eq!(folders.len(), 10);
    let mut with_lowres = 0;
    for folder in &folders {
        let fingerprint: Fingerprint = serde_json::from_value(json(&folder.join("dataset_fingerprint.json"))).unwrap();
        let dataset_path = folder.join("dataset.json");
        let raw = json(&dataset_path);
        let dataset = Dataset::read(&dataset_path).unwrap();
        for (planner, name) in PLANNERS {
            let theirs = json(&folder.join(format!("{name}.json")));
            let facts = DatasetFacts {
                name: theirs["dataset_name"].as_str().unwrap(),
                channels: &dataset.channels,
                label_entries: raw["labels"].as_object().unwrap().len(),
                cases: raw["numTraining"].as_u64().unwrap(),
            };
            let ours = plan(&fingerprint, &facts, planner);
            assert_equal(&ours, &theirs, 0.0, &format!("{} {name}", folder.display()));
            with_lowres += usize::from(theirs["configurations"].get("3d_lowres").is_some());

            // What is planned can be trained.
            let text = std::fs::read_to_string(&dataset_path).unwrap();
            let read =
                TrainingPlan::parse(ours.to_string(), Path::new("plans.json"), text, &dataset_path, CONFIGURATION);
            let read = read.unwrap();
            assert_eq!(serde_json::json!(read.patch_zyx), theirs["configurations"][CONFIGURATION]["patch_size"]);
            assert!(Cost::of(&read.unet, &read.patch_zyx).parameters > 0);
        }
    }
    assert!(with_lowres > 4, "some of the goldens must have a low resolution, but {with_lowres} have");
}

#[test]
fn costs_are_those_of_the_real_network() {
    // PyTorch: the parameters of dynamic_network_architectures' network, and its convolutions' multiply-adds counted by
    // torch.utils.flop_counter, for golden/plans/hippocampus/default.json and resenc-m.json.
    for (name, parameters, macs) in [("default", 5_603_177, 19_141_427_200), ("resenc-m", 25_895_593, 29_090_611_200)] {
        let folder = golden("plans/hippocampus");
        let plan =
            TrainingPlan::from_files(&folder.join(format!("{name}.json")), &folder.join("dataset.json"), CONFIGURATION)
                .unwrap();
        assert_eq!(Cost::of(&plan.unet, &plan.patch_zyx), Cost { parameters, macs }, "{name}");
    }
}

fn compare_fingerprint(raw: &Path, golden: &Path) {
    let findings = examine(&RawDataset::open(raw).unwrap(), &|_| {});
    assert_eq!(findings.faults, []);
    let ours = serde_json::to_value(findings.fingerprint.unwrap()).unwrap();
    // nnU-Net adds a hundred million samples up in single precision.
    assert_equal(&ours, &json(golden), 2e-6, &raw.display().to_string());
}

#[test]
fn fingerprints_are_those_of_nnunet() {
    for name in ["thick_slices", "regions"] {
        compare_fingerprint(
            &golden("preprocessed").join(name),
            &golden("plans").join(name).join("dataset_fingerprint.json"),
        );
    }
}

#[test]
fn the_fingerprint_of_the_hippocampus_is_that_of_nnunet() {
    let Some(raw) = data("hippocampus") else { return };
    compare_fingerprint(&raw, &golden("plans/hippocampus/dataset_fingerprint.json"));
}
