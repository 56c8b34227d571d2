//! Engines whose result is known without a network.

use scanside_core::engine::{Engine, EngineError, EngineFootprint, EngineShape};
use scanside_core::executor::Executor;
use scanside_core::patch::{Patch, PatchMut, PatchNumber, PatchPrecision};
use scanside_core::workspace::Block;

/// Half precision, or single.
pub fn precision(half: bool) -> PatchPrecision {
    if half { PatchPrecision::F16 } else { PatchPrecision::F32 }
}

/// Head `h` is `-(v - h)^2` of the input: the largest head is the input's own value, rounded.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Voxels per patch.
    pub patch: [usize; 3],
    /// Heads.
    pub heads: usize,
}

impl Engine for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }
    fn shape(&self) -> EngineShape {
        EngineShape { channels: 1, heads: self.heads, folds: 1, patch_zyx: self.patch }
    }
    fn footprint(&self, workers: usize) -> EngineFootprint {
        EngineFootprint { calls: workers, ..Default::default() }
    }
    fn infer<X: Executor>(
        &self,
        _fold: usize,
        input: Patch<'_>,
        output: PatchMut<'_>,
        _: &mut [Block],
        _: &X,
    ) -> Result<(), EngineError> {
        let (Patch::F32(input), PatchMut::F32(output)) = (input, output) else { return Err(EngineError::Precision) };
        for (h, head) in output.chunks_exact_mut(input.len()).enumerate() {
            for (o, v) in head.iter_mut().zip(input) {
                *o = -(v - h as f32) * (v - h as f32);
            }
        }
        Ok(())
    }
}

/// A made-up network: every logit depends on the voxel, its place in the tile, the tile's mean, the head and the fold,
/// so that no two tiles agree where they overlap.
#[derive(Clone, Debug)]
pub struct Mixing {
    /// Voxels per patch.
    pub patch: [usize; 3],
    /// Channels.
    pub channels: usize,
    /// Heads.
    pub heads: usize,
    /// Folds.
    pub folds: usize,
    /// How it wants its patches.
    pub precision: PatchPrecision,
}

impl Mixing {
    fn mix<T: PatchNumber>(&self, fold: usize, input: &[T], output: &mut [T]) {
        let voxels: usize = self.patch.iter().product();
        let mean = input.iter().map(|v| v.widen()).sum::<f32>() / input.len() as f32;
        for (h, head) in output.chunks_exact_mut(voxels).enumerate() {
            for (i, o) in head.iter_mut().enumerate() {
                let v = |i: usize| input[i % input.len()].widen();
                let v = v(i) + v(i + voxels * (h % self.channels));
                let place = ((i * 31 + h * 17 + fold * 7) % 101) as f32 / 50.0 - 1.0;
                *o = T::narrow(0.7 * v * (h as f32 - 1.0) + place + 0.3 * mean);
            }
        }
    }
}

impl Engine for Mixing {
    fn name(&self) -> &'static str {
        "mixing"
    }
    fn shape(&self) -> EngineShape {
        let Mixing { patch, channels, heads, folds, .. } = *self;
        EngineShape { channels, heads, folds, patch_zyx: patch }
    }
    fn footprint(&self, workers: usize) -> EngineFootprint {
        EngineFootprint { calls: workers, patch: self.precision, ..Default::default() }
    }
    fn infer<X: Executor>(
        &self,
        fold: usize,
        input: Patch<'_>,
        output: PatchMut<'_>,
        _: &mut [Block],
        _: &X,
    ) -> Result<(), EngineError> {
        match (input, output) {
            (Patch::F32(input), PatchMut::F32(output)) => self.mix(fold, input, output),
            (Patch::F16(input), PatchMut::F16(output)) => self.mix(fold, input, output),
            _ => return Err(EngineError::Precision),
        }
        Ok(())
    }
}
