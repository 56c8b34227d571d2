//! How long a planned case will take on this machine.

mod predict;
mod rehearsal;
mod window;

pub use predict::{Clock, Prediction, RunSeconds};
