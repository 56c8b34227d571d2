//! Reading ONNX files without trusting them.
//!
//! Everything that sizes an allocation later (dimensions, lengths) is checked here, before tract sees the graph. Another
//! file is opened on behalf of the model only for weights beside it: [`external`](super::external).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use prost::Message;
use sha2::{Digest, Sha256};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, TensorProto};

use super::external::{ONE_FILE, is_external, read_external};
use super::foreign::kind_of;
use super::metadata::{facts_of, manifest_check, manifest_from_side_car, missing_everything};
use super::number::{element_type, number_bytes};
use super::outputs::are_probabilities;
use super::{OnnxError, OnnxModel};
use crate::digest::hex;
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
    /// The model's description, checked against the graph.
    pub manifest: Manifest,
    /// The graph and its weights.
    pub model: OnnxModel,
    /// SHA-256 of the file's bytes, lower-case hex. Weights in a second file do not count here; they do in
    /// [`OnnxModel::graph_sha256`].
    pub file_sha256: String,
}

/// Reads an ONNX file and its manifest: `manifest_override` where given, else the embedded one, else a side-car
/// (`model.scanside.json`, `model.json`, `model.onnx.json`, or the same with `toml`) in the same folder.
///
/// As [`OnnxModel::read`] and [`OnnxModel::find_manifest`].
///
/// # Errors
/// As theirs, or [`OnnxError::ManifestMissing`], which lists what a manifest must add.
pub fn load(path: &Path, manifest_override: Option<&Path>) -> Result<LoadedModel, OnnxError> {
    let (model, file_sha256) = read_file(path)?;
    let manifest = match model.find_manifest(path, manifest_override)? {
        Some(manifest) => manifest,
        None => return Err(about(path, missing_everything(path, &facts_of(model.graph()?)))),
    };
    Ok(LoadedModel { manifest, model, file_sha256 })
}

/// The model and the SHA-256 of its file.
fn read_file(path: &Path) -> Result<(OnnxModel, String), OnnxError> {
    let (bytes, file_sha256) = read_bytes(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let model = parse(&bytes, Some(folder)).map_err(|e| about(path, e))?;
    Ok((OnnxModel { proto: model }, file_sha256))
}

/// The error with the file's name; those of reading have it already.
fn about(path: &Path, error: OnnxError) -> OnnxError {
    match error {
        io @ OnnxError::Io { .. } => io,
        other => OnnxError::Model { path: path.to_path_buf(), source: Box::new(other) },
    }
}

/// The file's bytes and their SHA-256.
fn read_bytes(path: &Path) -> Result<(Vec<u8>, String), OnnxError> {
    let io = |source| OnnxError::Io { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    if length > MAX_FILE_BYTES {
        let problem = format!("it has {length} bytes, more than the {MAX_FILE_BYTES} that an ONNX file may have");
        return Err(OnnxError::Model { path: path.to_path_buf(), source: Box::new(OnnxError::File(problem)) });
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    let file_sha256 = hex(&Sha256::digest(&bytes));
    Ok((bytes, file_sha256))
}

fn side_cars(model: &Path) -> Vec<PathBuf> {
    let name = model.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let names = [format!("{stem}.scanside"), stem.clone(), name];
    let files = names.iter().flat_map(|n| [format!("{n}.json"), format!("{n}.toml")]);
    files.map(|n| model.with_file_name(n)).collect()
}

impl OnnxModel {
    /// Parses and checks the bytes of an ONNX file.
    ///
    /// # Errors
    /// Bytes that are no ONNX model, one too new or too old, weights in another file, or tensors whose data and shape
    /// disagree.
    pub fn from_bytes(bytes: &[u8]) -> Result<OnnxModel, OnnxError> {
        parse(bytes, None).map(|proto| OnnxModel { proto })
    }

    /// Reads and checks an ONNX file. Weights in a second file are read where that lies in the same folder.
    ///
    /// **Memory:** the file's bytes and the parsed graph at once, or the parsed graph and one weight of a second file twice;
    /// the bytes are dropped on return.
    ///
    /// # Errors
    /// [`OnnxError::Io`], or [`OnnxError::Model`] with the reason: as for [`Self::from_bytes`], or weights that cannot be
    /// read.
    pub fn read(path: &Path) -> Result<OnnxModel, OnnxError> {
        read_file(path).map(|(model, _)| model)
    }

    /// The model's manifest: `manifest_override` where given, else the one inside, else a side-car beside the model's file,
    /// else none. Where the graph ends in a sigmoid or softmax, [`Manifest::probabilities`] is set.
    ///
    /// # Errors
    /// [`OnnxError::Io`], or [`OnnxError::Model`]: the manifest is wrong, leaves facts open, or disagrees with the graph.
    pub fn find_manifest(&self, path: &Path, manifest_override: Option<&Path>) -> Result<Option<Manifest>, OnnxError> {
        let find = || {
            let embedded = self.manifest()?;
            let side_car = match (manifest_override, &embedded) {
                (Some(path), _) => Some(path.to_path_buf()),
                (None, Some(_)) => None,
                (None, None) => side_cars(path).into_iter().find(|p| p.is_file()),
            };
            let mut manifest = match (side_car, embedded) {
                (Some(side_car), _) => manifest_from_side_car(&side_car, &facts_of(self.graph()?))?,
                (None, Some(manifest)) => manifest,
                (None, None) => return Ok(None),
            };
            manifest_check(&manifest, self.graph()?)?;
            manifest.probabilities |= are_probabilities(self.graph()?, &manifest)?;
            Ok(Some(manifest))
        };
        find().map_err(|e| about(path, e))
    }
}

/// Checks a model; weights in other files are read from `folder`, or refused where there is none.
fn parse(bytes: &[u8], folder: Option<&Path>) -> Result<ModelProto, OnnxError> {
    if bytes.is_empty() {
        return Err(OnnxError::File("it is empty".into()));
    }
    let other = |why: &str| match kind_of(bytes) {
        Some(kind) => OnnxError::File(format!("it is {kind}")),
        None => OnnxError::File(why.into()),
    };
    let mut proto =
        ModelProto::decode(bytes).map_err(|_| other("its bytes are not in ONNX format, or it was cut off"))?;
    if proto.graph.is_none() {
        return Err(other("it holds no network graph"));
    }
    if let Some(folder) = folder {
        read_external(&mut proto, folder, MAX_FILE_BYTES.saturating_sub(bytes.len() as u64))?;
    }
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
    if is_external(t) {
        return bad(format!("lies in another file; {ONE_FILE}"));
    }
    let elements = t.dims.iter().try_fold(1u64, |n, &d| n.checked_mul(u64::try_from(d).ok()?));
    let Some(elements) = elements else {
        return bad(format!("has the impossible shape {:?}", t.dims));
    };
    let kind = element_type(t);
    let typed = match kind {
        DataType::Float => t.float_data.len(),
        DataType::Double => t.double_data.len(),
        DataType::Int64 => t.int64_data.len(),
        DataType::Uint64 | DataType::Uint32 => t.uint64_data.len(),
        // Shapes and weights are never text; an attribute may be.
        DataType::String => t.string_data.len(),
        _ => t.int32_data.len(),
    };
    let bytes = match (kind, number_bytes(t)) {
        (DataType::String, _) => 0,
        (_, Some(bytes)) => bytes,
        (other, None) => {
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
