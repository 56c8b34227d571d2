// A compiled student of two folds with its manifest, one with convolutions in half precision and in integers, one in single precision.
// Included by the bare program, which reads it from the bytes of a file, and by a test of the standard build, which
// writes that file and must give the same (`testing/src/student.rs` builds it).

use crate::scene::{self, HEADS, PATCH};
use alloc::vec;
use alloc::vec::Vec;
use scanside_core::engine::Engine;
use scanside_core::executor::Serial;
use scanside_core::network::{Image, Isa, NativeEngine};
use scanside_core::patch::{Patch, PatchMut};
use scanside_core::workspace::Block;

/// FNV-1a over the logits of one patch and the labels of the scene, in plain Rust.
pub(crate) const EXPECTED: u64 = 11_202_299_461_319_302_638;

fn values(n: usize, size: f32, seed: u32) -> Vec<f32> {
    let mut state = seed;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * size
        })
        .collect()
}

/// Reads the file and runs the scene with it; `None` if anything fails.
pub(crate) fn run(bytes: &[u8], isa: Isa) -> Option<u64> {
    let image = Image::open(bytes).ok()?;
    let manifest = image.manifest().ok()?;
    let engine = NativeEngine::new(image.networks(isa).ok()?)?;
    let voxels: usize = PATCH.iter().product();
    let input = values(voxels, 1.5, 11);
    let mut out = vec![0f32; HEADS * voxels];
    let mut workspace = vec![Block::ZERO; engine.footprint(1).workspace_blocks];
    let mut hash = scene::run_with(&engine, &manifest)?;
    for fold in 0..engine.shape().folds {
        engine.infer(fold, Patch::F32(&input), PatchMut::F32(&mut out), &mut workspace, &Serial).ok()?;
        for byte in out.iter().flat_map(|v| v.to_bits().to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    Some(hash)
}
