//! The interface of networks: one patch in, one patch of logits out.
//!
//! The pipeline knows networks only through [`Engine`], so the same run serves an ONNX graph, a test double, or a
//! hand-written network on a machine without an operating system.

use crate::arch::Block;
use crate::executor::Executor;
use crate::patch::{Patch, PatchMut, PatchPrecision};
use alloc::boxed::Box;
use core::fmt;

/// What goes into an engine and comes out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineShape {
    /// Input channels.
    pub channels: usize,
    /// Output channels: one logit per head and voxel.
    pub heads: usize,
    /// Networks inside; their logits are averaged by the caller.
    pub folds: usize,
    /// Voxels per patch: `z, y, x`. 2d networks have `1` on the first axis.
    pub patch_zyx: [usize; 3],
}

impl EngineShape {
    /// Values of an input patch, all channels.
    pub fn input_len(&self) -> usize {
        self.channels * self.voxels()
    }

    /// Values of an output patch, all heads.
    pub fn output_len(&self) -> usize {
        self.heads * self.voxels()
    }

    /// Voxels per patch.
    pub fn voxels(&self) -> usize {
        self.patch_zyx.iter().product()
    }

    /// Checks what a caller hands to [`Engine::infer`].
    ///
    /// # Errors
    /// A fold that does not exist, or patches of another length.
    pub fn check(&self, fold: usize, input: &Patch<'_>, output: &PatchMut<'_>) -> Result<(), EngineError> {
        if fold >= self.folds {
            return Err(EngineError::Fold { asked: fold, folds: self.folds });
        }
        for (expected, got) in [(self.input_len(), input.len()), (self.output_len(), output.len())] {
            if expected != got {
                return Err(EngineError::Shape { expected, got });
            }
        }
        Ok(())
    }
}

/// The heap an engine needs, known before the first patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineFootprint {
    /// Weights and tables, held once however many threads work.
    pub shared_bytes: usize,
    /// Blocks of workspace with which [`Engine::infer`] is fastest.
    pub workspace_blocks: usize,
    /// The fewest blocks that a call accepts. With fewer than [`Self::workspace_blocks`] it takes longer; the result is the same.
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
    /// A patch is stored in another precision than [`EngineFootprint::patch`].
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
            EngineError::Fold { asked, folds } => write!(f, "fold {asked} was requested, the model has {folds}"),
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
    /// Bytes of one call with so many blocks of workspace: workspace and heap.
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

    /// What goes in and comes out.
    fn shape(&self) -> EngineShape;

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
