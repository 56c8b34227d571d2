//! SGD with Nesterov momentum, its learning rate schedule, and averaged weights.

mod average;
mod sgd;

pub use average::AveragedWeights;
pub use sgd::{Sgd, SgdSettings};

/// nnU-Net's polynomial schedule: the learning rate of epoch `epoch` of `epochs`.
pub fn poly_learning_rate(initial: f64, epoch: usize, epochs: usize) -> f64 {
    initial * (1.0 - epoch as f64 / epochs.max(1) as f64).max(0.0).powf(0.9)
}
