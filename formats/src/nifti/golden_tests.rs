//! Every file under `tests/golden/nifti` against what SimpleITK and nibabel read from it.

use super::*;
use crate::Scan;
use crate::label_map::LabelType;
use crate::testing::{voxels, write_labels};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What we refuse although ITK reads it, or as ITK does, and a phrase of the reason.
const REFUSED: [(&str, &str); 11] = [
    ("analyze.nii", "ANALYZE"),
    ("complex.nii", "complex numbers of 64 bits"),
    ("five.nii", "[5, 4, 3, 1, 2, 1, 1]"),
    ("float128.nii", "floats of 128 bits"),
    // ITK takes 1 mm for both. A guessed spacing gives labels at a wrong scale without a word.
    ("nan_pixdim.nii", "axis 1 is NaN"),
    ("zero_pixdim.nii", "axis 2 is 0"),
    ("rgb.nii", "RGB colours"),
    ("sform_zeros.nii", "orthonormal direction cosines"),
    ("shear_1e-2.nii", "orthonormal direction cosines"),
    ("shear_1e-3.nii", "orthonormal direction cosines"),
    ("vector.nii", "[5, 4, 3, 1, 2, 1, 1]"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nifti")
}

fn record() -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(folder().join("nifti.json")).expect("tests/golden/nifti/nifti.json");
    let all: Value = serde_json::from_str(&text).expect("valid JSON");
    assert_eq!(all["format"], 1);
    let files: BTreeMap<_, _> =
        all["files"].as_object().expect("files").iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    assert!(files.len() > 90, "only {} fixtures are recorded", files.len());
    files
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

fn header(scan: &Scan) -> &Header {
    scan.geometry().own::<Header>().expect("a NIfTI header")
}

fn close(got: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((got - expected).abs() <= tolerance * expected.abs().max(1.0), "{what}: got {got}, expected {expected}");
}

#[test]
fn voxels_are_those_of_the_reference_readers() {
    let mut compared = 0;
    for (name, expected) in record() {
        if REFUSED.iter().any(|(refused, _)| *refused == name) {
            continue;
        }
        let (itk, nibabel) = (&expected["sitk"], &expected["nibabel"]);
        let reference = if itk["crc"].is_u64() { itk } else { nibabel };
        let streamed = voxels(&open(&name));
        let sum: f64 = streamed.iter().map(|v| f64::from(*v)).sum();
        assert_eq!(Some(crc(&streamed)), reference["crc"].as_u64(), "{name}: sum {sum}, expected {}", reference["sum"]);
        compared += 1;
    }
    assert!(compared > 80, "{compared}");
}

#[test]
fn geometry_is_that_of_itk() {
    let mut compared = 0;
    for (name, expected) in record() {
        let itk = &expected["sitk"];
        if REFUSED.iter().any(|(refused, _)| *refused == name) || itk["size"].is_null() {
            continue;
        }
        let file = open(&name);
        let grid = file.grid();
        let size: Vec<usize> = numbers(&itk["size"]).iter().map(|n| *n as usize).collect();
        let axes = size.len().min(3);
        assert_eq!(header(&file).is_planar(), axes == 2, "{name}");
        assert_eq!(file.channels(), *size.get(3).unwrap_or(&1), "{name}");
        let mut shape_zyx: Vec<_> = (0..3).map(|k| if k < axes { size[k] } else { 1 }).collect();
        shape_zyx.reverse();
        assert_eq!(grid.shape_zyx, shape_zyx[..], "{name}");

        let spacing = numbers(&itk["spacing"]);
        for (k, s) in spacing.iter().enumerate().take(axes) {
            assert_eq!(grid.spacing_mm[2 - k], *s, "{name}: spacing is exact");
        }
        if axes == 2 {
            assert_eq!(grid.spacing_mm[0], 999.0 * spacing[0].max(spacing[1]), "{name}");
        }
        // Where sform and qform differ by less than 1e-4, ITK's choice between them is an accident of rounding.
        let tolerance = if name == "form_both_near.nii" { 1e-4 } else { 1e-12 };
        let (origin, direction) = (numbers(&itk["origin"]), numbers(&itk["direction"]));
        for k in 0..axes {
            close(grid.origin[k], origin[k], tolerance, &format!("{name}: origin {k}"));
            for r in 0..axes {
                let expected = direction[r * size.len() + k];
                close(grid.direction[r][k], expected, tolerance, &format!("{name}: direction {r},{k}"));
            }
        }
        compared += 1;
    }
    assert!(compared > 80, "{compared}");
}

#[test]
fn nifti2_lies_where_nibabel_says() {
    let mut compared = 0;
    for (name, expected) in record() {
        let affine = &expected["nibabel"]["affine"];
        if affine.is_null() {
            continue;
        }
        let affine = numbers(affine);
        let file = open(&name);
        assert_eq!(header(&file).version(), Version::Two);
        let grid = file.grid();
        for r in 0..3 {
            let sign = if r < 2 { -1.0 } else { 1.0 };
            close(sign * grid.origin[r], affine[4 * r + 3], 1e-12, &name);
            for k in 0..3 {
                close(sign * grid.direction[r][k] * grid.spacing_mm[2 - k], affine[4 * r + k], 1e-12, &name);
            }
        }
        compared += 1;
    }
    assert_eq!(compared, 3);
}

#[test]
fn refused_files_say_why() {
    let known = record();
    for (name, phrase) in REFUSED {
        assert!(known.contains_key(name), "{name} is not among the fixtures");
        let error = Scan::open(&[folder().join(name)]).expect_err(name).to_string();
        assert!(error.contains(phrase) && error.contains(name), "{error}");
    }
}

#[test]
fn labels_under_every_fixture_keep_its_geometry() {
    for name in record().keys().filter(|name| !REFUSED.iter().any(|(refused, _)| refused == name)) {
        let file = open(name);
        let voxels: usize = file.grid().shape_zyx.iter().product();
        let labels: Vec<u16> = (0..voxels).map(|n| (300 + n) as u16).collect();
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("l.nii");
        write_labels(&path, file.geometry(), LabelType::U16, &labels);
        let bytes = std::fs::read(&path).expect("a file");
        let written = Header::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(written.grid(), header(&file).grid(), "{name}");
        assert_eq!((written.version(), written.big_endian()), (header(&file).version(), header(&file).big_endian()));
        assert_eq!((written.channels(), written.scaling()), (1, None), "{name}");
        assert_eq!(written.is_planar(), header(&file).is_planar(), "{name}");
        assert_eq!(bytes.len() as u64, written.voxels_at() + written.data_bytes());
        let (old, new) = (header(&file).raw(), written.raw());
        let kept = match written.version() {
            Version::One => [76..108, 123..124, 252..328],
            Version::Two => [104..168, 500..504, 344..496],
        };
        for range in kept {
            assert_eq!(old[range.clone()], new[range], "{name}: bit for bit");
        }
        let private = b"private note";
        assert!(old.windows(private.len()).any(|w| w == private), "the fixture tries");
        assert!(!bytes.windows(private.len()).any(|w| w == private), "{name}");
        assert!(!bytes.windows(6).any(|w| w == b"SECRET"), "{name}");
    }
}
