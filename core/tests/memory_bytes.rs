//! Every byte that a run allocates, counted, against the announced peak of a program without an operating system.
#![allow(unsafe_code)]

use proptest::prelude::*;
use scanside_core::executor::Serial;
use scanside_core::manifest::{Normalization, Resampling};
use scanside_core::pipeline::{Run, RunOptions, Surroundings};
use scanside_core::volume::{DenseScan, VoxelSource};
use scanside_testing::engines::{self, Mixing};
use scanside_testing::runs;
use std::alloc::{GlobalAlloc, Layout as Block, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; only counters are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, block: Block) -> *mut u8 {
        let held = HELD.fetch_add(block.size(), Relaxed) + block.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(block) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, block: Block) {
        HELD.fetch_sub(block.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, block) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

// One test in this file: the counters see every thread of the process.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_run_allocates_no_more_than_its_plan_says(
        shape in [8usize..48, 8usize..48, 8usize..48], patch in [4usize..20, 4usize..20, 4usize..20],
        spacing in [0.2f64..2.0, 0.2f64..2.0, 0.2f64..2.0], across in any::<bool>(), masked in any::<bool>(),
        mirrored in any::<bool>(), torch in any::<bool>(), half in any::<bool>(), folds in 1usize..3,
    ) {
        let voxels: Vec<f32> = (0..2 * shape.iter().product::<usize>()).map(|i| (i * 7919 % 1013) as f32 / 128.0).collect();
        let mut manifest = runs::manifest(patch, 2, 5);
        manifest.folds = folds;
        manifest.channels[0].normalization = Normalization::ZScore { masked };
        if across {
            manifest.grid.transpose_forward = [2, 0, 1];
        }
        if mirrored {
            manifest.mirror_axes = vec![0, 1, 2];
        }
        if torch {
            manifest.resample_data = Resampling::Torch { force_separate_z: None };
        }
        let engine = Mixing { patch, channels: 2, heads: 5, folds, precision: engines::precision(half) };
        let mut scan = DenseScan::new(&voxels, shape, spacing).unwrap();
        let scan_bytes = scan.resident_bytes();

        let before = HELD.load(Relaxed);
        PEAK.store(before, Relaxed);
        let run = Run::look(&manifest, &mut scan, RunOptions::default()).unwrap();
        let planned = run.plan(&engine, &Surroundings::bare(), 1, None).unwrap();
        planned.segment(&mut scan, &Serial, &mut (), &mut ()).unwrap();
        let measured = PEAK.load(Relaxed) - before;

        // The scan itself was there before.
        let announced = planned.memory.peak_bytes - scan_bytes;
        prop_assert!(measured <= announced, "{measured} allocated, {announced} announced: {:?}", planned.memory.items);
    }
}
