//! A family of students trained by the program: what it writes, what it asks of its teacher, and what it refuses.

use scanside_trainer::report::log::{EpochRecord, read};
use scanside_trainer::report::run::{RunFacts, RunFolder};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

#[path = "common/toy.rs"]
mod toy;
use toy::{program, run, succeeds, work};

const STEPS: u64 = 6;

fn distill<'a>(work: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["distill", work, "--teacher", "teacher", "--family", "1,2", "--floor", "2", "--ablation"];
    arguments.extend(["--losses", "logit,gradient,feature"]);
    arguments.extend([
        "--epochs",
        "3",
        "--iterations-per-epoch",
        "6",
        "--validation-iterations",
        "1",
        "--device",
        "cpu",
        "--no-validation",
    ]);
    arguments.extend(more);
    arguments
}

/// A teacher of so many epochs of so many steps.
fn teach(work: &str, name: &str, epochs: &str, steps: &str) {
    let teacher = ["teacher", work, "--name", name, "--epochs", epochs, "--iterations-per-epoch", steps];
    succeeds(&[&teacher[..], &["--validation-iterations", "0", "--device", "cpu", "--no-validation"]].concat());
}

fn timeless(folder: &Path) -> Vec<EpochRecord> {
    let records = read(&folder.join("log.jsonl")).unwrap();
    records
        .into_iter()
        .map(|record| EpochRecord { seconds: 0.0, wait_seconds: 0.0, teacher_passes: 0, ..record })
        .collect()
}

#[test]
fn a_family_shares_its_teacher_and_resumes_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let work = work(folder.path());
    let name = work.to_str().unwrap();
    teach(name, "teacher", "2", "6");

    // The other folds' cases are what this teacher was trained on.
    let leaking = run(&distill(name, &["--fold", "1"]));
    assert_eq!(leaking.status.code(), Some(3));
    let said = String::from_utf8_lossy(&leaking.stderr).to_string();
    assert!(said.contains("was trained on 1 of the 1 validation cases of the students"), "{said}");
    let unknown = run(&["distill", name, "--teacher", name]);
    assert_eq!(unknown.status.code(), Some(4), "{}", String::from_utf8_lossy(&unknown.stderr));

    // Killed while the second epoch runs.
    let mut child = program(&distill(name, &[])).stderr(Stdio::piped()).spawn().unwrap();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        if line.unwrap().contains("epoch 1/") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    succeeds(&distill(name, &["--resume"]));

    let whole = work.join("whole");
    std::fs::create_dir(&whole).unwrap();
    let students = ["r1f2_fold_0", "r1f2-plain_fold_0", "r2f2_fold_0", "r2f2-plain_fold_0"];
    for student in students {
        std::fs::rename(work.join("runs").join(student), whole.join(student)).unwrap();
    }
    succeeds(&distill(name, &[]));
    for student in students {
        let (killed, straight) = (whole.join(student), work.join("runs").join(student));
        let weights = |run: &Path| std::fs::read(run.join("checkpoint_final.safetensors")).unwrap();
        assert!(weights(&killed) == weights(&straight), "{student}: the weights differ");
        assert_eq!(timeless(&killed), timeless(&straight), "{student}");

        let records = read(&straight.join("log.jsonl")).unwrap();
        let facts = RunFacts::read(&RunFolder::new(&straight)).unwrap();
        let features = if student.starts_with("r1") { [4, 8, 16] } else { [2, 4, 8] };
        assert_eq!(facts.features_per_stage, features, "{student}");
        for record in &records {
            // Once a batch, however many students hear it.
            assert_eq!(record.teacher_passes, STEPS, "{student}");
            let distilled = !student.contains("plain");
            assert_eq!(record.terms.contains_key("logit"), distilled, "{student}");
            assert_eq!(record.term_gradients.contains_key("boundary"), distilled, "{student}");
            assert_eq!(record.terms.contains_key("feature"), distilled, "{student}");
        }
    }
    let plans = std::fs::read_to_string(work.join("runs/r2f2_fold_0/plans.json")).unwrap();
    let plans: serde_json::Value = serde_json::from_str(&plans).unwrap();
    let network = &plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"];
    assert_eq!(network["features_per_stage"], serde_json::json!([2, 4, 8]));
}

#[test]
fn few_labels_are_enough_to_begin_with() {
    let folder = tempfile::tempdir().unwrap();
    let work = work(folder.path());
    let name = work.to_str().unwrap();
    teach(name, "teacher", "1", "2");
    succeeds(&distill(name, &["--labelled", "1"]));
    let facts = RunFacts::read(&RunFolder::new(work.join("runs/r2f2_fold_0_labelled_1"))).unwrap();
    assert_eq!(facts.training_cases.len(), 1);
    let too_many = run(&distill(name, &["--labelled", "2"]));
    assert_eq!(too_many.status.code(), Some(2));
}

#[test]
fn a_model_file_teaches_as_the_run_it_was_exported_from() {
    let folder = tempfile::tempdir().unwrap();
    let work = work(folder.path());
    let name = work.to_str().unwrap();
    teach(name, "teacher", "1", "2");
    let (run_folder, file) = (work.join("runs/teacher"), folder.path().join("teacher.onnx"));
    let file = file.to_str().unwrap();
    succeeds(&["export", run_folder.to_str().unwrap(), "-o", file]);

    let distill = |teacher, more: &[&str]| {
        let all = ["distill", name, "--teacher", teacher, "--family", "2", "--floor", "2", "--epochs", "1"];
        let short =
            ["--iterations-per-epoch", "2", "--validation-iterations", "0", "--device", "cpu", "--no-validation"];
        run(&[&all[..], &short, more].concat())
    };
    let record = |output: std::process::Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let run = work.join("runs/r2f2_fold_0");
        let record = read(&run.join("log.jsonl")).unwrap().remove(0);
        std::fs::remove_dir_all(run).unwrap();
        record
    };
    let (by_run, by_file) = (record(distill("teacher", &[])), record(distill(file, &[])));
    let differs = |term: &str| (by_run.terms[term] - by_file.terms[term]).abs() / by_run.terms[term];
    // Of this network's two resolutions only the full one counts, where both speak alike.
    assert!(differs("boundary") < 1e-3 && differs("logit") < 1e-3, "{by_run:?} {by_file:?}");

    // Activations are learned from networks alone.
    let features = |teacher| distill(teacher, &["--losses", "logit,feature"]);
    let by_layers = record(features("teacher"));
    assert!(by_layers.terms["feature"] > 0.0 && by_layers.teacher_passes == 2, "{by_layers:?}");
    assert_eq!(features(file).status.code(), Some(2));

    let leaking = distill(file, &["--fold", "1"]);
    assert_eq!(leaking.status.code(), Some(3), "{}", String::from_utf8_lossy(&leaking.stderr));
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/hippocampus-nnunet-slim.onnx");
    let unfit = distill(other, &["--trust-teacher"]);
    let said = String::from_utf8_lossy(&unfit.stderr).to_string();
    assert!(unfit.status.code() == Some(4) && said.contains("patch: [40, 56, 40]; the plan's: [24, 24, 24]"), "{said}");
}

/// Teachers from elsewhere have no run of their own, and are what students are compared with all the same.
#[test]
fn students_are_compared_with_teachers_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let work = work(folder.path());
    let name = work.to_str().unwrap();
    teach(name, "teacher_fold_0", "1", "2");
    let runs = work.join("runs");
    let [file, nnunet] = ["teacher.onnx", "nnunet"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    succeeds(&["export", runs.join("teacher_fold_0").to_str().unwrap(), "-o", &file, "--nnunet", &nnunet]);
    std::fs::remove_file(runs.join("teacher_fold_0/checkpoint_final.safetensors")).unwrap();

    for teacher in [&file, &nnunet] {
        let all = ["distill", name, "--teacher", teacher, "--family", "2", "--floor", "2", "--epochs", "1"];
        let short = ["--iterations-per-epoch", "2", "--validation-iterations", "0", "--device", "cpu"];
        let output = run(&[&all[..], &short].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // The trained run has the file's name, so the file's run has another.
        let adopted = std::fs::read_dir(&runs).unwrap().map(|entry| entry.unwrap().path()).find(|run| {
            run.join("model.onnx").is_file()
                && run.join("validation.json").is_file()
                && run.join("speed.json").is_file()
        });
        let adopted = adopted.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let facts = RunFacts::read(&RunFolder::new(&adopted)).unwrap();
        assert!(
            facts.name.starts_with(if teacher == &file { "teacher_fold_0-" } else { "nnunet_fold_0" }),
            "{}",
            facts.name
        );
        assert!(facts.parameters > 0 && facts.training_cases.len() == 2, "{facts:?}");
        let student = RunFacts::read(&RunFolder::new(runs.join("r2f2_fold_0"))).unwrap();
        assert_eq!(student.notes["teacher"], facts.name);

        let report = run(&["report", name, "--json"]);
        assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
        let document: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
        assert_eq!(document["teacher"], facts.name.as_str());
        assert!(document["runs"][1]["parameters"]["saved"].as_f64().unwrap() > 0.5, "{document}");
        assert!(document["runs"][1]["gmac_per_patch"]["saved"].as_f64().unwrap() > 0.5, "{document}");
        let status = run(&["status", name]);
        assert!(String::from_utf8_lossy(&status.stdout).contains("imported from"));
        // The same teacher again is the same run.
        std::fs::remove_dir_all(runs.join("r2f2_fold_0")).unwrap();
        succeeds(&[&all[..], &short, &["--no-validation"]].concat());
        assert_eq!(std::fs::read_dir(&runs).unwrap().count(), 3);
        for run in [adopted, runs.join("r2f2_fold_0")] {
            std::fs::remove_dir_all(run).unwrap();
        }
    }
}

#[test]
fn students_within_a_budget_are_trained_and_judged() {
    let folder = tempfile::tempdir().unwrap();
    let work = work(folder.path());
    let name = work.to_str().unwrap();
    teach(name, "teacher", "1", "2");
    assert!(!work.join("runs/teacher/validation.json").exists());

    let distill = |more: &[&str]| {
        let all = ["distill", name, "--teacher", "teacher", "--family", "1,2", "--floor", "2", "--epochs", "1"];
        let short = ["--iterations-per-epoch", "2", "--validation-iterations", "0", "--device", "cpu", "--ablation"];
        run(&[&all[..], &short, more].concat())
    };
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(distill(&["--budget", "fast"]).status.code(), Some(2));
    let nothing = distill(&["--budget", "latency=1h,ram=1M"]);
    assert_eq!(nothing.status.code(), Some(5), "{}", said(&nothing.stderr));
    let words = said(&nothing.stderr);
    assert!(words.contains("none of the 2 models fits") && words.contains("(ram="), "{words}");
    assert!(!work.join("runs/r1f2_fold_0").exists());

    let done = distill(&["--budget", "latency=1h,ram=8G"]);
    assert!(done.status.success(), "{}", said(&done.stderr));
    let table = said(&done.stdout);
    assert!(table.contains("the largest case") && table.contains("mean Dice"), "{table}");
    // The teacher as well: it is what the students are compared with.
    for run in ["teacher", "r1f2_fold_0", "r1f2-plain_fold_0", "r2f2_fold_0", "r2f2-plain_fold_0"] {
        for file in ["validation.json", "speed.json"] {
            assert!(work.join("runs").join(run).join(file).is_file(), "{run} has no {file}: {}", said(&done.stderr));
        }
    }
    assert!(work.join("report.html").is_file(), "{}", said(&done.stderr));
}
