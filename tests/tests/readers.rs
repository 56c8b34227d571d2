//! What the program makes of scans that nnU-Net's two readers read differently, and of scans and labels in other formats.

use scanside_core::volume::{Grid, Reader, VoxelType};
use scanside_formats::nifti::{Header, ImageWriter};
use scanside_formats::{Scan, read_labels};
use scanside_testing::data::golden;
use scanside_tests::program::scanside;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A small nnU-Net folder whose plans name this reader.
fn model(folder: &Path, reader: &str) -> PathBuf {
    let (from, to) = (golden().join("faults/folder"), folder.join(reader));
    fs::create_dir_all(to.join("fold_0")).expect("a folder");
    for name in ["dataset.json", "fold_0/checkpoint_final.pth"] {
        fs::copy(from.join(name), to.join(name)).expect("a copy");
    }
    let text = fs::read_to_string(from.join("plans.json")).expect("plans");
    let mut plans: serde_json::Value = serde_json::from_str(&text).expect("plans");
    plans["image_reader_writer"] = reader.into();
    fs::write(to.join("plans.json"), plans.to_string()).expect("plans");
    to
}

fn segment(model: &Path, scan: &Path, labels: &Path) -> Output {
    let mut program = scanside();
    program.args(["segment", "--threads", "1", "-m"]).arg(model).arg("-i").arg(scan).arg("-o").arg(labels);
    program.output().expect("the program starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const SHAPE: [usize; 3] = [9, 10, 12];

fn grid() -> Grid {
    Grid {
        shape_zyx: SHAPE,
        spacing_mm: [1.0; 3],
        origin: [-12.5, 30.0, 7.25],
        direction: [[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]],
    }
}

/// A scan whose voxels are made by `value`; the header is changed by `spoil`.
fn write(path: &Path, value: impl Fn(usize) -> f32, spoil: impl FnOnce(&mut [u8])) {
    let mut writer = ImageWriter::create(Vec::new(), &grid(), VoxelType::F32, false).expect("a header");
    let [planes, rows, columns] = SHAPE;
    for z in 0..planes {
        let plane: Vec<f32> = (0..rows * columns).map(|n| value(z * rows * columns + n)).collect();
        writer.write_plane(&plane).expect("a plane");
    }
    let mut bytes = writer.finish().expect("a file");
    spoil(&mut bytes);
    fs::write(path, bytes).expect("a file");
}

fn tissue(n: usize) -> f32 {
    100.0 + ((n * 7919) % 257) as f32
}

fn is_hole(n: usize) -> bool {
    n.is_multiple_of(5)
}

#[test]
fn nan_is_0_to_simpleitk_and_refused_for_nibabel() {
    let place = tempfile::tempdir().expect("a folder");
    let at = |name: &str| place.path().join(name);
    write(&at("nan.nii"), |n| if is_hole(n) { [f32::NAN, f32::INFINITY][n % 2] } else { tissue(n) }, |_| {});
    write(&at("zero.nii"), |n| if is_hole(n) { 0.0 } else { tissue(n) }, |_| {});
    let simple = model(place.path(), "SimpleITKIO");
    let [nan, zero] = ["nan", "zero"].map(|name| {
        let labels = at(&format!("{name}_labels.nii.gz"));
        let output = segment(&simple, &at(&format!("{name}.nii")), &labels);
        assert!(output.status.success(), "{}", said(&output));
        (read_labels(labels).expect("labels").labels, said(&output))
    });
    assert_eq!(nan.0, zero.0);
    let holes = (0..SHAPE.iter().product()).filter(|n| is_hole(*n)).count();
    assert_eq!(nan.1.matches(&format!("there are {holes}")).count(), 1, "{}", nan.1);
    assert!(nan.1.contains("nan.nii") && !zero.1.contains("NaN"), "{}", nan.1);

    let output = segment(&model(place.path(), "NibabelIO"), &at("nan.nii"), &at("refused.nii.gz"));
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("nan.nii") && said(&output).contains("NaN"), "{}", said(&output));
    assert!(!at("refused.nii.gz").exists());
}

#[test]
fn sheared_axes_are_taken_by_models_of_nibabel() {
    let place = tempfile::tempdir().expect("a folder");
    let at = |name: &str| place.path().join(name);
    let shear = |bytes: &mut [u8]| {
        bytes[252..254].fill(0);
        bytes[284..288].copy_from_slice(&0.25f32.to_le_bytes());
    };
    write(&at("sheared.nii"), tissue, shear);
    write(&at("plain.nii"), tissue, |_| {});
    let output = segment(&model(place.path(), "SimpleITKIO"), &at("sheared.nii"), &at("l.nii.gz"));
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));

    let nibabel = model(place.path(), "NibabelIO");
    let labels = ["sheared", "plain"].map(|name| {
        let labels = at(&format!("{name}_labels.nii"));
        let output = segment(&nibabel, &at(&format!("{name}.nii")), &labels);
        assert!(output.status.success(), "{}", said(&output));
        labels
    });
    // Directions are not used, so the labels are those of the same voxels under perpendicular axes.
    let [sheared, plain] = labels.each_ref().map(|path| read_labels(path).expect("labels").labels);
    assert_eq!(sheared, plain);
    let raw = |path: &Path| {
        let scan = Scan::open_as(&[path], Reader::Nibabel).expect("a file");
        scan.geometry().own::<Header>().expect("a header").raw()[252..328].to_vec()
    };
    assert_eq!(raw(&labels[0]), raw(&at("sheared.nii")), "the scan's own transforms");
    let before = fs::metadata(&labels[0]).expect("a file").modified().expect("a time");
    let again = segment(&nibabel, &at("sheared.nii"), &labels[0]);
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(fs::metadata(&labels[0]).expect("a file").modified().expect("a time"), before, "done before");
}

#[test]
fn labels_of_every_format_are_the_same_and_resumed() {
    let place = tempfile::tempdir().expect("a folder");
    let at = |name: &str| place.path().join(name);
    write(&at("scan.nii"), tissue, |_| {});
    let model = model(place.path(), "SimpleITKIO");
    let expected = at("labels.nii.gz");
    assert!(segment(&model, &at("scan.nii"), &expected).status.success());
    let expected = read_labels(expected).expect("labels");
    assert!(expected.labels.iter().any(|label| *label > 0));
    for ending in ["nii", "NRRD", "mha", "mgz", "mgh"] {
        let labels = at(&format!("labels.{ending}"));
        let output = segment(&model, &at("scan.nii"), &labels);
        assert!(output.status.success(), "{ending}: {}", said(&output));
        let map = read_labels(&labels).expect(ending);
        assert_eq!(map.labels, expected.labels, "{ending}");
        let apart = map.grid().origin.iter().zip(expected.grid().origin).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f64::max) < 1e-5, "{ending}: {:?}", map.grid());
        let before = fs::metadata(&labels).expect("a file").modified().expect("a time");
        let again = segment(&model, &at("scan.nii"), &labels);
        assert!(again.status.success(), "{ending}: {}", said(&again));
        assert_eq!(fs::metadata(&labels).expect("a file").modified().expect("a time"), before, "{ending}");
        // A scan of that format gives the same labels: what is in the file counts, not what the file is.
        let copy = at(&format!("again_{}.nii.gz", ending.to_lowercase()));
        let input = at(&format!("scan_{ending}.{ending}"));
        copy_as(&at("scan.nii"), &input);
        let output = segment(&model, &input, &copy);
        assert!(output.status.success(), "{ending}: {}", said(&output));
        assert_eq!(read_labels(&copy).expect("labels").labels, expected.labels, "{ending}");
    }
}

/// The whole numbers of a scan as an image of another format: label maps are images too.
fn copy_as(from: &Path, to: &Path) {
    let map = read_labels(from).expect("whole numbers");
    let options =
        scanside_formats::LabelOptions { path: to, stored: scanside_formats::LabelType::U16, description: "a scan" };
    let file = Box::new(fs::File::create(to).expect("a file"));
    let mut writer = scanside_formats::label_writer(file, &map.geometry, &options).expect("a header");
    let [_, rows, columns] = map.grid().shape_zyx;
    for plane in map.labels.chunks(rows * columns) {
        let plane: Vec<u16> = plane.iter().map(|v| *v as u16).collect();
        writer.write_plane(&plane).expect("a plane");
    }
    writer.finish().expect("a file");
}
