//! The program's behaviour around a run: folders, resuming, records, interruption, places that cannot be written.

use scanside_formats::read_labels;
use scanside_testing::data::{golden, skipped, workspace};
use scanside_tests::program::{said, scanside};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn model() -> PathBuf {
    workspace().join("models/hippocampus-nnunet-slim.onnx")
}

fn images() -> PathBuf {
    workspace().join("examples/hippocampus/images")
}

fn segment(input: &Path, output: &Path, extra: &[&str]) -> Output {
    let mut program = scanside();
    program.arg("segment").arg("-m").arg(model()).arg("-i").arg(input).arg("-o").arg(output).args(extra);
    program.output().expect("the program starts")
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn the_shipped_model_gives_nnunets_labels_with_any_number_of_threads() {
    let out = tempfile::tempdir().expect("a folder");
    let mut first: Option<Vec<Vec<u8>>> = None;
    for (run, extra) in
        [["--threads", "1"], ["--threads", "2"], ["--threads", "2"], ["--engine", "tract"]].iter().enumerate()
    {
        let folder = out.path().join(run.to_string());
        let result = segment(&images(), &folder, extra);
        assert!(result.status.success(), "{}", said(&result));
        let cases = ["hippocampus_034", "hippocampus_052", "hippocampus_160"];
        let files: Vec<PathBuf> = cases.iter().map(|c| folder.join(format!("{c}.nii.gz"))).collect();
        for (case, file) in cases.iter().zip(&files) {
            let mine = read_labels(file).expect("labels").labels;
            let theirs =
                read_labels(golden().join(format!("hippocampus/labels_tta/{case}.nii.gz"))).expect("labels").labels;
            let different = mine.iter().zip(&theirs).filter(|(a, b)| a != b).count();
            assert!(different * 100_000 <= mine.len(), "{case}: {different} of {} voxels differ", mine.len());
        }
        if extra[0] == "--threads" {
            let content: Vec<Vec<u8>> = files.iter().map(|f| bytes(f)).collect();
            assert_eq!(first.get_or_insert_with(|| content.clone()), &content, "run {run}");
        }
    }
}

#[test]
fn a_folder_goes_on_after_bad_cases_and_resumes_by_content() {
    let out = tempfile::tempdir().expect("a folder");
    let (input, output) = (out.path().join("in"), out.path().join("out"));
    std::fs::create_dir(&input).expect("a folder");
    let scan = |case: &str| format!("{case}_0000.nii.gz");
    for case in ["hippocampus_034", "hippocampus_052"] {
        std::fs::copy(images().join(scan(case)), input.join(scan(case))).expect("a copy");
    }
    std::fs::copy(golden().join("faults/nifti/missing_voxels.nii.gz"), input.join(scan("broken"))).expect("a copy");
    std::os::unix::fs::symlink("../not/fetched", input.join(scan("lost"))).expect("a link");
    let record = out.path().join("record.json");
    let record_arg = record.to_str().expect("a path");
    let first = segment(&input, &output, &["--record", record_arg]);
    assert_eq!(first.status.code(), Some(7), "{}", said(&first));
    let summary = said(&first);
    assert!(
        summary.contains("2 of 4 cases failed") && summary.contains("broken") && summary.contains("lost"),
        "{summary}"
    );
    assert_eq!(std::fs::read_dir(&output).expect("a folder").count(), 2);
    assert!(summary.contains("4 cases: 2 done, 0 done before, 2 failed\n"), "{summary}");

    let facts: Value = serde_json::from_slice(&bytes(&record)).expect("JSON");
    let counted = serde_json::json!({"cases": 4, "done": 2, "done_before": 0, "failed": 2, "left_out": []});
    assert_eq!(facts["summary"], counted);
    let cases = facts["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 4);
    let done = cases.iter().find(|c| c["name"] == "hippocampus_034").expect("the case");
    assert_eq!(done["status"], "done");
    assert_eq!(done["inputs"][0]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(done["output"]["sha256"].as_str().map(str::len), Some(64));
    assert!(done["peak_rss_bytes"].as_u64() <= done["plan"]["peak_ram_bytes"].as_u64(), "{done}");

    let again = segment(&input, &output, &["--record", record_arg]);
    assert_eq!(again.status.code(), Some(7));
    let facts: Value = serde_json::from_slice(&bytes(&record)).expect("JSON");
    let resumed = facts["cases"].as_array().expect("cases").iter().filter(|c| c["status"] == "resumed").count();
    assert_eq!(resumed, 2, "{}", said(&again));

    // Same name, other content: neither taken for done nor silently replaced.
    std::fs::copy(images().join(scan("hippocampus_160")), input.join(scan("hippocampus_034"))).expect("a copy");
    let before = bytes(&output.join("hippocampus_034.nii.gz"));
    let changed = segment(&input, &output, &[]);
    assert!(said(&changed).contains("--overwrite"), "{}", said(&changed));
    assert_eq!(before, bytes(&output.join("hippocampus_034.nii.gz")));
    let replaced = segment(&input, &output, &["--overwrite"]);
    assert_eq!(replaced.status.code(), Some(7), "{}", said(&replaced));
    assert_ne!(before, bytes(&output.join("hippocampus_034.nii.gz")));
}

/// Starts a run that is long enough to be stopped.
fn long_run(output: &Path) -> std::process::Child {
    let mut program = scanside();
    program.args(["segment", "--quiet", "--step-size", "0.02", "--threads", "1", "-m"]).arg(model());
    program.arg("-i").arg(images().join("hippocampus_052_0000.nii.gz")).arg("-o").arg(output);
    program.spawn().expect("the program starts")
}

/// Waits until the run has begun its label file.
fn wait_for_partial(folder: &Path) {
    let start = Instant::now();
    while std::fs::read_dir(folder).map_or(0, Iterator::count) == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "the run did not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn visible(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.filter(|e| !e.as_ref().expect("an entry").file_name().to_string_lossy().starts_with('.')).count()
}

#[test]
fn a_killed_run_leaves_no_label_file_and_the_next_one_cleans_up() {
    let out = tempfile::tempdir().expect("a folder");
    let labels = out.path().join("labels.nii.gz");
    let mut child = long_run(&labels);
    wait_for_partial(out.path());
    child.kill().expect("SIGKILL");
    child.wait().expect("an end");
    assert_eq!(visible(out.path()), 0, "something partial is visible");
    let again = segment(&images().join("hippocampus_052_0000.nii.gz"), &labels, &[]);
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(std::fs::read_dir(out.path()).expect("a folder").count(), 1);
}

#[test]
fn an_interrupted_run_ends_with_130_and_leaves_nothing() {
    let out = tempfile::tempdir().expect("a folder");
    let mut child = long_run(&out.path().join("labels.nii.gz"));
    wait_for_partial(out.path());
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill starts");
    assert!(kill.success());
    assert_eq!(child.wait().expect("an end").code(), Some(130));
    assert_eq!(std::fs::read_dir(out.path()).expect("a folder").count(), 0);
}

#[test]
fn places_that_cannot_be_written_are_exit_code_6() {
    let out = tempfile::tempdir().expect("a folder");
    let scan = images().join("hippocampus_034_0000.nii.gz");
    // A file where a folder is needed: holds for root as well, unlike permissions.
    std::fs::write(out.path().join("file"), b"x").expect("a file");
    let result = segment(&scan, &out.path().join("file/labels.nii.gz"), &[]);
    assert_eq!(result.status.code(), Some(6), "{}", said(&result));
    // A device that is always full stands for a full disk under the record's name.
    if Path::new("/proc").is_dir() {
        let result = segment(&scan, Path::new("/proc/labels.nii.gz"), &[]);
        assert_eq!(result.status.code(), Some(6), "{}", said(&result));
    }
}

/// A small file system that fills up. Mounting needs rights that not every machine gives.
#[test]
fn a_full_disk_leaves_nothing() {
    let out = tempfile::tempdir().expect("a folder");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4k", "tmpfs"]).arg(out.path()).output();
    if !mounted.is_ok_and(|o| o.status.success()) {
        skipped("a small file system cannot be mounted without more rights");
        return;
    }
    std::fs::write(out.path().join("filler"), vec![1; 4096]).ok();
    let result = segment(&images().join("hippocampus_034_0000.nii.gz"), &out.path().join("labels.nii"), &[]);
    let left = std::fs::read_dir(out.path()).expect("a folder").count();
    Command::new("umount").arg(out.path()).status().expect("umount starts");
    assert_eq!(result.status.code(), Some(6), "{}", said(&result));
    assert_eq!(left, 1, "only the filler may be there");
}

#[test]
fn evaluation_of_the_examples() {
    let out = tempfile::tempdir().expect("a folder");
    let result = segment(&images(), out.path(), &["--quiet"]);
    assert!(result.status.success(), "{}", said(&result));
    let labels = workspace().join("examples/hippocampus/labels");
    let mut program = scanside();
    program.arg("evaluate").arg("-p").arg(out.path()).arg("-l").arg(&labels).arg("--json");
    let output = program.output().expect("the program starts");
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(report.to_string().contains("surface"), "{report}");
}

#[test]
fn instructions_that_no_cpu_has_are_a_usage_error() {
    let output = scanside().args(["bench", "--instructions", "WRONG", "-m"]).arg(model()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    // What was given, and what could be.
    assert!(said(&output).contains("WRONG") && said(&output).contains("scalar"), "{}", said(&output));
}

#[test]
fn a_described_scan_has_its_windows_counted() {
    let bench = |model: &Path, volume: &str| {
        let mut program = scanside();
        program.args(["bench", "--json", "--runs", "1", "--volume", volume, "-m"]).arg(model);
        program.output().expect("it starts")
    };
    // By nnU-Net's rule on 300 x 410 x 410 voxels: 14 x 14 x 20 tiles of 40 x 56 x 40, each mirrored in 8 ways.
    let output = bench(&model(), "512x512x300@0.8x0.8x1");
    let measured: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let scan = &measured["whole_scan"];
    assert_eq!((&scan["windows"], &scan["passes"]), (&3920.into(), &31360.into()), "{measured}");
    let pass = measured["median_seconds"].as_f64().expect("seconds");
    let whole = scan["network_seconds"].as_f64().expect("seconds");
    assert!((whole / pass - 31360.0).abs() < 1e-6, "{measured}");

    // At the model's own distance nothing is resampled; x comes first.
    let output = bench(&model(), "40x57x41");
    let measured: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(measured["whole_scan"]["windows"], 4, "{measured}");
    assert_eq!(bench(&model(), "40x57").status.code(), Some(2));
    // A network that says nothing of itself can be measured, but not laid over a scan.
    let bare = workspace().join("tests/golden/onnx/plain3d.onnx");
    let output = bench(&bare, "40x57x41");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("has no manifest"), "{}", said(&output));
}
