//! The page of a run, made from a log, three real cases, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scanside_app::interrupt::Stop;
use scanside_app::model::{Model, ModelOptions};
use scanside_core::volume::Box3;
use scanside_formats::Scan;
use scanside_trainer::report::log::{EpochLog, EpochRecord};
use scanside_trainer::report::page;
use scanside_trainer::report::run::{FORMAT, RunFacts, RunFolder};
use scanside_trainer::validate::{Options, ValidationCase, cases};
use std::fs;
use std::path::{Path, PathBuf};

const DATASET: &str = r#"{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "Anterior": 1, "Posterior": 2}}"#;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn hippocampi() -> Vec<ValidationCase> {
    let folder = workspace().join("examples/hippocampus");
    let case = |id: &str| ValidationCase {
        id: id.into(),
        images: vec![folder.join(format!("images/{id}_0000.nii.gz"))],
        label: folder.join(format!("labels/{id}.nii.gz")),
    };
    ["hippocampus_034", "hippocampus_052", "hippocampus_160"].map(case).into()
}

/// A run as training leaves it.
fn run(folder: &Path, epochs: usize, done: usize, classes: &[&str]) -> RunFolder {
    let run = RunFolder::new(folder.join("teacher <1>"));
    let facts = RunFacts {
        format: FORMAT,
        name: "teacher <1>".into(),
        started_unix: 1_700_000_000,
        dataset: "Dataset004_Hippocampus".into(),
        plans: "nnUNetPlans".into(),
        configuration: "3d_fullres".into(),
        plans_sha256: "0a9f1ac887181060edb114641b3de82a366dd3f537b723f701c3f791864b8580".into(),
        fold: "0".into(),
        training_cases: (0..166).map(|i| format!("case_{i}")).collect(),
        validation_cases: (0..42).map(|i| format!("val_{i}")).collect(),
        classes: classes.iter().map(|c| c.to_string()).collect(),
        features_per_stage: vec![32, 64, 128, 256],
        parameters: 5_602_819,
        mirror_axes: vec![0, 1, 2],
        patch_zyx: [40, 56, 40],
        batch_size: 9,
        steps_per_epoch: 250,
        epochs,
        initial_lr: 0.01,
        seed: 7,
        device: "cpu".into(),
        notes: [("Loss".to_owned(), "Dice + cross entropy".to_owned())].into(),
    };
    facts.write(&run).unwrap();
    let mut log = EpochLog::open(&run.log()).unwrap();
    for epoch in 0..done {
        let t = epoch as f64 / epochs as f64;
        let wiggle = ((epoch * 37 % 17) as f64 / 17.0 - 0.5) * 0.05;
        let dice = 0.88 * (1.0 - (-9.0 * t - 0.2).exp());
        let (dice_loss, ce) = (-dice + wiggle, 0.45 * (-6.0 * t).exp() + 0.06 + wiggle / 2.0);
        log.append(&EpochRecord {
            epoch,
            lr: 0.01 * (1.0 - t).powf(0.9),
            loss: dice_loss + ce,
            val_loss: Some(dice_loss + ce + 0.06 - wiggle * 2.0),
            pseudo_dice: (0..classes.len()).map(|c| Some(dice - 0.02 * c as f64 + wiggle)).collect(),
            ema_dice: Some(dice - 0.01),
            samples: 2250,
            seconds: 61.0 + 40.0 * wiggle,
            wait_seconds: 2.0 + 20.0 * wiggle.abs(),
            teacher_passes: 0,
            terms: [("dice".to_owned(), dice_loss), ("cross_entropy".to_owned(), ce)].into(),
            term_gradients: Default::default(),
        })
        .unwrap();
    }
    run
}

fn validated(run: &RunFolder) {
    let model =
        Model::open(&workspace().join("models/hippocampus-nnunet-slim.onnx"), &ModelOptions::default()).unwrap();
    let labels = run.labels();
    let stop = Stop::new();
    let options = Options { mirror: false, labels: Some(&labels), ..Options::new(DATASET, &stop) };
    cases(&model, &hippocampi(), &options).unwrap().write(&run.validation()).unwrap();
}

/// The page must not ask for anything: no scripts, no addresses but those inside it.
fn is_self_contained(html: &str) {
    for word in ["<script", "javascript:", "http:", "https:", "url(", "@import", "<link", "<iframe", "onload"] {
        assert!(!html.contains(word), "{word}");
    }
    for address in html.split("href=\"").skip(1).chain(html.split("src=\"").skip(1)) {
        assert!(address.starts_with("data:image/png;base64,"), "{}", &address[..60]);
    }
    for tag in ["svg", "table", "section", "div", "ul", "dl", "figure", "details", "p", "b"] {
        let opened = html.matches(&format!("<{tag} ")).count() + html.matches(&format!("<{tag}>")).count();
        assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn a_finished_run_shows_curves_tables_and_pictures() {
    let place = tempfile::tempdir().unwrap();
    let run = run(place.path(), 300, 300, &["Anterior", "Posterior"]);
    validated(&run);
    fs::write(run.last(), b"").unwrap();
    page::write(&run, &hippocampi()).unwrap();
    let html = fs::read_to_string(run.page()).unwrap();
    if let Some(copy) = std::env::var_os("SCANSIDE_KEEP_PAGE") {
        fs::write(copy, &html).unwrap();
    }
    is_self_contained(&html);
    assert!(html.contains("<h1>teacher &#60;1&#62;</h1>"), "names are text, not tags");
    assert!(html.contains(r#"<span class="pill finished">finished</span>"#));
    for heading in ["Loss", "Dice on validation patches", "Learning rate", "Seconds per epoch", "Patches per second"] {
        assert!(html.contains(&format!("<h3>{heading}</h3>")), "{heading}");
    }
    // The golden labels' Dice of the three cases: means and the overall mean.
    let report = fs::read_to_string(run.validation()).unwrap();
    let validation: serde_json::Value = serde_json::from_str(&report).unwrap();
    for class in validation["agreement"]["means"].as_array().unwrap() {
        let dice = &class["dice"];
        let number = |key: &str| format!("{:.3}", dice[key].as_f64().unwrap());
        assert!(html.contains(&format!("{} [{}, {}]", number("mean"), number("low"), number("high"))));
    }
    for which in ["best: hippocampus_", "median: hippocampus_", "worst: hippocampus_"] {
        assert!(html.contains(which), "{which}");
    }
    assert_eq!(html.matches("<figure>").count(), 9);
    assert!(html.matches(r#"class="reference o0""#).count() >= 3);
}

#[test]
fn pictures_hold_the_scans_own_voxels() {
    let place = tempfile::tempdir().unwrap();
    let run = run(place.path(), 2, 2, &["Anterior", "Posterior"]);
    validated(&run);
    let case = hippocampi().remove(1);
    page::write(&run, std::slice::from_ref(&case)).unwrap();
    let html = fs::read_to_string(run.page()).unwrap();
    let pngs: Vec<Vec<u8>> = html
        .split("data:image/png;base64,")
        .skip(1)
        .map(|rest| STANDARD.decode(rest.split('"').next().unwrap()).unwrap())
        .collect();
    assert_eq!(pngs.len(), 3);
    let scan = Scan::open(&case.images).unwrap();
    let [nz, ny, nx] = scan.grid().shape_zyx;
    let slice: usize = html.split("axial, slice ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let mut voxels = vec![0.0; ny * nx];
    scan.stream().read(0, &Box3([slice - 1..slice, 0..ny, 0..nx]), &mut voxels).unwrap();

    let mut reader = png::Decoder::new(std::io::Cursor::new(&pngs[0])).read_info().unwrap();
    assert_eq!((reader.info().width as usize, reader.info().height as usize), (nx, ny));
    let mut grey = vec![0; ny * nx];
    reader.next_frame(&mut grey).unwrap();
    // The file's axes run to the right, the front and the head; the picture's to the left and the back.
    let turned: Vec<f32> = voxels.iter().rev().copied().collect();
    let order = |a: usize, b: usize| turned[a] < turned[b] && grey[a] > grey[b];
    assert!((1..ny * nx).all(|i| !order(i, i / 2) && !order(i / 2, i)), "brighter voxels are brighter pixels");
    assert!(grey.contains(&0) && grey.contains(&255));
    assert_eq!((html.matches("coronal, slice").count(), nz > 0), (1, true));
}

#[test]
fn a_run_of_many_classes_in_its_first_epochs_has_a_page_too() {
    let place = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..40).map(|i| format!("organ {i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let begun = run(place.path(), 1000, 3, &names);
    page::write(&begun, &[]).unwrap();
    let html = fs::read_to_string(begun.page()).unwrap();
    is_self_contained(&html);
    assert!(html.contains("3 of 1000 epochs, about"));
    assert_eq!(html.matches("line faint").count(), 40);
    assert!(!html.contains("organ 7 <b>"), "the legend names the mean alone");
    assert!(!html.contains("Whole cases"));
    fs::remove_file(begun.log()).unwrap();
    page::write(&begun, &[]).unwrap();
    let html = fs::read_to_string(begun.page()).unwrap();
    assert!(html.contains("0 of 1000 epochs") && !html.contains("Training by epoch"));
}

#[test]
fn missing_label_files_are_told_instead_of_pictures() {
    let place = tempfile::tempdir().unwrap();
    let run = run(place.path(), 2, 2, &["Anterior", "Posterior"]);
    validated(&run);
    fs::remove_dir_all(run.labels()).unwrap();
    page::write(&run, &hippocampi()).unwrap();
    let html = fs::read_to_string(run.page()).unwrap();
    assert_eq!(html.matches("No pictures of hippocampus_").count(), 3);
    assert_eq!(html.matches("<figure>").count(), 0);
}
