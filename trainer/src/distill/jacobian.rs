//! Sobolev training, for comparison: the student's answer should not only be the teacher's, but change with the image as the
//! teacher's does.
//!
//! All changes of all logits would be a matrix of voxels times voxels. One random direction of the logits a step, of entries
//! +1 and -1, sees each of them in the mean: what is compared is the gradient, with respect to the image, of the logits' product with it. That
//! the student is then differentiated twice costs more than all other terms together, and libtorch alone does it.

use anyhow::Result;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use tch::{Device, Kind, TchError, Tensor};

/// Keeps a teacher that nothing changes from dividing by it.
const LEAST: f64 = 1e-30;

/// Entries +1 and -1 for logits of extents `size`, the same for the same seed and step.
///
/// # Errors
/// There is no memory.
pub fn direction(seed: u64, step: u64, size: &[i64], device: Device) -> Result<Tensor, TchError> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ step.rotate_left(32));
    let count: i64 = size.iter().product();
    let signs: Vec<f32> = (0..count).map(|_| if random.random::<bool>() { 1.0 } else { -1.0 }).collect();
    Tensor::f_from_slice(&signs)?.f_view(size)?.f_to_device(device)
}

/// The gradient with respect to `images`, which must require one, of the product of `logits` and `direction`; `again` if it
/// is itself to be differentiated.
///
/// # Errors
/// libtorch refuses an operation: the logits were not computed from these images by its autograd.
pub fn slope(images: &Tensor, logits: &Tensor, direction: &Tensor, again: bool) -> Result<Tensor, TchError> {
    let product = logits.f_mul(direction)?.f_sum(Kind::Float)?;
    let found = Tensor::f_run_backward(&[product], &[images], true, again)?.pop().filter(Tensor::defined);
    found.ok_or_else(|| TchError::Torch("the logits do not depend on the images".into()))
}

/// The mean squared difference of slopes, in units of the teacher's mean square.
///
/// # Errors
/// libtorch refuses an operation.
pub fn loss(student: &Tensor, teacher: &Tensor) -> Result<Tensor, TchError> {
    let teacher = teacher.f_detach()?;
    let unit = teacher.f_square()?.f_mean(Kind::Float)?.f_clamp_min(LEAST)?;
    student.f_sub(&teacher)?.f_square()?.f_mean(Kind::Float)?.f_div(&unit)
}
