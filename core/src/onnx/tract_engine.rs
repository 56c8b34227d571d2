//! tract's own executor: for graphs that cannot be lowered, and as a second opinion on those that can.

use tract_core::internal::*;

use super::OnnxError;
use super::graph::TypedFolds;
use super::tract_plan::PlanRunner;
use crate::arch::Block;
use crate::engine::{Engine, EngineError, EngineFootprint, EngineShape};
use crate::executor::Executor;
use crate::manifest::Manifest;
use crate::patch::{Patch, PatchMut, PatchPrecision};

/// Small tables, slices of slices and the like that a run allocates beside its tensors.
const RUN_SLACK_BYTES: usize = 64 * 1024;

/// An ONNX network in tract's executor. Its footprint is an upper estimate.
///
/// Each fold is its own plan: computing one does no work of another. A patch is computed on one thread; callers run
/// several patches at once.
pub(super) struct TractEngine {
    folds: Vec<PlanRunner>,
    shape: EngineShape,
}

impl TractEngine {
    pub(super) fn from_typed(typed: TypedFolds, manifest: &Manifest) -> Result<TractEngine, OnnxError> {
        let shape = typed.shape;
        let folds = typed.folds.into_iter().map(|f| PlanRunner::new(f, shape.clone()));
        let folds: Vec<PlanRunner> = folds.collect::<TractResult<_>>().map_err(OnnxError::graph)?;
        let shape = EngineShape {
            channels: manifest.channels.len(),
            heads: manifest.labels.heads().len(),
            folds: folds.len(),
            patch_zyx: manifest.grid.patch_zyx,
        };
        Ok(TractEngine { folds, shape })
    }
}

impl Engine for TractEngine {
    fn name(&self) -> &'static str {
        "tract"
    }

    fn shape(&self) -> EngineShape {
        self.shape
    }

    fn footprint(&self, workers: usize) -> EngineFootprint {
        EngineFootprint {
            shared_bytes: 64 * 1024 + self.folds.iter().map(PlanRunner::shared_bytes).sum::<usize>(),
            workspace_blocks: 0,
            least_workspace_blocks: 0,
            worker_bytes: RUN_SLACK_BYTES + self.folds.iter().map(PlanRunner::worker_bytes).max().unwrap_or(0),
            calls: workers,
            patch: PatchPrecision::F32,
        }
    }

    fn infer<X: Executor>(
        &self,
        fold: usize,
        input: Patch<'_>,
        output: PatchMut<'_>,
        _workspace: &mut [Block],
        _executor: &X,
    ) -> Result<(), EngineError> {
        self.shape.check(fold, &input, &output)?;
        let (Patch::F32(input), PatchMut::F32(output)) = (input, output) else {
            return Err(EngineError::Precision);
        };
        self.folds[fold].run(input, output)
    }
}
