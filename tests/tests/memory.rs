//! The memory contract, measured on processes: the announced peak is not exceeded, is not far from the truth, and does
//! not grow with the number of slices.

use scanside_testing::data::{golden, skipped};
use scanside_tests::program::scanside;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// 25 labels on a 1.5 mm grid, patch 96^3.
fn model() -> PathBuf {
    golden().join("memory_model")
}

fn make_ct(folder: &Path, shape_zyx: [usize; 3], spacing_mm: [f64; 3]) -> PathBuf {
    let path = folder.join(format!("ct{}_0000.nii.gz", shape_zyx[0]));
    let file = std::io::BufWriter::new(std::fs::File::create(&path).expect("a file"));
    scanside_tests::ct::write(file, shape_zyx, spacing_mm, true).expect("a scan");
    path
}

fn plan(model: &Path, scan: &Path, extra: &[&str]) -> Result<Value, i32> {
    let mut program = scanside();
    program.args(["plan", "--json", "--no-timing", "-m"]).arg(model).arg("-i").arg(scan).args(extra);
    let output = program.output().expect("the program starts");
    match output.status.code() {
        Some(0) => Ok(serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["cases"][0].clone()),
        code => {
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
            Err(code.expect("a code"))
        }
    }
}

/// Runs under a limit on the address space, which also counts code, stacks and what is reserved but never touched.
fn segment(model: &Path, scan: &Path, out: &Path, limit_megabytes: u64, extra: &[&str]) -> (Output, Value) {
    let record = out.join("record.json");
    let program = scanside();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -v {}; exec \"$0\" \"$@\"", limit_megabytes * 1000));
    shell.arg(program.get_program()).args(["segment", "--overwrite", "--disable-tta", "--step-size", "1", "-m"]);
    shell.arg(model).arg("-i").arg(scan).arg("-o").arg(out.join("labels.nii.gz"));
    shell.arg("--record").arg(&record).args(extra);
    let output = shell.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    (output, serde_json::from_slice(&std::fs::read(record).expect("a record")).expect("JSON"))
}

fn check(name: &str, record: &Value) -> u64 {
    let case = &record["cases"][0];
    let announced = case["plan"]["peak_ram_bytes"].as_u64().expect("a peak");
    let Some(measured) = record["peak_rss_bytes"].as_u64() else {
        skipped("this system does not tell a process's peak memory");
        return announced;
    };
    println!("{name}: announced {} MB, measured {} MB", announced / 1_000_000, measured / 1_000_000);
    assert!(measured <= announced, "{name}: {measured} measured, {announced} announced");
    assert!(measured as f64 >= announced as f64 / 1.15, "{name}: {measured} measured, {announced} announced");
    announced
}

#[test]
fn the_announced_peak_holds_whatever_the_budget() {
    let folder = tempfile::tempdir().expect("a folder");
    let scan = make_ct(folder.path(), [180, 220, 230], [1.0, 0.9, 0.9]);
    // The network's slowest axis is the file's x: the scan is kept, or read again for every few planes.
    let across = folder.path().join("across");
    std::fs::create_dir_all(across.join("fold_0")).expect("a folder");
    for file in ["dataset.json", "fold_0/checkpoint_final.pth"] {
        std::fs::copy(model().join(file), across.join(file)).expect("a copy");
    }
    let plans = std::fs::read_to_string(model().join("plans.json")).expect("plans");
    let mut plans: Value = serde_json::from_str(&plans).expect("JSON");
    plans["transpose_forward"] = serde_json::json!([2, 0, 1]);
    plans["transpose_backward"] = serde_json::json!([1, 2, 0]);
    std::fs::write(across.join("plans.json"), plans.to_string()).expect("plans");

    for model in [model(), across] {
        let mut first: Option<Vec<u8>> = None;
        let mut budget = u64::MAX / 2;
        let (mut ways, mut in_bands) = (0, 0);
        // Each run's peak is the next one's budget, less a little, until nothing fits.
        while let Ok(plan) = plan(&model, &scan, &["--threads", "2", "--disable-tta", "--max-ram", &budget.to_string()])
        {
            let bands = plan["layers_in_bands"] == true;
            let name = format!(
                "{} worker(s), scan kept: {}, layers in bands: {bands}",
                plan["workers"], plan["scan_kept_in_memory"]
            );
            let (_, record) =
                segment(&model, &scan, folder.path(), 4000, &["--threads", "2", "--max-ram", &budget.to_string()]);
            let announced = check(&name, &record);
            assert!(announced <= budget, "{name}");
            let labels = std::fs::read(folder.path().join("labels.nii.gz")).expect("labels");
            assert_eq!(first.get_or_insert_with(|| labels.clone()), &labels, "{name}: other labels");
            // More than what two processes differ by once the same model is loaded.
            budget = announced - 500_000;
            ways += 1;
            in_bands += usize::from(bands);
        }
        assert!(in_bands >= 1 && ways > in_bands, "{ways} ways to run were found, {in_bands} with layers in bands");
    }
}

/// The size that hospitals have: 512 x 512 x 600 at 0.75 x 0.75 x 1 mm, in 1.5 GB.
#[test]
fn a_long_ct_fits_in_a_gigabyte_and_a_half() {
    let folder = tempfile::tempdir().expect("a folder");
    let scan = make_ct(folder.path(), [600, 512, 512], [1.0, 0.75, 0.75]);
    let (_, record) = segment(&model(), &scan, folder.path(), 1500, &["--max-ram", "1.5G", "--threads", "2"]);
    check("512 x 512 x 600", &record);

    assert_eq!(plan(&model(), &scan, &["--max-ram", "100M"]).err(), Some(5), "100 MB cannot do");

    let peak = |scan: &Path| {
        let plan = plan(&model(), scan, &["--threads", "1"]).expect("a plan");
        plan["peak_ram_bytes"].as_u64().expect("a peak")
    };
    let single = peak(&scan);
    let double = peak(&make_ct(folder.path(), [1200, 512, 512], [1.0, 0.75, 0.75]));
    println!("600 slices {single}, 1200 slices {double}");
    // Tables with an entry per slice, and what two processes differ by once the same model is loaded.
    assert!(double.saturating_sub(single) < 3_000_000, "600 more slices take {double} - {single} bytes");
}
