//! Every model that ships: it has its card, runs in our own kernels, and finds what it is for on scans it was not trained on.

use scanside_testing::data::workspace;
use scanside_tests::program::scanside;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

fn succeeds(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn models() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(workspace().join("models")).expect("the models");
    let paths = entries.map(|entry| entry.expect("a file").path());
    let mut models: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == "onnx")).collect();
    models.sort();
    models
}

#[test]
fn every_model_has_a_card_and_finds_a_hippocampus() {
    let list = std::fs::read_to_string(workspace().join("models/README.md")).expect("the list of models");
    // Two of the three examples are held back by the fold that all models were trained on.
    let examples = workspace().join("examples/hippocampus");
    let models = models();
    assert!(!models.is_empty(), "no model ships");
    for model in models {
        let name = model.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(list.contains(&format!("[{name}]({})", name.replace(".onnx", ".md"))), "{name} is not in the list");
        let card = std::fs::read_to_string(model.with_extension("md")).expect("a card");
        for part in ["Intended use", "Data and licence", "Training", "Accuracy", "Limits", "Not for diagnosis"] {
            assert!(card.contains(part), "the card of {name} does not say: {part}");
        }
        let about = succeeds(scanside().arg("inspect").arg(&model));
        assert!(about.contains("native"), "{name}: {about}");

        let out = tempfile::tempdir().expect("a folder");
        let segment = ["segment", "--quiet", "--disable-tta", "-m"];
        succeeds(scanside().args(segment).arg(&model).arg("-i").arg(examples.join("images")).arg("-o").arg(out.path()));
        let measured = succeeds(
            scanside().args(["evaluate", "--json", "-p"]).arg(out.path()).arg("-l").arg(examples.join("labels")),
        );
        let measured: Value = serde_json::from_str(&measured).expect("JSON");
        let dice = measured["mean_over_classes"]["dice"]["mean"].as_f64().expect("a mean Dice");
        assert!(dice > 0.82, "{name}: a mean Dice of {dice}");
        println!("{name}: a mean Dice of {dice:.4} on the examples");
    }
}
