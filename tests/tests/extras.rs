//! What `segment` makes of labels and beside them: statistics, previews, largest components. And what `evaluate` refuses.

use scanside_core::volume::{Grid, VoxelType};
use scanside_formats::nifti::ImageWriter;
use scanside_formats::read_labels;
use scanside_testing::data::workspace;
use scanside_tests::program::scanside;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn images() -> PathBuf {
    workspace().join("examples/hippocampus/images")
}

fn command(input: &Path, output: &Path, extra: &[&str]) -> Command {
    let mut program = scanside();
    program
        .args(["segment", "--disable-tta", "--step-size", "1", "-m"])
        .arg(workspace().join("models/hippocampus-r4.onnx"));
    program.arg("-i").arg(input).arg("-o").arg(output).args(extra);
    program
}

fn segment(input: &Path, output: &Path, extra: &[&str]) -> Output {
    command(input, output, extra).output().expect("the program starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

#[test]
fn a_folder_has_one_table_and_a_picture_of_each_case() {
    let out = tempfile::tempdir().expect("a folder");
    let (labels, pictures) = (out.path().join("labels"), out.path().join("pictures"));
    let (table, record) = (out.path().join("table.csv"), out.path().join("record.json"));
    let extra = ["--statistics", text(&table), "--preview", text(&pictures), "--record", text(&record)];
    let first = segment(&images(), &labels, &extra);
    assert!(first.status.success(), "{}", said(&first));
    let facts: Value = serde_json::from_slice(&fs::read(&record).expect("a record")).expect("JSON");
    for case in facts["cases"].as_array().expect("cases") {
        assert!(case["peak_rss_bytes"].as_u64() <= case["plan"]["peak_ram_bytes"].as_u64(), "{case}");
        let picture = pictures.join(format!("{}.png", case["name"].as_str().expect("a name")));
        assert!(fs::read(&picture).expect("a picture").starts_with(b"\x89PNG"));
    }
    let rows = fs::read_to_string(&table).expect("a table");
    assert_eq!(rows.lines().count(), 1 + 3 * 2, "{rows}");
    for (case, value) in ["hippocampus_034", "hippocampus_052", "hippocampus_160"].iter().zip([1, 2]) {
        let map = read_labels(labels.join(format!("{case}.nii.gz"))).expect("labels").labels;
        let voxels = map.iter().filter(|label| **label == value).count();
        let name = ["Anterior", "Posterior"][value as usize - 1];
        assert!(rows.contains(&format!("\n{case},{value},{name},{voxels},")), "{rows}");
    }
    // Done before: the table and the pictures are made of the label files that are there.
    fs::remove_dir_all(&pictures).expect("removed");
    let again = segment(&images(), &labels, &extra);
    assert!(said(&again).contains("already done") && again.status.success(), "{}", said(&again));
    assert_eq!(fs::read_to_string(&table).expect("a table"), rows);
    assert_eq!(fs::read_dir(&pictures).expect("pictures").count(), 3);
}

#[test]
fn several_processes_add_to_one_table() {
    let out = tempfile::tempdir().expect("a folder");
    let table = out.path().join("table.json");
    let input = |case: &str| images().join(format!("{case}_0000.nii.gz"));
    let cases = ["hippocampus_034", "hippocampus_052", "hippocampus_160"];
    for round in ["0.9", "1"] {
        let start = |case: &&str| {
            let labels = out.path().join(format!("{case}_{round}.nii.gz"));
            let extra = ["--statistics", text(&table), "--threads", "1", "--quiet", "--step-size", round];
            let mut program = scanside();
            program.args(["segment", "--disable-tta", "-m"]).arg(workspace().join("models/hippocampus-r4.onnx"));
            program.arg("-i").arg(input(case)).arg("-o").arg(labels).args(extra).spawn().expect("the program starts")
        };
        for mut process in cases.iter().map(start).collect::<Vec<_>>() {
            assert!(process.wait().expect("an end").success());
        }
        let found: Value = serde_json::from_slice(&fs::read(&table).expect("a table")).expect("JSON");
        let mut names: Vec<&str> =
            found["cases"].as_array().expect("cases").iter().filter_map(|c| c["case"].as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, cases);
    }
}

#[test]
fn largest_components_are_a_result_of_their_own() {
    let out = tempfile::tempdir().expect("a folder");
    let scan = images().join("hippocampus_034_0000.nii.gz");
    let (plain, kept) = (out.path().join("plain.nii.gz"), out.path().join("kept.nii.gz"));
    assert!(segment(&scan, &plain, &[]).status.success());
    let record = out.path().join("record.json");
    let extra = ["--keep-largest", "Anterior+Posterior", "2", "--record", text(&record)];
    let result = segment(&scan, &kept, &extra);
    assert!(result.status.success(), "{}", said(&result));
    let facts: Value = serde_json::from_slice(&fs::read(&record).expect("a record")).expect("JSON");
    assert_eq!(facts["options"]["keep_largest"], serde_json::json!([[1, 2], [2]]));
    assert!(facts["cases"][0]["peak_rss_bytes"].as_u64() <= facts["cases"][0]["plan"]["peak_ram_bytes"].as_u64());
    let [all, some] = [&plain, &kept].map(|path| read_labels(path).expect("labels").labels);
    assert!(all.iter().zip(&some).all(|(a, b)| a == b || *b == 0));
    let labelled = |labels: &[u32]| labels.iter().filter(|label| **label > 0).count();
    assert!(labelled(&some) * 10 > labelled(&all) * 9);
    // Neither is taken for the other.
    let refused = segment(&scan, &plain, &extra);
    assert_eq!(refused.status.code(), Some(6), "{}", said(&refused));
    assert!(said(&segment(&scan, &kept, &extra)).contains("already done"));
}

#[test]
fn what_cannot_be_made_is_refused_before_the_run() {
    let out = tempfile::tempdir().expect("a folder");
    let labels = out.path().join("labels");
    let notes = out.path().join("notes.csv");
    fs::write(&notes, "mine\n").expect("a file");
    for (extra, code, words) in [
        (["--statistics", "table.txt"], 2, "must end with .csv or .json"),
        (["--statistics", text(&notes)], 6, "is no table of statistics"),
        (["--keep-largest", "liver"], 2, "its labels are Anterior, Posterior"),
        (["--preview", "picture.png"], 2, "the previews need one too"),
    ] {
        let refused = segment(&images(), &labels, &extra);
        assert_eq!(refused.status.code(), Some(code), "{}", said(&refused));
        assert!(said(&refused).contains(words), "{}", said(&refused));
    }
    assert!(!labels.exists());
    assert_eq!(fs::read_to_string(&notes).expect("notes"), "mine\n");
}

#[test]
fn evaluate_compares_only_what_lies_in_one_place() {
    let out = tempfile::tempdir().expect("a folder");
    let write = |name: &str, origin: [f64; 3]| {
        let direction = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let grid = Grid { shape_zyx: [2, 2, 2], spacing_mm: [1.0; 3], origin, direction };
        let path = out.path().join(name);
        let file = fs::File::create(&path).expect("a file");
        let mut writer = ImageWriter::create(file, &grid, VoxelType::U8, false).expect("a header");
        (0..2).for_each(|_| writer.write_plane(&[0.0, 1.0, 1.0, 0.0]).expect("a plane"));
        writer.finish().expect("an end");
        path
    };
    let (prediction, label) = (write("a.nii", [0.0; 3]), write("b.nii", [0.0, 0.0, 40.0]));
    let evaluate = |extra: &[&str]| {
        let mut program = scanside();
        program.args(["evaluate", "-p"]).arg(&prediction).arg("-l").arg(&label).args(extra);
        program.output().expect("the program starts")
    };
    let refused = evaluate(&[]);
    assert_eq!(refused.status.code(), Some(7), "{}", said(&refused));
    assert!(
        said(&refused).contains("lie 40 mm apart") && said(&refused).contains("--ignore-geometry"),
        "{}",
        said(&refused)
    );
    let compared = evaluate(&["--ignore-geometry"]);
    assert!(compared.status.success(), "{}", said(&compared));
}
