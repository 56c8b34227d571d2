//! Jacobian distillation (Sobolev training), for comparison: the student's logits should change with the image as the
//! teacher's do.
//!
//! The Jacobian of all logits would be a matrix of voxels times voxels. Each step compares one random direction of the logits
//! instead, with entries +1 and -1: the gradient, with respect to the image, of the scalar product of logits and direction.
//! The student is differentiated twice for that, which costs more than all other terms together and which only libtorch can
//! compute.

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use tch::{Device, Kind, TchError, Tensor};

/// Least divisor, for a teacher that does not depend on the image.
const LEAST: f64 = 1e-30;

/// Entries +1 and -1 for logits of extents `size`, the same for the same seed and step.
///
/// # Errors
/// libtorch fails or has no memory.
pub fn direction(seed: u64, step: u64, size: &[i64], device: Device) -> Result<Tensor, TchError> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ step.rotate_left(32));
    let count: i64 = size.iter().product();
    let signs: Vec<f32> = (0..count).map(|_| if random.random::<bool>() { 1.0 } else { -1.0 }).collect();
    Tensor::f_from_slice(&signs)?.f_view(size)?.f_to_device(device)
}

/// How a teacher's logits change with the image.
#[derive(Debug)]
pub struct JacobianTarget {
    /// The direction of the logits, `[n, heads, z, y, x]`.
    pub direction: Tensor,
    /// The gradient with respect to the image, `[n, channels, z, y, x]`.
    pub gradient: Tensor,
}

impl JacobianTarget {
    /// The same tensors, for another thread.
    pub fn shallow_clone(&self) -> JacobianTarget {
        JacobianTarget { direction: self.direction.shallow_clone(), gradient: self.gradient.shallow_clone() }
    }
}

/// The gradient, with respect to `images`, of the scalar product of `logits` and `direction`. The images must require a
/// gradient. With `differentiable`, autograd records the result.
///
/// # Errors
/// libtorch fails: its autograd did not compute the logits from these images.
pub fn image_gradient(
    images: &Tensor,
    logits: &Tensor,
    direction: &Tensor,
    differentiable: bool,
) -> Result<Tensor, TchError> {
    let product = logits.f_mul(direction)?.f_sum(Kind::Float)?;
    let found = Tensor::f_run_backward(&[product], &[images], true, differentiable)?.pop().filter(Tensor::defined);
    found.ok_or_else(|| TchError::Torch("the logits do not depend on the images".into()))
}

/// The mean squared difference of image gradients, in units of the teacher's mean square.
///
/// # Errors
/// libtorch fails.
pub fn loss(student: &Tensor, teacher: &Tensor) -> Result<Tensor, TchError> {
    let teacher = teacher.f_detach()?;
    let unit = teacher.f_square()?.f_mean(Kind::Float)?.f_clamp_min(LEAST)?;
    student.f_sub(&teacher)?.f_square()?.f_mean(Kind::Float)?.f_div(&unit)
}
