//! The memory contract for folders: the peak that is announced for the largest case holds for the whole process, however
//! many cases and threads there are.

use scanside_core::volume::{Grid, VoxelType};
use scanside_formats::nifti::ImageWriter;
use scanside_testing::data::{skipped, workspace};
use scanside_tests::program::scanside;
use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

fn model(name: &str) -> PathBuf {
    workspace().join("models").join(name)
}

/// A scan of this many voxels of 1 mm.
fn make_scan(path: &Path, shape_zyx: [usize; 3]) {
    let direction = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let grid = Grid { shape_zyx, spacing_mm: [1.0; 3], origin: [0.0; 3], direction };
    let file = File::create(path).expect("a file");
    let mut writer = ImageWriter::create(file, &grid, VoxelType::I16, true).expect("a header");
    let [planes, rows, columns] = shape_zyx;
    for z in 0..planes {
        let voxel = |i: usize| ((z * 37 + i * 11) % 200) as f32;
        writer.write_plane(&(0..rows * columns).map(voxel).collect::<Vec<_>>()).expect("a plane");
    }
    writer.finish().expect("a file");
}

/// A folder of `count` cases that are copies of `scans`, in turn.
fn make_folder(scans: &[PathBuf], count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for i in 0..count {
        let link = folder.path().join(format!("case{i:04}_0000.nii.gz"));
        symlink(&scans[i % scans.len()], link).expect("a link");
    }
    folder
}

/// Segments a folder; gives the record.
fn segment(model: &Path, folder: &Path, extra: &[&str], data_limit_bytes: Option<u64>) -> Value {
    let out = tempfile::tempdir().expect("a folder");
    let record = out.path().join("record.json");
    let mut shell = Command::new("sh");
    let limit = data_limit_bytes.map_or(String::new(), |bytes| format!("ulimit -d {};", bytes / 1024));
    shell.arg("-c").arg(format!("{limit} exec \"$0\" \"$@\"")).arg(scanside().get_program());
    shell.args(["segment", "--quiet", "-m"]).arg(model).arg("-i").arg(folder).arg("-o").arg(out.path().join("labels"));
    shell.arg("--record").arg(&record).args(extra);
    let output = shell.output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&std::fs::read(record).expect("a record")).expect("JSON")
}

/// The largest peak announced for a case, and the peak of the process.
fn peaks(record: &Value) -> Option<(u64, u64)> {
    let cases = record["cases"].as_array().expect("cases");
    let announced = cases.iter().map(|case| case["plan"]["peak_ram_bytes"].as_u64().expect("a peak"));
    let Some(measured) = record["peak_rss_bytes"].as_u64() else {
        skipped("this system does not report a process's peak memory");
        return None;
    };
    Some((announced.max().expect("cases"), measured))
}

#[test]
fn sixty_cases_of_two_shapes_stay_below_the_peak_announced_for_the_larger() {
    let scans = tempfile::tempdir().expect("a folder");
    let [small, large] = [[20, 30, 25], [44, 60, 48]].map(|shape| {
        let path = scans.path().join(format!("{}.nii.gz", shape[0]));
        make_scan(&path, shape);
        path
    });
    let folder = make_folder(&[small, large], 60);
    let model = model("hippocampus-r4.onnx");
    for threads in ["1", "2", "8"] {
        let options = ["--threads", threads, "--disable-tta"];
        let record = segment(&model, folder.path(), &options, None);
        let Some((announced, measured)) = peaks(&record) else { return };
        println!("{threads} thread(s): {announced} bytes announced, {measured} measured");
        assert!(measured <= announced, "{threads} thread(s): {announced} announced, {measured} measured");
        // The same again, where more than that cannot be allocated.
        let limit = announced.div_ceil(1_000_000);
        let max_ram = format!("{limit}M");
        let options = [&options[..], &["--max-ram", &max_ram]].concat();
        let limited = segment(&model, folder.path(), &options, Some(1_000_000 * limit));
        let (_, measured) = peaks(&limited).expect("as before");
        assert!(measured <= 1_000_000 * limit, "{threads} thread(s): {limit} MB allowed, {measured} bytes measured");
    }
}

#[test]
fn memory_does_not_grow_with_the_number_of_cases() {
    let scans = tempfile::tempdir().expect("a folder");
    let tiny = scans.path().join("tiny.nii.gz");
    make_scan(&tiny, [3, 4, 5]);
    let peak = |count: usize| {
        let folder = make_folder(std::slice::from_ref(&tiny), count);
        let options = ["--threads", "2", "--disable-tta"];
        peaks(&segment(&model("hippocampus-r4.onnx"), folder.path(), &options, None)).map(|(_, measured)| measured)
    };
    let Some((few, many)) = peak(100).zip(peak(2000)) else { return };
    println!("100 cases {few} bytes, 2000 cases {many}");
    assert!(many < few + 1_500_000, "100 cases take {few} bytes, 2000 take {many}");
}
