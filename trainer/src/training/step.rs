//! One step of one network: patches in, weights moved.

use crate::network::{Engine, Network};
use crate::optimise::{AveragedWeights, Sgd};
use anyhow::Result;
use tch::Tensor;

/// A network in training with all that goes along with it.
#[derive(Debug)]
pub struct Trainee {
    /// The network.
    pub network: Network,
    /// What computes it.
    pub engine: Engine,
    /// Its descent.
    pub descent: Sgd,
    /// Averaged weights, if they are kept.
    pub average: Option<AveragedWeights>,
}

/// One part of a loss.
#[derive(Debug)]
pub struct Term {
    /// Its name, in logs.
    pub name: &'static str,
    /// What it counts.
    pub weight: f64,
    /// Its value, a tensor of one number that can go backward.
    pub value: Tensor,
}

/// What a step came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepValue {
    /// The loss.
    pub loss: f64,
    /// Its parts without their weights, in order.
    pub terms: Vec<(&'static str, f64)>,
    /// The norm of each part's gradient with respect to the logits, weight included; empty where it was not asked for.
    pub pulls: Vec<(&'static str, f64)>,
    /// Norm of all gradients before clipping.
    pub gradient_norm: f64,
}

impl Trainee {
    /// One step of `rate` on `images`, `[n, channels, z, y, x]`, to lessen the sum of the terms that `loss` makes of the
    /// logits (the full resolution first). With `weigh`, how strongly each term pulls is measured as well.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn step(
        &mut self,
        images: &Tensor,
        rate: f64,
        weigh: bool,
        loss: impl FnOnce(&[Tensor]) -> Result<Vec<Term>>,
    ) -> Result<StepValue> {
        self.network.parameters.zero_gradients();
        let logits = self.engine.forward(&self.network, images)?;
        let terms = loss(&logits)?;
        let mut value = StepValue::default();
        let mut total: Option<Tensor> = None;
        for term in &terms {
            let weighted = term.value.f_mul_scalar(term.weight)?;
            if weigh {
                value.pulls.push((term.name, pull(&weighted, &logits)?));
            }
            value.terms.push((term.name, f64::try_from(&term.value.f_detach()?)?));
            total = Some(match total {
                None => weighted,
                Some(total) => total.f_add(&weighted)?,
            });
        }
        let total = total.ok_or_else(|| anyhow::anyhow!("a loss needs at least one term"))?;
        value.loss = f64::try_from(&total.f_detach()?)?;
        value.gradient_norm = f64::NAN;
        // A step along what is no number would destroy the weights for good.
        if value.loss.is_finite() {
            total.f_backward()?;
            let gradients = self.engine.gradients(&self.network, &logits)?;
            value.gradient_norm = self.descent.step(&self.network.parameters, &gradients, rate)?;
            self.engine.weights_changed();
            if let Some(average) = &mut self.average {
                average.add(&self.network.parameters)?;
            }
        }
        Ok(value)
    }
}

/// The norm of a term's gradient with respect to the logits of full resolution.
fn pull(term: &Tensor, logits: &[Tensor]) -> Result<f64> {
    if !term.requires_grad() {
        return Ok(0.0);
    }
    let gradients = Tensor::f_run_backward(&[term], &logits[..1], true, false)?;
    Ok(f64::try_from(&gradients[0].f_norm()?)?)
}
