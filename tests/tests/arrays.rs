//! Arrays in and out give the bytes that files in and out give.

use ndarray::{Array3, Array4, ShapeBuilder};
use scanside_core::arrays::ArrayScan;
use scanside_core::engine::Engine;
use scanside_core::executor::Serial;
use scanside_core::manifest::{Manifest, Normalization};
use scanside_core::patch::PatchPrecision;
use scanside_core::pipeline::{Run, RunOptions, Surroundings};
use scanside_core::volume::Box3;
use scanside_formats::{LabelOptions, LabelType, LabelWriter, Scan, label_writer};
use scanside_testing::data::workspace;
use scanside_testing::engines::Mixing;
use scanside_testing::runs;
use std::fs::File;
use std::path::Path;

const PATCH: [usize; 3] = [16, 20, 16];

fn model(channels: usize) -> (Manifest, Mixing) {
    let mut manifest = runs::manifest(PATCH, channels, 4);
    manifest.grid.spacing_mm = [Some(1.2), Some(0.9), None];
    manifest.grid.transpose_forward = [1, 0, 2];
    manifest.mirror_axes = vec![0, 2];
    for channel in &mut manifest.channels {
        channel.normalization = Normalization::ZScore { masked: true };
    }
    (manifest, Mixing { patch: PATCH, channels, heads: 4, folds: 1, precision: PatchPrecision::F32 })
}

fn scan(channels: usize) -> Scan {
    let path = workspace().join("examples/hippocampus/images/hippocampus_034_0000.nii.gz");
    Scan::open(&vec![path; channels]).expect("a scan")
}

/// The bytes of a label file, whose planes `write` hands over.
fn label_file(scan: &Scan, write: impl FnOnce(&mut (dyn LabelWriter + 'static))) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("labels.nii");
    let options = LabelOptions { path: Path::new("labels.nii"), stored: LabelType::U8, description: "" };
    let file = Box::new(File::create(&path).expect("a file"));
    let mut writer = label_writer(file, scan.geometry(), &options).expect("a writer");
    write(writer.as_mut());
    writer.finish().expect("all planes");
    std::fs::read(path).expect("the file")
}

fn from_files<E: Engine>(manifest: &Manifest, engine: &E, scan: &Scan) -> Vec<u8> {
    let mut source = scan.stream();
    let run = Run::look(manifest, source.as_mut(), RunOptions::default()).expect("a run");
    let planned = run.plan(engine, &Surroundings::default(), 1, None).expect("a plan");
    label_file(scan, |writer| planned.segment(source.as_mut(), &Serial, writer, &mut ()).expect("labels"))
}

fn from_array<E: Engine>(manifest: &Manifest, engine: &E, scan: &Scan, mut array: ArrayScan<'_, f32>) -> Vec<u8> {
    let run = Run::look(manifest, &mut array, RunOptions::default()).expect("a run");
    let planned = run.plan(engine, &Surroundings::default(), 1, None).expect("a plan");
    let labels: Array3<u16> = planned.segment_to_array(&mut array, &Serial, &mut ()).expect("labels");
    assert_eq!(labels.shape(), scan.grid().shape_zyx);
    assert!(labels.iter().any(|label| *label > 0), "the comparison would be empty");
    label_file(scan, |writer| {
        for plane in labels.outer_iter() {
            writer.write_plane(plane.as_slice().expect("one piece")).expect("a plane");
        }
    })
}

/// All voxels of a channel, `z, y, x`.
fn voxels(scan: &Scan) -> Vec<f32> {
    let shape = scan.grid().shape_zyx;
    let mut values = vec![0.0; shape.iter().product()];
    scan.stream().read(0, &Box3::full(shape), &mut values).expect("voxels");
    values
}

#[test]
fn an_array_gives_the_bytes_of_the_file() {
    let (manifest, engine) = model(1);
    let scan = scan(1);
    let (shape, spacing) = (scan.grid().shape_zyx, scan.grid().spacing_mm);
    let expected = from_files(&manifest, &engine, &scan);
    let array = Array3::from_shape_vec(shape, voxels(&scan)).expect("an array");
    assert!(from_array(&manifest, &engine, &scan, ArrayScan::new(array.view(), spacing)) == expected);
    // The same voxels with z fastest, as Fortran and MATLAB store them.
    let mut columns = Array3::zeros(shape.f());
    columns.assign(&array);
    assert!(from_array(&manifest, &engine, &scan, ArrayScan::new(columns.view(), spacing)) == expected);
    // Another spacing is another scan.
    let wide = ArrayScan::new(array.view(), spacing.map(|mm| 1.5 * mm));
    assert!(from_array(&manifest, &engine, &scan, wide) != expected);
}

#[test]
fn an_array_of_channels_gives_the_bytes_of_the_files() {
    let (manifest, engine) = model(2);
    let scan = scan(2);
    let [z, y, x] = scan.grid().shape_zyx;
    let twice = voxels(&scan).repeat(2);
    let array = Array4::from_shape_vec([2, z, y, x], twice).expect("an array");
    let array = ArrayScan::with_channels(array.view(), scan.grid().spacing_mm);
    assert!(from_array(&manifest, &engine, &scan, array) == from_files(&manifest, &engine, &scan));
}
