//! The plan of a case, for people and for records: what the run takes, and how long.

use crate::cases::Case;
use crate::error::Error;
use crate::machine::MemoryLimit;
use crate::model::Model;
use crate::run::PlannedCase;
use crate::time::{Clock, RunSeconds};
use serde::Serialize;

/// A planned run.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PlanReport {
    /// The case's name.
    pub case: String,
    /// Voxels of the file: z, y, x.
    pub file_shape_zyx: [usize; 3],
    /// The part that is segmented: first and one past the last voxel per file axis.
    pub box_zyx: [[usize; 2]; 3],
    /// Voxels of the network grid, in the network's axis order.
    pub network_shape: [usize; 3],
    /// Distance of its voxels in millimetres.
    pub network_spacing_mm: [f64; 3],
    /// Voxels of a tile.
    pub patch: [usize; 3],
    /// Tiles.
    pub tiles: usize,
    /// Passes of the network over each tile: 1 without mirroring.
    pub mirrored_passes_per_tile: usize,
    /// Folds whose logits are averaged.
    pub folds: usize,
    /// Passes of the network in all.
    pub network_passes: usize,
    /// Threads.
    pub workers: usize,
    /// Low-memory mode: layers overwrite their input a few slices at a time.
    pub layers_in_bands: bool,
    /// The scan is kept in memory rather than read again.
    pub scan_kept_in_memory: bool,
    /// The most memory that the process takes.
    pub peak_ram_bytes: usize,
    /// The most that it may take: the limit given, or what is free where the plan is made, this process included. Nothing
    /// where neither is known.
    pub budget_bytes: Option<usize>,
    /// What limits it.
    pub budget_from: Option<MemoryLimit>,
    /// What the peak is made of.
    pub parts: Vec<Part>,
    /// Upper bound of what the label file and its temporary files take.
    pub disk_bytes: usize,
    /// Of a run of this scan alone, from the program's start to its label file; nothing where it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted_seconds: Option<f64>,
    /// The parts of these seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted_phase_seconds: Option<RunSeconds>,
    /// One pass of the network over one tile, as measured just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_per_window: Option<f64>,
    /// Memory that is free, where that is less than the run needs, so that nothing could be timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_ram_bytes: Option<usize>,
}

/// One part of the peak memory.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: usize,
}

impl PlanReport {
    /// The plan of a case, without times.
    pub fn new(model: &Model, case: &Case, planned: &PlannedCase<'_>) -> PlanReport {
        let (layout, memory) = (planned.layout(), planned.memory());
        PlanReport {
            case: case.name.clone(),
            file_shape_zyx: layout.file_shape,
            box_zyx: layout.bounds.0.clone().map(|r| [r.start, r.end]),
            network_shape: layout.data_map.new,
            network_spacing_mm: layout.network_spacing,
            patch: layout.tiling.patch,
            tiles: layout.tiling.tiles(),
            mirrored_passes_per_tile: layout.mirrors.len(),
            folds: model.manifest.folds,
            network_passes: planned.run().passes(),
            workers: memory.workers,
            layers_in_bands: memory.least_workspace,
            scan_kept_in_memory: memory.resident_source,
            peak_ram_bytes: memory.peak_bytes,
            budget_bytes: planned.budget.map(|budget| budget.bytes),
            budget_from: planned.budget.map(|budget| budget.limit),
            parts: memory.items.iter().map(|i| Part { name: i.name, bytes: i.bytes }).collect(),
            disk_bytes: planned.disk_bytes(),
            predicted_seconds: None,
            predicted_phase_seconds: None,
            seconds_per_window: None,
            available_ram_bytes: None,
        }
    }

    /// Adds how long the run will take: a few passes of the network are timed for it, unless the machine has less memory
    /// free than they need.
    ///
    /// # Errors
    /// The network cannot be run.
    pub fn add_time(&mut self, model: &Model, planned: &PlannedCase<'_>, clock: &mut Clock) -> Result<(), Error> {
        self.available_ram_bytes = clock.too_large_to_time(planned.memory()).map(|free| free.bytes);
        if self.available_ram_bytes.is_none() {
            let prediction = clock.predict(model, planned)?;
            self.predicted_seconds = Some(prediction.phases.sum());
            self.predicted_phase_seconds = Some(prediction.phases);
            self.seconds_per_window = Some(prediction.seconds_per_window);
        }
        Ok(())
    }
}
