//! Files that are damaged or changed on purpose, and manifests inside files.

use super::{OnnxEngine, OnnxError, OnnxModel, Settings, load};
use std::error::Error;
use std::path::{Path, PathBuf};
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::{GraphProto, ModelProto, StringStringEntryProto, TensorProto, type_proto};

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

/// A model whose weights lie in `weights.bin`, from byte 64 on, and that file's bytes.
fn with_weights_beside(name: &str) -> (OnnxModel, Vec<u8>) {
    let mut model = model(name);
    let mut beside = vec![0xaa; 64];
    for tensor in graph(&mut model.proto).initializer.iter_mut().filter(|t| !t.raw_data.is_empty()) {
        let offset = beside.len();
        beside.extend(&tensor.raw_data);
        tensor.data_location = Some(DataLocation::External as i32);
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
        tensor.external_data = vec![
            entry("location", "weights.bin".into()),
            entry("offset", offset.to_string()),
            entry("length", std::mem::take(&mut tensor.raw_data).len().to_string()),
        ];
    }
    (model, beside)
}

#[test]
fn weights_in_a_second_file_are_part_of_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let (split, beside) = with_weights_beside("plain2d.onnx");
    std::fs::write(&path, bytes(&split)).unwrap();
    std::fs::write(dir.path().join("weights.bin"), &beside).unwrap();
    let whole = model("plain2d.onnx");
    let read = OnnxModel::read(&path).unwrap();
    assert_eq!(read.graph_sha256(), whole.graph_sha256());
    assert_eq!(bytes(&read), bytes(&whole));

    let why = sentence(&OnnxModel::from_bytes(&bytes(&split)).unwrap_err());
    assert!(why.contains("lies in another file; export the model with external_data=False"), "{why}");
    // Another weight is another model.
    let mut changed = beside.clone();
    changed[64] ^= 1;
    std::fs::write(dir.path().join("weights.bin"), changed).unwrap();
    assert_ne!(OnnxModel::read(&path).unwrap().graph_sha256(), whole.graph_sha256());
}

#[test]
fn a_second_file_is_read_within_bounds_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("m.onnx");
    let (split, beside) = with_weights_beside("plain2d.onnx");
    for file in [folder.join("weights.bin"), dir.path().join("weights.bin")] {
        std::fs::write(file, &beside).unwrap();
    }
    std::fs::write(folder.join("short.bin"), &beside[..beside.len() - 1]).unwrap();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    std::fs::write(folder.join("pointer.bin"), pointer).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../weights.bin", folder.join("link.bin")).unwrap();
    let refused = |key: &str, value: &str, word: &str| {
        let mut changed = split.clone();
        let external = graph(&mut changed.proto).initializer.iter_mut().filter(|t| !t.external_data.is_empty());
        for entry in external.flat_map(|t| &mut t.external_data).filter(|e| e.key == key) {
            entry.value = value.into();
        }
        std::fs::write(&path, bytes(&changed)).unwrap();
        let why = sentence(&OnnxModel::read(&path).unwrap_err());
        assert!(why.contains(word) && why.contains("m.onnx"), "{key} {value}: {why}");
    };
    let outside = folder.join("weights.bin").display().to_string();
    for location in ["../weights.bin", "x/../../weights.bin", &outside, "..\\weights.bin", "C:weights.bin", ""] {
        refused("location", location, "outside of the model's folder");
    }
    #[cfg(unix)]
    refused("location", "link.bin", "outside of the model's folder");
    refused("location", "none.bin", "cannot be read beside the model");
    refused("location", ".", "not a regular file");
    refused("location", "short.bin", "which has");
    refused("location", "pointer.bin", "a git-lfs pointer");
    refused("offset", "18446744073709551615", "which has");
    refused("offset", "-1", "which is no number");
    refused("length", "8", "but 8 bytes in weights.bin");
    // One place for every weight: far more is asked for than the file holds.
    std::fs::write(folder.join("weights.bin"), [0; 4096]).unwrap();
    let mut many = split.clone();
    let tensors = &mut graph(&mut many.proto).initializer;
    let mut tensor = tensors.iter().find(|t| !t.external_data.is_empty()).unwrap().clone();
    tensor.dims = vec![1024];
    tensor.external_data.retain(|e| e.key == "location");
    *tensors = (0..17).map(|i| TensorProto { name: format!("w{i}"), ..tensor.clone() }).collect();
    std::fs::write(&path, bytes(&many)).unwrap();
    let why = sentence(&OnnxModel::read(&path).unwrap_err());
    assert!(why.contains("brings the weights to 69632 bytes, of which at most 65536 are read"), "{why}");
}

#[test]
fn other_files_are_called_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    for (bytes, says) in [
        (
            b"version https://git-lfs.github.com/spec/v1\n".as_slice(),
            "m.onnx cannot be used as a model: not a usable ONNX file: it is a git-lfs pointer",
        ),
        (b"PK\x03\x04 net/constants.pkl", "it is a TorchScript archive"),
        (b"hello", "its bytes are not in ONNX format"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let why = sentence(&load(&path, None).unwrap_err());
        assert!(why.contains(says), "{why}");
    }
}

#[test]
fn a_patch_that_nobody_states_is_asked_for() {
    let mut model = model("plain2d.onnx");
    let input = graph(&mut model.proto).input[0].r#type.as_mut().unwrap();
    let Some(type_proto::Value::TensorType(tensor)) = input.value.as_mut() else { panic!() };
    tensor.shape.as_mut().unwrap().dim[2].value = Some(Dim::DimParam("height".into()));
    let why = sentence(&model.neutral_manifest().unwrap_err());
    assert!(why.contains("the axes of its input are free; write the patch"), "{why}");
}
