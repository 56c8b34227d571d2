//! What can be wrong with a file of any format, as sentences with the numbers and what to do.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file could not be read or written. Every sentence names the file where there is one.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum FormatError {
    /// A case without files.
    NoFiles,
    /// No file of this name; `link` is where the name points, if it is a link.
    NotFound { path: PathBuf, link: Option<PathBuf>, source: io::Error },
    /// The file may not be read.
    Denied { path: PathBuf, source: io::Error },
    /// A folder, a pipe or a device.
    NotAFile { path: PathBuf, what: &'static str },
    /// The operating system failed to read.
    Read { path: PathBuf, source: io::Error },
    /// The content is not of the format that its name says.
    WrongFormat { path: PathBuf, expected: &'static str, found: Option<&'static str> },
    /// The header is refused.
    Header { path: PathBuf, problem: Box<dyn Error + Send + Sync> },
    /// Fewer voxel bytes than the header asks for. `at_most` marks a count that the file's length implies.
    Truncated { path: PathBuf, expected: u64, got: u64, at_most: bool },
    /// The compressed data contradict themselves.
    Damaged { path: PathBuf, source: io::Error },
    /// The file is no longer the one that was opened.
    Changed { path: PathBuf },
    /// The voxels do not fit in memory.
    Memory { path: PathBuf, bytes: u64 },
    /// Two channels of a case differ in what must be equal.
    Mismatch { what: &'static str, first: PathBuf, first_has: String, second: PathBuf, second_has: String },
    /// A label volume with more than one channel.
    ManyChannels { path: PathBuf, channels: usize },
    /// A voxel that is no label. Position in x, y, z.
    NotALabel { path: PathBuf, value: f64, at_xyz: [usize; 3] },
    /// Label maps are not written under such a name.
    NotWritten { path: PathBuf, reason: String },
    /// A grid that the format cannot hold.
    Unwritable { format: &'static str, problem: String },
    /// A plane of the wrong length was handed to a writer.
    PlaneSize { expected: usize, got: usize },
    /// Too many or too few planes were handed to a writer.
    PlaneCount { expected: usize, got: usize },
    /// A label above what the file's type holds.
    LabelTooLarge { value: u16, most: u16 },
    /// Writing failed.
    Write { source: io::Error },
}

impl FormatError {
    /// Sorts an error of opening or reading `path`.
    pub(crate) fn reading(path: &Path, source: io::Error) -> Self {
        let link = std::fs::read_link(path).ok();
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => FormatError::NotFound { path, link, source },
            io::ErrorKind::PermissionDenied => FormatError::Denied { path, source },
            // What flate2 says of bytes that cannot be inflated or fail their checksum.
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => FormatError::Damaged { path, source },
            _ => FormatError::Read { path, source },
        }
    }

    pub(crate) fn writing(source: io::Error) -> Self {
        FormatError::Write { source }
    }

    /// A header that is refused.
    pub(crate) fn header(path: &Path, problem: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        FormatError::Header { path: path.to_path_buf(), problem: problem.into() }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::NoFiles => f.write_str("a case needs at least one image file and none was given"),
            FormatError::NotFound { path, link: None, .. } => {
                write!(f, "{}: there is no such file; check the path", path.display())
            }
            FormatError::NotFound { path, link: Some(target), .. } => {
                write!(f, "{}: it is a link to {}, which is not there; ", path.display(), target.display())?;
                match target.components().any(|part| part.as_os_str() == "annex") {
                    true => f.write_str("fetch the content with git-annex (git annex get)"),
                    false => f.write_str("fetch the file or mend the link"),
                }
            }
            FormatError::Denied { path, .. } => {
                write!(f, "{}: permission to read it is denied; check its owner and mode", path.display())
            }
            FormatError::NotAFile { path, what } => {
                write!(f, "{}: it is {what}, not a file; give a file that holds the scan", path.display())
            }
            FormatError::Read { path, source } => write!(f, "{}: reading failed: {source}", path.display()),
            FormatError::WrongFormat { path, expected, found: Some(found) } => {
                write!(f, "{}: it is {found}, not {expected}", path.display())
            }
            FormatError::WrongFormat { path, expected, found: None } => {
                write!(f, "{}: it is not {expected}; check the file, or convert it to .nii.gz", path.display())
            }
            FormatError::Header { path, problem } => write!(f, "{}: {problem}", path.display()),
            FormatError::Truncated { path, expected, got, at_most } => write!(
                f,
                "{}: its header asks for {expected} bytes of voxels and the file holds {}{got}; the file is cut off, so copy it again",
                path.display(),
                if *at_most { "at most " } else { "" }
            ),
            FormatError::Damaged { path, source } => {
                write!(f, "{}: its compressed data are damaged ({source}); copy the file again", path.display())
            }
            FormatError::Changed { path } => {
                write!(f, "{}: it changed while it was being read; start again once it is complete", path.display())
            }
            FormatError::Memory { path, bytes } => write!(
                f,
                "{}: its voxels take {bytes} bytes and there is no memory for them; read it slice by slice instead",
                path.display()
            ),
            FormatError::Mismatch { what, first, first_has, second, second_has } => write!(
                f,
                "the channels differ in {what}: {} has {first_has} and {} has {second_has}; resample them to one grid",
                first.display(),
                second.display()
            ),
            FormatError::ManyChannels { path, channels } => write!(
                f,
                "{}: it holds {channels} volumes, but a label map is one; save the intended one as a 3-D file",
                path.display()
            ),
            FormatError::NotALabel { path, value, at_xyz: [x, y, z] } => write!(
                f,
                "{}: voxel ({x}, {y}, {z}) is {value} and a label is a whole number from 0 to {}; \
                 is this an image, or labels that were interpolated?",
                path.display(),
                u32::MAX
            ),
            FormatError::NotWritten { path, reason } => write!(f, "{}: {reason}", path.display()),
            FormatError::Unwritable { format, problem } => {
                write!(f, "this grid cannot be written as {format}: {problem}")
            }
            FormatError::PlaneSize { expected, got } => {
                write!(f, "a plane of {got} voxels was given and the header asks for {expected}")
            }
            FormatError::PlaneCount { expected, got } => {
                write!(f, "{got} planes were given and the header asks for {expected}")
            }
            FormatError::LabelTooLarge { value, most } => {
                write!(f, "label {value} does not fit: the file's voxels hold at most {most}; write it with 16 bits")
            }
            FormatError::Write { source } => write!(f, "writing failed: {source}"),
        }
    }
}

/// What [`Display`](fmt::Display) does not say already is in [`source`](Error::source).
impl Error for FormatError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            FormatError::NotFound { source, .. } | FormatError::Denied { source, .. } => Some(source),
            _ => None,
        }
    }
}
