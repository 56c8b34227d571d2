//! Convolutions of one voxel that bring a student's activations to its teacher's channels. They are trained beside the student
//! and go with its run: no model file has them.

use super::settings::LiftSettings;
use crate::network::Feature;
use tch::{Device, Kind, TchError, Tensor};

/// One of them.
#[derive(Debug)]
pub struct Lift {
    /// Where the activations come from.
    pub feature: Feature,
    /// `[teacher's channels, student's channels, 1, 1, 1]`; a leaf that gathers gradients.
    pub weight: Tensor,
}

impl Lift {
    /// With its first weights, drawn from libtorch's random numbers as they stand: those that keep variances.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn new(settings: &LiftSettings, device: Device) -> Result<Lift, TchError> {
        let [to, from] = [settings.to, settings.from].map(|n| n as i64);
        let mut weight = Tensor::f_zeros([to, from, 1, 1, 1], (Kind::Float, device))?;
        let _ = weight.f_normal_(0.0, (1.0 / from as f64).sqrt())?;
        Ok(Lift { feature: settings.feature, weight: weight.set_requires_grad(true) })
    }

    /// Activations `[n, student's channels, z, y, x]` in the teacher's channels.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn apply(&self, activations: &Tensor) -> Result<Tensor, TchError> {
        activations.f_conv3d(&self.weight, None::<Tensor>, 1, 0, 1, 1)
    }
}
