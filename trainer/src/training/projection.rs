//! 1 x 1 x 1 convolutions that project a student's features to its teacher's channels. They are trained together with the
//! student and saved in its checkpoints; exported models do not contain them.

use super::settings::ProjectionSettings;
use crate::network::Feature;
use tch::{Device, Kind, TchError, Tensor};

/// A projection.
#[derive(Debug)]
pub struct Projection {
    /// The feature that is projected.
    pub feature: Feature,
    /// `[teacher's channels, student's channels, 1, 1, 1]`; a leaf that accumulates gradients.
    pub weight: Tensor,
}

impl Projection {
    /// A projection with random weights that preserve the variance, drawn from libtorch's random numbers as they stand.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn new(settings: &ProjectionSettings, device: Device) -> Result<Projection, TchError> {
        let [to, from] = [settings.teacher_channels, settings.student_channels].map(|n| n as i64);
        let mut weight = Tensor::f_zeros([to, from, 1, 1, 1], (Kind::Float, device))?;
        let _ = weight.f_normal_(0.0, (1.0 / from as f64).sqrt())?;
        Ok(Projection { feature: settings.feature, weight: weight.set_requires_grad(true) })
    }

    /// Features `[n, student's channels, z, y, x]` in the teacher's channels.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn apply(&self, features: &Tensor) -> Result<Tensor, TchError> {
        features.f_conv3d(&self.weight, None::<Tensor>, 1, 0, 1, 1)
    }
}
