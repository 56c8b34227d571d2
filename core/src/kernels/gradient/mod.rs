//! Gradients of convolutions, for training.

mod data;
mod weight;

pub use data::{DataGradient, GradientTarget, Update};
pub use weight::WeightGradient;
