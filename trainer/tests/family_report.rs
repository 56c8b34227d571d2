//! A family compared by the program: shares, differences and intervals against numbers worked out here, and what is left out.

use scanside_app::interrupt::Stop;
use scanside_app::model::{Model, ModelOptions};
use scanside_trainer::report::log::{EpochLog, EpochRecord};
use scanside_trainer::report::run::{FORMAT, RunFacts, RunFolder};
use scanside_trainer::validate::{Options, ValidationCase, cases};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DATASET: &str = r#"{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "Anterior": 1, "Posterior": 2}}"#;
const CASES: [&str; 3] = ["hippocampus_034", "hippocampus_052", "hippocampus_160"];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A real validation of three cases, as JSON.
fn validation(folder: &Path) -> Value {
    let examples = workspace().join("examples/hippocampus");
    let case = |id: &str| ValidationCase {
        id: id.into(),
        images: vec![examples.join(format!("images/{id}_0000.nii.gz"))],
        label: examples.join(format!("labels/{id}.nii.gz")),
    };
    let model =
        Model::open(&workspace().join("models/hippocampus-nnunet-slim.onnx"), &ModelOptions::default()).unwrap();
    let stop = Stop::new();
    let options = Options { mirror: false, ..Options::new(DATASET, &stop) };
    let path = folder.join("validation.json");
    cases(&model, &CASES.map(case), &options).unwrap().write(&path).unwrap();
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A run of this many channels whose Dice is `scale` times that of `validation`.
fn run(work: &Path, name: &str, channels: usize, notes: &[(&str, &str)], validation: &Value, scale: f64) -> RunFolder {
    let run = RunFolder::new(work.join("runs").join(name));
    let facts = RunFacts {
        format: FORMAT,
        name: name.into(),
        started_unix: 1_700_000_000,
        dataset: "Dataset900_Examples".into(),
        plans: "nnUNetPlans".into(),
        configuration: "3d_fullres".into(),
        plans_sha256: String::new(),
        fold: "0".into(),
        training_cases: vec!["another".into()],
        validation_cases: CASES.map(String::from).into(),
        classes: vec!["Anterior".into(), "Posterior".into()],
        features_per_stage: vec![channels, 2 * channels],
        parameters: 1000 * (channels * channels) as u64,
        mirror_axes: vec![0, 1, 2],
        patch_zyx: [40, 56, 40],
        batch_size: 2,
        steps_per_epoch: 10,
        epochs: 1,
        initial_lr: 0.01,
        seed: 0,
        device: "cpu".into(),
        notes: notes.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
    };
    facts.write(&run).unwrap();
    let record = EpochRecord {
        epoch: 0,
        lr: 0.01,
        loss: -0.5,
        val_loss: Some(-0.4),
        pseudo_dice: vec![Some(0.8), Some(0.7)],
        ema_dice: Some(0.75),
        samples: 20,
        seconds: 10.0,
        wait_seconds: 0.0,
        teacher_passes: 0,
        terms: Default::default(),
        term_gradients: Default::default(),
    };
    EpochLog::open(&run.log()).unwrap().append(&record).unwrap();
    std::fs::write(run.last(), b"").unwrap();
    let mut validation = validation.clone();
    for case in validation["agreement"]["cases"].as_array_mut().unwrap() {
        for class in case["classes"].as_array_mut().unwrap() {
            class["dice"] = (class["dice"].as_f64().unwrap() * scale).into();
        }
    }
    std::fs::write(run.validation(), validation.to_string()).unwrap();
    run
}

fn report(work: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scanside-train"));
    command.arg("report").arg(work).args(more).output().unwrap()
}

/// Mean over classes of the mean over cases.
fn mean_dice(validation: &Value) -> f64 {
    let cases = validation["agreement"]["cases"].as_array().unwrap();
    let of =
        |class: usize| cases.iter().map(|case| case["classes"][class]["dice"].as_f64().unwrap()).sum::<f64>() / 3.0;
    (of(0) + of(1)) / 2.0
}

#[test]
fn shares_are_of_the_same_cases() {
    let place = tempfile::tempdir().unwrap();
    let work = place.path().join("work");
    std::fs::create_dir_all(&work).unwrap();
    let nothing = report(&work, &[]);
    assert_eq!(nothing.status.code(), Some(3), "{}", String::from_utf8_lossy(&nothing.stderr));
    assert_eq!(report(&place.path().join("nowhere"), &[]).status.code(), Some(3));

    let measured = validation(place.path());
    let taught = [("teacher", "teacher"), ("teacher_speaks", "of whole cases, once"), ("loss", "logit")];
    let teacher = run(&work, "teacher", 32, &[("loss", "labels")], &measured, 1.0);
    let student = run(&work, "r4_fold_0", 8, &taught, &measured, 0.98);
    run(&work, "r4-plain_fold_0", 8, &[("loss", "labels")], &measured, 0.96);
    // Another seed of both, a little worse.
    for (name, notes, scale) in
        [("r4_fold_0_seed_1", &taught[..], 0.96), ("r4-plain_fold_0_seed_1", &[("loss", "labels")], 0.95)]
    {
        let run = run(&work, name, 8, notes, &measured, scale);
        let facts = RunFacts { seed: 1, ..RunFacts::read(&run).unwrap() };
        facts.write(&run).unwrap();
    }
    let mut mirrored = measured.clone();
    mirrored["mirroring"] = true.into();
    run(&work, "r2_fold_0", 16, &taught, &mirrored, 0.99);
    for (run, seconds) in [(&teacher, 0.4), (&student, 0.05)] {
        let speed = format!(
            r#"{{"model": "m", "threads": 2, "instructions": "avx2", "precision": "f32", "patch": [40, 56, 40],
                 "median_seconds": {seconds}, "peak_rss_bytes": 50000000}}"#
        );
        std::fs::write(run.speed(), speed).unwrap();
    }

    let told = report(&work, &["--json"]);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let document: Value = serde_json::from_slice(&told.stdout).unwrap();
    let runs = document["runs"].as_array().unwrap();
    let names: Vec<&str> = runs.iter().map(|run| run["name"].as_str().unwrap()).collect();
    assert_eq!(names[0], "teacher");
    let row = |name: &str| runs.iter().find(|run| run["name"] == name).unwrap_or_else(|| panic!("{names:?}"));
    let near = |value: &Value, expected: f64| {
        let value = value.as_f64().unwrap();
        assert!((value - expected).abs() < 1e-9, "{value} instead of {expected}");
    };
    // Every case keeps the same share, so there is no doubt about it.
    let kept = &row("r4_fold_0")["dice_kept"];
    ["value", "low", "high"].iter().for_each(|key| near(&kept[key], 0.98));
    let gained = &row("r4_fold_0")["plain_twin"];
    assert_eq!(gained["name"], "r4-plain_fold_0");
    near(&gained["dice_gained"]["value"], 0.02 * mean_dice(&measured));
    assert!(gained["dice_gained"]["low"].as_f64().unwrap() > 0.0);
    near(&row("r4_fold_0")["parameters"]["saved"], 1.0 - 64.0 / 1024.0);
    near(&row("r4_fold_0")["speed_up"], 8.0);
    assert!(row("r4-plain_fold_0")["speed"].is_null() && row("teacher")["dice_kept"].is_null());
    let seeds = document["seeds"].as_array().unwrap();
    assert_eq!(seeds[0]["runs"], serde_json::json!(["r4_fold_0", "r4_fold_0_seed_1"]), "{seeds:?}");
    // The mean of both seeds of a case keeps 0.97 of it; the twins' 0.955.
    ["value", "low", "high"].iter().for_each(|key| near(&seeds[0]["dice_kept_by_case"][key], 0.97));
    near(&seeds[0]["dice_kept"]["mean"], 0.97);
    near(&seeds[0]["dice_gained_by_case"]["value"], 0.015 * mean_dice(&measured));
    assert!(seeds[1]["dice_gained_by_case"].is_null());
    let left: Vec<&Value> = document["left_out"].as_array().unwrap().iter().collect();
    assert!(left.len() == 1 && left[0]["run"] == "r2_fold_0", "{left:?}");
    assert!(left[0]["reason"].as_str().unwrap().contains("mirroring was on, the teacher's off"), "{left:?}");

    let html = std::fs::read_to_string(work.join("report.html")).unwrap();
    for word in ["<script", "http:", "https:", "url(", "@import", "<link", "<iframe"] {
        assert!(!html.contains(word), "{word}");
    }
    for word in ["r4_fold_0", "r4-plain_fold_0", "98.0", "<svg"] {
        assert!(html.contains(word), "the page does not say {word}");
    }
    for tag in ["svg", "table", "section", "div"] {
        let opened = html.matches(&format!("<{tag} ")).count() + html.matches(&format!("<{tag}>")).count();
        assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
    }

    // Another teacher is asked for; one that is none; damaged files beside sound ones.
    let other =
        report(&work, &["--json", "--teacher", "r4-plain_fold_0", "-o", place.path().join("o.html").to_str().unwrap()]);
    let other: Value = serde_json::from_slice(&other.stdout).unwrap();
    assert_eq!(other["teacher"], "r4-plain_fold_0");
    assert_eq!(report(&work, &["--teacher", "nobody"]).status.code(), Some(4));
    std::fs::write(student.validation(), "{").unwrap();
    let damaged = report(&work, &["--json", "--teacher", "teacher"]);
    let document: Value = serde_json::from_slice(&damaged.stdout).unwrap();
    assert_eq!(document["left_out"].as_array().unwrap().len(), 2, "{document}");
}
