//! One tile through the network: cut out, mirrored, averaged.

use crate::arch::Block;
use crate::engine::{Engine, EngineError};
use crate::executor::Executor;
use crate::patch::PatchNumber;
use crate::volume::Index3;
use alloc::vec;
use alloc::vec::Vec;

/// Buffers of one worker.
#[derive(Debug)]
pub(super) struct TileWorker<T> {
    pub(super) start: Index3,
    /// `[channels, z, y, x]`.
    pub(super) input: Vec<T>,
    mirrored: Vec<T>,
    /// `[heads, z, y, x]`.
    pub(super) logits: Vec<T>,
    pass: Vec<T>,
    /// Lent to the engine.
    workspace: Vec<Block>,
    pub(super) outcome: Result<(), EngineError>,
}

impl<T: PatchNumber> TileWorker<T> {
    pub(super) fn new(channels: usize, heads: usize, patch: Index3, mirrors: bool, workspace_blocks: usize) -> Self {
        let voxels: usize = patch.iter().product();
        let spare = |n: usize| if mirrors { vec![T::default(); n * voxels] } else { Vec::new() };
        TileWorker {
            start: [0; 3],
            input: vec![T::default(); channels * voxels],
            mirrored: spare(channels),
            logits: vec![T::default(); heads * voxels],
            pass: spare(heads),
            workspace: vec![Block::ZERO; workspace_blocks],
            outcome: Ok(()),
        }
    }

    /// Runs one pass. Mirrored ones are added to the plain one in turn, and with the last the sum is divided by their number.
    /// Each result is rounded to the tile's own precision, as the reference does it in whichever precision it runs.
    pub(super) fn run<E: Engine, X: Executor>(&mut self, engine: &E, executor: &X, patch: Index3, pass: &Pass<'_>) {
        self.outcome = self.try_run(engine, executor, patch, pass);
    }

    fn try_run<E: Engine, X: Executor>(
        &mut self,
        engine: &E,
        executor: &X,
        patch: Index3,
        pass: &Pass<'_>,
    ) -> Result<(), EngineError> {
        let (fold, workspace) = (pass.fold, &mut self.workspace);
        if pass.index == 0 {
            return engine.infer(fold, T::patch(&self.input), T::patch_mut(&mut self.logits), workspace, executor);
        }
        let flips = [0, 1, 2].map(|axis| pass.mirrors[pass.index].contains(&axis));
        mirror(&self.input, patch, flips, &mut self.mirrored, |target, v| *target = v);
        engine.infer(fold, T::patch(&self.mirrored), T::patch_mut(&mut self.pass), workspace, executor)?;
        mirror(&self.pass, patch, flips, &mut self.logits, |sum, v| *sum = T::narrow(sum.widen() + v.widen()));
        let count = pass.mirrors.len();
        if pass.index + 1 == count {
            self.logits.iter_mut().for_each(|v| *v = T::narrow(v.widen() / count as f32));
        }
        Ok(())
    }
}

/// One pass of the network over a tile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass<'a> {
    pub(super) fold: usize,
    /// The axes that each pass of a fold mirrors: first none.
    pub(super) mirrors: &'a [Vec<usize>],
    /// Which of them.
    pub(super) index: usize,
}

/// Puts `source` into `target`, mirrored along the marked axes of each volume of `patch` voxels.
fn mirror<T: Copy>(source: &[T], patch: Index3, flips: [bool; 3], target: &mut [T], put: impl Fn(&mut T, T)) {
    let [n0, n1, n2] = patch;
    let from = |flip: bool, i: usize, n: usize| if flip { n - 1 - i } else { i };
    for (volume, out) in source.chunks_exact(n0 * n1 * n2).zip(target.chunks_exact_mut(n0 * n1 * n2)) {
        for (r, row) in out.chunks_exact_mut(n2).enumerate() {
            let (z, y) = (from(flips[0], r / n1, n0), from(flips[1], r % n1, n1));
            let source_row = &volume[(z * n1 + y) * n2..][..n2];
            if flips[2] {
                row.iter_mut().zip(source_row.iter().rev()).for_each(|(t, &v)| put(t, v));
            } else {
                row.iter_mut().zip(source_row).for_each(|(t, &v)| put(t, v));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirroring_twice_gives_the_input_back() {
        let patch = [2, 3, 4];
        let source: Vec<f32> = (0..48).map(|i| i as f32).collect();
        let (mut once, mut twice) = (vec![0.0; 48], vec![0.0; 48]);
        for bits in 0..8 {
            let flips = [bits & 1 == 1, bits & 2 == 2, bits & 4 == 4];
            mirror(&source, patch, flips, &mut once, |t, v| *t = v);
            mirror(&once, patch, flips, &mut twice, |t, v| *t = v);
            assert_eq!(source, twice);
            let first = once[0] as usize;
            let expected = [12 * usize::from(flips[0]), 8 * usize::from(flips[1]), 3 * usize::from(flips[2])];
            assert_eq!(first, expected.iter().sum::<usize>());
        }
    }
}
