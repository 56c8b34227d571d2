//! What the tests share: scans in memory, small engines, golden arrays, the built program.

pub mod ct;
pub mod engines;
pub mod npy;
pub mod program;
pub mod runs;
pub mod source;
pub mod student;

use std::path::{Path, PathBuf};

/// The workspace folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie inside the workspace").to_owned()
}

/// The committed golden files.
pub fn golden() -> PathBuf {
    workspace().join("tests/golden")
}

/// Real data that is too large for the project: `SCANSIDE_DATA`, or `shared/data` beside the checkout.
///
/// Where it is not there, the reason is printed, and the caller's test ends without having tested anything.
pub fn data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SCANSIDE_DATA").map_or_else(|| workspace().join("../shared/data"), PathBuf::from);
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!(
        "SKIPPED: {} is not there; set SCANSIDE_DATA to the folder of test data (CONTRIBUTING.md)",
        path.display()
    );
    None
}
