//! Choosing among models for one scan on this machine. Nothing here depends on how long anything takes: budgets are
//! either more than any machine needs or less.

use scanside_core::manifest::{FamilyMember, Labels, Manifest, Measurement};
use scanside_core::onnx;
use scanside_testing::data::workspace;
use scanside_tests::program::{said, scanside};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

fn slim() -> PathBuf {
    workspace().join("models/hippocampus-nnunet-slim.onnx")
}

fn scan() -> PathBuf {
    workspace().join("examples/hippocampus/images/hippocampus_034_0000.nii.gz")
}

/// The shipped model under another name, with other facts.
fn copy(folder: &Path, name: &str, change: impl FnOnce(&mut Manifest)) -> PathBuf {
    let loaded = onnx::load(&slim(), None).expect("the model");
    let (mut manifest, mut model) = (loaded.manifest, loaded.model);
    change(&mut manifest);
    model.set_manifest(&manifest).expect("a manifest");
    let path = folder.join(name);
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("a file"));
    model.write(&mut file).expect("a model");
    path
}

fn dice(folder: &Path, name: &str, mean_dice: f64) -> PathBuf {
    copy(folder, name, |manifest| {
        manifest.accuracy.insert("mean_dice".into(), mean_dice);
    })
}

fn choose(models: &[&Path], extra: &[&str]) -> Output {
    let mut program = scanside();
    program.arg("choose").arg("-m").args(models).arg("-i").arg(scan()).args(extra);
    program.output().expect("the program starts")
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(output)))
}

#[test]
fn the_most_accurate_model_that_fits_is_chosen_and_its_command_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (good, better) = (dice(folder.path(), "good.onnx", 0.80), dice(folder.path(), "better.onnx", 0.90));
    let output = choose(&[&slim(), &good, &better], &["--max-ram", "1G", "--max-time", "10h", "--threads", "1"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("better.onnx: mean Dice 0.900, the highest of the 3 models that fit; 1 of them"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("> better.onnx")).count(), 1, "{text}");

    let command = text.lines().last().expect("a command");
    let words = ["scanside segment -m ", "better.onnx -i ", " -o hippocampus_034.nii.gz --max-ram 1G --threads 1"];
    assert!(words.iter().all(|word| command.contains(word)), "{command}");
    let mut shell = std::process::Command::new("sh");
    shell.current_dir(folder.path()).arg("-c").arg(format!("exec \"$0\" {}", &command["scanside ".len()..]));
    let run = shell.arg(scanside().get_program()).output().expect("sh starts");
    assert!(run.status.success(), "{}", said(&run));
    assert!(folder.path().join("hippocampus_034.nii.gz").is_file());
}

#[test]
fn what_is_found_is_told_to_programs_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let better = dice(folder.path(), "better.onnx", 0.90);
    let output = choose(&[&slim(), &better], &["--json", "--no-mirroring", "--step", "1", "--precision", "f16"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let found = document(&output);
    assert_eq!((&found["case"], &found["chosen"]), (&"hippocampus_034".into(), &1.into()), "{found}");
    let models = found["models"].as_array().expect("models");
    assert_eq!(models.len(), 2);
    for model in models {
        assert_eq!((&model["fits"], &model["precision"]), (&true.into(), &"f16".into()), "{model}");
        assert_eq!(model["tiles"], model["network_passes"], "{model}");
        let window = model["seconds_per_window"].as_f64().expect("a time");
        assert!(window > 0.0 && model["predicted_seconds"].as_f64().expect("a time") > window, "{model}");
    }
    assert!(models[0]["mean_dice"].is_null() && models[1]["mean_dice"] == 0.9);
    let command = found["command"].as_str().expect("a command");
    assert!(command.contains("better.onnx") && command.ends_with("--precision f16 --step-size 1 --disable-tta"));

    // The same as plan announces, to what two processes of one model differ by.
    let mut plan = scanside();
    plan.args(["plan", "--json", "--no-timing", "--disable-tta", "--step-size", "1", "--precision", "f16", "-m"]);
    let plan = plan.arg(&better).arg("-i").arg(scan()).output().expect("it starts");
    let announced = document(&plan)["cases"][0]["peak_ram_bytes"].as_i64().expect("a peak");
    let chosen = models[1]["peak_ram_bytes"].as_i64().expect("a peak");
    assert!((announced - chosen).abs() < 4 << 20, "{announced} and {chosen}");
}

#[test]
fn models_of_unknown_accuracy_come_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = copy(folder.path(), "other.onnx", |_| {});
    let output = choose(&[&other, &slim()], &["--json"]);
    let found = document(&output);
    assert_eq!(found["chosen"], 0, "{found}");
    assert!(
        found["why"].as_str().is_some_and(|why| why.contains("none of the models that fit states its accuracy")),
        "{found}"
    );
}

#[test]
fn where_nothing_fits_it_is_said_what_would() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = dice(folder.path(), "good.onnx", 0.80);
    let output = choose(&[&slim(), &good], &["--max-ram", "20M", "--json"]);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    let found = document(&output);
    assert!(found["chosen"].is_null() && found["command"].is_null(), "{found}");
    let least = found["models"][0]["least_ram_bytes"].as_u64().expect("the least");
    assert!(least > 20_000_000 && found["models"][0]["predicted_seconds"].is_null(), "{found}");
    let sentence = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(sentence.contains("none of the 2 models fits in 20 MB; the least memory is "), "{sentence}");

    // What is said to do does: with a little for what two processes differ by.
    let enough = format!("{}M", least.div_ceil(1_000_000) + 4);
    assert_eq!(choose(&[&slim(), &good], &["--max-ram", &enough]).status.code(), Some(0));

    let output = choose(&[&slim(), &good], &["--max-time", "0.000001s"]);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("the shortest time is ") && text.contains("--max-time"), "{text}");
    assert!(text.contains("no: needs "), "{text}");
}

/// A file knows the family it was made with.
#[test]
fn members_of_the_family_that_were_not_given_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let family = [("big", 0.9, 0.1, 100), ("middle", 0.8, 0.05, 50), ("small", 0.7, 0.02, 60), ("tiny", 0.6, 0.01, 30)];
    let family = family.map(|(name, mean_dice, seconds_per_window, megabytes)| FamilyMember {
        name: name.into(),
        mean_dice,
        seconds_per_window,
        peak_rss_bytes: megabytes * 1_000_000,
        graph_sha256: format!("{name} graph"),
    });
    let member = |name: &str, mean_dice: f64| {
        copy(folder.path(), name, |manifest| {
            manifest.accuracy.insert("mean_dice".into(), mean_dice);
            // Stored otherwise than it was measured: the graph has another hash.
            manifest.provenance.insert("run".into(), name.into());
            manifest.family = family.to_vec();
        })
    };
    let (middle, small) = (member("middle", 0.8), member("small", 0.7));
    let names = |output: &Output| -> Vec<String> {
        let members = document(output)["not_given"].as_array().expect("members").clone();
        members.iter().map(|member| member["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&choose(&[&small, &middle], &["--json"])), ["big"]);
    assert_eq!(names(&choose(&[&small], &["--json"])), ["big", "middle"]);
    assert_eq!(names(&choose(&[&small, &middle], &["--json", "--max-ram", "20M"])), ["tiny"]);
    assert_eq!(
        names(&choose(&[&small], &["--json", "--max-ram", "20M"])),
        ["middle", "tiny"],
        "less memory, less time"
    );
    assert!(names(&choose(&[&slim(), &slim()], &["--json"])).is_empty());

    let text = said(&choose(&[&small, &middle], &[]));
    let better = "that are more accurate than the chosen one, as measured by their maker:\n  big: mean Dice 0.900, 100.0 ms per patch, peak 100 MB\n";
    assert!(text.contains(better), "{text}");
}

#[test]
fn models_for_different_tasks_are_not_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = copy(folder.path(), "other.onnx", |manifest| {
        if let Labels::Exclusive { heads } = &mut manifest.labels {
            heads[1].name = "amygdala".into();
        }
    });
    let output = choose(&[&slim(), &other], &[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let text = said(&output);
    assert!(text.contains("different tasks") && text.contains("1 amygdala") && text.contains("1 Anterior"), "{text}");
    let mut folder_given = scanside();
    folder_given.arg("choose").arg("-m").arg(slim()).arg("-i").arg(workspace().join("examples/hippocampus/images"));
    let output = folder_given.output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(choose(&[&slim()], &["--max-time", "60"]).status.code(), Some(2));
}

#[test]
fn plan_predicts_the_time_unless_told_not_to() {
    let plan = |extra: &[&str]| {
        let mut program = scanside();
        program.args(["plan", "-m"]).arg(slim()).arg("-i").arg(scan()).args(extra);
        program.output().expect("it starts")
    };
    let case = document(&plan(&["--json"]))["cases"][0].clone();
    let phases = case["predicted_phase_seconds"].as_object().expect("phases");
    let sum: f64 = phases.values().map(|seconds| seconds.as_f64().expect("seconds")).sum();
    let told = case["predicted_seconds"].as_f64().expect("seconds");
    assert!((sum - told).abs() < 1e-9 && told > 0.0, "{case}");
    assert!(case["seconds_per_window"].as_f64().is_some_and(|s| s > 0.0), "{case}");
    assert!(said(&plan(&[])).contains("  time           about "));

    let case = document(&plan(&["--json", "--no-timing"]))["cases"][0].clone();
    assert!(case["predicted_seconds"].is_null() && case["seconds_per_window"].is_null(), "{case}");
    assert!(!said(&plan(&["--no-timing"])).contains("time  "));
}

/// Measuring a model must not make its old results look like another model's.
#[test]
fn measurements_are_shown_and_change_neither_graph_nor_results() {
    let folder = tempfile::tempdir().expect("a folder");
    let measured = copy(folder.path(), "measured.onnx", |manifest| {
        manifest.accuracy.insert("mean_dice".into(), 0.87);
        manifest.measured.push(Measurement {
            machine: "A CPU of 2026".into(),
            threads: 2,
            instructions: "AVX2".into(),
            precision: "f32".into(),
            seconds_per_window: 0.0125,
            peak_rss_bytes: 43_000_000,
        });
        manifest.family.push(FamilyMember {
            name: "r4_fold_0".into(),
            mean_dice: 0.866,
            seconds_per_window: 0.004,
            peak_rss_bytes: 30_000_000,
            graph_sha256: "00".into(),
        });
    });
    let inspect = |extra: &[&str]| scanside().arg("inspect").arg(&measured).args(extra).output().expect("it starts");
    let text = said(&inspect(&[]));
    assert!(text.contains("12.5 ms per patch, peak 43 MB, f32 on 2 thread(s), AVX2 of A CPU of 2026"), "{text}");
    assert!(text.contains("r4_fold_0: mean Dice 0.866, 4.0 ms per patch, peak 30 MB"), "{text}");
    let manifest = document(&inspect(&["--json"]))["manifest"].clone();
    assert_eq!(manifest["measured"][0]["seconds_per_window"], 0.0125, "{manifest}");
    assert_eq!(manifest["family"][0]["mean_dice"], 0.866, "{manifest}");
    let before = onnx::load(&slim(), None).expect("the model").manifest.graph_sha256;
    assert_eq!(manifest["graph_sha256"].as_str().map(str::to_owned), before);

    let labels = folder.path().join("labels.nii.gz");
    let segment = |model: &Path| {
        let mut program = scanside();
        program.arg("segment").arg("-m").arg(model).arg("-i").arg(scan()).arg("-o").arg(&labels);
        program.output().expect("it starts")
    };
    assert!(segment(&slim()).status.success());
    let again = segment(&measured);
    assert!(said(&again).contains("already done"), "{}", said(&again));
}
