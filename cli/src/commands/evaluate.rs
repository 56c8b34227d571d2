//! `scanside evaluate`: label files against reference label files, case by case.

use crate::args::EvaluateArgs;
use crate::exit::Exit;
use crate::print::{self, note, say};
use scanside_app::evaluate::{Comparison, EvaluateOptions, evaluate, render};
use scanside_app::{Error, ErrorKind, input};

pub(crate) fn run(args: &EvaluateArgs) -> Result<Exit, Error> {
    [&args.predictions, &args.labels].into_iter().try_for_each(|path| input::check(ErrorKind::Input, path))?;
    let report = evaluate(&EvaluateOptions {
        predictions: args.predictions.clone(),
        labels: args.labels.clone(),
        model: args.model.clone(),
        comparison: Comparison { tolerance_mm: args.tolerance, ignore_geometry: args.ignore_geometry },
        threads: args.threads,
    })?;
    for note in report.notes() {
        note!("{note}");
    }
    if report.elsewhere() > 0 {
        note!("--ignore-geometry compares them voxel for voxel, if the files are wrong about their place");
    }
    if args.json {
        print::json(&report)?;
    } else if !report.nothing_matches() {
        say!("{}", render(&report).trim_end())?;
    }
    if report.nothing_matches() {
        note!("no prediction in {} has a label in {}", args.predictions.display(), args.labels.display());
        return Ok(Exit::BadInput);
    }
    Ok(if report.failed.is_empty() { Exit::Done } else { Exit::SomeFailed })
}
