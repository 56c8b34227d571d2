//! nnU-Net's experiment planner, and a plan as training needs it.

mod cost;
pub mod fingerprint;
pub mod json;
mod planner;
mod topology;
mod training;

pub use cost::Cost;
pub use planner::{DatasetFacts, Planner, plan};
pub use training::{CONFIGURATION, TrainingPlan};
