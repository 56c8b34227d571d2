//! The networks on libtorch, with nnU-Net's parameter names.
//!
//! A [`Network`] is a list of named [`Parameters`] and the walk over [`Layers`] that turns patches into logits. It is
//! built from the same description that importing and exporting use, so names, shapes and order have one source.

mod engine;
mod feature;
mod init;
pub mod native;
mod parameters;
mod torch;

pub use engine::{Answer, Engine, Native, Precision};
pub use feature::Feature;
pub use init::Initialise;
pub use parameters::{LoadError, Parameter, Parameters, copy_of, values};

use scanside_core::nnunet::architecture::{Norm, UNet};
use scanside_core::nnunet::layers::Layers;
use tch::{Device, Tensor};
use thiserror::Error;

/// Why a network cannot be trained.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Untrainable(pub String);

/// A U-Net and its weights.
#[derive(Debug)]
pub struct Network {
    unet: UNet,
    layers: Layers,
    /// The weights; leaves of the graph that autograd records.
    pub parameters: Parameters,
}

impl Network {
    /// A network of zeros on `device`; see [`Initialise`] and [`Parameters::load`].
    ///
    /// # Errors
    /// The network has parts that are not trained here.
    pub fn new(unet: &UNet, device: Device) -> Result<Network, Untrainable> {
        if matches!(unet.norm, Norm::Batch { .. }) {
            return Err(Untrainable(
                "the network normalises with the statistics of its training (BatchNorm), which is not trained here; \
                 instance normalisation is"
                    .into(),
            ));
        }
        if unet.dropout {
            return Err(Untrainable("the network uses dropout in training, which is not supported".into()));
        }
        if unet.axes() != 3 {
            return Err(Untrainable(format!("the network has {} spatial axes; only 3 are supported", unet.axes())));
        }
        let layers = Layers::of(unet);
        let parameters = Parameters::zeros(&layers, device);
        Ok(Network { unet: unet.clone(), layers, parameters })
    }

    /// What the network is.
    pub fn unet(&self) -> &UNet {
        &self.unet
    }

    /// Its layers.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Trainable numbers.
    pub fn parameter_count(&self) -> u64 {
        self.parameters.iter().map(|p| p.values()).sum()
    }

    /// The logits of every decoder stage, the full resolution first: `[n, heads, z, y, x]` each.
    ///
    /// `images` is `[n, channels, z, y, x]` on the network's device. What autograd records goes back to the parameters.
    ///
    /// # Errors
    /// libtorch refuses an operation: no memory, or a patch that the strides do not divide.
    pub fn forward(&self, images: &Tensor) -> Result<Vec<Tensor>, tch::TchError> {
        Ok(self.answer(images, &[], Precision::F32)?.logits)
    }

    /// As [`Network::forward`], with the activations of `features`. In lower precision convolutions multiply, and activations
    /// are stored, in that; weights, statistics of norms and what comes out stay in single precision.
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn answer(&self, images: &Tensor, features: &[Feature], precision: Precision) -> Result<Answer, tch::TchError> {
        torch::Forward::new(&self.parameters, precision).answer(&self.layers, images, features)
    }
}
