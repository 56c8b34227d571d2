//! Where test data lies, and what a test does that misses it.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The workspace folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies inside the workspace").to_owned()
}

/// The golden files of the tests that cross crates.
pub fn golden() -> PathBuf {
    workspace().join("tests/golden")
}

/// Real data that is too large for the repository: `name` inside `SCANSIDE_DATA`, which is `shared/data` beside the
/// checkout by default.
///
/// Where it is missing, the test is reported as skipped; the caller returns and has tested nothing.
///
/// # Panics
/// It is missing and `SCANSIDE_REQUIRE_DATA` is `1`, as in continuous integration.
pub fn data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SCANSIDE_DATA")
        .map_or_else(|| workspace().with_file_name("shared").join("data"), PathBuf::from);
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    let reason =
        format!("{} does not exist; set SCANSIDE_DATA to the folder of test data (CONTRIBUTING.md)", path.display());
    assert!(std::env::var_os("SCANSIDE_REQUIRE_DATA").is_none_or(|v| v != "1"), "{reason}");
    skipped(&reason);
    None
}

/// Reports that the running test, or a part of it, tests nothing on this machine. `scripts/test` counts these lines.
pub fn skipped(reason: &str) {
    let line = format!("SKIPPED {}: {reason}\n", std::thread::current().name().unwrap_or("a test"));
    // Not `eprintln!`: the test harness hides what passing tests print with macros.
    std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");
}
