//! `scanside plan`: what a run would take. Headers and voxels are looked at, and a few windows are timed; no label is
//! made.

use crate::args::PlanArgs;
use crate::exit::Exit;
use crate::print::{self, note, say};
use scanside_app::Error;
use scanside_app::model::Model;
use scanside_app::plan::PlanReport;
use scanside_app::run;
use scanside_app::time::{Clock, RunSeconds};
use scanside_app::units::{human_bytes, human_seconds};
use std::time::Instant;

pub(crate) fn run(args: &PlanArgs) -> Result<Exit, Error> {
    let listing = args.run.selection().list()?;
    let started = Instant::now();
    let model = Model::open(&args.run.model, &args.run.model_options())?;
    print::folds(&args.run.model, model.folds());
    let mut clock = Clock::new(&args.run.model, started.elapsed().as_secs_f64());
    // The run will be another process.
    let model = model.for_another_process();
    let cases = listing.cases(model.manifest().channels.len())?;
    let mut reports = Vec::new();
    let mut failures: Vec<(String, Error)> = Vec::new();
    for found in &cases.found {
        let case = match found {
            Ok(case) => case,
            Err(none) => {
                failures.push((none.name.clone(), none.error()));
                continue;
            }
        };
        let report = run::plan(&model, case, &args.run.case_options()).and_then(|planned| {
            let mut report = PlanReport::new(&model, case, &planned);
            if !args.no_timing {
                report.add_time(&model, &planned, &mut clock)?;
            }
            Ok(report)
        });
        match report {
            Ok(report) => reports.push(report),
            Err(error) if !cases.many => return Err(error),
            Err(error) => failures.push((case.name.clone(), error)),
        }
    }
    if args.json {
        let failed: Vec<_> =
            failures.iter().map(|(name, e)| serde_json::json!({"case": name, "error": print::error(e)})).collect();
        let left_out = &cases.left_out;
        print::json(&serde_json::json!({"format": 1, "cases": reports, "failed": failed, "left_out": left_out}))?;
    } else {
        reports.iter().try_for_each(print_report)?;
        cases.left_out.iter().for_each(|left_out| note!("left out: {left_out}"));
        failures.iter().for_each(|(name, error)| note!("{name}: {}", print::error(error)));
    }
    Ok(if failures.is_empty() { Exit::Done } else { Exit::SomeFailed })
}

fn print_report(report: &PlanReport) -> Result<(), Error> {
    let list = |v: &[usize; 3]| format!("{} x {} x {}", v[0], v[1], v[2]);
    say!("{}", report.case)?;
    say!("  scan           {} voxels (z, y, x)", list(&report.file_shape_zyx))?;
    say!("  network grid   {} voxels, patch {}", list(&report.network_shape), list(&report.patch))?;
    say!(
        "  work           {} tile(s), {} network pass(es) ({} per tile, {} fold(s))",
        report.tiles,
        report.network_passes,
        report.mirrored_passes_per_tile,
        report.folds
    )?;
    say!("  threads        {}", report.workers)?;
    if report.layers_in_bands {
        say!("  low memory     layers overwrite their input a few slices at a time (slower, same labels)")?;
    }
    let budget = match (report.budget_bytes, report.budget_from) {
        (Some(bytes), Some(from)) => format!(" of {} {from}", human_bytes(bytes as u64)),
        _ => String::new(),
    };
    say!("  peak RAM       {}{budget}", human_bytes(report.peak_ram_bytes as u64))?;
    for part in &report.parts {
        say!("    {:>9}  {}", human_bytes(part.bytes as u64), part.name)?;
    }
    say!("  disk, at most  {}", human_bytes(report.disk_bytes as u64))?;
    if let Some(available) = report.available_ram_bytes {
        say!("  time           not measured: only {} of memory are free", human_bytes(available as u64))?;
    }
    match (&report.predicted_phase_seconds, report.seconds_per_window) {
        (Some(seconds), Some(window)) => print_time(seconds, window),
        _ => Ok(()),
    }
}

fn print_time(seconds: &RunSeconds, window: f64) -> Result<(), Error> {
    let total = human_seconds(seconds.sum());
    say!("  time           about {total}; one pass of the network takes {:.1} ms now", 1e3 * window)?;
    let parts = [
        ("opening the model", seconds.load),
        ("reading the scan", seconds.read),
        ("preprocessing", seconds.prepare),
        ("network", seconds.network),
        ("stitching", seconds.stitch),
        ("labels on the scan's grid", seconds.export),
        ("writing labels", seconds.write),
    ];
    for (name, seconds) in parts {
        say!("    {:>9}  {name}", human_seconds(seconds))?;
    }
    Ok(())
}
