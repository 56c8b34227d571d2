//! Networks measured in processes of their own, and what exported files say of it. No test depends on what was
//! measured: where figures matter they are written by the test.

use scanside_core::manifest::Manifest;
use scanside_core::onnx;
use serde_json::{Value, json};
use std::path::Path;

#[path = "common/toy.rs"]
mod toy;
use toy::{run, succeeds, work};

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn write(path: &Path, document: &Value) {
    std::fs::write(path, document.to_string()).unwrap();
}

fn export(run: &Path, file: &Path) -> Manifest {
    succeeds(&["export", run.to_str().unwrap(), "-o", file.to_str().unwrap(), "--overwrite"]);
    onnx::load(file, None).unwrap().manifest
}

fn names(manifest: &Manifest) -> Vec<&str> {
    manifest.family.iter().map(|member| member.name.as_str()).collect()
}

#[test]
fn measured_runs_tell_their_speed_and_their_family_in_exported_files() {
    let folder = tempfile::tempdir().unwrap();
    let work = work(folder.path());
    let name = work.to_str().unwrap();
    let nothing = run(&["measure", name]);
    assert_eq!(nothing.status.code(), Some(3), "{}", String::from_utf8_lossy(&nothing.stderr));
    for (teacher, seed) in [("first", "1"), ("second", "2")] {
        let teach =
            ["teacher", name, "--name", teacher, "--epochs", "1", "--iterations-per-epoch", "2", "--seed", seed];
        succeeds(&[&teach[..], &["--validation-iterations", "0", "--device", "cpu", "--no-validation"]].concat());
    }
    let [first, second] = ["first", "second"].map(|run| work.join("runs").join(run));
    let file = folder.path().join("model.onnx");
    let unmeasured = export(&first, &file);
    assert!(unmeasured.measured.is_empty() && unmeasured.family.is_empty());

    let measured = run(&["measure", name, "--threads", "1"]);
    assert!(measured.status.success(), "{}", String::from_utf8_lossy(&measured.stderr));
    let table = String::from_utf8_lossy(&measured.stdout).into_owned();
    assert!(table.contains("median s") && table.contains("first.onnx") && table.contains("second.onnx"), "{table}");
    let speed = read(&first.join("speed.json"));
    assert_eq!((&speed["threads"], &speed["precision"]), (&json!(1), &json!("f32")), "{speed}");
    assert_eq!(speed["graph_sha256"].as_str().map(str::to_owned), unmeasured.graph_sha256, "{speed}");
    assert!(speed["median_seconds"].as_f64().unwrap() > 0.0 && speed["patch"] == json!([24, 24, 24]), "{speed}");

    succeeds(&["validate", name, "--model", "first", "--no-mirroring", "--quiet"]);
    let exported = export(&first, &file);
    assert_eq!(exported.graph_sha256, unmeasured.graph_sha256);
    let [measurement] = exported.measured.as_slice() else { panic!("{:?}", exported.measured) };
    assert_eq!(Some(measurement.seconds_per_window), speed["median_seconds"].as_f64());
    assert_eq!((measurement.threads, &*measurement.precision), (1, "f32"));
    assert!(!measurement.machine.is_empty());
    assert_eq!(names(&exported), ["first"]);
    assert_eq!(exported.family[0].mean_dice, exported.accuracy["mean_dice"]);
    assert_eq!(Some(&exported.family[0].graph_sha256), exported.graph_sha256.as_ref());

    // The other run: as accurate on the same cases, and as it is said to have been measured.
    let theirs = read(&second.join("speed.json"));
    let mut judged = read(&first.join("validation.json"));
    judged["graph_sha256"] = theirs["graph_sha256"].clone();
    write(&second.join("validation.json"), &judged);
    let family = |median: f64, peak: u64, threads: u64| {
        let mut speed = theirs.clone();
        (speed["median_seconds"], speed["peak_rss_bytes"], speed["threads"]) =
            (json!(median), json!(peak), json!(threads));
        write(&second.join("speed.json"), &speed);
        let manifest = export(&first, &file);
        names(&manifest).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(family(1e3, u64::from(u32::MAX), 1), ["first"]);
    assert_eq!(family(1e3, 1, 1), ["first", "second"]);
    assert_eq!(family(1e-9, 1, 1), ["second"]);
    assert_eq!(family(1e-9, 1, 64), ["first"], "measured under other conditions");
    // Judged in another way.
    judged["mirroring"] = json!(true);
    write(&second.join("validation.json"), &judged);
    assert_eq!(family(1e-9, 1, 1), ["first"]);
    std::fs::write(second.join("speed.json"), b"torn").unwrap();
    assert_eq!(names(&export(&first, &file)), ["first"]);

    // What was measured on other weights is not said of these.
    let mut stale = speed.clone();
    stale["graph_sha256"] = json!("00");
    write(&first.join("speed.json"), &stale);
    assert!(export(&first, &file).measured.is_empty());

    let unknown = run(&["measure", name, "--model", "nobody"]);
    assert_eq!(unknown.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("is not a run of"));
}
