//! A model and a scan that take no time: one convolution of one voxel, and 10 x 9 x 8 voxels of noise.

use crate::program::scanside;
use scanside_testing::data::golden;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A model with one channel.
pub fn model() -> PathBuf {
    golden().join("faults/onnx/ok.onnx")
}

/// A scan for it.
pub fn scan() -> PathBuf {
    golden().join("faults/nifti/ok.nii.gz")
}

/// Copies the scan to a place, whose folders are made if need be.
///
/// # Panics
/// That is not possible.
pub fn put_scan(path: &Path) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::copy(scan(), path).expect("a copy");
}

/// `scanside segment` with that model, to which arguments are added.
pub fn segment() -> Command {
    let mut program = scanside();
    program.args(["segment", "--threads", "1", "-m"]).arg(model());
    program
}

/// `scanside segment -i INPUT -o OUTPUT` with that model and further arguments, run to its end.
///
/// # Panics
/// The program does not start.
pub fn segmented(input: &Path, output: &Path, extra: &[&str]) -> Output {
    segment().arg("-i").arg(input).arg("-o").arg(output).args(extra).output().expect("the program starts")
}

/// Names in a folder and its sub-folders, hidden ones included, in order.
///
/// # Panics
/// A folder cannot be read.
pub fn names(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, root: &Path, names: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, root, names);
            } else {
                names.push(path.strip_prefix(root).expect("a path inside").to_string_lossy().into_owned());
            }
        }
    }
    let mut names = Vec::new();
    walk(folder, folder, &mut names);
    names.sort();
    names
}
