//! Datasets with faults: every one is named with its case and reason, all together, and nothing is written.

mod common;

use common::{Raw, grid, write};
use scanside_app::error::{Error, ErrorKind};
use scanside_app::interrupt::Stop;
use scanside_core::volume::VoxelType;
use scanside_formats::nifti::ImageWriter;
use scanside_trainer::dataset::raw::RawDataset;
use scanside_trainer::dataset::ready::{Ready, ReadyOptions, make_ready};
use scanside_trainer::plan::Planner;
use scanside_trainer::work::Work;
use std::path::Path;

const OPTIONS: ReadyOptions = ReadyOptions { planner: Planner::Default, threads: 2, overwrite: false };

fn ready(raw: &Raw, work: &Path) -> Result<Ready, Error> {
    make_ready(&RawDataset::open(&raw.root)?, &Work::new(work), OPTIONS, &Stop::new(), &|_, _| {})
}

/// Spoils a dataset and returns what is said, which must come with exit code 3 and leave no work folder.
fn complaint(spoil: impl FnOnce(&Raw)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let raw = Raw::new(folder.path());
    spoil(&raw);
    let work = folder.path().join("work");
    let error = ready(&raw, &work).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input, "{}", error.chain());
    assert!(!work.exists(), "something was written in spite of: {}", error.chain());
    error.chain()
}

/// Spoils a dataset a little and returns the warnings.
fn warnings(spoil: impl FnOnce(&Raw)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let raw = Raw::new(folder.path());
    spoil(&raw);
    let ready = ready(&raw, &folder.path().join("work")).unwrap();
    ready.warnings.iter().map(ToString::to_string).collect()
}

fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn a_sound_dataset_has_nothing_to_complain_of() {
    assert_eq!(warnings(|_| {}), [""; 0]);
}

#[test]
fn orphans_and_missing_channels_are_named() {
    let text = complaint(|raw| {
        std::fs::remove_file(raw.label("a")).unwrap();
        std::fs::remove_file(raw.image("b", 0)).unwrap();
        std::fs::remove_file(raw.image("b", 1)).unwrap();
        std::fs::remove_file(raw.image("c", 0)).unwrap();
        std::fs::copy(raw.image("d", 0), raw.image("d", 2)).unwrap();
        std::fs::copy(raw.image("d", 0), raw.root.join("imagesTr/e.nii.gz")).unwrap();
    });
    says(
        &text,
        &[
            "has 5 fault(s)",
            "case a: has no label map",
            "case b: has a label map labelsTr/b.nii.gz, but no image",
            "case c: has no image c_0000.nii.gz (T1)",
            "case d: has an image d_0002.nii.gz, but dataset.json names 2 channel(s)",
            "imagesTr/e.nii.gz names no channel",
        ],
    );
}

#[test]
fn a_single_file_without_all_channels_is_named() {
    let text = complaint(|raw| std::fs::remove_file(raw.image("c", 1)).unwrap());
    says(&text, &["case c: has 1 channel(s), but dataset.json names 2"]);
}

#[test]
fn grids_that_differ_are_named() {
    let text = complaint(|raw| {
        let mut coarse = grid(raw.shape);
        coarse.spacing_mm = [1.0, 1.0, 1.5];
        let small = grid([11, 10, 9]);
        write(&raw.image("a", 1), &small, VoxelType::I16, &[1.0; 990]);
        write(&raw.image("b", 1), &coarse, VoxelType::I16, &raw.voxels(1, 1));
        write(&raw.label("c"), &small, VoxelType::U8, &[1.0; 990]);
        write(&raw.label("d"), &coarse, VoxelType::U8, &raw.labels());
    });
    says(
        &text,
        &[
            "has 4 fault(s)",
            "case a:",
            "shape",
            "case b:",
            "voxel spacing",
            "case c: the label map has 9 x 10 x 11 voxels, the image 9 x 10 x 12",
            "case d: the label map has voxels of 1.5 x 1 x 1 mm, the image of 1 x 1 x 1 mm",
        ],
    );
}

#[test]
fn wrong_labels_are_counted() {
    let text = complaint(|raw| {
        let mut labels = raw.labels();
        labels[5] = 7.0;
        labels[6] = 7.0;
        labels[7] = 9.0;
        write(&raw.label("a"), &grid(raw.shape), VoxelType::U8, &labels);
        labels = raw.labels();
        labels[9] = 0.5;
        labels[90] = 1.25;
        write(&raw.label("b"), &grid(raw.shape), VoxelType::F32, &labels);
        labels = raw.labels();
        labels[0] = f32::NAN;
        write(&raw.label("c"), &grid(raw.shape), VoxelType::F32, &labels);
        labels = raw.labels();
        labels[1] = -1.0;
        write(&raw.label("d"), &grid(raw.shape), VoxelType::I16, &labels);
    });
    says(
        &text,
        &[
            "has 4 fault(s)",
            "case a: has labels that dataset.json does not name: 7 (2 voxel(s)), 9 (1 voxel(s))",
            "case b: 2 label voxel(s) are not whole numbers, the first 0.5 at (x 0, y 1, z 0)",
            "case c: 1 label voxel(s) are NaN or infinite",
            "case d: has labels that dataset.json does not name: -1 (1 voxel(s))",
        ],
    );
}

#[test]
fn voxels_that_are_no_numbers_are_counted() {
    let said = warnings(|raw| {
        let mut voxels = raw.voxels(0, 0);
        voxels[13] = f32::NAN;
        voxels[14] = f32::NEG_INFINITY;
        write(&raw.image("a", 1), &grid(raw.shape), VoxelType::F32, &voxels);
    });
    let [warning] = &said[..] else { panic!("{said:?}") };
    says(warning, &["case a", "a_0001", "read as 0", "there are 2"]);
}

#[test]
fn voxels_beyond_single_precision_are_counted() {
    let text = complaint(|raw| {
        let mut voxels = raw.voxels(0, 0);
        voxels[13] = 1e10;
        let mut image = ImageWriter::create(Vec::new(), &grid(raw.shape), VoxelType::F32, false).unwrap();
        voxels.chunks(raw.shape[1] * raw.shape[2]).for_each(|plane| image.write_plane(plane).unwrap());
        let mut bytes = image.finish().unwrap();
        bytes[112..116].copy_from_slice(&1e30f32.to_le_bytes());
        std::fs::write(raw.image("a", 1), bytes).unwrap();
    });
    says(&text, &["case a: channel 1 has 1 voxel(s) that are not finite numbers, the first inf at (x 4, y 1, z 0)"]);
}

#[test]
fn damaged_files_are_named() {
    let text = complaint(|raw| {
        let whole = std::fs::read(raw.image("a", 0)).unwrap();
        std::fs::write(raw.image("a", 0), &whole[..whole.len() / 2]).unwrap();
        std::fs::write(raw.label("b"), b"no image").unwrap();
        std::fs::write(raw.image("c", 1), b"").unwrap();
    });
    says(&text, &["has 3 fault(s)", "case a:", "a_0000.nii.gz", "case b:", "b.nii.gz", "case c:", "c_0001.nii.gz"]);
}

#[test]
fn a_dataset_without_cases_or_foreground_is_refused() {
    let text = complaint(|raw| {
        for folder in ["imagesTr", "labelsTr"] {
            std::fs::remove_dir_all(raw.root.join(folder)).unwrap();
            std::fs::create_dir(raw.root.join(folder)).unwrap();
        }
    });
    says(&text, &["there is no training case", "CASE_0000.nii.gz"]);
    let text = complaint(|raw| {
        for case in ["a", "b", "c", "d", "e"] {
            write(&raw.label(case), &grid(raw.shape), VoxelType::U8, &[0.0; 1080]);
        }
    });
    says(&text, &["no case has a voxel of any label but background"]);
}

#[test]
fn cases_that_share_a_name_or_a_file_are_named() {
    let text = complaint(|raw| {
        for channel in 0..2 {
            std::fs::copy(raw.image("a", channel), raw.image("A", channel)).unwrap();
        }
        std::fs::copy(raw.label("a"), raw.label("A")).unwrap();
    });
    says(&text, &["case a: its name differs from case A in capitals only"]);
    let text = complaint(|raw| {
        let json = r#"{"channel_names": {"0": "T1"}, "labels": {"background": 0, "a": 1, "b": 2}, "file_ending": ".nii.gz",
            "dataset": {"x": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"},
                        "y": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/b.nii.gz"}}}"#;
        std::fs::write(raw.root.join("dataset.json"), json).unwrap();
    });
    says(&text, &["case y:", "a_0000.nii.gz is used by case x as well"]);
}

#[test]
fn what_can_be_trained_on_is_only_warned_of() {
    let said = warnings(|raw| {
        raw.describe(r#"{"background": 0, "a": 1, "b": 2, "c": 3}"#, 7);
        write(&raw.label("a"), &grid(raw.shape), VoxelType::U8, &[0.0; 1080]);
        write(&raw.image("b", 1), &grid(raw.shape), VoxelType::I16, &[4.0; 1080]);
        for channel in 0..2 {
            std::fs::copy(raw.image("c", channel), raw.image("d", channel)).unwrap();
        }
        let mut moved = grid(raw.shape);
        moved.origin = [5.0, 0.0, 0.0];
        write(&raw.label("e"), &moved, VoxelType::U8, &raw.labels());
    });
    let text = said.join("\n");
    says(
        &text,
        &[
            "dataset.json announces 7 cases (`numTraining`), but there are 5",
            "no case has a voxel of label 3",
            "case a: has no voxel of any label but background",
            "case b: every voxel of channel 1 is 4",
            "case d: its images equal those of case c",
            "case e: the label map has another origin or direction",
        ],
    );
    assert_eq!(said.len(), 6, "{text}");
}
