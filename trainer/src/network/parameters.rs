//! A network's weights by nnU-Net's names.

use scanside_core::nnunet::NnUnetError;
use scanside_core::nnunet::layers::{Layers, Role};
use scanside_core::nnunet::to_onnx::Weights;
use std::collections::HashMap;
use tch::{Device, Kind, TchError, Tensor};
use thiserror::Error;

/// One weight tensor.
#[derive(Debug)]
pub struct Parameter {
    /// nnU-Net's name without the copies: that of the encoder or decoder module.
    pub name: String,
    /// The one of its names whose values count where copies in a file disagree.
    last_name: String,
    /// What it is for.
    pub role: Role,
    /// Values per axis.
    pub shape: Vec<usize>,
    /// The values in single precision; a leaf that gathers gradients.
    pub tensor: Tensor,
}

impl Parameter {
    /// Number of values.
    pub fn values(&self) -> u64 {
        self.shape.iter().map(|n| *n as u64).product()
    }
}

/// All weights of a network, in the order of its layers.
#[derive(Debug)]
pub struct Parameters {
    list: Vec<Parameter>,
    index: HashMap<String, usize>,
}

impl Parameters {
    /// Zeros for every tensor of `layers`.
    pub fn zeros(layers: &Layers, device: Device) -> Parameters {
        let list: Vec<Parameter> = layers
            .expected()
            .into_iter()
            .map(|expected| {
                let shape: Vec<i64> = expected.shape.iter().map(|n| *n as i64).collect();
                Parameter {
                    // The first name is the short one.
                    name: expected.names.first().cloned().unwrap_or_default(),
                    last_name: expected.name().to_string(),
                    role: expected.role,
                    shape: expected.shape,
                    tensor: Tensor::zeros(shape, (Kind::Float, device)).set_requires_grad(true),
                }
            })
            .collect();
        let index = list.iter().enumerate().map(|(i, p)| (p.name.clone(), i)).collect();
        Parameters { list, index }
    }

    /// The parameters in the order of the layers.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.list.iter()
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True for a network without weights.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.index.get(name).map(|i| &self.list[*i].tensor)
    }

    /// Takes the values that `source` has of each parameter.
    ///
    /// # Errors
    /// A tensor cannot be read, or has another number of values.
    pub fn load(&mut self, source: &mut dyn Weights) -> Result<(), LoadError> {
        for parameter in &mut self.list {
            let values = source.read_f32(&parameter.last_name)?;
            if values.len() as u64 != parameter.values() {
                return Err(LoadError::Size {
                    name: parameter.name.clone(),
                    expected: parameter.values(),
                    got: values.len(),
                });
            }
            let shape: Vec<i64> = parameter.shape.iter().map(|n| *n as i64).collect();
            let values = Tensor::f_from_slice(&values)?.f_reshape(shape)?;
            tch::no_grad(|| parameter.tensor.f_copy_(&values).map(|_| ()))?;
        }
        Ok(())
    }

    /// What autograd has gathered, in the parameters' order; `None` for a parameter that no loss reached.
    pub fn gradients(&self) -> Vec<Option<Tensor>> {
        let gradient = |p: &Parameter| Some(p.tensor.grad()).filter(Tensor::defined);
        self.list.iter().map(gradient).collect()
    }

    /// Forgets the gradients of the step before.
    pub fn zero_gradients(&mut self) {
        for parameter in &mut self.list {
            parameter.tensor.zero_grad();
        }
    }
}

/// A copy of a tensor's values that is not part of an autograd graph.
///
/// # Errors
/// There is no memory for it.
pub fn copy_of(tensor: &Tensor) -> Result<Tensor, TchError> {
    tch::no_grad(|| {
        let mut copy = tensor.f_zeros_like()?;
        copy.f_copy_(&tensor.f_detach()?)?;
        Ok(copy)
    })
}

/// Values of a tensor in row-major order.
///
/// # Errors
/// libtorch cannot copy them.
pub fn values(tensor: &Tensor) -> Result<Vec<f32>, TchError> {
    Vec::<f32>::try_from(&tensor.f_detach()?.f_contiguous()?.f_view([-1])?)
}

/// Why weights could not be taken over.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The source does not give them.
    #[error(transparent)]
    Source(#[from] NnUnetError),
    /// A tensor has another number of values.
    #[error("the tensor {name} should hold {expected} values, but holds {got}")]
    Size {
        /// The tensor.
        name: String,
        /// Values it should have.
        expected: u64,
        /// Values it has.
        got: usize,
    },
    /// libtorch could not take them.
    #[error(transparent)]
    Torch(#[from] TchError),
}
