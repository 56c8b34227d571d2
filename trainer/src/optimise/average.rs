//! Averaged weights, which depend less on the last batches than the weights themselves.

use crate::network::{Parameters, copy_of};
use tch::{TchError, Tensor};

/// An exponential average of the weights over steps.
#[derive(Debug)]
pub struct AveragedWeights {
    decay: f64,
    steps: u64,
    values: Vec<Tensor>,
}

impl AveragedWeights {
    /// An average that starts with the current weights. `decay` is the weight of the previous average at each step, below 1.
    ///
    /// # Errors
    /// libtorch fails or has no memory.
    pub fn new(decay: f64, parameters: &Parameters) -> Result<AveragedWeights, TchError> {
        let values = parameters.iter().map(|p| copy_of(&p.tensor)).collect::<Result<_, _>>()?;
        Ok(AveragedWeights { decay, steps: 0, values })
    }

    /// Restores a saved average after `steps` steps.
    pub fn restore(&mut self, steps: u64, values: Vec<Tensor>) {
        (self.steps, self.values) = (steps, values);
    }

    /// The averages in the parameters' order.
    pub fn values(&self) -> &[Tensor] {
        &self.values
    }

    /// Number of averaged steps.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Adds the weights after one more step. During the first steps the decay is smaller than `decay`, so that the initial
    /// weights lose their influence.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn add(&mut self, parameters: &Parameters) -> Result<(), TchError> {
        self.steps += 1;
        let decay = self.decay.min((1.0 + self.steps as f64) / (10.0 + self.steps as f64));
        tch::no_grad(|| {
            for (average, parameter) in self.values.iter_mut().zip(parameters.iter()) {
                let difference = parameter.tensor.f_detach()?.f_sub(average)?.f_mul_scalar(1.0 - decay)?;
                let _ = average.f_add_(&difference)?;
            }
            Ok(())
        })
    }
}
