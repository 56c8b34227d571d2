//! Every byte that a run allocates, counted, against the parts that the plan announced.
#![allow(unsafe_code)]

use proptest::prelude::*;
use scanside_core::engine::Engine;
use scanside_core::executor::Serial;
use scanside_core::manifest::{Normalization, Resampling};
use scanside_core::memory::{self, Surroundings};
use scanside_core::pipeline::{Layout, RunOptions, segment};
use scanside_core::preprocess::{find_box, measure};
use scanside_testing::engines::{self, Mixing};
use scanside_testing::runs;
use scanside_testing::scan::MemoryScan;
use scanside_testing::sinks::Discard;
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

/// Vectors of vectors, lists of jobs: what is too small to be worth a line in the plan.
const SMALL_CHANGE: usize = 96 << 10;

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
        let mut scan = MemoryScan { shape, voxels };
        let surroundings = Surroundings {
            process_bytes: 0, loading_bytes: 0, resident_source_bytes: 0, streaming_source_bytes: 0, sink_bytes: 0,
        };

        let before = HELD.load(Relaxed);
        PEAK.store(before, Relaxed);
        let bounds = find_box(&mut scan, true).unwrap();
        let layout = Layout::new(&manifest, shape, spacing, bounds, RunOptions::default()).unwrap();
        let plan = memory::plan(&layout, &manifest, &|n| engine.footprint(n), &surroundings, 1, None).unwrap();
        let facts = measure(&mut scan, &layout.bounds, &manifest.channels, layout.clip_axis()).unwrap();
        segment(&layout, &manifest, &facts, &plan, &mut scan, &engine, &Serial, &mut Discard, &mut ()).unwrap();
        let measured = PEAK.load(Relaxed) - before;

        let slack = plan.items.last().map_or(0, |item| item.bytes);
        let announced = plan.items.iter().map(|item| item.bytes).sum::<usize>() - slack;
        prop_assert!(measured <= announced + SMALL_CHANGE, "{measured} allocated, {announced} announced: {:?}", plan.items);
    }
}
