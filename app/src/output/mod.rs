//! Outputs: files that appear whole or not at all, for any number of processes and machines that write at once.
//!
//! A file is written under a random name beside its place, synced, then renamed ([`PendingFile`]). A [`Claim`] gives one
//! process at a time the right to make an output. Both are files that their process keeps locked. A lock ends with its
//! process however that ends, and it is seen from other containers and machines, which a process number is not; so a
//! file of ours that nobody has locked is left over from a process that is gone.

mod claim;
mod pending;
mod scratch;

pub use claim::Claim;
pub use pending::{PendingFile, write_whole};
pub use scratch::{abandon, remove_leftovers_beside};

use crate::error::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// An output that exists already and was not to be replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} exists already{}", path.display(), why.map(|why| format!(" and {why}")).unwrap_or_default())]
pub struct Exists {
    /// The output.
    pub path: PathBuf,
    /// Why it is not taken for the result.
    pub why: Option<&'static str>,
}

/// Refuses to go on where `path` exists.
///
/// # Errors
/// [`Exists`].
pub fn refuse_existing(path: &Path, why: Option<&'static str>) -> Result<(), Error> {
    if path.exists() {
        return Err(Error::of(ErrorKind::Output, Exists { path: path.to_owned(), why }).about(path));
    }
    Ok(())
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
