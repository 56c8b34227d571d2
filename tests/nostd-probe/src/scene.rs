// A small run of the whole pipeline: crop, masked z-score, cubic resampling, overlapping tiles with mirroring, two folds,
// fp16 sums, linear export. Included by the bare program and by a test of the standard build, which must agree.

use alloc::vec;
use alloc::vec::Vec;
use scanside_core::engine::{Engine, EngineError, EngineFootprint, EngineShape};
use scanside_core::executor::{Executor, Serial};
use scanside_core::manifest::*;
use scanside_core::patch::{Patch, PatchMut};
use scanside_core::pipeline::{Run, RunOptions, Surroundings};
use scanside_core::postprocess::{LabelSink, SinkError};
use scanside_core::volume::{DenseScan, Index3};
use scanside_core::workspace::Block;

/// FNV-1a over the labels of the scene.
pub(crate) const EXPECTED: u64 = 3_889_629_446_364_830_332;

const SHAPE: Index3 = [20, 26, 23];
pub(crate) const PATCH: Index3 = [8, 10, 12];
pub(crate) const HEADS: usize = 3;

/// A network of one weighted sum per head, so that the result hangs on every stage before and after it.
struct Sums;

impl Engine for Sums {
    fn name(&self) -> &'static str {
        "sums"
    }
    fn shape(&self) -> EngineShape {
        EngineShape { channels: 1, heads: HEADS, folds: 2, patch_zyx: PATCH }
    }
    fn footprint(&self, workers: usize) -> EngineFootprint {
        EngineFootprint { calls: workers, ..Default::default() }
    }
    fn infer<X: Executor>(
        &self,
        fold: usize,
        input: Patch<'_>,
        output: PatchMut<'_>,
        _: &mut [Block],
        _: &X,
    ) -> Result<(), EngineError> {
        let (Patch::F32(input), PatchMut::F32(output)) = (input, output) else { return Err(EngineError::Precision) };
        let n = input.len();
        for (h, head) in output.chunks_exact_mut(n).enumerate() {
            for (i, o) in head.iter_mut().enumerate() {
                let place = ((i * 13 + h * 5 + fold * 3) % 17) as f32 / 17.0;
                *o = input[i] * (h as f32 - 0.8) + 0.4 * input[(i + h) % n] + place;
            }
        }
        Ok(())
    }
}

/// Hashes labels as they leave.
struct Hash(u64);

impl LabelSink for Hash {
    fn write_plane(&mut self, labels: &[u16]) -> Result<(), SinkError> {
        for label in labels {
            for byte in label.to_le_bytes() {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
        Ok(())
    }
}

fn manifest() -> Manifest {
    let grid = NetworkGrid::new(PATCH, [Some(1.3), Some(0.9), Some(1.0)]);
    let channels = vec![Channel::new("", Normalization::ZScore { masked: true })];
    let heads = (0..HEADS).map(|value| Label::new("", value as u16)).collect();
    let mut manifest = Manifest::new(grid, channels, Labels::Exclusive { heads });
    manifest.crop_to_nonzero = true;
    manifest.folds = 2;
    manifest.mirror_axes = vec![0, 2];
    manifest
}

/// Runs the scene; `None` if anything fails.
pub(crate) fn run() -> Option<u64> {
    run_with(&Sums, &manifest())
}

/// Runs the scene with another network of the same shape, and its manifest.
pub(crate) fn run_with<E: Engine>(engine: &E, manifest: &Manifest) -> Option<u64> {
    let mut state = 12_345_u32;
    let voxels: Vec<i16> = (0..SHAPE.iter().product::<usize>())
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (z, y, x) = (i / (SHAPE[1] * SHAPE[2]), i / SHAPE[2] % SHAPE[1], i % SHAPE[2]);
            let body = z > 1 && y > 2 && x > 0 && x + 2 < SHAPE[2];
            if body { 200 + (state >> 22) as i16 } else { 0 }
        })
        .collect();
    let mut scan = DenseScan::new(&voxels, SHAPE, [1.0, 1.1, 0.8]).ok()?;
    let run = Run::look(manifest, &mut scan, RunOptions::default()).ok()?;
    let planned = run.plan(engine, &Surroundings::bare(), 1, None).ok()?;
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    planned.segment(&mut scan, &Serial, &mut hash, &mut ()).ok()?;
    Some(hash.0)
}
