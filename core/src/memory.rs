//! The bytes a run takes, known before anything of its size is allocated.
//!
//! The planner adds up every buffer of the run and, where a budget is given, trades in this order: the engine's least
//! workspace, fewer workers (each has its own tile and the engine's scratch), reading the scan again instead of keeping it.
//!
//! A scan is kept in memory only where that pays: where the network's slowest axis lies across the file's slices, so that
//! every slab touches all of them. Otherwise slabs follow the file, which is read three times from its start to its end,
//! and the peak does not grow with the number of slices.

use crate::engine::EngineFootprint;
use crate::manifest::Manifest;
use crate::patch::PatchPrecision;
use crate::pipeline::Layout;
use crate::postprocess::{LabelExporter, LabelPlacer};
use crate::preprocess::{NonzeroMask, SlabSettings, slab_reader_bytes, statistics_bytes};
use crate::tiling::RollingAccumulator;
use crate::volume::checked_voxels;
use alloc::vec::Vec;
use core::fmt;

/// Planes fetched at once when every fetch reads the whole file: axis 0 of the network lies across the file's slices,
/// and the scan is not kept.
const PLANES_PER_PASS: usize = 32;

/// What the surroundings of the core take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The process before the run, the loaded model included.
    pub process_bytes: usize,
    /// The most the process took while it loaded the model.
    pub loading_bytes: usize,
    /// The scan kept in memory in its stored type.
    pub resident_source_bytes: usize,
    /// A source that reads its file again instead.
    pub streaming_source_bytes: usize,
    /// The label writer.
    pub sink_bytes: usize,
}

/// One part of the peak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryItem {
    /// What it is.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: usize,
}

/// How a run uses memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The parts.
    pub items: Vec<MemoryItem>,
    /// Their sum: the process stays under it.
    pub peak_bytes: usize,
    /// Workers.
    pub workers: usize,
    /// Tiles in flight: fewer than workers where several share one.
    pub tiles: usize,
    /// Blocks of workspace for each of them: what the engine works best with, or the least that will do.
    pub workspace_blocks: usize,
    /// It is the least, and less than what is best.
    pub least_workspace: bool,
    /// The scan is kept in memory rather than read again.
    pub resident_source: bool,
    /// Planes of network axis 0 fetched with one reading of the source.
    pub planes_per_read: usize,
}

/// The budget is too small, or the run cannot be counted in this machine's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoesNotFit {
    /// The budget.
    pub budget_bytes: usize,
    /// The least that would do; `None` where even that cannot be addressed.
    pub least_bytes: Option<usize>,
}

impl fmt::Display for DoesNotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded so that the figure shown is one that fits.
        let down = |bytes: usize| bytes / 1_000_000;
        match self.least_bytes {
            Some(least) => write!(
                f,
                "this scan and model do not fit in {} MB; the least that would do is {} MB (--max-ram {}M)",
                down(self.budget_bytes),
                least.div_ceil(1_000_000),
                least.div_ceil(1_000_000)
            ),
            None => write!(f, "this scan and model need more memory than a process can address"),
        }
    }
}

impl core::error::Error for DoesNotFit {}

/// Plans a run with at most `workers` workers inside `budget_bytes`.
///
/// # Errors
/// No choice stays inside the budget; the error names the least that would.
pub fn plan(
    layout: &Layout,
    manifest: &Manifest,
    engine: &dyn Fn(usize) -> EngineFootprint,
    surroundings: &Surroundings,
    workers: usize,
    budget_bytes: Option<usize>,
) -> Result<MemoryPlan, DoesNotFit> {
    let budget = budget_bytes.unwrap_or(usize::MAX);
    let workers = workers.clamp(1, MOST_WORKERS);
    let mut least: Option<usize> = None;
    let ways: &[bool] = if layout.transpose[0] == 0 { &[false] } else { &[true, false] };
    for &resident in ways {
        for workers in (1..=workers).rev() {
            let footprint = engine(workers);
            for least_workspace in [false, true] {
                let Some(plan) = count(layout, manifest, footprint, surroundings, workers, resident, least_workspace)
                else {
                    continue;
                };
                if plan.peak_bytes <= budget {
                    return Ok(plan);
                }
                least = Some(least.map_or(plan.peak_bytes, |l| l.min(plan.peak_bytes)));
            }
        }
    }
    Err(DoesNotFit { budget_bytes: budget, least_bytes: least })
}

/// Adds the parts up; `None` where they overflow.
fn count(
    layout: &Layout,
    manifest: &Manifest,
    engine: EngineFootprint,
    surroundings: &Surroundings,
    workers: usize,
    resident: bool,
    least_workspace: bool,
) -> Option<MemoryPlan> {
    let workspace_blocks = if least_workspace { engine.least_workspace_blocks } else { engine.workspace_blocks };
    // Tiles run side by side within a row; a call without a tile would only hold memory.
    let per_row = layout.tiling.starts[1].len().saturating_mul(layout.tiling.starts[2].len());
    let tiles = engine.calls.clamp(1, per_row);
    let across_slices = layout.transpose[0] != 0;
    let planes_per_read = if across_slices && !resident { PLANES_PER_PASS } else { workers };
    let settings = SlabSettings { transpose: layout.transpose, planes_per_read };
    let (channels, heads) = (manifest.channels.len(), manifest.labels.heads().len());
    let patch = checked_voxels(layout.tiling.patch)?;
    let copies = if layout.mirrors.len() > 1 { 2 } else { 1 };
    let number = engine.patch.bytes();
    let tile_buffers = patch.checked_mul(number * copies)?.checked_mul(channels.checked_add(heads)?)?;
    let network_plane = layout.data_map.new[1].checked_mul(layout.data_map.new[2])?;
    let window_planes = layout.tiling.patch[0].min(layout.data_map.new[0]).checked_add(1)?;
    // A plane comes in single precision, whatever it is kept in.
    let single_plane = if engine.patch == PatchPrecision::F32 { 0 } else { 4 };
    let input_window = network_plane
        .checked_mul(channels)?
        .checked_mul(window_planes.checked_mul(number)?.checked_add(single_plane)?)?;
    let mask = if crate::pipeline::needs_mask(manifest) { NonzeroMask::bytes(layout.bounds.shape())? } else { 0 };
    let source = if resident { surroundings.resident_source_bytes } else { surroundings.streaming_source_bytes };
    let accumulator = RollingAccumulator::bytes(&layout.tiling, heads, manifest.folds)?;
    let exporter = LabelExporter::bytes(&layout.logit_map, heads, workers)?;
    let placer =
        LabelPlacer::bytes(layout.file_shape, &layout.bounds, layout.transpose, layout.decision.largest_value())?;
    let slabs = slab_reader_bytes(&layout.data_map, &settings, channels, workers)?
        .max(statistics_bytes(layout.bounds.shape())?);
    let items: Vec<MemoryItem> = [
        ("program and model", surroundings.process_bytes.checked_add(engine.shared_bytes)?),
        (if resident { "scan, kept in its stored type" } else { "scan, read again when needed" }, source),
        ("nonzero mask", mask),
        ("resampling window", slabs),
        ("network input window", input_window),
        ("tiles in flight", tile_buffers.checked_mul(tiles)?),
        ("engine workspace", engine.call_bytes(workspace_blocks)?.checked_mul(tiles)?),
        ("logit sums, one patch deep", accumulator),
        ("labels and writer", exporter.checked_add(placer)?.checked_add(surroundings.sink_bytes)?),
    ]
    .into_iter()
    .map(|(name, bytes)| MemoryItem { name, bytes })
    .collect();
    let mut sum = 0usize;
    for item in &items {
        sum = sum.checked_add(item.bytes)?;
    }
    let mut plan = MemoryPlan {
        items,
        peak_bytes: sum.max(surroundings.loading_bytes),
        workers,
        tiles,
        workspace_blocks,
        least_workspace: workspace_blocks < engine.workspace_blocks,
        resident_source: resident,
        planes_per_read,
    };
    // Page rounding, allocator headers, thread stacks: what a process takes beyond its buffers.
    let slack = (sum / 50).checked_add(ALLOCATOR_SLACK)?.checked_add(workers.checked_mul(THREAD_SLACK)?)?;
    plan.items.push(MemoryItem { name: "allocator and threads", bytes: slack });
    plan.peak_bytes = plan.peak_bytes.max(sum.checked_add(slack)?);
    Some(plan)
}

/// More than any machine has threads for; each number of workers down from here may be tried.
const MOST_WORKERS: usize = 1 << 12;
/// Bytes a process takes beside its counted buffers.
const ALLOCATOR_SLACK: usize = 4 << 20;
/// Bytes a worker thread takes beside its counted buffers.
const THREAD_SLACK: usize = 1 << 20;
