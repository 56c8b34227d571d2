//! A whole scan file: streamed, kept in memory, and read as labels. All three agree, and labels that are written again are the
//! same labels.

use crate::InputFile;
use scanside_core::volume::{Box3, VoxelSource};
use scanside_formats::{LabelMap, LabelOptions, LabelType, Scan, label_writer, read_labels};
use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::sync::Mutex;

/// The file that holds the current input, and the one that its labels are written to.
#[derive(Debug)]
pub struct Files {
    input: InputFile,
    labels: InputFile,
}

impl Files {
    /// Files whose names have this ending.
    pub fn new(ending: &str) -> Mutex<Files> {
        Mutex::new(Files { input: InputFile::new(ending), labels: InputFile::new(ending) })
    }
}

/// Planes and channels that are read at either end: a compressed file is read again from its start when a
/// box goes back.
const ENDS: usize = 3;
/// Label maps of more voxels are not written again.
const MOST_WRITTEN: usize = 1 << 16;

/// Opens the bytes as a scan file whose name has this ending, and reads and writes them by every way there is.
///
/// # Panics
/// Ways that must agree do not.
pub fn check(files: &Mutex<Files>, bytes: &[u8]) {
    let mut files = files.lock().expect("one thread");
    let Files { input, labels } = &mut *files;
    let path = input.replace(bytes);
    let scan = match Scan::open(&[path]) {
        Ok(scan) => scan,
        Err(e) => return drop(black_box(e.to_string())),
    };
    black_box((scan.marked_as_labels(), scan.description(), scan.warnings().len(), scan.stored_bytes()));
    let mut streamed = scan.stream();
    match scan.load() {
        // What can be read to its end can be streamed, with the same numbers.
        Ok(mut kept) => {
            compare(&scan, streamed.as_mut(), kept.as_mut());
        }
        Err(e) => {
            black_box(e.to_string());
            let _ = ends(scan.grid().shape_zyx[0]).map(|z| plane(&scan, streamed.as_mut(), 0, z)).count();
        }
    }
    match read_labels(path) {
        Ok(map) if map.labels.len() <= MOST_WRITTEN => write_again(&map, labels.path()),
        Ok(_) => {}
        Err(e) => drop(black_box(e.to_string())),
    }
}

/// The first and the last of `n`, and the first once more.
fn ends(n: usize) -> impl Iterator<Item = usize> {
    (0..n.min(ENDS)).chain(n.saturating_sub(ENDS).max(ENDS)..n).chain([0])
}

/// The bits of a plane, or the error's text.
fn plane(scan: &Scan, source: &mut dyn VoxelSource, channel: usize, z: usize) -> Result<Vec<u32>, String> {
    let [_, ny, nx] = scan.grid().shape_zyx;
    let mut values = vec![0.0f32; ny * nx];
    source.read(channel, &Box3([z..z + 1, 0..ny, 0..nx]), &mut values).map_err(|e| e.to_string())?;
    Ok(values.iter().map(|v| v.to_bits()).collect())
}

fn compare(scan: &Scan, streamed: &mut dyn VoxelSource, kept: &mut dyn VoxelSource) {
    for channel in ends(scan.channels()) {
        for z in ends(scan.grid().shape_zyx[0]) {
            let expected = plane(scan, kept, channel, z).expect("a plane in memory");
            assert_eq!(plane(scan, streamed, channel, z).as_ref(), Ok(&expected), "plane {z} of channel {channel}");
        }
    }
}

fn write_again(map: &LabelMap, path: &Path) {
    let Ok(labels) = map.labels.iter().map(|&v| u16::try_from(v)).collect::<Result<Vec<_>, _>>() else { return };
    let [_, ny, nx] = map.grid().shape_zyx;
    let options = LabelOptions { path, stored: LabelType::U16, description: "fuzzed" };
    let out = File::create(path).expect("the temporary file");
    let mut writer = match label_writer(Box::new(out), &map.geometry, &options) {
        Ok(writer) => writer,
        // A grid that the format cannot hold.
        Err(e) => return drop(black_box(e.to_string())),
    };
    for plane in labels.chunks_exact(ny * nx) {
        writer.write_plane(plane).expect("a plane");
    }
    writer.finish().expect("its end");
    let again = read_labels(path).expect("a label map that was written");
    assert_eq!(again.grid().shape_zyx, map.grid().shape_zyx);
    assert_eq!(again.labels, map.labels);
}
