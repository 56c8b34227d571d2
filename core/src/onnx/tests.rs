//! Files that are damaged or changed on purpose, and manifests inside files.

use super::{OnnxEngine, OnnxError, OnnxModel, Settings, load};
use std::error::Error;
use std::path::{Path, PathBuf};
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/onnx").join(name)
}

fn model(name: &str) -> OnnxModel {
    OnnxModel::from_bytes(&std::fs::read(golden(name)).unwrap()).unwrap()
}

fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

fn bytes(model: &OnnxModel) -> Vec<u8> {
    let mut bytes = Vec::new();
    model.write(&mut bytes).unwrap();
    bytes
}

/// An error and all that it came from.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[test]
fn a_manifest_travels_in_the_file_and_guards_the_graph() {
    let mut model = model("plain3d.onnx");
    assert_eq!(model.manifest().unwrap(), None);
    let manifest = model.neutral_manifest().unwrap();
    model.set_manifest(&manifest).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    std::fs::write(&path, bytes(&model)).unwrap();
    let loaded = load(&path, None).unwrap();
    assert_eq!(loaded.manifest.graph_sha256.as_deref(), Some(model.graph_sha256().as_str()));
    assert_eq!(loaded.manifest.grid, manifest.grid);

    let is_weight = |t: &&mut TensorProto| t.raw_data.len() > 8;
    graph(&mut model.proto).initializer.iter_mut().find(is_weight).unwrap().raw_data[2] ^= 1;
    assert!(matches!(model.manifest(), Err(OnnxError::Changed)));

    let entry = model.proto.metadata_props.iter_mut().find(|e| e.key == "scanside").unwrap();
    entry.value = entry.value.replacen("\"format\":1", "\"format\":2,\"new\":1", 1);
    assert!(sentence(&model.manifest().unwrap_err()).contains("format 2"));
}

#[test]
fn broken_files_are_refused_in_a_sentence() {
    let bytes_of_2d = std::fs::read(golden("plain2d.onnx")).unwrap();
    assert!(OnnxModel::from_bytes(&[]).is_err());
    assert!(OnnxModel::from_bytes(b"not a model at all").is_err());
    for cut in (0..bytes_of_2d.len()).step_by(97) {
        let _ = OnnxModel::from_bytes(&bytes_of_2d[..cut]);
    }
    let sound = model("plain2d.onnx");
    let refused = |change: &dyn Fn(&mut ModelProto), word: &str| {
        let mut changed = sound.clone();
        change(&mut changed.proto);
        let why = sentence(&OnnxModel::from_bytes(&bytes(&changed)).unwrap_err());
        assert!(why.contains(word), "{why}");
    };
    refused(&|m| m.opset_import[0].version = 99, "operator set 99");
    refused(&|m| m.ir_version = 99, "99");
    refused(&|m| m.graph = None, "no network graph");
    refused(&|m| graph(m).initializer[0].data_location = Some(1), "another file");
    refused(&|m| graph(m).initializer[0].dims[0] = i64::MAX, "shape");
    refused(&|m| graph(m).initializer[0].dims[0] = -1, "impossible shape");
}

/// What a well-formed file may still ask for is refused when its engine is made.
#[test]
fn graphs_that_cannot_be_run_are_refused_in_a_sentence() {
    let sound = model("plain2d.onnx");
    let manifest = sound.neutral_manifest().unwrap();
    let refused = |change: &dyn Fn(&mut GraphProto), word: &str| {
        let mut changed = sound.clone();
        change(graph(&mut changed.proto));
        let why = sentence(&OnnxEngine::new(changed, &manifest, Settings::default()).err().unwrap());
        assert!(why.contains(word), "{why}");
    };
    refused(&|g| g.node[0].op_type = "Imaginary".into(), "Imaginary");
    refused(&|g| g.node[0].input[0] = "nowhere".into(), "cannot be used: ");
    let is_weight = |t: &&mut TensorProto| t.raw_data.len() > 8;
    let nan = |g: &mut GraphProto| {
        let weight = g.initializer.iter_mut().find(is_weight).unwrap();
        weight.raw_data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    };
    refused(&nan, "NaN");
}

#[test]
fn errors_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    assert!(sentence(&load(&path, None).unwrap_err()).contains("m.onnx cannot be read: "));
    std::fs::write(&path, []).unwrap();
    let why = sentence(&load(&path, None).unwrap_err());
    assert!(why.ends_with("m.onnx cannot be used as a model: not a usable ONNX file: it is empty"), "{why}");
}

/// A panic of the graph library becomes an error that keeps its message.
#[test]
fn panics_of_the_graph_library_are_errors() {
    let caught = super::graph::guarded::<()>(|| panic!("index {} out of range", 7)).unwrap_err();
    assert!(sentence(&caught).contains("(index 7 out of range)"), "{caught}");
}
