//! A dataset prepared into a work folder: again, changed, interrupted, and by another plan.

use scanside_app::error::{Error, ErrorKind};
use scanside_app::interrupt::Stop;
use scanside_testing::data::{data, skipped};
use scanside_trainer::dataset::cache::CachedCase;
use scanside_trainer::dataset::prepare::{Cache, Job, Outcome};
use scanside_trainer::dataset::raw::RawDataset;
use scanside_trainer::dataset::source::Source;
use scanside_trainer::dataset::splits;
use scanside_trainer::plan::{CONFIGURATION, TrainingPlan};
use scanside_trainer::work::Work;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Prepares as the program does.
fn prepare(raw: &RawDataset, plan: &TrainingPlan, work: &Work, overwrite: bool) -> Result<Outcome, Error> {
    let cache = Cache::check(raw, plan, work, overwrite)?;
    let source = Source::of(raw, Source::read(work).unwrap_or_default());
    source.write(work)?;
    let job = Job { raw, plan, work, source: &source, stop: &Stop::new() };
    cache.fill(&job, &|_, _| {})
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/preprocessed").join(name)
}

fn plan(folder: &Path) -> TrainingPlan {
    TrainingPlan::from_files(&folder.join("plans.json"), &folder.join("dataset.json"), CONFIGURATION).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn only_what_changed_is_prepared_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("Dataset002_Thick");
    copy(&golden("thick_slices"), &root);
    let work = Work::new(folder.path().join("work"));
    let plan = plan(&root);
    let run = || prepare(&RawDataset::open(&root).unwrap(), &plan, &work, false).unwrap();
    assert_eq!(run(), Outcome { prepared: 3, reused: 0, removed: 0 });
    let before = std::fs::metadata(work.case("thick")).unwrap().modified().unwrap();
    assert_eq!(run(), Outcome { prepared: 0, reused: 3, removed: 0 });
    assert_eq!(std::fs::metadata(work.case("thick")).unwrap().modified().unwrap(), before);
    let case = CachedCase::open(&work.case("thick")).unwrap();
    assert_eq!((case.id(), case.channels(), case.shape_zyx()), ("thick", 1, [14, 33, 33]));
    assert_eq!(case.image().len(), 14 * 33 * 33);
    assert_eq!(case.locations().len(), 3);

    // A file is written again, a case becomes another, a cached case is damaged, a case goes.
    let touched = root.join("labelsTr/same.nii.gz");
    std::fs::write(&touched, std::fs::read(&touched).unwrap()).unwrap();
    assert_eq!(run(), Outcome { prepared: 0, reused: 3, removed: 0 }, "the same bytes are no change");
    std::fs::copy(root.join("imagesTr/same_0000.nii.gz"), root.join("imagesTr/thin_0000.nii.gz")).unwrap();
    std::fs::copy(&touched, root.join("labelsTr/thin.nii.gz")).unwrap();
    assert_eq!(run(), Outcome { prepared: 1, reused: 2, removed: 0 });
    let mut bytes = std::fs::read(work.case("thick")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(work.case("thick"), bytes).unwrap();
    assert_eq!(run(), Outcome { prepared: 1, reused: 2, removed: 0 });
    std::fs::remove_file(root.join("imagesTr/same_0000.nii.gz")).unwrap();
    std::fs::remove_file(root.join("labelsTr/same.nii.gz")).unwrap();
    assert_eq!(run(), Outcome { prepared: 0, reused: 2, removed: 1 });
    assert!(!work.case("same").exists());
}

#[test]
fn a_request_to_stop_ends_the_preparation() {
    let folder = tempfile::tempdir().unwrap();
    let root = golden("thick_slices");
    let work = Work::new(folder.path());
    let (raw, plan) = (RawDataset::open(&root).unwrap(), plan(&root));
    let source = Source::of(&raw, Source::default());
    let stop = Stop::new();
    stop.request();
    let job = Job { raw: &raw, plan: &plan, work: &work, source: &source, stop: &stop };
    let error = Cache::check(&raw, &plan, &work, false).unwrap().fill(&job, &|_, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted, "{}", error.chain());
    assert!(!work.cache().exists());
}

#[test]
fn a_cache_of_another_plan_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = golden("thick_slices");
    let work = Work::new(folder.path());
    let raw = RawDataset::open(&root).unwrap();
    let first = plan(&root);
    prepare(&raw, &first, &work, false).unwrap();
    let mut other = first.clone();
    other.manifest.grid.spacing_mm[1] = Some(1.5);
    other.manifest.grid.spacing_mm[2] = Some(1.5);
    let error = prepare(&raw, &other, &work, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.chain().contains("3 case(s) that were preprocessed by another plan"), "{}", error.chain());
    let replaced = prepare(&raw, &other, &work, true).unwrap();
    assert_eq!(replaced.prepared, 3);
    assert_eq!(CachedCase::open(&work.case("thick")).unwrap().shape_zyx()[1], 22);
}

#[test]
fn faulty_cases_are_told_together_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("raw");
    copy(&golden("thick_slices"), &root);
    for name in ["imagesTr/thick_0000.nii.gz", "labelsTr/thin.nii.gz"] {
        let whole = std::fs::read(root.join(name)).unwrap();
        std::fs::write(root.join(name), &whole[..whole.len() / 2]).unwrap();
    }
    let work = Work::new(folder.path().join("work"));
    let error = prepare(&RawDataset::open(&root).unwrap(), &plan(&root), &work, false).unwrap_err();
    let text = error.chain();
    assert!(text.contains("case thick") && text.contains("case thin") && !text.contains("case same"), "{text}");
    let cached: Vec<_> = std::fs::read_dir(work.cache()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(cached, ["same.scase"]);
}

/// A small file system that fills up. Mounting needs rights that not every machine gives.
#[test]
fn a_full_disk_leaves_no_half_case() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=200k", "tmpfs"]).arg(folder.path()).output();
    if !mounted.is_ok_and(|o| o.status.success()) {
        skipped("a small file system cannot be mounted without more rights");
        return;
    }
    let root = golden("thick_slices");
    let work = Work::new(folder.path());
    let result = prepare(&RawDataset::open(&root).unwrap(), &plan(&root), &work, false);
    let left: Vec<_> = std::fs::read_dir(work.cache()).unwrap().flatten().map(|e| e.path()).collect();
    let whole = left.iter().all(|path| CachedCase::open(path).and_then(|case| case.verify()).is_ok());
    Command::new("umount").arg(folder.path()).status().unwrap();
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Output, "{}", error.chain());
    assert!(whole && left.len() < 3, "{left:?}");
}

#[test]
fn the_hippocampus_splits_come_out_equal() {
    let Some(folder) = data("hippocampus") else { return };
    let raw = RawDataset::open(&folder).unwrap();
    let ids: Vec<String> = raw.cases.iter().map(|case| case.id.clone()).collect();
    assert_eq!(splits::read(&raw.splits(), &ids).unwrap(), splits::k_fold(&ids));
}

#[test]
fn the_hippocampus_is_prepared_by_a_real_plan() {
    let (Some(folder), Some(model)) = (data("hippocampus"), data("nnunet-hippocampus/model")) else { return };
    let work_folder = tempfile::tempdir().unwrap();
    let work = Work::new(work_folder.path());
    let plan = TrainingPlan::from_files(&model.join("plans.json"), &model.join("dataset.json"), CONFIGURATION).unwrap();
    let mut raw = RawDataset::open(&folder).unwrap();
    assert_eq!(raw.cases.len(), 208);
    raw.cases.truncate(12);
    prepare(&raw, &plan, &work, false).unwrap();
    for case in &raw.cases {
        let cached = CachedCase::open(&work.case(&case.id)).unwrap();
        let image = cached.image();
        let mean = image.iter().map(|&v| f64::from(v)).sum::<f64>() / image.len() as f64;
        assert!(mean.abs() < 1e-4, "{}: z-score has a mean of {mean}", case.id);
        assert!(cached.locations().iter().all(|class| !class.is_empty()), "{}", case.id);
        for (class, locations) in [1, 2].into_iter().zip(cached.locations()) {
            assert!(locations.iter().all(|&index| cached.labels()[index as usize] == class));
        }
    }
}
