//! What runs the network: one patch in, one patch of logits out.
//!
//! The pipeline knows networks only through [`Engine`], so the same run serves an ONNX graph, a test double, or a
//! hand-written network on a machine without an operating system.

use crate::arch::Block;
use crate::executor::Executor;
use crate::patch::{Patch, PatchMut, PatchPrecision};
use alloc::boxed::Box;
use core::fmt;

/// The heap an engine needs, known before the first patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineFootprint {
    /// Weights and tables, held once however many threads work.
    pub shared_bytes: usize,
    /// Blocks of memory that each call of [`Engine::infer`] is best lent.
    pub workspace_blocks: usize,
    /// The least that will do: with less than [`Self::workspace_blocks`] a call takes longer, with the same result.
    pub least_workspace_blocks: usize,
    /// Heap beyond that while one [`Engine::infer`] runs; its input and output slices are the caller's and not counted.
    pub worker_bytes: usize,
    /// Calls that should run side by side: 1 where one call keeps all workers busy.
    pub calls: usize,
    /// How the caller is to store the input and output of [`Engine::infer`].
    pub patch: PatchPrecision,
}

/// Why a patch could not be computed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineError {
    /// The backend failed; its own sentence.
    Backend(Box<str>),
    /// There is no such fold.
    Fold {
        /// The fold.
        asked: usize,
        /// Folds of the model.
        folds: usize,
    },
    /// The workspace is too small.
    Workspace {
        /// Blocks it needs.
        expected: usize,
        /// Blocks it has.
        got: usize,
    },
    /// A patch is stored otherwise than [`EngineFootprint::patch`] says.
    Precision,
    /// A slice has the wrong number of elements.
    Shape {
        /// Elements the network takes or gives.
        expected: usize,
        /// Elements the caller passed.
        got: usize,
    },
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineError::Backend(why) => write!(f, "the network could not be run: {why}"),
            EngineError::Fold { asked, folds } => write!(f, "fold {asked} was asked for, the model has {folds}"),
            EngineError::Workspace { expected, got } => {
                write!(f, "a workspace holds {got} blocks where the network needs {expected}")
            }
            EngineError::Precision => {
                f.write_str("a patch buffer holds numbers of another precision than the network's")
            }
            EngineError::Shape { expected, got } => {
                write!(f, "a patch buffer holds {got} values where the network needs {expected}")
            }
        }
    }
}

impl core::error::Error for EngineError {}

impl EngineFootprint {
    /// Bytes of one call that is lent so many blocks: workspace and heap.
    pub fn call_bytes(&self, workspace_blocks: usize) -> Option<usize> {
        workspace_blocks.checked_mul(size_of::<Block>())?.checked_add(self.worker_bytes)
    }
}

/// A network that turns patches of voxels into patches of logits.
///
/// `infer` is called by several threads at once, one patch each. An implementation gives the same bytes for the same
/// input whatever runs beside it.
pub trait Engine: Sync {
    /// A short name for reports.
    fn name(&self) -> &'static str;

    /// Input channels.
    fn channels(&self) -> usize;

    /// Output channels: one logit per head and voxel.
    fn heads(&self) -> usize;

    /// Networks inside; their logits are averaged by the caller.
    fn folds(&self) -> usize;

    /// Voxels per patch: `z, y, x`. 2d networks have `1` on the first axis.
    fn patch_zyx(&self) -> [usize; 3];

    /// The memory this engine needs on so many workers.
    fn footprint(&self, workers: usize) -> EngineFootprint;

    /// Computes the logits of fold `fold`, on the workers of `executor`.
    ///
    /// **Shapes:** input `[channels, z, y, x]`, output `[heads, z, y, x]`, both dense with `x` fastest, stored as
    /// [`EngineFootprint::patch`] says. `workspace` has what [`Self::footprint`] says for as many workers, at least the
    /// least; what it holds before does not matter.
    ///
    /// # Errors
    /// A patch of the wrong length or precision, a fold that does not exist, or a failure of the backend.
    fn infer<X: Executor>(
        &self,
        fold: usize,
        input: Patch<'_>,
        output: PatchMut<'_>,
        workspace: &mut [Block],
        executor: &X,
    ) -> Result<(), EngineError>;
}
