//! The file formats there are, which one a file has, and what is done with any of them.

use crate::channels::ChannelFiles;
use crate::error::FormatError;
use crate::format::FileFormat;
use crate::geometry::Geometry;
use crate::label_map::{LabelMap, LabelOptions, LabelOutput, LabelWriter};
use crate::labels::labels_of;
use crate::metaimage::MetaImage;
use crate::mgh::Mgh;
use crate::name::{ending_of, ends_with, without};
use crate::nifti::Nifti;
use crate::nrrd::Nrrd;
use crate::scan::Scan;
use crate::volume_file::VolumeFile;
use scanside_core::volume::{Box3, Reader};
use std::ffi::OsStr;
use std::path::Path;

/// All formats. A file whose name has no known ending is opened as the first one.
static FORMATS: &[&dyn FileFormat] = &[&Nifti, &Nrrd, &MetaImage, &Mgh];

/// Endings of formats that people have scans in and that are not read, and the formats' names.
static FOREIGN: &[(&str, &str)] = &[
    (".dcm", "DICOM"),
    (".dicom", "DICOM"),
    (".ima", "DICOM"),
    (".gipl", "GIPL"),
    (".gipl.gz", "GIPL"),
    (".mnc", "MINC"),
    (".par", "Philips PAR/REC"),
    (".rec", "Philips PAR/REC"),
    (".vtk", "VTK"),
    (".nia", "NIfTI as text"),
    (".nii.bz2", "NIfTI in bzip2"),
    (".nii.xz", "NIfTI in xz"),
    (".nii.zst", "NIfTI in zstd"),
    (".tif", "TIFF"),
    (".tiff", "TIFF"),
    (".png", "PNG"),
    (".bmp", "BMP"),
    (".jpg", "JPEG"),
    (".jpeg", "JPEG"),
    (".npy", "NumPy"),
    (".npz", "NumPy"),
    (".b2nd", "Blosc2"),
    (".h5", "HDF5"),
    (".hdf5", "HDF5"),
    (".mat", "MATLAB"),
];

/// The format whose files have such a name; `None` where the name has no known ending.
fn named(path: &Path) -> Option<&'static dyn FileFormat> {
    let has_ending =
        |format: &&dyn FileFormat| ends_with(path, format.endings()) || ends_with(path, format.data_endings());
    FORMATS.iter().copied().find(has_ending)
}

/// The format that a file is opened as, by the ending of its name.
fn of_name(path: &Path) -> &'static dyn FileFormat {
    named(path).unwrap_or(FORMATS[0])
}

/// The endings of files that can hold scans, dot included, in lower case: `.nii.gz`, `.nii` ... Names may have them in any
/// case.
pub fn endings() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().flat_map(|format| format.endings()).copied()
}

/// The endings of files that label maps are written to, likewise.
pub fn written_endings() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().flat_map(|format| format.written_endings()).copied()
}

/// A file name without its format's ending; `None` where the name is not that of a scan or label map. Names need not be
/// UTF-8, and the ending may have any case.
pub fn stem(path: &Path) -> Option<&OsStr> {
    FORMATS.iter().find_map(|format| without(path, ending_of(path, format.endings())?))
}

/// Whether a file's name is that of the second file of a scan in two files (`.img`, `.raw` ...), which is read with the first
/// and is no scan by itself.
pub fn is_second_file(path: &Path) -> bool {
    FORMATS.iter().any(|format| ends_with(path, format.data_endings()))
}

/// The format of a file that is not read, by the ending of its name: `DICOM` for `.dcm`. `None` where the format is read,
/// or where the name tells nothing.
pub fn foreign_format(path: &Path) -> Option<&'static str> {
    FOREIGN.iter().find(|(ending, _)| ends_with(path, &[ending])).map(|(_, format)| *format)
}

impl Scan {
    /// Opens the files of one case by ITK's rules: [`Scan::open_as`] with [`Reader::SimpleItk`].
    ///
    /// # Errors
    /// As [`Scan::open_as`].
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Scan, FormatError> {
        Scan::open_as(paths, Reader::default())
    }

    /// Opens the files of one case: one file per channel in order, or one file with all of them. Reads headers, not
    /// voxels.
    ///
    /// The format of each file is recognised by the ending of its name. `reader` is the one that the model was trained with;
    /// it matters for NIfTI files.
    ///
    /// # Errors
    /// A file that is missing, denied, cut off or malformed; channels that do not lie on one grid.
    pub fn open_as<P: AsRef<Path>>(paths: &[P], reader: Reader) -> Result<Scan, FormatError> {
        let files = paths.iter().map(|path| of_name(path.as_ref()).open(path.as_ref(), reader));
        Ok(Scan::of(ChannelFiles::new(files.collect::<Result<_, _>>()?)?))
    }
}

/// Whether label maps are written under this name; a name that tells nothing is that of a NIfTI file.
///
/// # Errors
/// The ending is that of a format, or of a file, that label maps are not written as; the sentence names one that is.
pub fn check_label_name(path: &Path) -> Result<(), FormatError> {
    let refuse = |reason| Err(FormatError::NotWritten { path: path.to_path_buf(), reason });
    if written_endings().any(|ending| ends_with(path, &[ending])) {
        return Ok(());
    }
    if let Some(format) = foreign_format(path) {
        let all = written_endings().collect::<Vec<_>>().join(", ");
        return refuse(format!("label maps are not written as {format}; end the name with one of {all}"));
    }
    match named(path) {
        Some(format) => {
            let ending = format.written_endings().first().copied().unwrap_or_default();
            refuse(format!("label maps are not written in two files; end the name with {ending}"))
        }
        None => Ok(()),
    }
}

/// Begins a label map in `out`, which lies where `geometry` says. The same labels give the same bytes.
///
/// # Errors
/// The format does not hold label maps, or not on such a grid; writing failed.
pub fn label_writer(
    out: Box<dyn LabelOutput>,
    geometry: &Geometry,
    options: &LabelOptions<'_>,
) -> Result<Box<dyn LabelWriter>, FormatError> {
    check_label_name(options.path)?;
    of_name(options.path).label_writer(out, geometry, options)
}

/// Reads a label map of any stored type. Takes four bytes per voxel.
///
/// # Errors
/// A file that is missing, denied, cut off or malformed; more than one channel; a value that is no whole number from 0 to
/// `u32::MAX`.
pub fn read_labels(path: impl AsRef<Path>) -> Result<LabelMap, FormatError> {
    labels_of(&open_labels(path.as_ref())?)
}

/// Labels of a model that was trained with nibabel's reader may have sheared axes, which ITK refuses.
fn open_labels(path: &Path) -> Result<VolumeFile, FormatError> {
    let format = of_name(path);
    format.open(path, Reader::SimpleItk).or_else(|refused| format.open(path, Reader::Nibabel).map_err(|_| refused))
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
        for (name, expected) in [
            ("x/scan.nii.gz", Some("scan")),
            ("x/B.NII.GZ", Some("B")),
            ("x/scan_0001.nii", Some("scan_0001")),
            ("x/scan.seg.nrrd", Some("scan.seg")),
            ("x/scan.MHA", Some("scan")),
            ("x/orig.mgz", Some("orig")),
            ("x/scan.hdr", Some("scan")),
            ("x/scan.img", None),
            ("x/scan.txt", None),
            ("x/.nii.gz", None),
        ] {
            assert_eq!(stem(Path::new(name)), expected.map(OsStr::new), "{name}");
        }
    }

    #[test]
    fn files_beside_scans_are_told_apart() {
        assert!(is_second_file(Path::new("a.IMG")) && is_second_file(Path::new("a.zraw")));
        assert!(!is_second_file(Path::new("a.nii")) && !is_second_file(Path::new("a.txt")));
        assert_eq!(foreign_format(Path::new("a.DCM")), Some("DICOM"));
        assert_eq!(foreign_format(Path::new("a.nrrd")), None);
        assert_eq!(of_name(Path::new("scan")).name(), "NIfTI");
    }

    #[test]
    fn names_that_are_not_written_are_refused_with_one_that_is() {
        for name in ["a.nii.gz", "a.NRRD", "a.mha", "a.mgz", "labels"] {
            assert!(check_label_name(Path::new(name)).is_ok(), "{name}");
        }
        for (name, instead) in [
            ("a.hdr", ".nii.gz"),
            ("a.img", ".nii.gz"),
            ("a.nhdr", ".nrrd"),
            ("a.mhd", ".mha"),
            ("a.dcm", ".nrrd, .mha"),
            ("a.png", "PNG"),
        ] {
            let said = check_label_name(Path::new(name)).expect_err(name).to_string();
            assert!(said.contains(instead) && said.contains(name), "{said}");
        }
    }
}
