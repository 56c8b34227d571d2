//! The command over folders of throwaway files: two lines of text instead of NIfTI.

use super::*;
use anyhow::{anyhow, bail};
use clap::Parser;
use std::fs;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: EvaluateArgs,
}

/// A file is `z y x spacing_z spacing_y spacing_x`, a line break, and one digit per voxel.
fn read(path: &Path) -> Result<LabelVolume> {
    let text = fs::read_to_string(path)?;
    let (header, digits) = text.split_once('\n').ok_or_else(|| anyhow!("no header"))?;
    let numbers: Vec<f64> = header.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let &[z, y, x, sz, sy, sx] = numbers.as_slice() else { bail!("six numbers") };
    let voxels = digits.chars().map(|c| c.to_digit(10).ok_or_else(|| anyhow!("{c}"))).collect::<Result<_>>()?;
    Ok(LabelVolume { shape_zyx: [z, y, x].map(|n| n as usize), spacing_mm: [sz, sy, sx], voxels })
}

fn no_model(_: &Path) -> Result<Vec<Class>> {
    bail!("no model was named")
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        for place in ["data/labels", "predictions"] {
            fs::create_dir_all(folder.0.path().join(place)).unwrap();
        }
        for (name, text) in files {
            fs::write(folder.0.path().join(name), text).unwrap();
        }
        folder
    }

    fn args(&self, predictions: &str, labels: &str, more: &[&str]) -> EvaluateArgs {
        let path = |name: &str| self.0.path().join(name).display().to_string();
        let line = ["evaluate".into(), "-p".into(), path(predictions), "-l".into(), path(labels)];
        Line::try_parse_from(line.into_iter().chain(more.iter().map(|s| s.to_string()))).unwrap().args
    }

    fn report(&self) -> Report {
        evaluate(&self.args("predictions", "data/labels", &[]), read, no_model).unwrap()
    }
}

const LABEL: &str = "1 2 4 2 1 1\n11001022";

#[test]
fn folders_match_by_name_and_the_rest_is_named() {
    let folder = Folder::new(&[
        ("data/labels/a.nii.gz", LABEL),
        ("data/labels/b.nii", LABEL),
        ("data/labels/lonely.nii", LABEL),
        ("data/dataset.json", r#"{"labels": {"background": 0, "one": 1, "two": 2, "never": 3}}"#),
        ("predictions/a.nii", LABEL),
        ("predictions/b.nii", "1 2 4 2 1 1\n11000000"),
        ("predictions/extra.nii", LABEL),
        ("predictions/plans.json", "{}"),
    ]);
    let report = folder.report();
    assert_eq!(report.outcome(), Outcome::Done);
    let notes = report.notes();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].starts_with("extra:") && notes[1].starts_with("lonely:"));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["cases"][0]["case"], "a");
    assert_eq!(json["cases"][0]["classes"][0]["dice"], 1.0);
    assert_eq!(json["cases"][1]["classes"][0]["dice"], 0.8);
    assert_eq!(json["cases"][1]["classes"][0]["label_ml"], 0.006);
    let missed = &json["cases"][1]["classes"][1];
    assert_eq!((&missed["dice"], &missed["surface_dice"]), (&0.0.into(), &0.0.into()));
    assert!(missed["hausdorff_95_mm"].is_null() && missed["hausdorff_95_infinite"] == true);
    assert!(json["cases"][0]["classes"][2]["dice"].is_null(), "in neither file");
    assert_eq!(json["means"][0]["dice"]["mean"], 0.9);
    assert_eq!(json["means"][1]["hausdorff_95_infinite"], 1);
    assert_eq!(json["means"][1]["hausdorff_95_mm"]["cases"], 1);
    assert!(json["means"][2]["dice"].is_null());
    assert_eq!(json["mean_over_classes"]["dice"]["mean"], 0.7);
    assert_eq!(json["predictions_without_label"][0], "extra");

    let text = render(&report);
    let row = text.lines().find(|line| line.starts_with("b     two")).unwrap();
    assert!(row.contains("0.0000") && row.contains("infinite"), "{text}");
    assert!(text.contains("NSD at 1 mm") && text.contains("HD95 (mm)"), "{text}");
}

#[test]
fn bad_cases_are_told_and_the_others_go_on() {
    let folder = Folder::new(&[
        ("data/labels/far.nii", LABEL),
        ("data/labels/good.nii", LABEL),
        ("data/labels/shape.nii", LABEL),
        ("data/labels/torn.nii", LABEL),
        ("data/labels/twice.nii", LABEL),
        ("predictions/far.nii", "1 2 4 2 1 1.002\n11001022"),
        ("predictions/good.nii", "1 2 4 2 1 1.0005\n11001022"),
        ("predictions/shape.nii", "2 2 2 2 1 1\n11001022"),
        ("predictions/torn.nii", "1 2 4 2 1 1\n11"),
        ("predictions/twice.nii", LABEL),
        ("predictions/twice.nii.gz", LABEL),
    ]);
    let report = folder.report();
    assert_eq!(report.outcome(), Outcome::SomeFailed);
    assert_eq!(report.cases.len(), 1);
    assert_eq!(report.classes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    let notes = report.notes();
    let expected = [
        "far: the prediction's voxels are 1.002 x 1 x 2 mm apart",
        "shape: the prediction has 2 x 2 x 2",
        "torn",
        "twice",
    ];
    assert_eq!(notes.len(), expected.len());
    for (note, start) in notes.iter().zip(expected) {
        assert!(note.starts_with(start), "{note}");
    }
    assert!(render(&report).contains("1 case(s); 4 failed"));
}

#[test]
fn nothing_in_common_is_an_outcome_of_its_own() {
    let folder = Folder::new(&[("data/labels/a.nii", LABEL), ("predictions/b.nii", LABEL)]);
    assert_eq!(folder.report().outcome(), Outcome::NothingMatches);
    assert_eq!(
        run(&folder.args("predictions", "data/labels", &["--json"]), read, no_model).unwrap(),
        Outcome::NothingMatches
    );
    assert!(evaluate(&folder.args("nowhere", "data/labels", &[]), read, no_model).is_err());
}

#[test]
fn two_files_need_no_common_name() {
    let folder = Folder::new(&[("data/labels/a.nii", LABEL), ("predictions/b.nii.gz", LABEL)]);
    let report = evaluate(&folder.args("predictions/b.nii.gz", "data/labels/a.nii", &[]), read, no_model).unwrap();
    assert_eq!((report.outcome(), report.cases.len()), (Outcome::Done, 1));
    assert!(report.notes().is_empty());
    // A file and a folder do.
    let report = evaluate(&folder.args("predictions/b.nii.gz", "data/labels", &[]), read, no_model).unwrap();
    assert_eq!(report.outcome(), Outcome::NothingMatches);
}

#[test]
fn regions_models_and_ignored_voxels() {
    let folder = Folder::new(&[
        ("data/labels/a.nii", "1 1 6 1 1 1\n129011"),
        ("predictions/a.nii", "1 1 6 1 1 1\n221001"),
        ("data/dataset.json", r#"{"labels": {"background": 0, "all": [1, 2], "two": 2, "ignore": 9}}"#),
    ]);
    let json = serde_json::to_value(folder.report()).unwrap();
    let all = &json["cases"][0]["classes"][0];
    assert_eq!(
        (&all["true_positive"], &all["false_positive"], &all["false_negative"]),
        (&3.into(), &0.into(), &1.into())
    );
    let model = |_: &Path| Ok(vec![Class { values: vec![2], name: "from the model".into() }]);
    let args = folder.args("predictions", "data/labels", &["--model", "m.onnx"]);
    let report = evaluate(&args, read, model).unwrap();
    let names: Vec<&str> = report.classes.iter().map(|class| class.name.as_str()).collect();
    assert_eq!(names, ["from the model", "1", "9"]);
}

#[test]
fn threads_change_nothing() {
    let folder = Folder::new(&[
        ("data/labels/a.nii", "2 3 4 3 1 1\n112002220330102203311110"),
        ("predictions/a.nii", "2 3 4 3 1 1\n102202220330112203301110"),
    ]);
    let with = |threads| {
        let args = folder.args("predictions", "data/labels", &["--threads", threads]);
        serde_json::to_string(&evaluate(&args, read, no_model).unwrap()).unwrap()
    };
    assert_eq!(with("1"), with("7"));
}

#[test]
fn tolerances_are_distances() {
    for bad in ["-1", "nan", "inf", "x"] {
        assert!(Line::try_parse_from(["evaluate", "-p", "a", "-l", "b", &format!("--tolerance={bad}")]).is_err());
    }
}
