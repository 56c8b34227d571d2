//! Random initial weights: nnU-Net's He initialisation.

use super::Network;
use scanside_core::nnunet::architecture::Encoder;
use scanside_core::nnunet::layers::Role;
use tch::TchError;

/// The slope for which nnU-Net initialises, independent of the network's own.
const SLOPE: f64 = 1e-2;

/// Random initial weights.
pub trait Initialise {
    /// Normal numbers of variance `2 / (1 + slope^2) / fan_in` for convolutions, zeros for their biases; ones and zeros for
    /// normalisations, but zeros at the end of a residual block, so that each block is the identity of its skip at first.
    ///
    /// The same seed gives the same weights on the same device.
    ///
    /// # Errors
    /// libtorch fails.
    fn initialise(&mut self, seed: u64) -> Result<(), TchError>;
}

impl Initialise for Network {
    fn initialise(&mut self, seed: u64) -> Result<(), TchError> {
        tch::manual_seed(seed as i64);
        let residual = matches!(self.unet().encoder, Encoder::Residual { .. });
        tch::no_grad(|| {
            for parameter in self.parameters.iter() {
                let mut tensor = parameter.tensor.shallow_clone();
                match parameter.role {
                    Role::Weight => {
                        // Axis 1 is the input of a convolution; of a transposed one it is the output, and PyTorch counts it all
                        // the same.
                        let fan_in: usize = parameter.shape[1..].iter().product();
                        let std = (2.0 / ((1.0 + SLOPE * SLOPE) * fan_in as f64)).sqrt();
                        let _ = tensor.f_normal_(0.0, std)?;
                    }
                    Role::Scale if !(residual && ends_block(&parameter.name)) => {
                        let _ = tensor.f_fill_(1.0)?;
                    }
                    _ => {
                        let _ = tensor.f_zero_()?;
                    }
                }
            }
            Ok(())
        })
    }
}

/// Whether a normalisation is the last of a residual block of two convolutions.
fn ends_block(name: &str) -> bool {
    name.contains(".blocks.") && name.contains(".conv2.")
}
