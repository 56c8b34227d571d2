//! The ONNX model of a folder without its weights: what can be said of the model before, or without, building it whole.

use super::architecture::UNet;
use super::checkpoint::Checkpoint;
use super::error::NnUnetError;
use super::to_onnx::{ModelBuilder, Weights};
use crate::onnx::{GraphHash, OnnxModel};
use std::io::{Read, Seek};
use std::slice;
use tract_onnx::pb::{ModelProto, TensorProto};

/// The model of some folds; weights have names and shapes, and no values.
pub(super) struct Skeleton {
    pub(super) model: OnnxModel,
}

/// The hash of the whole model in the making, as its weights are read in order.
pub(super) struct WeightsHash<'a> {
    model: &'a ModelProto,
    /// Weights that are not hashed yet.
    pending: slice::Iter<'a, TensorProto>,
    hash: GraphHash,
}

/// A checkpoint whose tensors are hashed as they are read.
pub(super) struct Hashed<'a, 'b, R> {
    hash: &'b mut WeightsHash<'a>,
    checkpoint: &'b mut Checkpoint<R>,
}

struct NoWeights;

impl Weights for NoWeights {
    fn read_f32(&mut self, _: &str) -> Result<Vec<f32>, NnUnetError> {
        Ok(Vec::new())
    }
}

impl Skeleton {
    pub(super) fn new(unet: &UNet, patch: &[usize], folds: usize, name: &str) -> Result<Skeleton, NnUnetError> {
        let mut builder = ModelBuilder::new(unet, patch);
        for _ in 0..folds {
            builder.add_fold(&mut NoWeights)?;
        }
        Ok(Skeleton { model: builder.finish(name) })
    }

    pub(super) fn hash(&self) -> WeightsHash<'_> {
        let model = &self.model.proto;
        let pending = model.graph.as_ref().map_or([].iter(), |graph| graph.initializer.iter());
        WeightsHash { model, pending, hash: GraphHash::of_operators(model) }
    }
}

impl<'a> WeightsHash<'a> {
    pub(super) fn reading<'b, R>(&'b mut self, checkpoint: &'b mut Checkpoint<R>) -> Hashed<'a, 'b, R> {
        Hashed { hash: self, checkpoint }
    }

    /// Adds the next weight that comes from a checkpoint, and the constants before it.
    fn add(&mut self, values: &[f32]) {
        for tensor in self.pending.by_ref() {
            if tensor.raw_data.is_empty() {
                let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                self.hash.weight(&TensorProto { raw_data, ..tensor.clone() });
                return;
            }
            self.hash.weight(tensor);
        }
    }

    /// All weights were read.
    pub(super) fn finish(mut self) -> String {
        self.pending.for_each(|constant| self.hash.weight(constant));
        self.hash.finish(self.model)
    }
}

impl<R: Read + Seek> Weights for Hashed<'_, '_, R> {
    fn read_f32(&mut self, name: &str) -> Result<Vec<f32>, NnUnetError> {
        let values = self.checkpoint.read_f32(name)?;
        if values.iter().any(|value| value.is_nan()) {
            let problem = format!("`{name}` holds NaN: its training diverged");
            return Err(NnUnetError::Checkpoint { path: self.checkpoint.path().to_path_buf(), problem });
        }
        self.hash.add(&values);
        Ok(values)
    }
}
