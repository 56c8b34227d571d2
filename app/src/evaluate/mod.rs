//! Label maps compared with reference label maps, case by case.

mod classes;
mod measure;
mod pairs;
mod report;
mod table;
#[cfg(test)]
mod tests;

pub use classes::{Class, ClassList};
pub use measure::{Agreement, Comparison, LiesElsewhere, measure};
pub use pairs::{Pair, Pairs};
pub use report::{CaseReport, ClassMeans, ClassReport, Compared, FailedCase, Mean, Means, Report, Settings};
pub use table::render;

use crate::error::{Error, ErrorKind, OrError};
use crate::model::{self, ModelOptions};
use std::path::PathBuf;

/// What to compare, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct EvaluateOptions {
    /// Predicted labels: a file, or a folder of them.
    pub predictions: PathBuf,
    /// Reference labels: a file, or a folder whose files have the predictions' names.
    pub labels: PathBuf,
    /// A model that names the classes; without one, the `dataset.json` in the labels' folder or beside it does.
    pub model: Option<PathBuf>,
    /// The tolerance of surfaces, and whether the places of the two must agree.
    pub comparison: Comparison,
    /// Threads; all cores where no number is given. Each takes 2 bytes per voxel of a class's box.
    pub threads: Option<u16>,
}

/// Compares one case after the other, so that two label maps are in memory at a time.
///
/// # Errors
/// Folders that cannot be read, a malformed `dataset.json`, a model that cannot be read. A case that cannot be compared is
/// no error: it is in the report.
pub fn evaluate(options: &EvaluateOptions) -> Result<Report, Error> {
    let pairs = pairs::find(&options.predictions, &options.labels)?;
    let declared = match &options.model {
        Some(path) => {
            // Nothing but the names of its classes is taken, whatever network the trainer builds.
            let options = ModelOptions { trust_trainer: true, ..ModelOptions::default() };
            ClassList::of_heads(model::manifest(path, &options)?.labels.heads())
        }
        None => ClassList::beside(&options.labels)?,
    };
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads.map_or(0, usize::from))
        .build()
        .or_error_with(ErrorKind::Internal, || "the threads could not be started")?;
    let compared = pairs
        .matched
        .iter()
        .map(|pair| (pair, threads.install(|| pair.compare(&declared, options.comparison))))
        .collect();
    Ok(Report::new(Settings::from(options.comparison), &declared, &pairs, compared))
}
