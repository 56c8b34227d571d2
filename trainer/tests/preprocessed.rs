//! Cases prepared for training equal those of nnU-Net: `golden/preprocessed`, made by `golden/make_preprocessed.py`.

use scanside_core::volume::Box3;
use scanside_formats::Scan;
use scanside_trainer::dataset::preprocess::{Preprocessed, preprocess};
use scanside_trainer::dataset::raw::RawDataset;
use scanside_trainer::plan::{CONFIGURATION, TrainingPlan};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/preprocessed").join(name)
}

fn voxels(path: &Path) -> Vec<f32> {
    let mut source = Scan::open(&[path]).unwrap().stream();
    let bounds = Box3::full(source.shape_zyx());
    let mut out = vec![0.0; bounds.voxels()];
    source.read(0, &bounds, &mut out).unwrap();
    out
}

/// nnU-Net's labels, of which -1 is one.
fn labels(path: &Path) -> Vec<i16> {
    voxels(path).into_iter().map(|v| v as i16).collect()
}

fn check(folder: &Path, made: &Preprocessed) {
    let id = &made.facts.id;
    let expected = folder.join("expected");
    let facts: Value =
        serde_json::from_str(&std::fs::read_to_string(expected.join(format!("{id}.json"))).unwrap()).unwrap();
    assert_eq!(serde_json::json!(made.facts.shape_zyx), facts["shape_zyx"], "{id}");
    let crop = made.facts.transpose.map(|axis| made.facts.crop_zyx[axis]);
    assert_eq!(serde_json::json!(crop), facts["crop"], "{id}");

    let count = made.labels.len();
    for channel in 0..made.facts.channels {
        let theirs = voxels(&expected.join(format!("{id}_image_{channel}.nii.gz")));
        let ours = &made.image[channel * count..][..count];
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{id} channel {channel}: largest difference {worst:e}");
        assert!(theirs.len() == count && worst < 1e-5, "{id} channel {channel}: {worst}");
    }
    let theirs = labels(&expected.join(format!("{id}_labels.nii.gz")));
    let differ = made.labels.iter().zip(&theirs).filter(|(a, b)| a != b).count();
    println!("{id}: {differ} of {count} labels differ");
    assert!(theirs.len() == count && differ == 0, "{id}: {differ} of {count} labels differ");

    let entries = facts["locations"].as_array().unwrap();
    assert_eq!(made.locations.len(), entries.len());
    for (ours, theirs) in made.locations.iter().zip(entries) {
        assert_eq!(theirs["count"], ours.len(), "{id}");
        let bytes: Vec<u8> = ours.iter().flat_map(|index| index.to_le_bytes()).collect();
        let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(theirs["sha256"], hash, "{id}: {:?} should begin and end as {}", &ours[..3], theirs["ends"]);
    }
}

fn compare(name: &str) {
    let folder = golden(name);
    let raw = RawDataset::open(&folder).unwrap();
    let plan =
        TrainingPlan::from_files(&folder.join("plans.json"), &folder.join("dataset.json"), CONFIGURATION).unwrap();
    assert_eq!(raw.cases.len(), 3);
    for case in &raw.cases {
        check(&folder, &preprocess(case, &plan).unwrap());
    }
}

#[test]
fn thick_slices_are_resampled_by_themselves() {
    compare("thick_slices");
}

#[test]
fn regions_masks_and_turned_axes_are_kept() {
    compare("regions");
}
