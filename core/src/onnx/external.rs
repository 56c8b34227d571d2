//! Weights in a second file, which PyTorch's exporter writes by default.
//!
//! A tensor names a file by its path relative to the model's folder, a place in it and a length. The file is opened only
//! where that path stays inside the folder, links followed; nothing is read that is longer than the tensor's shape says or
//! than the file is. What was read becomes a part of the model as if it had been one file, so that its hash covers it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, TensorProto};

use super::OnnxError;
use super::foreign::kind_of;
use super::number::number_bytes;

/// What to do instead of any second file.
pub(super) const ONE_FILE: &str = "export the model with external_data=False, which makes one file";
/// Bytes that tensors may hold together for each byte of the files: several may share their weights.
const REPEATED: u64 = 16;

/// Whether a tensor's values lie in another file.
pub(super) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(DataLocation::External as i32) || !tensor.external_data.is_empty()
}

/// Reads all values that lie in other files of `folder` into the model, at most `room` bytes.
///
/// # Errors
/// A path that leaves the folder, a file that cannot be read, or a place that does not fit the file or the tensor.
pub(super) fn read_external(model: &mut ModelProto, folder: &Path, room: u64) -> Result<(), OnnxError> {
    let mut files =
        Files { folder: folder.to_path_buf(), root: None, open: None, lengths: HashMap::new(), read: 0, room };
    model.graph.as_mut().map_or(Ok(()), |graph| in_graph(graph, &mut files))?;
    let nodes = model.functions.iter_mut().flat_map(|function| &mut function.node);
    nodes.flat_map(|node| &mut node.attribute).try_for_each(|attribute| in_attribute(attribute, &mut files))
}

fn in_graph(graph: &mut GraphProto, files: &mut Files) -> Result<(), OnnxError> {
    graph.initializer.iter_mut().try_for_each(|tensor| files.fill(tensor))?;
    let mut attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    attributes.try_for_each(|attribute| in_attribute(attribute, files))
}

fn in_attribute(attribute: &mut AttributeProto, files: &mut Files) -> Result<(), OnnxError> {
    attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(|tensor| files.fill(tensor))?;
    attribute.g.iter_mut().chain(&mut attribute.graphs).try_for_each(|graph| in_graph(graph, files))
}

/// The files that tensors lie in.
struct Files {
    folder: PathBuf,
    /// The folder without links, once it is needed.
    root: Option<PathBuf>,
    /// The file that was read last, by the name in the model.
    open: Option<(String, File)>,
    /// Bytes of each file.
    lengths: HashMap<String, u64>,
    /// Bytes read so far.
    read: u64,
    /// Bytes that may be read.
    room: u64,
}

/// Where a tensor lies.
struct Place {
    location: String,
    offset: u64,
    length: u64,
}

impl Files {
    fn fill(&mut self, tensor: &mut TensorProto) -> Result<(), OnnxError> {
        if !is_external(tensor) {
            return Ok(());
        }
        let named = |why: String| OnnxError::File(format!("tensor \"{}\" {why}", tensor.name));
        let place = place(tensor).map_err(named)?;
        tensor.raw_data = self.read(&place).map_err(named)?;
        tensor.data_location = None;
        tensor.external_data.clear();
        Ok(())
    }

    fn read(&mut self, place: &Place) -> Result<Vec<u8>, String> {
        let Place { location, offset, length } = place;
        let length_of_file = self.open(location)?;
        if offset.checked_add(*length).is_none_or(|end| end > length_of_file) {
            return Err(format!(
                "should lie in {length} bytes from byte {offset} of {location}, which has {length_of_file} bytes"
            ));
        }
        self.read = self.read.saturating_add(*length);
        let held = self.lengths.values().fold(0u64, |sum, n| sum.saturating_add(*n));
        let most = self.room.min(held.saturating_mul(REPEATED));
        if self.read > most {
            return Err(format!("brings the weights to {} bytes, of which at most {most} are read", self.read));
        }
        let Some((_, file)) = &mut self.open else { return Err(format!("lies in {location}, which is not open")) };
        let cannot = |e: std::io::Error| format!("lies in {location}, which cannot be read: {e}");
        file.seek(SeekFrom::Start(*offset)).map_err(cannot)?;
        let mut bytes = Vec::new();
        file.take(*length).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 != *length {
            return Err(format!("lies in {location}, which ended while it was read"));
        }
        Ok(bytes)
    }

    /// Opens the file of this name, if it is not the one that is open, and gives its length.
    fn open(&mut self, location: &str) -> Result<u64, String> {
        if let (Some((open, _)), Some(length)) = (&self.open, self.lengths.get(location))
            && open == location
        {
            return Ok(*length);
        }
        let path = self.inside(location)?;
        let cannot = |e: std::io::Error| {
            format!(
                "lies in {location}, which cannot be read beside the model ({e}); keep both in one folder, or {ONE_FILE}"
            )
        };
        // Before it is opened: a named pipe would wait for its writer.
        let facts = fs::metadata(&path).map_err(cannot)?;
        if !facts.is_file() {
            return Err(format!("lies in {location}, which is not a regular file"));
        }
        let mut file = File::open(&path).map_err(cannot)?;
        let mut start = Vec::new();
        file.by_ref().take(512).read_to_end(&mut start).map_err(cannot)?;
        if let Some(kind) = kind_of(&start).filter(|_| start.starts_with(b"version ")) {
            return Err(format!("lies in {location}, and that is {kind}"));
        }
        self.lengths.insert(location.to_owned(), facts.len());
        self.open = Some((location.to_owned(), file));
        Ok(facts.len())
    }

    /// The file without links, which must lie inside the model's folder.
    fn inside(&mut self, location: &str) -> Result<PathBuf, String> {
        let refused = || {
            format!(
                "lies in \"{location}\", outside of the model's folder, and is not read; keep both in one folder, or {ONE_FILE}"
            )
        };
        let plain =
            Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        // On every system what is a separator or a drive on one of them.
        if location.is_empty() || !plain || location.contains(['\\', ':', '\0']) {
            return Err(refused());
        }
        let cannot = |e: std::io::Error| {
            format!(
                "lies in {location}, which cannot be read beside the model ({e}); keep both in one folder, or {ONE_FILE}"
            )
        };
        let root = match &self.root {
            Some(root) => root,
            None => self.root.insert(fs::canonicalize(&self.folder).map_err(cannot)?),
        };
        let path = fs::canonicalize(root.join(location)).map_err(cannot)?;
        if path.starts_with(root) { Ok(path) } else { Err(refused()) }
    }
}

/// The place that a tensor names, with the length that its shape gives it.
fn place(tensor: &TensorProto) -> Result<Place, String> {
    let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => {
            text.parse::<u64>().map(Some).map_err(|_| format!("has the {key} \"{text}\", which is no number"))
        }
    };
    let location = entry("location").ok_or("lies in another file, which it does not name")?.to_owned();
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    let elements = tensor.dims.iter().try_fold(1u64, |n, &d| n.checked_mul(u64::try_from(d).ok()?));
    let bytes = elements.zip(number_bytes(tensor)).and_then(|(n, size)| n.checked_mul(size));
    let bytes = bytes.ok_or_else(|| format!("of shape {:?} cannot lie in another file", tensor.dims))?;
    if length.is_some_and(|length| length != bytes) {
        let length = length.unwrap_or(0);
        return Err(format!("has the shape {:?}, {bytes} bytes, but {length} bytes in {location}", tensor.dims));
    }
    Ok(Place { location, offset, length: bytes })
}
