//! What the pickle of a checkpoint says: the entries that prediction reads, and where the tensors lie.

use super::error::NnUnetError;
use super::pickle::{Global, Node, NodeId, Pickle};
use super::tensor::{DType, TensorInfo};
use std::collections::HashMap;
use std::path::Path;

/// Most tensors of a network, and most bytes of a name: a name in the memo can be repeated at no cost to the file, but
/// each tensor keeps a copy. The largest presets have about a thousand tensors with names of 60 bytes.
const MAX_TENSORS: usize = 1 << 16;
const MAX_NAME: usize = 512;

/// A reference to a storage: a run of numbers that lies outside the pickle.
pub(super) struct StorageRef<'a> {
    /// Its key in the file.
    pub(super) key: &'a str,
    /// The type of its numbers, or the name of a class that is not known.
    pub(super) dtype: Result<DType, &'a str>,
    /// How many numbers it holds.
    pub(super) len: u64,
}

impl<'a> StorageRef<'a> {
    /// The reference that the persistent id `id` is, if it is one.
    pub(super) fn new(pickle: &'a Pickle, id: NodeId) -> Option<StorageRef<'a>> {
        let [kind, class, key, _location, len, ref view @ ..] = *pickle.items(id)? else { return None };
        // Files without an archive name a view of the storage last, and no PyTorch of this decade makes one.
        let whole = match *view {
            [] => true,
            [view] => *pickle.get(view) == Node::None,
            _ => false,
        };
        if pickle.text(kind) != Some("storage") || !whole {
            return None;
        }
        let dtype = match pickle.get(class) {
            Node::Global(Global::Storage(dtype)) => Ok(*dtype),
            Node::Opaque(class) => Err(&**class),
            _ => return None,
        };
        let key = pickle.text(key).filter(|key| key.len() <= MAX_NAME)?;
        Some(StorageRef { key, dtype, len: u64::try_from(pickle.int(len)?).ok()? })
    }
}

/// The pickle's values with the meaning nnU-Net gives them.
pub(super) struct Contents<'a> {
    pub(super) pickle: &'a Pickle,
    pub(super) path: &'a Path,
}

impl Contents<'_> {
    fn wrong(&self, problem: String) -> NnUnetError {
        NnUnetError::Checkpoint { path: self.path.to_path_buf(), problem }
    }

    pub(super) fn entry(&self, dict: NodeId, key: &str) -> Result<NodeId, NnUnetError> {
        if !matches!(self.pickle.get(dict), Node::Dict(_)) {
            let kind = self.pickle.get(dict).kind();
            return Err(self.wrong(format!("`{key}` should be in a dictionary, but {kind} is in its place")));
        }
        self.pickle
            .entry(dict, key)
            .ok_or_else(|| self.wrong(format!("it has no `{key}`, so it is no checkpoint of nnU-Net v2")))
    }

    pub(super) fn text(&self, dict: NodeId, key: &str) -> Result<String, NnUnetError> {
        let value = self.entry(dict, key)?;
        self.pickle
            .text(value)
            .map(str::to_string)
            .ok_or_else(|| self.wrong(format!("`{key}` should be a text, but is {}", self.pickle.get(value).kind())))
    }

    pub(super) fn mirror_axes(&self) -> Result<Vec<usize>, NnUnetError> {
        const KEY: &str = "inference_allowed_mirroring_axes";
        let Some(value) = self.pickle.entry(self.pickle.root(), KEY) else {
            return Ok(Vec::new());
        };
        if *self.pickle.get(value) == Node::None {
            return Ok(Vec::new());
        }
        let axes = self.pickle.ints(value);
        let axes = axes.and_then(|axes| axes.into_iter().map(|axis| usize::try_from(axis).ok()).collect());
        axes.ok_or_else(|| self.wrong(format!("`{KEY}` should be a tuple of axis numbers or None")))
    }

    pub(super) fn weights(&self) -> Result<Vec<(String, TensorInfo)>, NnUnetError> {
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
        let storage = StorageRef::new(self.pickle, id).ok_or_else(malformed)?;
        let dtype = storage
            .dtype
            .map_err(|class| self.wrong(format!("`{name}` has the number type `{class}`, which is not supported")))?;
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
            storage: storage.key.to_string(),
            storage_len: storage.len,
            offset: number(offset).ok_or_else(malformed)?,
            stride,
        };
        tensor.span().ok_or_else(malformed)?;
        Ok(tensor)
    }
}
