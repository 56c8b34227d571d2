//! What runs a network on one patch.

use alloc::boxed::Box;
use core::fmt;

/// The memory of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineFootprint {
    /// Weights and whatever else is held once.
    pub shared_bytes: usize,
    /// Peak bytes beyond that while one [`Engine::infer`] runs, its input and output not counted.
    pub worker_bytes: usize,
}

/// Why a network could not be run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineError {
    /// The backend failed; its own words.
    Backend(Box<str>),
    /// A slice has the wrong length.
    Shape {
        /// Elements expected.
        expected: usize,
        /// Elements given.
        got: usize,
    },
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineError::Backend(words) => write!(f, "the network could not be run: {words}"),
            EngineError::Shape { expected, got } => {
                write!(f, "the network was handed {got} values where it takes {expected}")
            }
        }
    }
}

impl core::error::Error for EngineError {}

/// Runs a network on one patch at a time. Called from several workers at once.
pub trait Engine: Sync {
    /// The engine's name for records.
    fn name(&self) -> &'static str;
    /// Input channels.
    fn channels(&self) -> usize;
    /// Output heads per fold.
    fn heads(&self) -> usize;
    /// Networks whose logits are averaged.
    fn folds(&self) -> usize;
    /// Voxels per patch; a two-dimensional network has 1 on the first axis.
    fn patch_zyx(&self) -> [usize; 3];
    /// The memory it takes.
    fn footprint(&self) -> EngineFootprint;

    /// Logits `[heads, z, y, x]` of fold `fold` for the patch `[channels, z, y, x]`: the same bytes whatever else
    /// runs.
    ///
    /// # Errors
    /// Slices of the wrong length, or a failing backend.
    fn infer(&self, fold: usize, input: &[f32], output: &mut [f32]) -> Result<(), EngineError>;
}
