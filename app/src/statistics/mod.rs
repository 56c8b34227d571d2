//! Statistics of each label of a case, in one table for many cases.
//!
//! The table is a `.csv` file with a line for each label, or a `.json` file with a line for each case. Several processes may add
//! to it: each holds the file's lock while it writes whole lines. A case that is done again has its lines replaced.

mod lines;
mod measure;
mod table;
#[cfg(test)]
mod tests;

pub use measure::{Intensity, LabelStatistics};
pub(crate) use measure::{places, structures};

use crate::error::{Error, ErrorKind, OrError};
use crate::labelled_scan::LabelledScan;
use lines::Layout;
use scanside_core::manifest::{Label, Manifest};
use scanside_core::volume::Index3;
use std::path::{Path, PathBuf};

/// Room for a case's lines, and for reading a table line by line.
const TABLE_BYTES: usize = 512 << 10;

/// A table of statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatisticsTable {
    path: PathBuf,
    layout: Layout,
}

impl StatisticsTable {
    /// The table at `path`; its ending says how it is written. There may be one already.
    ///
    /// # Errors
    /// The name ends with neither `.csv` nor `.json`, or there is a file that is no such table.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        let layout = match ending.as_deref() {
            Some("csv") => Layout::Csv,
            Some("json") => Layout::Json,
            _ => {
                let sentence =
                    format!("{} is no name for a table of statistics: it must end with .csv or .json", path.display());
                return Err(Error::new(ErrorKind::Usage, sentence).about(path));
            }
        };
        table::check(path, layout)?;
        Ok(StatisticsTable { path: path.to_owned(), layout })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Measures the labels of a case and writes its lines.
    ///
    /// # Errors
    /// A file cannot be read, or the table cannot be written.
    pub(crate) fn add(&self, case: &str, volume: &LabelledScan<'_>, manifest: &Manifest) -> Result<(), Error> {
        let statistics = measure::measure(volume, manifest.labels.heads(), manifest.channels.len())?;
        let channels: Vec<String> = manifest.channels.iter().map(|channel| channel.name.clone()).collect();
        let lines = self.layout.lines(case, &channels, &statistics).or_error(ErrorKind::Internal)?;
        table::put(&self.path, self.layout, case, &lines)
    }

    /// Bytes that [`Self::add`] takes; `None` where they do not fit `usize`.
    pub(crate) fn bytes(shape_zyx: Index3, heads: &[Label], channels: usize) -> Option<usize> {
        // A line of JSON names every channel of every label.
        let text = heads.len().checked_mul(512 + channels.checked_mul(256)?)?;
        measure::bytes(shape_zyx, heads, channels)?.checked_add(text)?.checked_add(TABLE_BYTES)
    }
}
