//! Whole runs on scans in memory.

use scanside_core::engine::Engine;
use scanside_core::executor::Executor;
use scanside_core::manifest::{Channel, Label, Labels, Manifest, NetworkGrid, Normalization};
use scanside_core::pipeline::{MemoryPlan, Run, RunError, RunOptions, Surroundings};
use scanside_core::volume::DenseScan;

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

/// The labels of a scan in memory, with `change` applied to the memory plan.
pub fn run<E: Engine, X: Executor>(
    manifest: &Manifest,
    mut scan: DenseScan<'_, f32>,
    engine: &E,
    executor: &X,
    change: impl FnOnce(&mut MemoryPlan),
) -> Result<Vec<u16>, RunError> {
    let run = Run::look(manifest, &mut scan, RunOptions::default())?;
    let mut planned = run.plan(engine, &Surroundings::default(), executor.workers(), None)?;
    change(&mut planned.memory);
    let mut labels = Vec::new();
    planned.segment(&mut scan, executor, &mut labels, &mut ())?;
    Ok(labels)
}
