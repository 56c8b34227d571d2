//! What can be wrong with a file of any format.

use crate::nifti::NiftiError;
use std::path::PathBuf;

/// Why a file could not be read or written. Every sentence names the file where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A case without files.
    #[error("a case needs at least one file and none was given")]
    NoFiles,
    /// Label maps of this format are not written.
    #[error("{path}: label maps are not written as {format}; choose a name that ends with {endings}")]
    NotWritten {
        /// The file that was asked for.
        path: PathBuf,
        /// The format's name.
        format: &'static str,
        /// The endings that can be written.
        endings: String,
    },
    /// NIfTI.
    #[error(transparent)]
    Nifti(#[from] NiftiError),
}
