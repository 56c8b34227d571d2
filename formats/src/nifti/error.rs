//! What can be wrong with a file, as sentences with the numbers and what to do.

use crate::error::FormatError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a header is refused. Axes are named as the file counts them: 1 is x.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum HeaderError {
    /// Fewer bytes than a header has.
    TooShort { got: usize, needed: usize },
    /// The first number is not a NIfTI header's size in either byte order.
    NotNifti { first: i32 },
    /// Header and voxels in two files (`.hdr` + `.img`).
    TwoFiles,
    /// ANALYZE 7.5: the size fits but the NIfTI mark is missing.
    Analyze,
    /// A NIfTI-2 mark whose line ends were rewritten on the way.
    DamagedMark { mark: [u8; 8] },
    /// `dim[0]` outside 1 to 7.
    DimensionCount { got: i64 },
    /// An axis without voxels.
    EmptyAxis { axis: usize, size: i64 },
    /// A line, not an image.
    OneDimension { size: i64 },
    /// More than x, y, z and one axis of channels.
    TooManyAxes { sizes: [i64; 7] },
    /// The sizes multiply to more bytes than this computer can count.
    TooManyVoxels { sizes: [i64; 7] },
    /// A known element type that is no single number up to 64 bits.
    UnsupportedType { code: i16, name: &'static str },
    /// An element type the format does not have.
    UnknownType { code: i16 },
    /// `bitpix` contradicts `datatype`.
    BitsPerVoxel { got: i16, expected: usize, code: i16 },
    /// Voxels that start inside the header or at no whole byte.
    VoxelOffset { got: f64, least: u64 },
    /// A voxel spacing that is zero or no number.
    Spacing { axis: usize, got: f64 },
    /// Neither transform gives perpendicular axes.
    NotOrthonormal { sform_code: i32, qform_code: i32 },
    /// A transform that leaves no finite position.
    NotFinite,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::TooShort { got, needed } => {
                write!(f, "it holds {got} bytes and a NIfTI header takes {needed}; the file is cut off or is another format")
            }
            HeaderError::NotNifti { first } => write!(
                f,
                "it is not a NIfTI file: it starts with {first} where NIfTI-1 has 348 and NIfTI-2 has 540; convert it to .nii.gz"
            ),
            HeaderError::TwoFiles => f.write_str(
                "its header belongs to a pair of files (.hdr and .img); convert the pair to a single .nii.gz",
            ),
            HeaderError::Analyze => f.write_str(
                "it is an ANALYZE 7.5 file, which does not say where the patient's left is; convert it to .nii.gz with its orientation checked",
            ),
            HeaderError::DamagedMark { mark } => write!(
                f,
                "its NIfTI-2 mark is damaged ({mark:02x?}), as after a transfer in text mode; copy the file again in binary mode"
            ),
            HeaderError::DimensionCount { got } => {
                write!(f, "its header counts {got} dimensions and NIfTI allows 1 to 7; the header is damaged")
            }
            HeaderError::EmptyAxis { axis, size } => {
                write!(f, "its header gives axis {axis} a size of {size}; every size must be at least 1")
            }
            HeaderError::OneDimension { size } => {
                write!(f, "it holds one line of {size} voxels; an image needs two or three dimensions")
            }
            HeaderError::TooManyAxes { sizes } => write!(
                f,
                "its sizes are {sizes:?} and only x, y, z and one axis of channels are read; save the intended image as a 3-D or 4-D file"
            ),
            HeaderError::TooManyVoxels { sizes } => {
                write!(f, "its sizes {sizes:?} multiply to more bytes than can be addressed; the header is damaged")
            }
            HeaderError::UnsupportedType { code, name } => write!(
                f,
                "its voxels are {name} (type code {code}); convert them to integers or floats of at most 64 bits"
            ),
            HeaderError::UnknownType { code } => {
                write!(f, "its voxel type code is {code}, which NIfTI does not define; the header is damaged")
            }
            HeaderError::BitsPerVoxel { got, expected, code } => write!(
                f,
                "its header says {got} bits per voxel and type code {code} has {expected}; save it again with a tool that writes both alike"
            ),
            HeaderError::VoxelOffset { got, least } => write!(
                f,
                "its header says that voxels start at byte {got}; that must be a whole number of at least {least}"
            ),
            HeaderError::Spacing { axis, got } => write!(
                f,
                "its voxel spacing along axis {axis} is {got}; it must be a number other than zero, so set it from the original scan"
            ),
            HeaderError::NotOrthonormal { sform_code, qform_code } => write!(
                f,
                "it has no orthonormal direction cosines: sform (code {sform_code}) is sheared or empty and qform has code {qform_code}; \
                 resample the image to perpendicular axes or give it a qform"
            ),
            HeaderError::NotFinite => f.write_str(
                "its position or direction is not a finite number; set its sform or qform from the original scan",
            ),
        }
    }
}

impl std::error::Error for HeaderError {}

/// Why a volume could not be read or written. Every sentence names the file where there is one.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum NiftiError {
    /// No file of this name.
    NotFound { path: PathBuf, source: io::Error },
    /// The file may not be read.
    Denied { path: PathBuf, source: io::Error },
    /// The operating system failed to read.
    Read { path: PathBuf, source: io::Error },
    /// The header is refused.
    Header { path: PathBuf, problem: HeaderError },
    /// Fewer voxel bytes than the header asks for. `at_most` marks a count that the file's length implies.
    Truncated { path: PathBuf, expected: u64, got: u64, at_most: bool },
    /// The compressed data contradict themselves.
    Damaged { path: PathBuf, source: io::Error },
    /// The file is no longer the one that was opened.
    Changed { path: PathBuf },
    /// The voxels do not fit in memory.
    Memory { path: PathBuf, bytes: u64 },
    /// A case without files.
    NoFiles,
    /// Two channels of a case differ in what must be equal.
    Mismatch { what: &'static str, first: PathBuf, first_has: String, second: PathBuf, second_has: String },
    /// A label volume with more than one channel.
    ManyChannels { path: PathBuf, channels: usize },
    /// A voxel that is no label. Position in x, y, z.
    NotALabel { path: PathBuf, value: f64, at_xyz: [usize; 3] },
    /// A grid that no NIfTI header can hold.
    Unwritable { problem: HeaderError },
    /// A plane of the wrong length was handed to a writer.
    PlaneSize { expected: usize, got: usize },
    /// Too many or too few planes were handed to a writer.
    PlaneCount { expected: usize, got: usize },
    /// A label above what the file's type holds.
    LabelTooLarge { value: u16, most: u16 },
    /// Writing failed.
    Write { source: io::Error },
}

impl NiftiError {
    /// Sorts an error of opening or reading `path`.
    pub(super) fn reading(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => NiftiError::NotFound { path, source },
            io::ErrorKind::PermissionDenied => NiftiError::Denied { path, source },
            // What flate2 says of bytes that cannot be inflated or fail their checksum.
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => NiftiError::Damaged { path, source },
            _ => NiftiError::Read { path, source },
        }
    }

    pub(super) fn writing(source: io::Error) -> Self {
        NiftiError::Write { source }
    }
}

impl fmt::Display for NiftiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NiftiError::NotFound { path, .. } => write!(f, "{}: there is no such file; check the path", path.display()),
            NiftiError::Denied { path, .. } => {
                write!(f, "{}: permission to read it is denied; check its owner and mode", path.display())
            }
            NiftiError::Read { path, source } => {
                write!(f, "{}: reading failed: {source}", path.display())
            }
            NiftiError::Header { path, problem } => write!(f, "{}: {problem}", path.display()),
            NiftiError::Truncated { path, expected, got, at_most } => write!(
                f,
                "{}: its header asks for {expected} bytes of voxels and the file holds {}{got}; the file is cut off, so copy it again",
                path.display(),
                if *at_most { "at most " } else { "" }
            ),
            NiftiError::Damaged { path, source } => {
                write!(f, "{}: its compressed data are damaged ({source}); copy the file again", path.display())
            }
            NiftiError::Changed { path } => {
                write!(f, "{}: it changed while it was being read; start again once it is complete", path.display())
            }
            NiftiError::Memory { path, bytes } => write!(
                f,
                "{}: its voxels take {bytes} bytes and there is no memory for them; read it slice by slice instead",
                path.display()
            ),
            NiftiError::NoFiles => f.write_str("a case needs at least one image file and none was given"),
            NiftiError::Mismatch { what, first, first_has, second, second_has } => write!(
                f,
                "the channels differ in {what}: {} has {first_has} and {} has {second_has}; resample them to one grid",
                first.display(),
                second.display()
            ),
            NiftiError::ManyChannels { path, channels } => write!(
                f,
                "{}: it holds {channels} volumes, but a label map is one; save the intended one as a 3-D file",
                path.display()
            ),
            NiftiError::NotALabel { path, value, at_xyz: [x, y, z] } => write!(
                f,
                "{}: voxel ({x}, {y}, {z}) is {value} and a label is a whole number from 0 to {}; \
                 is this an image, or labels that were interpolated?",
                path.display(),
                u32::MAX
            ),
            NiftiError::Unwritable { problem } => {
                write!(f, "this grid cannot be written as NIfTI: {problem}")
            }
            NiftiError::PlaneSize { expected, got } => {
                write!(f, "a plane of {got} voxels was given and the header asks for {expected}")
            }
            NiftiError::PlaneCount { expected, got } => {
                write!(f, "{got} planes were given and the header asks for {expected}")
            }
            NiftiError::LabelTooLarge { value, most } => {
                write!(f, "label {value} does not fit: the file's voxels hold at most {most}; write it with 16 bits")
            }
            NiftiError::Write { source } => write!(f, "writing failed: {source}"),
        }
    }
}

/// What [`Display`](fmt::Display) does not say already is in [`source`](std::error::Error::source).
impl std::error::Error for NiftiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NiftiError::NotFound { source, .. } | NiftiError::Denied { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<NiftiError> for FormatError {
    fn from(error: NiftiError) -> Self {
        FormatError::File(Box::new(error))
    }
}
