//! `scanside evaluate`: label files against reference label files, case by case.

mod classes;
mod measure;
mod pairs;
mod report;
mod table;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result};
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};

pub use classes::{Class, ClassList};
pub use measure::{Agreement, measure};
pub use pairs::{Pair, Pairs};
pub use report::{CaseReport, ClassMeans, ClassReport, Compared, FailedCase, Mean, Means, Report, Settings};
pub use table::render;

/// What to compare, and how to tell the result.
#[derive(Args, Debug)]
pub(crate) struct EvaluateArgs {
    /// Predicted labels: a .nii or .nii.gz file, or a folder of them.
    #[arg(short, long, value_name = "PREDICTIONS")]
    pub(crate) predictions: PathBuf,
    /// Reference labels: a file, or a folder whose files have the predictions' names.
    #[arg(short, long, value_name = "LABELS")]
    pub(crate) labels: PathBuf,
    /// Take class names from this model [default: dataset.json in the labels' folder or beside it].
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// Surfaces that lie no farther apart agree, in millimetres.
    #[arg(long, value_name = "MM", default_value_t = 1.0, value_parser = tolerance)]
    pub(crate) tolerance: f64,
    /// Threads; the result does not depend on it. Each takes 2 bytes per voxel of a class's box [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// One JSON document on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(mm) if mm >= 0.0 && mm.is_finite() => Ok(mm),
        _ => Err("give a distance in millimetres, 0 or more".into()),
    }
}

/// A label file in memory.
#[derive(Clone, Debug)]
pub struct LabelVolume {
    /// Voxels per axis: `z, y, x`.
    pub shape_zyx: [usize; 3],
    /// Distance between voxel centres in millimetres: `z, y, x`.
    pub spacing_mm: [f64; 3],
    /// `x` fastest.
    pub voxels: Vec<u32>,
}

/// How a comparison ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every matching case was compared (exit code 0).
    Done,
    /// No prediction has a label of its name (exit code 3).
    NothingMatches,
    /// At least one matching case could not be compared (exit code 7).
    SomeFailed,
}

/// Compares, and prints a table or JSON on standard output; what is missing or failed is named on standard error.
///
/// `read` reads a label file, `model_classes` names the classes of a model.
///
/// # Errors
///
/// Folders that cannot be read, a malformed `dataset.json`, a model without classes: bad input, exit code 3.
pub(crate) fn run(
    args: &EvaluateArgs,
    read: impl Fn(&Path) -> Result<LabelVolume>,
    model_classes: impl Fn(&Path) -> Result<Vec<Class>>,
) -> Result<Outcome> {
    let report = evaluate(args, read, model_classes)?;
    for note in report.notes() {
        eprintln!("{note}");
    }
    let mut text = if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { render(&report) };
    if report.nothing_matches() {
        eprintln!("no prediction in {} has a label in {}", args.predictions.display(), args.labels.display());
        if !args.json {
            text.clear();
        }
    }
    std::io::stdout().write_all(text.as_bytes()).context("the result could not be printed")?;
    Ok(report.outcome())
}

/// Compares one case after the other, so that two volumes are in memory at a time.
fn evaluate(
    args: &EvaluateArgs,
    read: impl Fn(&Path) -> Result<LabelVolume>,
    model_classes: impl Fn(&Path) -> Result<Vec<Class>>,
) -> Result<Report> {
    let pairs = pairs::find(&args.predictions, &args.labels)?;
    let declared = match &args.model {
        Some(model) => ClassList::of(model_classes(model)?),
        None => ClassList::beside(&args.labels)?,
    };
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.map_or(0, usize::from))
        .build()
        .context("the threads could not be started")?;
    let compared = pairs
        .matched
        .iter()
        .map(|pair| {
            let volume = |path: &Path| read(path).with_context(|| format!("{} could not be read", path.display()));
            let result = pair.check().and_then(|()| Ok((volume(&pair.prediction)?, volume(&pair.label)?)));
            let result = result.and_then(|(p, l)| threads.install(|| measure(p, l, &declared, args.tolerance)));
            (pair, result)
        })
        .collect();
    Ok(Report::new(Settings { tolerance_mm: args.tolerance }, &declared, &pairs, compared))
}
