//! The file formats there are, which one a file has, and what is done with any of them.

use crate::error::FormatError;
use crate::format::FileFormat;
use crate::geometry::Geometry;
use crate::label_map::{LabelMap, LabelOptions, LabelWriter};
use crate::nifti::Nifti;
use crate::scan::Scan;
use scanside_core::volume::Box3;
use std::io::Write;
use std::path::{Path, PathBuf};

/// All formats. A file whose name has no known ending is opened as the first one.
static FORMATS: &[&dyn FileFormat] = &[&Nifti];

/// The format of a file, by the ending of its name.
fn of_name(path: &Path) -> &'static dyn FileFormat {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let named = |format: &&&'static dyn FileFormat| format.endings().iter().any(|ending| name.ends_with(ending));
    *FORMATS.iter().find(named).unwrap_or(&FORMATS[0])
}

/// The endings of files that can hold scans, dot included: `.nii.gz`, `.nii` ...
pub fn endings() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().flat_map(|format| format.endings()).copied()
}

/// A file name without its format's ending; `None` where the name is not that of a scan or label map.
pub fn stem(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    endings().find_map(|ending| name.strip_suffix(ending)).filter(|stem| !stem.is_empty())
}

impl Scan {
    /// Opens the files of one case: one file per channel in order, or one file with all of them.
    ///
    /// The format is recognised by the ending of the first file's name.
    ///
    /// # Errors
    /// A file that is missing, denied, cut off or malformed; channels that do not lie on one grid.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Scan, FormatError> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| path.as_ref().to_owned()).collect();
        let first = paths.first().ok_or(FormatError::NoFiles)?;
        Ok(Scan::of(of_name(first).open(&paths)?))
    }
}

/// Begins a label map in `out`, which lies where `geometry` says. The same labels give the same bytes.
///
/// # Errors
/// The format does not hold label maps, or not on such a grid; writing failed.
pub fn label_writer(
    out: Box<dyn Write + Send>,
    geometry: &Geometry,
    options: &LabelOptions<'_>,
) -> Result<Box<dyn LabelWriter>, FormatError> {
    of_name(options.path).label_writer(out, geometry, options)
}

/// Reads a label map of any stored type. Takes four bytes per voxel.
///
/// # Errors
/// A file that is missing, denied, cut off or malformed; more than one channel; a value that is no whole number from 0 to
/// `u32::MAX`.
pub fn read_labels(path: impl AsRef<Path>) -> Result<LabelMap, FormatError> {
    of_name(path.as_ref()).read_labels(path.as_ref())
}

/// Whether a file holds all of its voxels: a file that something else cut short still has the right header. Read plane by
/// plane.
pub fn is_complete(scan: &Scan) -> bool {
    let [planes, rows, columns] = scan.grid().shape_zyx;
    let mut source = scan.stream();
    let mut plane = vec![0.0; rows * columns];
    (0..planes).all(|z| source.read(0, &Box3([z..z + 1, 0..rows, 0..columns]), &mut plane).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_ending() {
        assert_eq!(stem(Path::new("x/scan.nii.gz")), Some("scan"));
        assert_eq!(stem(Path::new("x/scan_0001.nii")), Some("scan_0001"));
        assert_eq!(stem(Path::new("x/scan.txt")), None);
        assert_eq!(stem(Path::new("x/.nii.gz")), None);
    }

    #[test]
    fn a_file_without_a_known_ending_is_left_to_the_first_format() {
        assert_eq!(of_name(Path::new("scan.img")).name(), "NIfTI");
    }
}
