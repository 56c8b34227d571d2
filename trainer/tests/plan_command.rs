//! `scanside-train plan`: a second run changes nothing, a changed dataset only what depends on it.

mod common;

use clap::Parser;
use common::{Raw, grid, write};
use scanside_app::error::{Error, ErrorKind};
use scanside_app::interrupt::Stop;
use scanside_core::volume::VoxelType;
use scanside_trainer::commands::plan::{PlanArgs, run};
use scanside_trainer::dataset::cache::CachedCase;
use scanside_trainer::dataset::prepare::Outcome;
use scanside_trainer::dataset::raw::RawDataset;
use scanside_trainer::dataset::ready::{Ready, ReadyOptions, Step, make_ready};
use scanside_trainer::dataset::splits::{Split, k_fold, to_json};
use scanside_trainer::exit::Exit;
use scanside_trainer::plan::{Planner, TrainingPlan};
use scanside_trainer::work::Work;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

const OPTIONS: ReadyOptions = ReadyOptions { planner: Planner::Default, threads: 2, overwrite: false };

struct Place {
    _folder: tempfile::TempDir,
    raw: Raw,
    work: Work,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let raw = Raw::new(folder.path());
        let work = Work::new(folder.path().join("work"));
        Place { _folder: folder, raw, work }
    }

    /// Makes ready, and says how many cases were examined.
    fn ready(&self, options: ReadyOptions) -> Result<(Ready, usize), Error> {
        let examined = Mutex::new(0);
        let count = |_: &str, step: Step| *examined.lock().unwrap() += usize::from(step == Step::Examined);
        let ready = make_ready(&RawDataset::open(&self.raw.root)?, &self.work, options, &Stop::new(), &count)?;
        Ok((ready, examined.into_inner().unwrap()))
    }

    fn outcome(&self, options: ReadyOptions) -> (usize, Outcome) {
        let (ready, examined) = self.ready(options).unwrap();
        (examined, ready.outcome)
    }

    /// All files with their times.
    fn files(&self) -> BTreeMap<PathBuf, SystemTime> {
        let mut files = BTreeMap::new();
        for folder in [self.work.root(), &self.work.cache()] {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                if entry.path().is_file() && entry.path() != self.work.source() {
                    files.insert(entry.path(), entry.metadata().unwrap().modified().unwrap());
                }
            }
        }
        files
    }
}

fn outcome(prepared: usize, reused: usize, removed: usize) -> Outcome {
    Outcome { prepared, reused, removed }
}

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    plan: PlanArgs,
}

fn program(arguments: &[&Path]) -> Result<Exit, Error> {
    let arguments = [Path::new("plan")].into_iter().chain(arguments.iter().copied());
    run(&Program::parse_from(arguments.map(Path::as_os_str)).plan, &Stop::new())
}

#[test]
fn a_second_run_changes_nothing() {
    let place = Place::new();
    assert_eq!(program(&[&place.raw.root, Path::new("-o"), place.work.root()]).unwrap(), Exit::Done);
    let files = place.files();
    let names: Vec<_> = files.keys().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(
        names,
        ["a.scase", "b.scase", "c.scase", "d.scase", "e.scase"]
            .into_iter()
            .chain(["dataset.json", "dataset_fingerprint.json", "plans.json", "splits_final.json"])
            .collect::<Vec<_>>()
    );
    assert_eq!(place.outcome(OPTIONS), (0, outcome(0, 5, 0)));
    assert_eq!(place.files(), files);

    let plan = TrainingPlan::read(&place.work).unwrap();
    assert_eq!((plan.dataset_name.as_str(), plan.plans_name.as_str()), ("Dataset007_Spoilt", "nnUNetPlans"));
    assert_eq!(plan.channels.len(), 2);
    let case = CachedCase::open(&place.work.case("e")).unwrap();
    assert_eq!((case.channels(), case.shape_zyx()), (2, [12, 10, 9]));
    assert_eq!(case.labels().iter().filter(|label| **label == 1).count(), 360);
}

#[test]
fn a_changed_dataset_changes_what_depends_on_it() {
    let place = Place::new();
    // Without a CT, whose constants come from all cases, cases do not depend on each other.
    let describe = |announced| {
        place.raw.describe(r#"{"background": 0, "a": 1, "b": 2}"#, announced);
        let json = place.raw.root.join("dataset.json");
        let text = std::fs::read_to_string(&json).unwrap().replace("\"CT\"", "\"T2\"");
        std::fs::write(json, text).unwrap();
    };
    describe(5);
    assert_eq!(place.outcome(OPTIONS), (5, outcome(5, 0, 0)));

    let mut labels = place.raw.labels();
    labels.reverse();
    write(&place.raw.label("b"), &grid(place.raw.shape), VoxelType::U8, &labels);
    assert_eq!(place.outcome(OPTIONS), (5, outcome(1, 4, 0)));

    for path in [place.raw.image("a", 0), place.raw.image("a", 1), place.raw.label("a")] {
        let target = path.with_file_name(path.file_name().unwrap().to_str().unwrap().replacen('a', "f", 1));
        std::fs::rename(path, target).unwrap();
    }
    assert_eq!(place.outcome(OPTIONS), (5, outcome(1, 4, 1)));
    let ids: Vec<String> = ["b", "c", "d", "e", "f"].map(String::from).to_vec();
    assert_eq!(place.ready(OPTIONS).unwrap().0.splits, k_fold(&ids), "folds are made for the cases there are");
}

#[test]
fn constants_of_all_cases_make_a_cache_of_another_plan() {
    let place = Place::new();
    place.ready(OPTIONS).unwrap();
    let before = place.files();
    write(&place.raw.image("b", 1), &grid(place.raw.shape), VoxelType::I16, &place.raw.voxels(40, 3));
    let error = place.ready(OPTIONS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.chain().contains("5 case(s) that were preprocessed by another plan"), "{}", error.chain());
    assert_eq!(place.files(), before, "a refusal leaves everything as it was");
    assert_eq!(place.outcome(ReadyOptions { overwrite: true, ..OPTIONS }), (5, outcome(5, 0, 0)));
}

#[test]
fn plans_that_were_edited_are_kept_until_the_dataset_changes() {
    let place = Place::new();
    place.ready(OPTIONS).unwrap();
    let text = std::fs::read_to_string(place.work.plans()).unwrap();
    let edited = text.replace("\"batch_size\": 2", "\"batch_size\": 3");
    assert_ne!(text, edited);
    std::fs::write(place.work.plans(), &edited).unwrap();
    let (ready, _) = place.ready(OPTIONS).unwrap();
    assert_eq!(ready.plan.batch_size, 3);
    assert!(ready.warnings[0].to_string().contains("was edited, and is used as it is"));
    assert_eq!(std::fs::read_to_string(place.work.plans()).unwrap(), edited);

    // An edit of the grid needs the cases anew, and is not undone by that.
    let coarse = edited
        .replace("\"patch_size\"", "\"old_patch_size\"")
        .replace("\"spacing\": [", "\"spacing\": [2.0, 1.0, 1.0], \"patch_size\": [12, 10, 10], \"old_spacing\": [");
    std::fs::write(place.work.plans(), &coarse).unwrap();
    let error = place.ready(OPTIONS).unwrap_err();
    assert!(error.chain().contains("preprocessed by another plan"), "{}", error.chain());
    let (ready, _) = place.ready(ReadyOptions { overwrite: true, ..OPTIONS }).unwrap();
    assert_eq!((ready.plan.spacing_mm, ready.outcome), ([2.0, 1.0, 1.0], outcome(5, 0, 0)));
    assert_eq!(CachedCase::open(&place.work.case("a")).unwrap().shape_zyx(), [6, 10, 9]);

    let resenc = ReadyOptions { planner: Planner::ResencM, ..OPTIONS };
    let error = place.ready(resenc).unwrap_err();
    assert!(error.chain().contains("was edited or comes from elsewhere"), "{}", error.chain());
    let (ready, _) = place.ready(ReadyOptions { overwrite: true, ..resenc }).unwrap();
    assert_eq!((ready.plan.plans_name.as_str(), ready.outcome), ("nnUNetResEncUNetMPlans", outcome(5, 0, 0)));
}

#[test]
fn training_runs_keep_their_plan() {
    let place = Place::new();
    place.ready(OPTIONS).unwrap();
    std::fs::create_dir_all(place.work.runs().join("first")).unwrap();
    let resenc = ReadyOptions { planner: Planner::ResencM, ..OPTIONS };
    let error = place.ready(resenc).unwrap_err();
    assert!(error.chain().contains("training runs of another plan"), "{}", error.chain());
    assert_eq!(place.outcome(OPTIONS).1, outcome(0, 5, 0));
}

#[test]
fn folds_of_the_dataset_are_taken() {
    let place = Place::new();
    let own = vec![Split { train: vec!["a".into(), "c".into()], val: vec!["e".into()] }];
    std::fs::write(place.raw.root.join("splits_final.json"), to_json(&own)).unwrap();
    assert_eq!(place.ready(OPTIONS).unwrap().0.splits, own);
    std::fs::write(place.raw.root.join("splits_final.json"), r#"[{"train": ["x"], "val": []}]"#).unwrap();
    let error = place.ready(OPTIONS).unwrap_err();
    assert!(error.chain().contains("fold 0 trains on x, but the dataset has no such case"), "{}", error.chain());

    // So are those that somebody laid into the work folder.
    std::fs::remove_file(place.raw.root.join("splits_final.json")).unwrap();
    let theirs = vec![Split { train: vec!["b".into()], val: vec!["d".into()] }];
    std::fs::write(place.work.splits(), to_json(&theirs)).unwrap();
    assert_eq!(place.ready(OPTIONS).unwrap().0.splits, theirs);
    assert_eq!(place.ready(OPTIONS).unwrap().0.splits, theirs, "and they stay");
}

#[test]
fn the_dataset_itself_is_no_place_to_work() {
    let place = Place::new();
    let error = program(&[&place.raw.root, Path::new("-o"), &place.raw.root]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let error = program(&[&place.raw.root.join("imagesTr")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.chain().contains("dataset.json"), "{}", error.chain());
}
