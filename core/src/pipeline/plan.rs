//! The memory of a run, counted before anything of its size is allocated.
//!
//! The planner adds up every buffer of the run. If they exceed the budget, it saves memory in this order: the engine's
//! least workspace, fewer workers (each has its own tile and the engine's scratch), and not keeping the scan in
//! memory.
//!
//! A scan is kept in memory only where that saves time: where the network's slowest axis lies across the file's slices,
//! so that every slab touches all of them. Otherwise slabs follow the file, which is read from its start to its end once
//! for each of a few passes, and the peak does not grow with the number of slices.

use super::error::RunError;
use super::layout::Layout;
use super::look::Run;
use super::memory::{DoesNotFit, MemoryItem, MemoryPlan, Surroundings};
use crate::engine::{Engine, EngineFootprint};
use crate::manifest::Manifest;
use crate::patch::PatchPrecision;
use crate::postprocess::{LabelExporter, LabelPlacer};
use crate::preprocess::{NonzeroMask, SlabSettings, slab_reader_bytes, statistics_bytes};
use crate::tiling::RollingAccumulator;
use crate::volume::{checked_voxels, product, sum};
use alloc::vec::Vec;

/// Planes fetched at once when every fetch reads the whole file: axis 0 of the network lies across the file's slices,
/// and the scan is not kept.
const PLANES_PER_PASS: usize = 32;
/// More than any machine has threads for; each number of workers down from here may be tried.
const MOST_WORKERS: usize = 1 << 12;

/// A run with its engine and memory plan, ready to go.
#[derive(Debug)]
pub struct PlannedRun<'a, E> {
    pub(super) run: Run<'a>,
    pub(super) engine: &'a E,
    /// The plan. Labels do not depend on it; a changed plan may take other memory than was announced.
    pub memory: MemoryPlan,
}

impl<'a, E> PlannedRun<'a, E> {
    /// The run as it was laid out.
    pub fn run(&self) -> &Run<'a> {
        &self.run
    }
}

impl<'a> Run<'a> {
    /// Plans the run with at most `workers` workers inside `budget_bytes`, if there is a budget.
    ///
    /// # Errors
    /// [`RunError::Network`] where the engine's network is not the manifest's. [`RunError::DoesNotFit`] where no choice
    /// stays inside the budget; it names the least that would.
    pub fn plan<E: Engine>(
        self,
        engine: &'a E,
        surroundings: &Surroundings,
        workers: usize,
        budget_bytes: Option<usize>,
    ) -> Result<PlannedRun<'a, E>, RunError> {
        self.check_engine(engine.shape())?;
        let budget = budget_bytes.unwrap_or(usize::MAX);
        let mut least: Option<usize> = None;
        // Where the source cannot be kept, or where that saves no time, it is read as it is.
        let keeping: &[bool] =
            if self.layout.transpose[0] == 0 || self.kept_bytes.is_none() { &[false] } else { &[true, false] };
        for &resident in keeping {
            for workers in (1..=workers.clamp(1, MOST_WORKERS)).rev() {
                let engine_bytes = engine.footprint(workers);
                for least_workspace in [false, true] {
                    let choice = Choice { engine: engine_bytes, workers, resident, least_workspace };
                    let Some(memory) = self.count(&choice, surroundings) else { continue };
                    if memory.peak_bytes <= budget {
                        return Ok(PlannedRun { run: self, engine, memory });
                    }
                    least = Some(least.map_or(memory.peak_bytes, |l| l.min(memory.peak_bytes)));
                }
            }
        }
        Err(RunError::DoesNotFit(DoesNotFit { budget_bytes: budget, least_bytes: least }))
    }

    /// Adds up the parts of one choice; `None` where they overflow.
    fn count(&self, choice: &Choice, surroundings: &Surroundings) -> Option<MemoryPlan> {
        let Choice { engine, workers, .. } = *choice;
        let workspace_blocks = choice.workspace_blocks();
        let layout = &self.layout;
        // Tiles run side by side within a row; a call without a tile would only hold memory.
        let per_row = layout.tiling.starts[1].len().saturating_mul(layout.tiling.starts[2].len());
        let tiles = engine.calls.clamp(1, per_row);
        let reads_all = layout.transpose[0] != 0 && self.kept_bytes.is_some() && !choice.resident;
        let planes_per_read = if reads_all { PLANES_PER_PASS } else { workers };

        let model = surroundings.process_bytes.unwrap_or(engine.shared_bytes);
        let scan = if choice.resident {
            ("scan, kept in its stored type", self.kept_bytes)
        } else {
            ("scan, read again when needed", Some(self.source_bytes))
        };
        let parts = [
            ("program and model", Some(model)),
            scan,
            ("nonzero mask", self.mask_bytes()),
            ("resampling window", self.slab_bytes(planes_per_read, workers)),
            ("network input window", self.window_bytes(engine.patch)),
            ("tiles in flight", product([self.tile_bytes(engine.patch)?, tiles])),
            ("engine workspace", product([engine.call_bytes(workspace_blocks)?, tiles])),
            (
                "logit sums, one patch deep",
                RollingAccumulator::bytes(&layout.tiling, self.heads(), self.manifest.folds),
            ),
            ("labels and writer", sum([self.label_bytes(workers), Some(surroundings.sink_bytes)])),
        ];
        let item = |(name, bytes): (_, Option<usize>)| bytes.map(|bytes| MemoryItem { name, bytes });
        let mut items = parts.into_iter().map(item).collect::<Option<Vec<_>>>()?;
        let counted = sum(items.iter().map(|item| Some(item.bytes)))?;
        let overhead = surroundings.overhead.bytes(counted, workers)?;
        items.push(MemoryItem { name: "allocator and threads", bytes: overhead });
        Some(MemoryPlan {
            items,
            peak_bytes: counted.checked_add(overhead)?.max(surroundings.loading_bytes),
            workers,
            tiles,
            workspace_blocks,
            least_workspace: workspace_blocks < engine.workspace_blocks,
            resident_source: choice.resident,
            planes_per_read,
        })
    }

    fn heads(&self) -> usize {
        self.manifest.labels.heads().len()
    }

    fn mask_bytes(&self) -> Option<usize> {
        if needs_mask(self.manifest) { NonzeroMask::bytes(self.layout.bounds.shape()) } else { Some(0) }
    }

    /// The statistics' buffers are gone before slabs are read.
    fn slab_bytes(&self, planes_per_read: usize, workers: usize) -> Option<usize> {
        let settings = SlabSettings { transpose: self.layout.transpose, planes_per_read };
        let slabs = slab_reader_bytes(&self.layout.data_map, &settings, self.manifest.channels.len(), workers)?;
        Some(slabs.max(statistics_bytes(self.layout.bounds.shape())?))
    }

    fn window_bytes(&self, stored: PatchPrecision) -> Option<usize> {
        let Layout { data_map, tiling, .. } = &self.layout;
        let planes = tiling.patch[0].min(data_map.new[0]).checked_add(1)?;
        // A plane comes in single precision, whatever it is kept in.
        let single = if stored == PatchPrecision::F32 { 0 } else { 4 };
        let voxel = planes.checked_mul(stored.bytes())?.checked_add(single)?;
        product([data_map.new[1], data_map.new[2], self.manifest.channels.len(), voxel])
    }

    fn tile_bytes(&self, stored: PatchPrecision) -> Option<usize> {
        let copies = if self.layout.mirrors.len() > 1 { 2 } else { 1 };
        let voxel = self.manifest.channels.len().checked_add(self.heads())?;
        product([checked_voxels(self.layout.tiling.patch)?, stored.bytes(), copies, voxel])
    }

    fn label_bytes(&self, workers: usize) -> Option<usize> {
        let Layout { file_shape, bounds, transpose, logit_map, decision, .. } = &self.layout;
        let exporter = LabelExporter::bytes(logit_map, self.heads(), workers);
        let placer = LabelPlacer::bytes(*file_shape, bounds, *transpose, decision.largest_value());
        sum([exporter, placer])
    }
}

/// One way to run.
struct Choice {
    engine: EngineFootprint,
    workers: usize,
    resident: bool,
    least_workspace: bool,
}

impl Choice {
    fn workspace_blocks(&self) -> usize {
        if self.least_workspace { self.engine.least_workspace_blocks } else { self.engine.workspace_blocks }
    }
}

/// Whether a channel of this manifest needs the nonzero mask.
fn needs_mask(manifest: &Manifest) -> bool {
    manifest.channels.iter().any(|c| c.normalization.masked())
}
