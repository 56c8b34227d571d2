//! One step: patches in, weights moved.

use crate::loader::Batch;
use crate::loss::{HardCounts, SegmentationLoss};
use crate::network::{Engine, Network};
use crate::optimise::{AveragedWeights, Sgd};
use crate::targets::Targets;
use anyhow::Result;
use tch::{Device, Kind, TchError, Tensor};

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

/// What a step came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepValue {
    /// The loss.
    pub loss: f64,
    /// Its Dice term.
    pub dice: f64,
    /// Its cross entropy term.
    pub cross_entropy: f64,
    /// Norm of the gradients before clipping.
    pub gradient_norm: f64,
}

/// A batch as tensors: images `[n, c, z, y, x]`, labels `[n, z, y, x]` as 64-bit integers.
///
/// # Errors
/// libtorch has no memory for them.
pub(super) fn tensors(batch: &Batch, device: Device) -> Result<(Tensor, Tensor), TchError> {
    let [z, y, x] = batch.shape_zyx.map(|n| n as i64);
    let images = Tensor::f_from_slice(&batch.images)?.f_view([-1, batch.channels as i64, z, y, x])?;
    let labels = Tensor::f_from_slice(&batch.labels)?.f_view([-1, z, y, x])?.f_to_kind(Kind::Int64)?;
    Ok((images.f_to_device(device)?, labels.f_to_device(device)?))
}

impl Trainee {
    /// One step of `rate` on a batch.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn step(&mut self, loss: &SegmentationLoss, images: &Tensor, labels: &Tensor, rate: f64) -> Result<StepValue> {
        self.network.parameters.zero_gradients();
        let logits = self.engine.forward(&self.network, images)?;
        let value = loss.deep(&logits, labels)?;
        value.total.f_backward()?;
        let gradients = self.engine.gradients(&self.network, &logits)?;
        let total = f64::try_from(&value.total.f_detach()?)?;
        // A step along what is no number would destroy the weights for good.
        let gradient_norm = match total.is_finite() {
            true => self.descent.step(&self.network.parameters, &gradients, rate)?,
            false => f64::NAN,
        };
        self.engine.weights_changed();
        if let Some(average) = &mut self.average {
            average.add(&self.network.parameters)?;
        }
        Ok(StepValue { loss: total, dice: value.dice, cross_entropy: value.cross_entropy, gradient_norm })
    }
}

/// Watches a network on validation patches: its loss, and what it decides.
///
/// # Errors
/// libtorch refuses an operation.
pub(super) fn observe(
    network: &Network,
    engine: &mut Engine,
    loss: &SegmentationLoss,
    targets: &Targets,
    images: &Tensor,
    labels: &Tensor,
    counts: &mut HardCounts,
) -> Result<f64> {
    let logits = engine.infer(network, images)?;
    tch::no_grad(|| {
        counts.add(targets, &logits[0], &loss.truth(labels)?, labels)?;
        Ok(f64::try_from(&loss.deep(&logits, labels)?.total)?)
    })
}
