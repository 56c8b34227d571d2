//! Averaged weights: less of the last batches' luck than the weights themselves.

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
    /// An average that begins with the weights as they are. `decay` is what one step keeps of it, below 1.
    ///
    /// # Errors
    /// libtorch cannot copy them.
    pub fn new(decay: f64, parameters: &Parameters) -> Result<AveragedWeights, TchError> {
        let values = parameters.iter().map(|p| copy_of(&p.tensor)).collect::<Result<_, _>>()?;
        Ok(AveragedWeights { decay, steps: 0, values })
    }

    /// Takes a saved average up again after `steps` steps.
    pub fn restore(&mut self, steps: u64, values: Vec<Tensor>) {
        (self.steps, self.values) = (steps, values);
    }

    /// The averages in the parameters' order.
    pub fn values(&self) -> &[Tensor] {
        &self.values
    }

    /// Steps taken in.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes the weights after one more step in. Early on an average over all steps so far is shorter than `decay` asks,
    /// so that the first weights are forgotten.
    ///
    /// # Errors
    /// libtorch refuses an operation.
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
