//! Why a run cannot be made.

use super::layout::LayoutError;
use super::memory::DoesNotFit;
use crate::engine::{EngineError, EngineShape};
use crate::postprocess::SinkError;
use crate::preprocess::PreprocessError;
use crate::tiling::AccumulatorError;
use core::fmt;

/// Why a run cannot be made, or stopped. Errors of a part are passed on as they are: same sentence, same source.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RunError {
    /// The manifest and the scan do not lead to a run.
    Layout(LayoutError),
    /// The scan cannot be read or prepared.
    Preprocess(PreprocessError),
    /// The engine runs another network than the manifest describes.
    Network {
        /// What the manifest says.
        expected: EngineShape,
        /// What the engine says.
        got: EngineShape,
    },
    /// The budget is too small.
    DoesNotFit(DoesNotFit),
    /// The source is not the one that was looked at: its extents, spacing or channels differ.
    OtherScan,
    /// The executor has more workers than the memory was planned for.
    Workers {
        /// Planned.
        planned: usize,
        /// Those of the executor.
        got: usize,
    },
    /// The network failed.
    Engine(EngineError),
    /// The sums of logits.
    Accumulate(AccumulatorError),
    /// The labels could not be handed on.
    Sink(SinkError),
    /// The observer asked to stop.
    Cancelled,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = |s: &EngineShape| {
            let EngineShape { channels, heads, folds, patch_zyx: [z, y, x] } = s;
            alloc::format!("{channels} channel(s), {heads} heads, {folds} fold(s) and a patch of {z} x {y} x {x}")
        };
        match self {
            RunError::Layout(e) => e.fmt(f),
            RunError::Preprocess(e) => e.fmt(f),
            RunError::Network { expected, got } => {
                write!(f, "the manifest describes a network of {}, but the engine has {}", shape(expected), shape(got))
            }
            RunError::DoesNotFit(e) => e.fmt(f),
            RunError::OtherScan => f.write_str("the scan to run on is not the one that the run was planned for"),
            RunError::Workers { planned, got } => {
                write!(f, "the run was planned for {planned} worker(s), but the executor has {got}")
            }
            RunError::Engine(e) => e.fmt(f),
            RunError::Accumulate(e) => e.fmt(f),
            RunError::Sink(e) => e.fmt(f),
            RunError::Cancelled => f.write_str("interrupted"),
        }
    }
}

impl core::error::Error for RunError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            RunError::Layout(e) => e.source(),
            RunError::Preprocess(e) => e.source(),
            RunError::Engine(e) => e.source(),
            RunError::DoesNotFit(_)
            | RunError::Network { .. }
            | RunError::OtherScan
            | RunError::Workers { .. }
            | RunError::Accumulate(_)
            | RunError::Sink(_)
            | RunError::Cancelled => None,
        }
    }
}

macro_rules! from {
    ($variant:ident, $error:ty) => {
        impl From<$error> for RunError {
            fn from(e: $error) -> Self {
                RunError::$variant(e)
            }
        }
    };
}
from!(Layout, LayoutError);
from!(Preprocess, PreprocessError);
from!(DoesNotFit, DoesNotFit);
from!(Engine, EngineError);
from!(Accumulate, AccumulatorError);
from!(Sink, SinkError);
