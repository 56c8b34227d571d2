//! Feature distillation, weighted by the gradient of the teacher's own loss: where and in which channels the teacher's
//! activations matter for its answer, the student's should say the same.
//!
//! The student's activations are brought to the teacher's channels by a convolution of one voxel, which is trained beside the
//! student and dropped with it. Neither the weights nor the teacher's activations carry gradients, so nothing is
//! differentiated twice.

use crate::network::Feature;
use tch::{Kind, TchError, Tensor};

/// Largest weight of a voxel, in units of the mean: a few voxels on an edge would outweigh all others.
const MOST: f64 = 5.0;
/// Keeps channels that are all zero from dividing by it.
const EPSILON: f64 = 1e-5;
/// The least that a mean is divided by: gradients vanish where the teacher is sure.
const LEAST: f64 = 1e-30;

/// The features compared in a network of `decoder_stages`: the two decoder stages of highest resolution and the bottleneck.
pub fn places(decoder_stages: usize) -> Vec<Feature> {
    let mut places: Vec<Feature> = (0..decoder_stages.min(2)).map(Feature::Decoder).collect();
    places.push(Feature::Bottleneck);
    places
}

/// What the teacher holds at one place.
#[derive(Debug)]
pub struct Held {
    /// Activations, `[n, channels, z, y, x]`.
    pub activations: Tensor,
    /// The gradient of the teacher's loss on the labels with respect to them.
    pub gradient: Tensor,
}

impl Held {
    /// The same tensors, for another thread.
    pub fn shallow_clone(&self) -> Held {
        Held { activations: self.activations.shallow_clone(), gradient: self.gradient.shallow_clone() }
    }

    /// How far a student's activations, brought to the teacher's channels, are from these: the squared difference in units of
    /// each channel's variance, averaged over channels by what they matter, over voxels likewise, and over samples.
    ///
    /// `lifted` is `[n, channels, z, y, x]`.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn distance(&self, lifted: &Tensor) -> Result<Tensor, TchError> {
        let flat = |t: &Tensor| t.f_detach()?.f_to_kind(Kind::Float)?.f_flatten(2, -1);
        let (held, gradient) = (flat(&self.activations)?, flat(&self.gradient)?);
        let mean = |t: &Tensor, axis: i64| t.f_mean_dim(axis, true, Kind::Float);
        // Both are without unit: the mean over voxels, and over channels, is 1.
        let voxels = mean(&gradient.f_mul(&held)?, 1)?.f_abs()?;
        let voxels = voxels.f_div(&mean(&voxels, 2)?.f_clamp_min(LEAST)?)?.f_clamp_max(MOST)?;
        let channels = mean(&gradient.f_abs()?, 2)?;
        let channels = channels.f_div(&mean(&channels, 1)?.f_clamp_min(LEAST)?)?;
        let centred = held.f_sub(&mean(&held, 2)?)?;
        let variance = mean(&centred.f_square()?, 2)?.f_add_scalar(EPSILON)?;
        let difference = lifted.f_to_kind(Kind::Float)?.f_flatten(2, -1)?.f_sub(&held)?.f_square()?;
        difference.f_mul(&channels.f_div(&variance)?)?.f_mul(&voxels)?.f_mean(Kind::Float)
    }
}

/// The term: the mean distance over places. `lifted` are the student's activations there.
///
/// # Errors
/// libtorch refuses an operation, or there is no place.
pub fn loss(held: &[Held], lifted: &[Tensor]) -> Result<Tensor, TchError> {
    let terms = held.iter().zip(lifted).map(|(held, lifted)| held.distance(lifted)).collect::<Result<Vec<_>, _>>()?;
    Tensor::f_stack(&terms, 0)?.f_mean(Kind::Float)
}
