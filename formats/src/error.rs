//! What can be wrong with a file of any format.

use std::error::Error;
use std::path::PathBuf;

/// Why a file could not be read or written. Every sentence names the file where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A case without files.
    #[error("a case needs at least one file and none was given")]
    NoFiles,
    /// Label maps of this format are not written.
    #[error("{}: label maps are not written as {format}", path.display())]
    NotWritten {
        /// The file that was asked for.
        path: PathBuf,
        /// The format's name.
        format: &'static str,
    },
    /// The error of one format, for example [`NiftiError`](crate::nifti::NiftiError).
    #[error(transparent)]
    File(Box<dyn Error + Send + Sync>),
}
