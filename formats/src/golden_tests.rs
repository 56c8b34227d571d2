//! Every file under `tests/golden/formats` against what SimpleITK and nibabel read from it, and those of
//! `tests/golden/nifti` against nibabel as nnU-Net uses it.

use crate::testing::{distance, voxels, write_labels};
use crate::{LabelType, Scan, read_labels};
use scanside_core::volume::{Grid, Reader};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What we refuse although the reader of the format reads it, or as it does, and a phrase of the reason.
const REFUSED: [(&str, &str); 13] = [
    ("ascii.nrrd", "encoded as ascii"),
    ("bzip2.nrrd", "encoded as bzip2"),
    ("degenerate.mha", "span no volume"),
    ("degenerate.nrrd", "span no volume"),
    ("empty_axis.mgh", "[4, 0, 2, 1]"),
    ("no_endian.nrrd", "byte order"),
    ("short.mha", "asks for 48 bytes"),
    ("short.nrrd", "asks for 48 bytes"),
    ("vectors.mha", "2 values for each voxel"),
    ("vectors.nrrd", "2 values for each voxel"),
    ("version_2.mgh", "not FreeSurfer MGH"),
    ("version_6.nrrd", "NRRD0006"),
    ("zero_spacing.mha", "ElementSpacing holds 0"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/formats")
}

fn record() -> Value {
    let text = std::fs::read_to_string(folder().join("formats.json")).expect("tests/golden/formats/formats.json");
    let all: Value = serde_json::from_str(&text).expect("valid JSON");
    assert_eq!(all["format"], 1);
    all
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().expect("an array").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn crc(values: &[f32]) -> u64 {
    let mut crc = flate2::Crc::new();
    values.iter().for_each(|v| crc.update(&v.to_le_bytes()));
    u64::from(crc.sum())
}

fn open(name: &str) -> Scan {
    Scan::open(&[folder().join(name)]).unwrap_or_else(|e| panic!("{e}"))
}

/// The files that are read, with what their reader says.
fn read() -> Vec<(String, Value)> {
    let record = record();
    let files = record["files"].as_object().expect("files").iter();
    let read: Vec<_> = files
        .filter(|(name, _)| !REFUSED.iter().any(|(refused, _)| refused == name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    assert!(read.len() > 65, "{}", read.len());
    read
}

#[test]
fn voxels_are_those_of_the_reference_readers() {
    for (name, expected) in read() {
        assert_eq!(Some(crc(&voxels(&open(&name)))), expected["crc"].as_u64(), "{name}");
    }
}

#[test]
fn geometry_is_that_of_the_reference_readers() {
    for (name, expected) in read() {
        let scan = open(&name);
        let grid = scan.grid();
        let size: Vec<usize> = numbers(&expected["size"]).iter().map(|n| *n as usize).collect();
        let axes = size.len().min(3);
        assert_eq!(scan.geometry().is_planar(), axes == 2, "{name}");
        assert_eq!(scan.channels(), size.get(3).copied().unwrap_or(1), "{name}");
        let (spacing, origin) = (numbers(&expected["spacing"]), numbers(&expected["origin"]));
        let direction = numbers(&expected["direction"]);
        // FreeSurfer and nibabel differ in where a volume is that does not say.
        let placed = name != "unplaced.mgh";
        // nibabel calculates in single precision.
        let tolerance = if name.contains(".mg") { 1e-5 } else { 1e-12 };
        let close = |got: f64, expected: f64, what: &str| {
            assert!((got - expected).abs() <= tolerance, "{name}: {what}: got {got}, expected {expected}");
        };
        let rows = direction.len().isqrt();
        for k in 0..axes {
            assert_eq!(grid.shape_zyx[2 - k], size[k], "{name}");
            close(grid.spacing_mm[2 - k], spacing[k], "spacing");
            if placed {
                close(grid.origin[k], origin[k], "origin");
                for r in 0..axes {
                    close(grid.direction[r][k], direction[r * rows + k], "direction");
                }
            }
        }
        if axes == 2 {
            assert_eq!(grid.spacing_mm[0], 999.0 * spacing[0].max(spacing[1]), "{name}");
        }
    }
    let unplaced = open("unplaced.mgh");
    assert_eq!(unplaced.grid().direction, [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]]);
    assert_eq!(unplaced.warnings().len(), 1);
}

#[test]
fn refused_files_say_why() {
    let record = record();
    for (name, phrase) in REFUSED {
        assert!(!record["files"][name].is_null(), "{name} is not among the fixtures");
        let error = Scan::open(&[folder().join(name)]).expect_err(name).to_string();
        assert!(error.contains(phrase) && error.contains(name), "{error}");
    }
    for (name, header) in [("detached.raw", ".nhdr"), ("packed.zraw", ".mhd")] {
        let error = Scan::open(&[folder().join(name)]).expect_err(name).to_string();
        assert!(error.contains("voxels of another file") && error.contains(header), "{error}");
    }
    for (name, expected) in record["files"].as_object().expect("files") {
        let refused = REFUSED.iter().any(|(refused, _)| refused == name);
        assert!(refused || expected != "refused", "{name} is read and the reference refuses it");
    }
}

#[test]
fn guesses_and_what_is_not_applied_are_warned_of() {
    for (name, phrase) in [
        ("no_place.nrrd", "no voxel spacing along x"),
        ("spacings.nrrd", "no voxel spacing along z"),
        ("no_spacing.mha", "no ElementSpacing"),
        ("slope.mha", "not applied"),
    ] {
        let warnings = open(name).warnings();
        assert!(warnings.iter().any(|w| w.contains(phrase) && w.contains(name)), "{warnings:?}");
    }
    assert_eq!(open("notes.nrrd").description(), "some words");
    assert_eq!(open("notes.mha").description(), "some words");
}

/// The grid with the lengths of its directions in its directions: formats divide them differently where they are not 1.
fn steps(grid: &Grid) -> Grid {
    let direction = grid.direction.map(|row| std::array::from_fn(|k| row[k] * grid.spacing_mm[2 - k]));
    Grid { direction, spacing_mm: [1.0; 3], ..grid.clone() }
}

/// A label map of the scan's own format lies where the scan lies to the last bit, and one of any other format as near as that
/// format can say it.
#[test]
fn labels_of_every_format_lie_where_the_scan_lies() {
    let place = tempfile::tempdir().expect("a folder");
    for (name, _) in read() {
        let scan = open(&name);
        let labels: Vec<u16> = (0..scan.grid().shape_zyx.iter().product()).map(|n: usize| n as u16).collect();
        for ending in [".nii.gz", ".nii", ".nrrd", ".mha", ".mgz", ".mgh"] {
            let path = place.path().join(format!("l{ending}"));
            if ending.starts_with(".nii") && name.starts_with("sheared") {
                continue;
            }
            write_labels(&path, scan.geometry(), LabelType::U8, &labels);
            let map = read_labels(&path).unwrap_or_else(|e| panic!("{name} as {ending}: {e}"));
            assert!(map.labels.iter().zip(&labels).all(|(a, b)| *a == u32::from(*b)), "{name} as {ending}");
            let (read, meant) = (map.grid(), scan.grid());
            // The grid of an image without z axis has a stand-in for its spacing there, which MGH does not have.
            let same_axes = map.geometry.is_planar() == scan.geometry().is_planar();
            assert!(same_axes || ending.starts_with(".mg"), "{name} as {ending}");
            let own = name.rsplit('.').next().is_some_and(|own| ending[1..3] == own[..2]) && scan.channels() == 1;
            if own && name != "space_dimension.nrrd" {
                assert_eq!(read, meant, "{name} as {ending}");
            } else if same_axes {
                let single = !matches!(ending, ".nrrd" | ".mha") || name.contains(".mg");
                let far = distance(&steps(read), &steps(meant));
                assert!(far <= if single { 1e-6 } else { 1e-12 }, "{name} as {ending}: {far}");
            }
        }
    }
}

#[test]
fn nifti_files_are_read_as_nibabel_reads_them() {
    let record = record();
    let files = record["nibabel_io"].as_object().expect("files");
    let mut compared = 0;
    for (name, expected) in files {
        let path = folder().join("../nifti").join(name);
        let Ok(scan) = Scan::open_as(&[&path], Reader::Nibabel) else {
            // nibabel takes 1 mm for a spacing of 0.
            assert_eq!(name, "zero_pixdim.nii", "refused");
            continue;
        };
        let [x, y, z] = numbers(&expected["spacing"])[..] else { panic!("{name}") };
        assert_eq!(scan.grid().spacing_mm, [z, y, x], "{name}");
        assert_eq!(Some(crc(&voxels(&scan))), expected["crc"].as_u64(), "{name}");
        compared += 1;
    }
    assert!(compared > 70, "{compared}");
}
