//! Labels from file to file against nnU-Net's command line, through the program itself.

use scanside_formats::read_labels;
use scanside_testing::data::{data, golden};
use scanside_tests::program::scanside;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Voxels that differ, and voxels compared.
fn differing(mine: &Path, theirs: &Path) -> (usize, usize) {
    let a = read_labels(mine).expect("our labels");
    let b = read_labels(theirs).expect("the reference's labels");
    assert_eq!(a.grid().shape_zyx, b.grid().shape_zyx, "{}", mine.display());
    (a.labels.iter().zip(&b.labels).filter(|(x, y)| x != y).count(), a.labels.len())
}

fn run(command: &mut std::process::Command) {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_variant_has_nnunets_labels() {
    let root = std::env::var_os("SCANSIDE_PARITY").map_or_else(|| golden().join("parity"), PathBuf::from);
    let index: Value =
        serde_json::from_slice(&std::fs::read(root.join("index.json")).expect("an index")).expect("JSON");
    let out = tempfile::tempdir().expect("a folder");
    let (mut different, mut voxels, mut cases) = (0, 0, 0);
    for (variant, names) in index.as_object().expect("variants") {
        for name in names.as_object().expect("cases").keys() {
            let folder = root.join(variant).join(name);
            let facts: Value =
                serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).expect("facts")).expect("JSON");
            let command = &facts["command_line"];
            let labels = out.path().join(format!("{variant}_{name}.nii.gz"));
            let mut program = scanside();
            program.args(["segment", "--quiet", "--allow-label-input", "-m"]).arg(root.join(variant).join("model"));
            program.arg("-i");
            for input in facts["inputs"].as_array().expect("inputs") {
                program.arg(folder.join(input.as_str().expect("a name")));
            }
            program.arg("-o").arg(&labels).args(["--step-size", &command["step"].to_string(), "--folds"]);
            for fold in command["folds"].as_array().expect("folds") {
                program.arg(fold.to_string().trim_matches('"'));
            }
            if command["mirroring"] == false {
                program.arg("--disable-tta");
            }
            run(&mut program);
            let (d, n) = differing(&labels, &folder.join("labels.nii.gz"));
            // Random networks have many near-ties; one voxel may flip in a scan of any size.
            assert!(d <= 1 + n / 10_000, "{variant}/{name}: {d} of {n} voxels differ");
            if d > 0 {
                println!("{variant}/{name}: {d} of {n} voxels differ");
            }
            different += d;
            voxels += n;
            cases += 1;
        }
    }
    println!("{cases} cases, {different} of {voxels} voxels differ");
    assert!(cases >= 20 && different * 10_000 <= voxels, "{different} of {voxels} voxels differ");
}

/// A trained model on real scans, every case that nnU-Net's labels are stored for, with and without mirroring, and in
/// half precision.
#[test]
fn hippocampus_has_nnunets_labels() {
    let (Some(model), Some(images)) = (data("nnunet-hippocampus/model"), data("hippocampus/imagesTr")) else { return };
    let out = tempfile::tempdir().expect("a folder");
    let onnx = out.path().join("model.onnx");
    run(scanside().arg("import").arg(&model).arg("-o").arg(&onnx));
    // One voxel in this many may differ.
    let runs = [("labels", "f32", 100_000), ("labels_tta", "f32", 100_000), ("labels", "f16", 2_000)];
    for (folder, precision, rarely) in runs {
        let mirrored = folder == "labels_tta";
        let theirs = data("nnunet-hippocampus").expect("it was there").join(folder);
        let input = out.path().join(format!("{folder}-{precision}-in"));
        let output = out.path().join(format!("{folder}-{precision}"));
        std::fs::create_dir(&input).expect("a folder");
        let mut cases = 0;
        for label in std::fs::read_dir(&theirs).expect("labels").map(|e| e.expect("an entry").file_name()) {
            let name = label.to_string_lossy().replace(".nii.gz", "_0000.nii.gz");
            std::fs::copy(images.join(&name), input.join(&name)).expect("a copy");
            cases += 1;
        }
        let mut program = scanside();
        program.args(["segment", "--quiet", "-m"]).arg(&onnx).arg("-i").arg(&input).arg("-o").arg(&output);
        program.args(["--precision", precision]);
        if !mirrored {
            program.arg("--disable-tta");
        }
        run(&mut program);
        let (mut different, mut voxels) = (0, 0);
        for label in std::fs::read_dir(&theirs).expect("labels").map(|e| e.expect("an entry").file_name()) {
            let (d, n) = differing(&output.join(&label), &theirs.join(&label));
            different += d;
            voxels += n;
        }
        println!("hippocampus, {folder}, {precision}: {cases} cases, {different} of {voxels} voxels differ");
        assert!(cases == 42 && different * rarely <= voxels, "{different} of {voxels} voxels differ");
    }
}

/// An outside ONNX model with a manifest beside it, against ONNX Runtime on the same preprocessed input.
#[test]
fn meshnet_has_onnx_runtimes_labels() {
    let Some(folder) = data("meshnet") else { return };
    let out = tempfile::tempdir().expect("a folder");
    let labels = out.path().join("labels.nii.gz");
    let manifest = scanside_testing::data::workspace().join("examples/meshnet.toml");
    run(scanside()
        .args(["segment", "--quiet", "-m"])
        .arg(folder.join("model.onnx"))
        .arg("--manifest")
        .arg(&manifest)
        .arg("-i")
        .arg(folder.join("t1_crop.nii.gz"))
        .arg("-o")
        .arg(&labels));
    let (different, voxels) = differing(&labels, &golden().join("meshnet/labels.nii.gz"));
    println!("meshnet: {different} of {voxels} voxels differ");
    assert!(different * 10_000 <= voxels, "{different} of {voxels} voxels differ");
}
