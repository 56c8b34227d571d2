//! `scanside plan`: what a run would take. Headers and voxels are looked at, and a few windows are timed; no label is
//! made.

use crate::args::PlanArgs;
use crate::case_run::{self, CaseOptions, PlannedCase};
use crate::cases::{self, Case};
use crate::exit::{Exit, Failure, OrExit};
use crate::model::Model;
use crate::predict::{RunSeconds, predict};
use crate::process;
use crate::progress::{human_bytes, human_seconds};
use crate::window_time::{self, WindowTimes};
use serde::Serialize;
use std::time::Instant;

/// A run, planned.
#[derive(Debug, Serialize)]
pub(crate) struct PlanReport {
    case: String,
    /// Extents and spacing of the file, z, y, x.
    file_shape_zyx: [usize; 3],
    /// The part that is segmented: first and one past the last voxel per file axis.
    box_zyx: [[usize; 2]; 3],
    /// Extents of the network grid, network axis order.
    network_shape: [usize; 3],
    network_spacing_mm: [f64; 3],
    patch: [usize; 3],
    tiles: usize,
    mirrored_passes_per_tile: usize,
    folds: usize,
    network_passes: usize,
    workers: usize,
    /// Layers write over their input, band by band: less memory, more time.
    layers_in_bands: bool,
    scan_kept_in_memory: bool,
    /// The process stays under this.
    peak_ram_bytes: usize,
    parts: Vec<Part>,
    /// Upper bound of what the label file and its temporary files take.
    disk_bytes: usize,
    /// Of a run of this scan alone, from the program's start to its label file; not there where it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_seconds: Option<f64>,
    /// What these seconds are spent on.
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_phase_seconds: Option<RunSeconds>,
    /// One window of the network, as measured just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_per_window: Option<f64>,
    /// The machine has less than the run needs, so that nothing could be timed: the bytes it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    available_ram_bytes: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Part {
    name: &'static str,
    bytes: usize,
}

/// The plan of a case, for people and records.
pub(crate) fn describe(model: &Model, case: &Case, planned: &PlannedCase) -> PlanReport {
    let (layout, memory) = (&planned.layout, &planned.memory);
    let voxels: usize = layout.file_shape.iter().product();
    // Labels compress well, but nothing promises it; 16-bit labels wait uncompressed beside the file.
    let disk_bytes = if layout.decision.largest_value() < 255 { voxels } else { 4 * voxels };
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
        network_passes: layout.passes(model.manifest.folds),
        workers: memory.workers,
        layers_in_bands: memory.least_workspace,
        scan_kept_in_memory: memory.resident_source,
        peak_ram_bytes: memory.peak_bytes,
        parts: memory.items.iter().map(|i| Part { name: i.name, bytes: i.bytes }).collect(),
        disk_bytes,
        predicted_seconds: None,
        predicted_phase_seconds: None,
        seconds_per_window: None,
        available_ram_bytes: None,
    }
}

pub(crate) fn run(args: &PlanArgs) -> Result<Exit, Failure> {
    if let Some(missing) = args.run.input.iter().find(|p| !p.exists()) {
        return Err(Failure::says(Exit::BadInput, format!("{} does not exist", missing.display())));
    }
    let started = Instant::now();
    let mut model = Model::open(&args.run)?;
    let load = started.elapsed().as_secs_f64();
    let mut windows = WindowTimes::default();
    // The run will be another process.
    model.process_bytes += process::BETWEEN_PROCESSES_BYTES;
    let found = cases::find(&args.run.input, model.manifest.channels.len())?;
    let mut reports = Vec::new();
    let mut failures: Vec<(String, Failure)> = Vec::new();
    for (name, sentence) in &found.bad {
        failures.push((name.clone(), Failure::says(Exit::BadInput, sentence.clone())));
    }
    for case in &found.good {
        let planned = case_run::plan(&model, case, &CaseOptions::from(&args.run));
        let report = planned.and_then(|planned| {
            let mut report = describe(&model, case, &planned);
            if args.no_timing {
                return Ok(report);
            }
            report.available_ram_bytes = window_time::too_large_to_time(&planned.memory);
            if report.available_ram_bytes.is_none() {
                let prediction = predict(&model, &args.run.model, &planned, load, &mut windows)?;
                report.predicted_seconds = Some(prediction.phases.sum());
                report.predicted_phase_seconds = Some(prediction.phases);
                report.seconds_per_window = Some(prediction.seconds_per_window);
            }
            Ok(report)
        });
        match report {
            Ok(report) => reports.push(report),
            Err(failure) if !found.folder => return Err(failure),
            Err(failure) => failures.push((case.name.clone(), failure)),
        }
    }
    if args.json {
        let errors: Vec<_> =
            failures.iter().map(|(n, f)| serde_json::json!({"case": n, "error": f.to_string()})).collect();
        let document = serde_json::json!({"format": 1, "cases": reports, "failed": errors});
        say!("{}", serde_json::to_string_pretty(&document).or_exit(Exit::CouldNotWrite)?);
    } else {
        reports.iter().for_each(print);
        failures.iter().for_each(|(name, failure)| eprintln!("{name}: {failure}"));
    }
    Ok(if failures.is_empty() { Exit::Done } else { Exit::SomeFailed })
}

fn print(report: &PlanReport) {
    let list = |v: &[usize; 3]| format!("{} x {} x {}", v[0], v[1], v[2]);
    say!("{}", report.case);
    say!("  scan           {} voxels (z, y, x)", list(&report.file_shape_zyx));
    say!("  network grid   {} voxels, patch {}", list(&report.network_shape), list(&report.patch));
    say!(
        "  work           {} tiles, {} network passes ({} per tile, {} fold(s))",
        report.tiles,
        report.network_passes,
        report.mirrored_passes_per_tile,
        report.folds
    );
    say!("  threads        {}", report.workers);
    if report.layers_in_bands {
        say!("  layers         in bands of planes, over their input: less memory, more time");
    }
    say!("  peak RAM       {}", human_bytes(report.peak_ram_bytes));
    for part in &report.parts {
        say!("    {:>9}  {}", human_bytes(part.bytes), part.name);
    }
    say!("  disk, at most  {}", human_bytes(report.disk_bytes));
    if let Some(available) = report.available_ram_bytes {
        say!("  time           not measured: this machine has {} of memory free", human_bytes(available));
    }
    if let (Some(timing), Some(window)) = (&report.predicted_phase_seconds, report.seconds_per_window) {
        say!("  time           about {}, at {:.1} ms a window now", human_seconds(timing.sum()), 1e3 * window);
        let parts = [
            ("opening the model", timing.load),
            ("reading the scan", timing.read),
            ("preparing it", timing.prepare),
            ("network", timing.network),
            ("stitching", timing.stitch),
            ("labels on the scan's grid", timing.export),
            ("writing labels", timing.write),
        ];
        for (name, seconds) in parts {
            say!("    {:>9}  {name}", human_seconds(seconds));
        }
    }
}
