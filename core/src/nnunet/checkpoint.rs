//! PyTorch checkpoints: a zip archive with one pickle and one entry per storage.

use super::error::NnUnetError;
use super::pickle::{self, Global, Node, NodeId, Pickle};
use super::tensor::TensorInfo;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use zip::ZipArchive;

/// Most tensors of a network, and most bytes of a name: a name in the memo can be repeated at no cost to the file, but
/// each tensor keeps a copy. The largest presets have about a thousand tensors with names of 60 bytes.
const MAX_TENSORS: usize = 1 << 16;
const MAX_NAME: usize = 512;

/// An opened checkpoint. Weights are read one by one, when asked for; the optimizer's state never.
#[derive(Debug)]
pub struct Checkpoint<R> {
    path: PathBuf,
    archive: ZipArchive<R>,
    /// What precedes `data.pkl` in the entries' names.
    prefix: String,
    weights: Vec<(String, TensorInfo)>,
    index: HashMap<String, usize>,
    trainer_name: String,
    configuration: String,
    mirror_axes: Vec<usize>,
}

impl Checkpoint<BufReader<File>> {
    /// Opens a checkpoint file.
    ///
    /// # Errors
    /// Everything that keeps the checkpoint from being one of nnU-Net v2, with the file's name.
    pub fn open(path: &Path) -> Result<Self, NnUnetError> {
        let file = File::open(path).map_err(|source| NnUnetError::Io { path: path.to_path_buf(), source })?;
        Checkpoint::from_reader(BufReader::new(file), path)
    }
}

impl<R: Read + Seek> Checkpoint<R> {
    /// Opens a checkpoint from any reader; `path` only names it in errors.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_reader(mut reader: R, path: &Path) -> Result<Self, NnUnetError> {
        let wrong = |problem: &str| NnUnetError::Checkpoint { path: path.to_path_buf(), problem: problem.into() };
        refuse_legacy(&mut reader, path)?;
        let mut archive = ZipArchive::new(reader).map_err(|e| NnUnetError::zip(path, e))?;

        let mut roots = Vec::new();
        for name in archive.file_names() {
            let name = name.map_err(|e| NnUnetError::zip(path, e))?;
            if let Some(prefix) = name.strip_suffix("data.pkl")
                && (prefix.is_empty() || prefix.ends_with('/'))
            {
                roots.push(prefix.to_string());
            }
        }
        let prefix = match roots.as_slice() {
            [one] => one.clone(),
            [] => {
                return Err(wrong("the archive has no data.pkl, so it is no PyTorch checkpoint"));
            }
            _ => return Err(wrong("the archive has more than one data.pkl")),
        };

        let order_entry = format!("{prefix}byteorder");
        if archive.index_for_name(&order_entry).is_some() {
            let order = read_entry(&mut archive, path, &order_entry, 16)?;
            if order.trim_ascii() != b"little" {
                return Err(wrong("it was written on a big-endian machine; save it again on a little-endian one"));
            }
        }

        let bytes = read_entry(&mut archive, path, &format!("{prefix}data.pkl"), pickle::MAX_BYTES as u64)?;
        let pickle =
            Pickle::parse(&bytes).map_err(|source| NnUnetError::Pickle { path: path.to_path_buf(), source })?;
        drop(bytes);
        let contents = Contents { pickle: &pickle, path };
        let weights = contents.weights()?;
        let index = weights.iter().enumerate().map(|(i, (name, _))| (name.clone(), i)).collect();
        Ok(Checkpoint {
            path: path.to_path_buf(),
            archive,
            prefix,
            index,
            trainer_name: contents.text(pickle.root(), "trainer_name")?,
            configuration: {
                let arguments = contents.entry(pickle.root(), "init_args")?;
                contents.text(arguments, "configuration")?
            },
            mirror_axes: contents.mirror_axes()?,
            weights,
        })
    }

    /// The file's name, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the trainer class that made it.
    pub fn trainer_name(&self) -> &str {
        &self.trainer_name
    }

    /// Name of the configuration in `plans.json` that it was trained with.
    pub fn configuration(&self) -> &str {
        &self.configuration
    }

    /// Axes along which predictions may be mirrored, counted in the network's own spatial axes; empty for none.
    pub fn mirror_axes(&self) -> &[usize] {
        &self.mirror_axes
    }

    /// The network's tensors in the order of the file.
    pub fn weights(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.weights.iter().map(|(name, info)| (name.as_str(), info))
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|i| &self.weights[*i].1)
    }

    /// Reads the tensor called `name` as `f32` in row-major order.
    ///
    /// # Errors
    /// There is no such tensor, its storage has another size than it says, or its bytes are damaged.
    pub fn read_f32(&mut self, name: &str) -> Result<Vec<f32>, NnUnetError> {
        let wrong = |problem: String| NnUnetError::Checkpoint { path: self.path.clone(), problem };
        let tensor = self.tensor(name).ok_or_else(|| wrong(format!("it has no tensor `{name}`")))?.clone();
        let span = tensor.span().ok_or_else(|| {
            wrong(format!(
                "`{name}` of shape {:?}, strides {:?} and offset {} does not lie in its storage of {} values",
                tensor.shape, tensor.stride, tensor.offset, tensor.storage_len
            ))
        })?;
        let size = tensor.dtype.bytes() as u64;
        let entry = format!("{}data/{}", self.prefix, tensor.storage);
        let zip = |e| NnUnetError::zip(&self.path, e);
        let mut file = self.archive.by_name(&entry).map_err(zip)?;
        if tensor.storage_len.checked_mul(size) != Some(file.size()) {
            let problem = format!(
                "`{name}` should lie in {} values of {size} bytes, but the archive's entry {entry} has {} bytes",
                tensor.storage_len,
                file.size()
            );
            return Err(NnUnetError::Checkpoint { path: self.path.clone(), problem });
        }
        let io = |source| NnUnetError::Io { path: self.path.clone(), source };
        // Neither product overflows: both numbers are at most the entry's size.
        io::copy(&mut file.by_ref().take(tensor.offset * size), &mut io::sink()).map_err(io)?;
        let wanted = span * size;
        let mut bytes = Vec::new();
        file.by_ref().take(wanted).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 != wanted {
            return Err(io(io::ErrorKind::UnexpectedEof.into()));
        }
        // To the end, so that the archive's checksum is compared. Nothing is left in the usual case.
        io::copy(&mut file, &mut io::sink()).map_err(io)?;
        Ok(tensor.gather(&bytes))
    }
}

/// PyTorch before 1.6 wrote several pickles in a row, without an archive.
fn refuse_legacy<R: Read + Seek>(reader: &mut R, path: &Path) -> Result<(), NnUnetError> {
    let io = |source| NnUnetError::Io { path: path.to_path_buf(), source };
    let mut start = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut start).map_err(io)?;
    reader.seek(SeekFrom::Start(0)).map_err(io)?;
    // A pickle of protocol 2 or later starts with its protocol.
    if let [0x80, 2..=5, ..] = start.as_slice() {
        return Err(NnUnetError::Unsupported {
            path: path.to_path_buf(),
            what: "the checkpoint has PyTorch's old format without a zip archive; load and save it again with \
                   PyTorch 1.6 or later"
                .into(),
        });
    }
    Ok(())
}

fn read_entry<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    path: &Path,
    name: &str,
    limit: u64,
) -> Result<Vec<u8>, NnUnetError> {
    let file = archive.by_name(name).map_err(|e| NnUnetError::zip(path, e))?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| NnUnetError::Io { path: path.to_path_buf(), source })?;
    if bytes.len() as u64 > limit {
        let problem = format!("its entry {name} has more than {limit} bytes");
        return Err(NnUnetError::Checkpoint { path: path.to_path_buf(), problem });
    }
    Ok(bytes)
}

/// The pickle's values with the meaning nnU-Net gives them.
struct Contents<'a> {
    pickle: &'a Pickle,
    path: &'a Path,
}

impl Contents<'_> {
    fn wrong(&self, problem: String) -> NnUnetError {
        NnUnetError::Checkpoint { path: self.path.to_path_buf(), problem }
    }

    fn entry(&self, dict: NodeId, key: &str) -> Result<NodeId, NnUnetError> {
        if !matches!(self.pickle.get(dict), Node::Dict(_)) {
            let kind = self.pickle.get(dict).kind();
            return Err(self.wrong(format!("`{key}` should be in a dictionary, but {kind} is in its place")));
        }
        self.pickle
            .entry(dict, key)
            .ok_or_else(|| self.wrong(format!("it has no `{key}`, so it is no checkpoint of nnU-Net v2")))
    }

    fn text(&self, dict: NodeId, key: &str) -> Result<String, NnUnetError> {
        let value = self.entry(dict, key)?;
        self.pickle
            .text(value)
            .map(str::to_string)
            .ok_or_else(|| self.wrong(format!("`{key}` should be a text, but is {}", self.pickle.get(value).kind())))
    }

    fn mirror_axes(&self) -> Result<Vec<usize>, NnUnetError> {
        const KEY: &str = "inference_allowed_mirroring_axes";
        let Some(value) = self.pickle.entry(self.pickle.root(), KEY) else {
            return Ok(Vec::new());
        };
        if *self.pickle.get(value) == Node::None {
            return Ok(Vec::new());
        }
        let axes = self.pickle.items(value).and_then(|items| {
            items.iter().map(|id| usize::try_from(self.pickle.int(*id)?).ok()).collect::<Option<Vec<_>>>()
        });
        axes.ok_or_else(|| self.wrong(format!("`{KEY}` should be a tuple of axis numbers or None")))
    }

    fn weights(&self) -> Result<Vec<(String, TensorInfo)>, NnUnetError> {
        const KEY: &str = "network_weights";
        let dict = self.entry(self.pickle.root(), KEY)?;
        let Node::Dict(pairs) = self.pickle.get(dict) else {
            let kind = self.pickle.get(dict).kind();
            return Err(self.wrong(format!("`{KEY}` should be a dictionary, but is {kind}")));
        };
        if pairs.len() > MAX_TENSORS {
            return Err(self.wrong(format!("`{KEY}` has {} tensors; at most {MAX_TENSORS} are read", pairs.len())));
        }
        let mut weights: Vec<(String, TensorInfo)> = Vec::with_capacity(pairs.len());
        let mut index = HashMap::with_capacity(pairs.len());
        for (key, value) in pairs {
            let name = self
                .pickle
                .text(*key)
                .filter(|name| name.len() <= MAX_NAME)
                .ok_or_else(|| self.wrong(format!("`{KEY}` has a key that is no name")))?;
            let tensor = self.tensor(name, *value)?;
            // A repeated key keeps its first place and takes the last value, as in Python.
            let next = weights.len();
            match *index.entry(name).or_insert(next) {
                place if place < next => weights[place].1 = tensor,
                _ => weights.push((name.to_string(), tensor)),
            }
        }
        Ok(weights)
    }

    fn tensor(&self, name: &str, value: NodeId) -> Result<TensorInfo, NnUnetError> {
        let malformed = || self.wrong(format!("the tensor `{name}` is not described as PyTorch describes tensors"));
        let (mut global, mut arguments) = match self.pickle.get(value) {
            Node::Call(global, arguments) => (*global, *arguments),
            Node::Opaque(class) => {
                return Err(self.wrong(format!("`{name}` is made by `{class}`, which is not supported")));
            }
            other => {
                return Err(self.wrong(format!("`{name}` should be a tensor, but is {}", other.kind())));
            }
        };
        // A parameter is a tensor in a wrapper.
        if global == Global::RebuildParameter {
            let inner = self.pickle.items(arguments).and_then(|items| items.first().copied());
            match inner.map(|id| self.pickle.get(id)) {
                Some(Node::Call(inner_global, inner_arguments)) => {
                    (global, arguments) = (*inner_global, *inner_arguments);
                }
                _ => return Err(malformed()),
            }
        }
        if global != Global::RebuildTensor {
            return Err(malformed());
        }
        let [storage, offset, shape, stride, ..] = *self.pickle.items(arguments).ok_or_else(malformed)? else {
            return Err(malformed());
        };
        let Node::Persistent(id) = *self.pickle.get(storage) else {
            return Err(malformed());
        };
        let [kind, class, key, _location, storage_len] = *self.pickle.items(id).ok_or_else(malformed)? else {
            return Err(malformed());
        };
        if self.pickle.text(kind) != Some("storage") {
            return Err(malformed());
        }
        let dtype = match self.pickle.get(class) {
            Node::Global(Global::Storage(dtype)) => *dtype,
            Node::Opaque(class) => {
                return Err(self.wrong(format!("`{name}` has the number type `{class}`, which is not supported")));
            }
            _ => return Err(malformed()),
        };
        let number = |id: NodeId| u64::try_from(self.pickle.int(id)?).ok();
        let numbers = |id: NodeId| self.pickle.items(id)?.iter().map(|id| number(*id)).collect::<Option<Vec<_>>>();
        let shape = numbers(shape).ok_or_else(malformed)?;
        let stride = numbers(stride).ok_or_else(malformed)?;
        // PyTorch itself stops at 64 axes.
        if shape.len() != stride.len() || shape.len() > 64 {
            return Err(malformed());
        }
        let tensor = TensorInfo {
            dtype,
            shape: shape.into_iter().map(|n| usize::try_from(n).ok()).collect::<Option<_>>().ok_or_else(malformed)?,
            storage: self.pickle.text(key).filter(|key| key.len() <= MAX_NAME).ok_or_else(malformed)?.to_string(),
            storage_len: number(storage_len).ok_or_else(malformed)?,
            offset: number(offset).ok_or_else(malformed)?,
            stride,
        };
        tensor.span().ok_or_else(malformed)?;
        Ok(tensor)
    }
}
