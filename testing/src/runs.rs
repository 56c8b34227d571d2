//! Whole runs on scans in memory.

use crate::scan::MemoryScan;
use crate::sinks::KeptLabels;
use scanside_core::engine::Engine;
use scanside_core::executor::Executor;
use scanside_core::manifest::{Channel, Label, Labels, Manifest, NetworkGrid, Normalization};
use scanside_core::memory::{self, MemoryPlan, Surroundings};
use scanside_core::pipeline::{Layout, PipelineError, RunOptions, segment};
use scanside_core::preprocess::{find_box, measure};

/// A manifest with this patch, these many channels and heads, and nothing else special.
pub fn manifest(patch: [usize; 3], channels: usize, heads: usize) -> Manifest {
    let label = |i: usize| Label::new(format!("label {i}"), i as u16);
    let channel = |c: usize| Channel::new(format!("channel {c}"), Normalization::None);
    let labels = Labels::Exclusive { heads: (0..heads).map(label).collect() };
    let grid = NetworkGrid::new(patch, [Some(1.0); 3]);
    let mut manifest = Manifest::new(grid, (0..channels).map(channel).collect(), labels);
    manifest.crop_to_nonzero = true;
    manifest
}

/// Runs the pipeline on a scan in memory, with `change` applied to the memory plan.
pub fn run<E: Engine, X: Executor>(
    manifest: &Manifest,
    scan: &mut MemoryScan,
    spacing: [f64; 3],
    engine: &E,
    executor: &X,
    change: impl FnOnce(&mut MemoryPlan),
) -> Result<Vec<u16>, PipelineError> {
    let bounds = find_box(scan, manifest.crop_to_nonzero)?;
    let layout = Layout::new(manifest, scan.shape, spacing, bounds, RunOptions::default()).expect("a layout");
    let surroundings = Surroundings {
        process_bytes: 0,
        loading_bytes: 0,
        resident_source_bytes: 0,
        streaming_source_bytes: 0,
        sink_bytes: 0,
    };
    let mut plan = memory::plan(&layout, manifest, &|n| engine.footprint(n), &surroundings, executor.workers(), None)
        .expect("no budget is given");
    change(&mut plan);
    let facts = measure(scan, &layout.bounds, &manifest.channels, layout.clip_axis())?;
    let mut labels = KeptLabels::default();
    segment(&layout, manifest, &facts, &plan, scan, engine, executor, &mut labels, &mut ())?;
    Ok(labels.0)
}
