//! Stochastic gradient descent with a state that can be saved, which the optimisers of the `tch` crate do not offer.

use crate::network::copy_of;
use tch::{TchError, Tensor};

/// Settings; the defaults are nnU-Net's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdSettings {
    /// Nesterov momentum.
    pub momentum: f64,
    /// Weight decay: times the weight, added to its gradient.
    pub weight_decay: f64,
    /// Largest norm of all gradients together; larger ones are scaled down.
    pub clip_norm: f64,
}

impl Default for SgdSettings {
    fn default() -> Self {
        SgdSettings { momentum: 0.99, weight_decay: 3e-5, clip_norm: 12.0 }
    }
}

/// The optimiser: one momentum buffer per tensor, in the order of the weights.
#[derive(Debug)]
pub struct Sgd {
    settings: SgdSettings,
    momentum: Vec<Option<Tensor>>,
}

impl Sgd {
    /// An optimiser of this many tensors, before the first step.
    pub fn new(settings: SgdSettings, tensors: usize) -> Sgd {
        Sgd { settings, momentum: (0..tensors).map(|_| None).collect() }
    }

    /// The momentum buffers, to be saved; `None` for a tensor without a step.
    pub fn momentum(&self) -> &[Option<Tensor>] {
        &self.momentum
    }

    /// Sets the buffer of tensor `index` to saved values.
    pub fn restore(&mut self, index: usize, values: Tensor) {
        self.momentum[index] = Some(values);
    }

    /// Updates every tensor of `weights` that has a gradient, with the learning rate `rate`. `gradients` are in the order of the weights.
    /// Returns the norm of all of them before they were clipped.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn step(&mut self, weights: &[&Tensor], gradients: &[Option<Tensor>], rate: f64) -> Result<f64, TchError> {
        tch::no_grad(|| self.unrecorded_step(weights, gradients, rate))
    }

    fn unrecorded_step(
        &mut self,
        weights: &[&Tensor],
        gradients: &[Option<Tensor>],
        rate: f64,
    ) -> Result<f64, TchError> {
        let squares = gradients.iter().flatten().map(Tensor::f_norm).collect::<Result<Vec<_>, _>>()?;
        let norm = match squares.is_empty() {
            true => 0.0,
            false => f64::try_from(&Tensor::f_stack(&squares, 0)?.f_norm()?)?,
        };
        let factor = (self.settings.clip_norm / (norm + 1e-6)).min(1.0);
        for ((weight, gradient), buffer) in weights.iter().zip(gradients).zip(&mut self.momentum) {
            let Some(gradient) = gradient else { continue };
            let gradient =
                gradient.f_mul_scalar(factor)?.f_add(&weight.f_detach()?.f_mul_scalar(self.settings.weight_decay)?)?;
            let momentum = match buffer {
                Some(buffer) => {
                    let _ = buffer.f_mul_scalar_(self.settings.momentum)?.f_add_(&gradient)?;
                    &*buffer
                }
                // PyTorch starts with the gradient itself.
                None => &*buffer.insert(copy_of(&gradient)?),
            };
            let step = gradient.f_add(&momentum.f_mul_scalar(self.settings.momentum)?)?.f_mul_scalar(-rate)?;
            let _ = weight.shallow_clone().f_add_(&step)?;
        }
        Ok(norm)
    }
}
