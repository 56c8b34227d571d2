//! The built program.

use std::path::PathBuf;
use std::process::{Command, Output};

/// The `scanside` program that lies beside the running test.
///
/// # Panics
/// It was not built.
pub fn scanside() -> Command {
    let mut folder = std::env::current_exe().expect("a test has a path");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let program: PathBuf = folder.join(format!("scanside{}", std::env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is not built; scripts/test builds it, or `cargo build` does", program.display());
    Command::new(program)
}

/// What a program printed, results first.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
