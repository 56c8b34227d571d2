//! The program trains on real scans: the loss falls, and a run that was killed ends with the same bytes as one that was not.

use scanside_trainer::report::log::{EpochRecord, read};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

#[path = "common/toy.rs"]
mod toy;
use toy::{program, run, succeeds, work};

const EPOCHS: usize = 4;

fn arguments<'a>(work: &'a str, name: &'a str, epochs: &'a str) -> Vec<&'a str> {
    vec![
        "teacher",
        work,
        "--name",
        name,
        "--epochs",
        epochs,
        "--iterations-per-epoch",
        "12",
        "--validation-iterations",
        "2",
        "--ema",
        "0.9",
        "--device",
        "cpu",
    ]
}

/// What a log says, but for the clock.
fn timeless(folder: &Path) -> Vec<EpochRecord> {
    let records = read(&folder.join("log.jsonl")).unwrap();
    records.into_iter().map(|record| EpochRecord { seconds: 0.0, wait_seconds: 0.0, ..record }).collect()
}

#[test]
fn a_killed_run_resumes_to_the_same_bytes_and_the_loss_falls() {
    let folder = tempfile::tempdir().unwrap();
    let work = work(folder.path());
    let (name, epochs) = (work.to_str().unwrap(), EPOCHS.to_string());

    succeeds(&arguments(name, "whole", &epochs));
    let whole = work.join("runs/whole");
    let records = timeless(&whole);
    assert_eq!(records.len(), EPOCHS);
    assert!(records[EPOCHS - 1].loss < records[0].loss - 0.2, "{records:?}");

    // Killed while the third epoch runs.
    let mut child = program(&arguments(name, "killed", &epochs)).stderr(Stdio::piped()).spawn().unwrap();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        if line.unwrap().contains("epoch 2/") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = work.join("runs/killed");
    assert!(!killed.join("checkpoint_final.safetensors").exists());
    assert!(killed.join("checkpoint_latest.safetensors").exists());

    let again = run(&arguments(name, "killed", &epochs));
    assert_eq!(again.status.code(), Some(2), "without --resume nothing is overwritten");
    let mut resume = arguments(name, "killed", &epochs);
    resume.push("--resume");
    let mut longer = arguments(name, "killed", "9");
    longer.push("--resume");
    let refused = run(&longer);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("epochs was 4 and would be 9"));
    succeeds(&resume);

    assert_eq!(timeless(&killed), records);
    let weights = |run: &Path| std::fs::read(run.join("checkpoint_final.safetensors")).unwrap();
    assert!(weights(&killed) == weights(&whole), "the weights differ");
}

#[test]
fn a_folder_without_a_plan_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["teacher", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("plans.json"));
}

#[test]
fn a_training_that_diverges_says_what_to_change() {
    let folder = tempfile::tempdir().unwrap();
    let work = work(folder.path());
    let name = work.to_str().unwrap();
    let arguments = ["teacher", name, "--name", "wild", "--learning-rate", "1e20", "--epochs", "1", "--device", "cpu"];
    let short = ["--iterations-per-epoch", "5", "--validation-iterations", "0", "--no-validation"];
    let output = run(&[&arguments[..], &short].concat());
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("the training diverged") && text.contains("--learning-rate"), "{text}");
}
