//! Reading ONNX files without trusting them, and writing them.
//!
//! Everything that sizes an allocation later (dimensions, lengths) is checked here, before tract sees the graph, and no
//! other file is ever opened on behalf of the model.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use sha2::{Digest, Sha256};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, TensorProto, type_proto};

use super::OnnxError;
use super::metadata::{extract, facts_of, manifest_from_side_car, missing_everything};
use crate::manifest::Manifest;

/// Protobuf's own limit for one message.
const MAX_FILE_BYTES: u64 = 2 << 30;
/// Newest intermediate representation and operator set that this program was tested with.
const MAX_IR: i64 = 11;
const MAX_OPSET: i64 = 23;
const MIN_OPSET: i64 = 9;

/// A model file with its manifest.
#[derive(Debug)]
pub struct LoadedModel {
    /// What the model says of itself, checked against the graph.
    pub manifest: Manifest,
    /// The graph.
    pub proto: ModelProto,
    /// SHA-256 of the file's bytes, lower-case hex.
    pub file_sha256: String,
}

/// Reads an ONNX file and its manifest: `manifest_override` where given, else the embedded one, else a side-car
/// (`model.scanside.json`, `model.json`, `model.onnx.json`, or the same with `toml`) in the same folder.
///
/// **Memory:** the file's bytes and the parsed graph at once; the bytes are dropped on return.
///
/// # Errors
/// A sentence on the file, the graph or the manifest; [`OnnxError::ManifestMissing`] lists what a manifest must add.
pub fn load(path: &Path, manifest_override: Option<&Path>) -> Result<LoadedModel, OnnxError> {
    let io = |source| OnnxError::Io { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(io)?;
    let stated = file.metadata().map_err(io)?.len();
    if stated > MAX_FILE_BYTES {
        return Err(OnnxError::File(format!("it has {stated} bytes; the format ends at {MAX_FILE_BYTES}")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    let proto = parse_model(&bytes)?;
    let file_sha256 = hex(&Sha256::digest(&bytes));
    drop(bytes);
    let embedded = extract(&proto)?;
    let side_car = match (manifest_override, &embedded) {
        (Some(path), _) => Some(path.to_path_buf()),
        (None, Some(_)) => None,
        (None, None) => side_cars(path).into_iter().find(|p| p.is_file()),
    };
    let manifest = match (side_car, embedded) {
        (Some(path), _) => manifest_from_side_car(&path, &facts_of(graph_of(&proto)?))?,
        (None, Some(manifest)) => manifest,
        (None, None) => return Err(missing_everything(path, &facts_of(graph_of(&proto)?))),
    };
    super::metadata::manifest_check(&manifest, graph_of(&proto)?)?;
    Ok(LoadedModel { manifest, proto, file_sha256 })
}

fn side_cars(model: &Path) -> Vec<PathBuf> {
    let name = model.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let names = [format!("{stem}.scanside"), stem.clone(), name];
    let files = names.iter().flat_map(|n| [format!("{n}.json"), format!("{n}.toml")]);
    files.map(|n| model.with_file_name(n)).collect()
}

/// Parses and checks the bytes of an ONNX file.
///
/// # Errors
/// Bytes that are no ONNX model, one too new or too old, external data, or tensors whose data and shape disagree.
pub fn parse_model(bytes: &[u8]) -> Result<ModelProto, OnnxError> {
    if bytes.is_empty() {
        return Err(OnnxError::File("it is empty".into()));
    }
    let proto = ModelProto::decode(bytes)
        .map_err(|_| OnnxError::File("its bytes are not in ONNX format, or it was cut off".into()))?;
    let Some(graph) = &proto.graph else {
        return Err(OnnxError::File("it holds no network graph".into()));
    };
    if proto.ir_version < 1 || graph.node.is_empty() {
        return Err(OnnxError::File("it has no format version or no operators".into()));
    }
    if proto.ir_version > MAX_IR {
        return Err(OnnxError::File(format!(
            "its format version (IR) is {}, this program reads up to {MAX_IR}; export with an older one",
            proto.ir_version
        )));
    }
    let opset = proto.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx").map(|o| o.version);
    match opset {
        Some(v) if (MIN_OPSET..=MAX_OPSET).contains(&v) => {}
        Some(v) => {
            return Err(OnnxError::File(format!(
                "it uses operator set {v}, this program reads {MIN_OPSET} to {MAX_OPSET}; export with opset 17"
            )));
        }
        None => {
            return Err(OnnxError::File("it does not say which operator set it uses".into()));
        }
    }
    check_graph(graph)?;
    for attribute in proto.functions.iter().flat_map(|f| &f.node).flat_map(|n| &n.attribute) {
        check_attribute(attribute)?;
    }
    Ok(proto)
}

pub(crate) fn graph_of(proto: &ModelProto) -> Result<&GraphProto, OnnxError> {
    proto.graph.as_ref().ok_or_else(|| OnnxError::File("it holds no network graph".into()))
}

fn check_graph(graph: &GraphProto) -> Result<(), OnnxError> {
    for tensor in &graph.initializer {
        check_tensor(tensor)?;
    }
    if !graph.sparse_initializer.is_empty() {
        return Err(OnnxError::File("it holds sparse weights, which are not supported".into()));
    }
    graph.node.iter().flat_map(|n| &n.attribute).try_for_each(check_attribute)
}

fn check_attribute(a: &AttributeProto) -> Result<(), OnnxError> {
    a.t.iter().chain(&a.tensors).try_for_each(check_tensor)?;
    if a.sparse_tensor.is_some() || !a.sparse_tensors.is_empty() {
        return Err(OnnxError::File(format!("attribute \"{}\" holds a sparse tensor, which is not supported", a.name)));
    }
    a.g.iter().chain(&a.graphs).try_for_each(check_graph)
}

fn check_tensor(t: &TensorProto) -> Result<(), OnnxError> {
    let bad = |why: String| Err(OnnxError::File(format!("tensor \"{}\" {why}", t.name)));
    if t.data_location == Some(DataLocation::External as i32) || !t.external_data.is_empty() {
        return bad("lies in another file; models must be one file (save without external data)".into());
    }
    let elements = t.dims.iter().try_fold(1u64, |n, &d| n.checked_mul(u64::try_from(d).ok()?));
    let Some(elements) = elements else {
        return bad(format!("has the impossible shape {:?}", t.dims));
    };
    let kind = DataType::try_from(t.data_type).unwrap_or(DataType::Undefined);
    let (bytes, typed) = match kind {
        DataType::Float => (4, t.float_data.len()),
        DataType::Double => (8, t.double_data.len()),
        DataType::Int64 => (8, t.int64_data.len()),
        DataType::Uint64 => (8, t.uint64_data.len()),
        DataType::Uint32 => (4, t.uint64_data.len()),
        DataType::Int32 => (4, t.int32_data.len()),
        DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16 => (2, t.int32_data.len()),
        DataType::Int8 | DataType::Uint8 | DataType::Bool => (1, t.int32_data.len()),
        // Shapes and weights are never text; an attribute may be.
        DataType::String => (0, t.string_data.len()),
        other => {
            return bad(format!("has the element type {}, which is not supported", other.as_str_name()));
        }
    };
    let agrees = match t.raw_data.len() as u64 {
        0 => typed as u64 == elements,
        raw => elements.checked_mul(bytes) == Some(raw) && typed == 0,
    };
    if !agrees {
        return bad(format!(
            "has the shape {:?} but {} values in {} raw bytes",
            t.dims,
            if t.raw_data.is_empty() { typed as u64 } else { t.raw_data.len() as u64 / bytes.max(1) },
            t.raw_data.len()
        ));
    }
    Ok(())
}

/// SHA-256 over the graph, its weights and the operator sets, lower-case hex. Names, documentation and
/// `metadata_props` of the file do not count.
pub fn graph_sha256(proto: &ModelProto) -> String {
    let mut hash = Sha256::new();
    let mut buffer = Vec::new();
    // One message at a time, so that hashing needs no second copy of all weights. Each is preceded by its list's tag
    // and its length: moving bytes from one message to the next changes the hash.
    let mut add = |tag: u8, message: &dyn Fn(&mut Vec<u8>)| {
        buffer.clear();
        message(&mut buffer);
        hash.update([tag]);
        hash.update((buffer.len() as u64).to_le_bytes());
        hash.update(&buffer);
    };
    for o in &proto.opset_import {
        add(1, &|b| o.encode(b).unwrap_or_default());
    }
    if let Some(graph) = &proto.graph {
        for m in &graph.node {
            add(2, &|b| m.encode(b).unwrap_or_default());
        }
        for m in &graph.initializer {
            add(3, &|b| m.encode(b).unwrap_or_default());
        }
        for m in &graph.input {
            add(4, &|b| m.encode(b).unwrap_or_default());
        }
        for m in &graph.output {
            add(5, &|b| m.encode(b).unwrap_or_default());
        }
    }
    for m in &proto.functions {
        add(6, &|b| m.encode(b).unwrap_or_default());
    }
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Writes the model's bytes.
///
/// # Errors
/// What the writer reports.
pub fn write_model(mut to: impl Write, proto: &ModelProto) -> std::io::Result<()> {
    to.write_all(&proto.encode_to_vec())
}

/// Widens 16-bit weights and tensors to f32: tract's half-precision convolutions are slow on most
/// CPUs and overflow in the norms, and f32 holds every f16 exactly.
pub(crate) fn widen_to_f32(proto: &mut ModelProto) {
    const F16: i32 = DataType::Float16 as i32;
    const F32: i32 = DataType::Float as i32;
    let Some(graph) = &mut proto.graph else { return };
    let tensors = |n: &tract_onnx::pb::NodeProto| {
        n.attribute.iter().any(|a| a.t.as_ref().is_some_and(|t| t.data_type == F16) || casts_to_f16(&n.op_type, a))
    };
    if !graph.initializer.iter().any(|t| t.data_type == F16) && !graph.node.iter().any(tensors) {
        return;
    }
    graph.initializer.iter_mut().for_each(widen);
    for node in &mut graph.node {
        for a in &mut node.attribute {
            if casts_to_f16(&node.op_type, a) {
                a.i = i64::from(F32);
            }
            a.t.iter_mut().for_each(widen);
        }
    }
    for info in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
        if let Some(type_proto::Value::TensorType(t)) = info.r#type.as_mut().and_then(|t| t.value.as_mut())
            && t.elem_type == F16
        {
            t.elem_type = F32;
        }
    }
}

fn casts_to_f16(op: &str, a: &AttributeProto) -> bool {
    op == "Cast" && a.name == "to" && a.i == DataType::Float16 as i64
}

fn widen(t: &mut TensorProto) {
    if t.data_type != DataType::Float16 as i32 {
        return;
    }
    let values: Vec<f32> = if t.raw_data.is_empty() {
        t.int32_data.iter().map(|&v| half::f16::from_bits(v as u16).to_f32()).collect()
    } else {
        t.raw_data.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
    };
    t.data_type = DataType::Float as i32;
    t.int32_data = Vec::new();
    t.raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
}
