//! The file formats there are, and which one a file has.

use crate::error::FormatError;
use crate::geometry::Geometry;
use crate::label_map::{LabelMap, LabelOptions, LabelWriter};
use crate::nifti::Nifti;
use crate::scan::ScanFiles;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file format.
pub(crate) trait FileFormat: Sync {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// The endings of its files, dot included, longest first.
    fn endings(&self) -> &'static [&'static str];

    /// Opens the files of one case: reads headers, not voxels.
    fn open(&self, paths: &[PathBuf]) -> Result<Box<dyn ScanFiles>, FormatError>;

    /// Reads a whole label map.
    fn read_labels(&self, path: &Path) -> Result<LabelMap, FormatError>;

    /// Begins a label map in `out`.
    fn label_writer(
        &self,
        out: Box<dyn Write + Send>,
        geometry: &Geometry,
        options: &LabelOptions<'_>,
    ) -> Result<Box<dyn LabelWriter>, FormatError> {
        let _ = (out, geometry);
        Err(FormatError::NotWritten {
            path: options.path.to_owned(),
            format: self.name(),
            endings: Nifti.endings().join(" or "),
        })
    }
}

/// All formats. The first one is asked about files whose name tells nothing.
static FORMATS: &[&dyn FileFormat] = &[&Nifti];

/// The format of a file, by the ending of its name.
pub(crate) fn of_name(path: &Path) -> &'static dyn FileFormat {
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
