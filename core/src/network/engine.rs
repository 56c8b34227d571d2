//! The compiled network as an [`Engine`].

use super::layout::Network;
use super::run::StepObserver;
use crate::arch::Block;
use crate::engine::{Engine, EngineError, EngineFootprint, EngineShape};
use crate::executor::Executor;
use crate::patch::{Patch, PatchMut, PatchPrecision};
use alloc::vec::Vec;

/// Runs compiled networks, one a fold.
///
/// All workers compute one patch together; they share its tensors, and each has scratch of its own.
pub struct NativeEngine<'w> {
    folds: Vec<Network<'w>>,
}

impl<'w> NativeEngine<'w> {
    /// An engine of these folds; none where they disagree in shape or there are none.
    pub fn new(folds: Vec<Network<'w>>) -> Option<NativeEngine<'w>> {
        let shape = |n: &Network<'_>| (n.graph().channels, n.graph().heads, n.graph().patch);
        let first = shape(folds.first()?);
        folds.iter().all(|n| shape(n) == first).then_some(NativeEngine { folds })
    }

    /// The networks.
    pub fn networks(&self) -> &[Network<'w>] {
        &self.folds
    }

    /// [`Engine::infer`] with something that watches the steps. It takes patches of either precision.
    ///
    /// # Errors
    /// As [`Engine::infer`].
    pub fn infer_observed<X: Executor>(
        &self,
        fold: usize,
        input: Patch<'_>,
        output: PatchMut<'_>,
        workspace: &mut [Block],
        executor: &X,
        observer: &mut impl StepObserver,
    ) -> Result<(), EngineError> {
        self.shape().check(fold, &input, &output)?;
        let network = &self.folds[fold];
        let expected = network.least_workspace_blocks(executor.workers().max(1));
        if workspace.len() < expected {
            return Err(EngineError::Workspace { expected, got: workspace.len() });
        }
        network.run(input, output, workspace, executor, observer);
        Ok(())
    }
}

impl Engine for NativeEngine<'_> {
    fn name(&self) -> &'static str {
        "native"
    }

    fn shape(&self) -> EngineShape {
        let graph = self.folds[0].graph();
        EngineShape { channels: graph.channels, heads: graph.heads, folds: self.folds.len(), patch_zyx: graph.patch }
    }

    fn footprint(&self, workers: usize) -> EngineFootprint {
        let workers = workers.max(1);
        let most = |f: &dyn Fn(&Network<'_>) -> usize| self.folds.iter().map(f).max().unwrap_or(0);
        EngineFootprint {
            shared_bytes: self.folds.iter().map(|n| n.weights().held_bytes() + 64 * 1024).sum(),
            workspace_blocks: most(&|n| n.workspace_blocks(workers)),
            least_workspace_blocks: most(&|n| n.least_workspace_blocks(workers)),
            worker_bytes: most(&|n| n.run_bytes(workers)),
            calls: 1,
            patch: if self.folds.iter().all(|n| n.graph().patch_precision() == PatchPrecision::F16) {
                PatchPrecision::F16
            } else {
                PatchPrecision::F32
            },
        }
    }

    fn infer<X: Executor>(
        &self,
        fold: usize,
        input: Patch<'_>,
        output: PatchMut<'_>,
        workspace: &mut [Block],
        executor: &X,
    ) -> Result<(), EngineError> {
        self.infer_observed(fold, input, output, workspace, executor, &mut ())
    }
}
