//! Feature distillation, weighted by the gradient of the teacher's own loss: the student's features should equal the
//! teacher's in the voxels and channels on which the teacher's loss depends most.
//!
//! A 1 x 1 x 1 convolution projects the student's features to the teacher's channels; it is trained together with the student
//! and not exported. Neither the weights nor the teacher's features carry gradients, so nothing is differentiated twice.

use crate::network::Feature;
use tch::{Kind, TchError, Tensor};

/// Largest weight of a voxel, in units of the mean. Without it, a few voxels on an edge would outweigh all others.
const MAX_WEIGHT: f64 = 5.0;
/// Added to variances, so that channels that are constant do not divide by zero.
const EPSILON: f64 = 1e-5;
/// Least divisor: gradients vanish where the teacher is certain.
const LEAST: f64 = 1e-30;

/// The features compared in a network of `decoder_stages`: the two decoder stages of highest resolution and the bottleneck.
pub fn compared(decoder_stages: usize) -> Vec<Feature> {
    let mut features: Vec<Feature> = (0..decoder_stages.min(2)).map(Feature::Decoder).collect();
    features.push(Feature::Bottleneck);
    features
}

/// A feature of the teacher.
#[derive(Debug)]
pub struct FeatureTarget {
    /// Activations, `[n, channels, z, y, x]`.
    pub activations: Tensor,
    /// The gradient of the teacher's loss on the labels with respect to them.
    pub gradient: Tensor,
}

impl FeatureTarget {
    /// The same tensors, for another thread.
    pub fn shallow_clone(&self) -> FeatureTarget {
        FeatureTarget { activations: self.activations.shallow_clone(), gradient: self.gradient.shallow_clone() }
    }

    /// The part that belongs to the first `samples` patches.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn narrow(&self, samples: i64) -> Result<FeatureTarget, TchError> {
        let part = |tensor: &Tensor| tensor.f_narrow(0, 0, samples);
        Ok(FeatureTarget { activations: part(&self.activations)?, gradient: part(&self.gradient)? })
    }

    /// The distance of a student's feature: the squared difference in units of each channel's variance, averaged over
    /// channels and voxels with their weights, and over samples.
    ///
    /// `projected` is the student's feature in the teacher's channels, `[n, channels, z, y, x]`.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn distance(&self, projected: &Tensor) -> Result<Tensor, TchError> {
        let flat = |t: &Tensor| t.f_detach()?.f_to_kind(Kind::Float)?.f_flatten(2, -1);
        let (teacher, gradient) = (flat(&self.activations)?, flat(&self.gradient)?);
        let mean = |t: &Tensor, axis: i64| t.f_mean_dim(axis, true, Kind::Float);
        // The weights have no unit: their mean over voxels, and over channels, is 1.
        let voxels = mean(&gradient.f_mul(&teacher)?, 1)?.f_abs()?;
        let voxels = voxels.f_div(&mean(&voxels, 2)?.f_clamp_min(LEAST)?)?.f_clamp_max(MAX_WEIGHT)?;
        let channels = mean(&gradient.f_abs()?, 2)?;
        let channels = channels.f_div(&mean(&channels, 1)?.f_clamp_min(LEAST)?)?;
        let centred = teacher.f_sub(&mean(&teacher, 2)?)?;
        let variance = mean(&centred.f_square()?, 2)?.f_add_scalar(EPSILON)?;
        let difference = projected.f_to_kind(Kind::Float)?.f_flatten(2, -1)?.f_sub(&teacher)?.f_square()?;
        difference.f_mul(&channels.f_div(&variance)?)?.f_mul(&voxels)?.f_mean(Kind::Float)
    }
}

/// The term: the mean distance over features. `projected` are the student's features in the teacher's channels.
///
/// # Errors
/// libtorch fails, or there is no feature.
pub fn loss(targets: &[FeatureTarget], projected: &[Tensor]) -> Result<Tensor, TchError> {
    let pairs = targets.iter().zip(projected);
    let terms = pairs.map(|(target, projected)| target.distance(projected)).collect::<Result<Vec<_>, _>>()?;
    Tensor::f_stack(&terms, 0)?.f_mean(Kind::Float)
}
