//! PyTorch checkpoints of nnU-Net: a pickle that says what there is, and storages that hold the numbers.

use super::contents::Contents;
use super::error::NnUnetError;
use super::storages::Storages;
use super::tensor::TensorInfo;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

/// An opened checkpoint. Weights are read one by one, when asked for; the optimizer's state never.
#[derive(Debug)]
pub struct Checkpoint<R> {
    path: PathBuf,
    storages: Storages<R>,
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
    pub fn from_reader(reader: R, path: &Path) -> Result<Self, NnUnetError> {
        let (pickle, storages) = Storages::open(reader, path)?;
        let contents = Contents { pickle: &pickle, path };
        let weights = contents.weights()?;
        let index = weights.iter().enumerate().map(|(i, (name, _))| (name.clone(), i)).collect();
        Ok(Checkpoint {
            path: path.to_path_buf(),
            storages,
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
        Ok(tensor.gather(&self.storages.read(name, &tensor, span, &self.path)?))
    }
}
