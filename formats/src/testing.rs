//! What the tests of all formats share.

use crate::{Geometry, LabelOptions, LabelType, Scan, label_writer};
use proptest::prelude::*;
use scanside_core::volume::{Box3, Grid, VoxelSource};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn grid(shape_zyx: [usize; 3]) -> Grid {
    Grid {
        shape_zyx,
        spacing_mm: [2.5, 0.75, 0.5],
        origin: [-12.5, 30.0, 7.25],
        direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    }
}

pub(crate) fn saved(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

pub(crate) fn read(source: &mut dyn VoxelSource, channel: usize, bounds: &Box3) -> Vec<f32> {
    let mut out = vec![f32::NAN; bounds.voxels()];
    source.read(channel, bounds, &mut out).expect("voxels");
    out
}

/// All voxels of all channels, streamed; what is kept in memory is compared.
pub(crate) fn voxels(scan: &Scan) -> Vec<f32> {
    let bounds = Box3::full(scan.grid().shape_zyx);
    let all = |source: &mut dyn VoxelSource| {
        (0..scan.channels()).flat_map(|channel| read(source, channel, &bounds)).collect::<Vec<f32>>()
    };
    let streamed = all(scan.stream().as_mut());
    let mut kept = scan.load().expect("voxels");
    assert_eq!(kept.resident_bytes() as u64, scan.stored_bytes());
    assert!(streamed.iter().zip(all(kept.as_mut())).all(|(a, b)| a.to_bits() == b.to_bits()));
    streamed
}

/// A label map under this name; one label per voxel of the grid.
pub(crate) fn write_labels(path: &Path, geometry: &Geometry, stored: LabelType, labels: &[u16]) {
    let options = LabelOptions { path, stored, description: "made by a test" };
    let file = fs::File::create(path).expect("a file");
    let mut writer = label_writer(Box::new(file), geometry, &options).expect("a header");
    let [_, ny, nx] = geometry.grid().shape_zyx;
    labels.chunks(ny * nx).for_each(|plane| writer.write_plane(plane).expect("a plane"));
    writer.finish().expect("a file");
}

/// Reads everything from a file by every way there is; whatever comes is fine as long as it comes back.
pub(crate) fn survive(path: &Path) {
    let _ = crate::read_labels(path);
    let Ok(scan) = Scan::open(&[path]) else { return };
    let grid = scan.grid();
    assert!(grid.spacing_mm.iter().all(|mm| mm.is_finite() && *mm > 0.0), "{grid:?}");
    assert!(grid.origin.iter().chain(grid.direction.iter().flatten()).all(|v| v.is_finite()), "{grid:?}");
    // What passes the check against the file's length is small here, 1032 times the file at most.
    let bounds = Box3::full(grid.shape_zyx);
    let mut out = vec![0.0; bounds.voxels()];
    for channel in 0..scan.channels().min(3) {
        let _ = scan.stream().read(channel, &bounds, &mut out);
        if let Ok(mut resident) = scan.load() {
            resident.read(channel, &bounds, &mut out).expect("what was loaded can be read");
        }
    }
    let _ = (scan.warnings(), scan.description().len(), scan.marked_as_labels());
}

/// Bytes at random places replaced, and what is left of the file.
pub(crate) fn mutated(
    mut bytes: Vec<u8>,
    changes: &[(prop::sample::Index, u8)],
    header_bytes: usize,
    keep: f64,
) -> Vec<u8> {
    let end = bytes.len().min(header_bytes);
    for (at, value) in changes {
        bytes[at.index(end)] = *value;
    }
    bytes.truncate((bytes.len() as f64 * keep) as usize);
    bytes
}

fn a_rotation() -> impl Strategy<Value = [[f64; 3]; 3]> {
    let turn = [-1.0..1.0f64, -1.0..1.0, -1.0..1.0, -1.0..1.0]
        .prop_filter("not zero", |q| q.iter().map(|v| v * v).sum::<f64>() > 1e-3);
    (turn, any::<bool>()).prop_map(|(q, mirrored)| {
        let length = q.iter().map(|v| v * v).sum::<f64>().sqrt();
        let [a, b, c, d] = q.map(|v| v / length);
        let flip = if mirrored { -1.0 } else { 1.0 };
        [
            [a * a + b * b - c * c - d * d, 2.0 * (b * c - a * d), flip * 2.0 * (b * d + a * c)],
            [2.0 * (b * c + a * d), a * a + c * c - b * b - d * d, flip * 2.0 * (c * d - a * b)],
            [2.0 * (b * d - a * c), 2.0 * (c * d + a * b), flip * (a * a + d * d - c * c - b * b)],
        ]
    })
}

pub(crate) fn a_grid() -> impl Strategy<Value = Grid> {
    (
        [1..5usize, 1..9, 1..9],
        [0.1..6.0f64, 0.1..6.0, 0.1..6.0],
        [-900.0..900.0f64, -900.0..900.0, -900.0..900.0],
        a_rotation(),
    )
        .prop_map(|(shape_zyx, spacing_mm, origin, direction)| Grid { shape_zyx, spacing_mm, origin, direction })
}

/// The most that two numbers of the grids differ by, those above 1 by their size.
pub(crate) fn distance(a: &Grid, b: &Grid) -> f64 {
    assert_eq!(a.shape_zyx, b.shape_zyx);
    let flat = |g: &Grid| {
        g.spacing_mm.into_iter().chain(g.origin).chain(g.direction.into_iter().flatten()).collect::<Vec<_>>()
    };
    flat(a).iter().zip(flat(b)).map(|(x, y)| (x - y).abs() / y.abs().max(1.0)).fold(0.0, f64::max)
}
