//! What is made beside a label file, from the label file and its scan.

use crate::cases::Case;
use crate::error::{Error, ErrorKind};
use crate::labelled_scan::LabelledScan;
use crate::preview::Preview;
use crate::statistics::StatisticsTable;
use scanside_core::manifest::Manifest;
use scanside_core::volume::Index3;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What is made beside the label file of each case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// A table of statistics, to which each case adds its lines.
    pub statistics: Option<StatisticsTable>,
    /// A picture: a file that ends with `.png`, or for the cases of a folder a folder for `CASE.png`.
    pub preview: Option<PathBuf>,
}

impl Extras {
    /// Refuses what cannot be made, before anything is run.
    ///
    /// # Errors
    /// One file is to hold the pictures of a folder of cases.
    pub(crate) fn check(&self, folder: bool) -> Result<(), Error> {
        match &self.preview {
            Some(path) if folder && names_file(path) => Err(Error::new(
                ErrorKind::Usage,
                format!("the input is a folder, so the previews need one too, but {} names a file", path.display()),
            )),
            _ => Ok(()),
        }
    }

    /// Makes what was asked for. Everything is read plane by plane.
    ///
    /// # Errors
    /// A file cannot be read or written, or something else has its name.
    pub(crate) fn make(&self, case: &Case, labels: &Path, manifest: &Manifest) -> Result<(), Error> {
        if *self == Extras::default() {
            return Ok(());
        }
        let scan = case.open(manifest.reader)?;
        let volume = LabelledScan::open(&scan, labels)?;
        if let Some(table) = &self.statistics {
            table.add(&case.name, &volume, manifest)?;
        }
        if let Some(path) = &self.preview {
            let path = if names_file(path) { path.clone() } else { path.join(picture_name(case)) };
            Preview::draw(&volume, manifest)?.write(&path)?;
        }
        Ok(())
    }

    /// Bytes that this takes, one after the other, once the buffers of a run are free; `None` where they do not fit `usize`.
    pub(crate) fn bytes(&self, shape_zyx: Index3, manifest: &Manifest) -> Option<usize> {
        let heads = manifest.labels.heads();
        let statistics = match self.statistics {
            Some(_) => StatisticsTable::bytes(shape_zyx, heads, manifest.channels.len())?,
            None => 0,
        };
        let preview = if self.preview.is_some() { Preview::bytes(shape_zyx, heads)? } else { 0 };
        Some(statistics.max(preview))
    }
}

/// The name of a case's picture inside a folder: that of its labels.
fn picture_name(case: &Case) -> OsString {
    let mut name = case.label.clone().into_os_string();
    name.push(".png");
    name
}

/// Whether a preview goes to a file of this name, and not into a folder.
fn names_file(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png")) && !path.is_dir()
}
