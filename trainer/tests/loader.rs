//! Batches: the same for any number of workers, cut from the right voxels, and never a hang.

use proptest::prelude::*;
use scanside_app::Error;
use scanside_trainer::augment::Plan;
use scanside_trainer::loader::{Batch, CaseData, Loader, LoaderSettings, Stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A case in memory.
#[derive(Clone)]
struct Case {
    id: String,
    shape_zyx: [usize; 3],
    image: Vec<f32>,
    labels: Vec<i16>,
    locations: Vec<Vec<u32>>,
}

impl Case {
    /// Every intensity says where it lies; labels are -1 on the case's first plane, else 0, 1 or 2.
    fn new(number: usize, shape_zyx: [usize; 3], channels: usize) -> Case {
        let voxels: usize = shape_zyx.iter().product();
        let plane = shape_zyx[1] * shape_zyx[2];
        let image = (0..voxels * channels).map(|i| (number * 1_000_000 + i + 1) as f32).collect();
        let label = |i: usize| if i < plane { -1 } else { (i * 7 / 5 % 3) as i16 };
        let labels: Vec<i16> = (0..voxels).map(label).collect();
        let of = |class: i16| (0..voxels as u32).filter(|&i| labels[i as usize] == class).collect();
        let locations = vec![of(1), of(2)];
        Case { id: format!("case_{number}"), shape_zyx, image, labels, locations }
    }

    fn shared(self) -> Arc<dyn CaseData> {
        Arc::new(self)
    }
}

impl CaseData for Case {
    fn id(&self) -> &str {
        &self.id
    }

    fn channels(&self) -> usize {
        self.image.len() / self.labels.len()
    }

    fn shape_zyx(&self) -> [usize; 3] {
        self.shape_zyx
    }

    fn image(&self) -> &[f32] {
        &self.image
    }

    fn labels(&self) -> &[i16] {
        &self.labels
    }

    fn locations(&self) -> &[Vec<u32>] {
        &self.locations
    }
}

fn settings(patch_zyx: [usize; 3], channels: usize, stream: Stream) -> LoaderSettings {
    LoaderSettings { plan: Plan::new(patch_zyx, &vec![true; channels]), batch: 3, stream, annotated: None, ahead: 2 }
}

fn cases(channels: usize) -> Vec<Arc<dyn CaseData>> {
    let shapes = [[12, 14, 10], [7, 20, 9], [15, 6, 16]];
    shapes.into_iter().enumerate().map(|(number, shape)| Case::new(number, shape, channels).shared()).collect()
}

fn take(loader: &mut Loader, count: usize) -> Vec<Batch> {
    (0..count).map(|_| loader.next_batch().unwrap()).collect()
}

#[test]
fn batches_do_not_depend_on_workers_recycling_or_where_a_run_begins() -> Result<(), Error> {
    for stream in [Stream::Training, Stream::Validation] {
        let start =
            |seed, first, workers| Loader::start(cases(2), settings([8, 9, 7], 2, stream), seed, first, workers);
        let expected = take(&mut start(5, 0, 1)?, 12);
        let numbers: Vec<u64> = expected.iter().map(|batch| batch.iteration).collect();
        assert_eq!(numbers, (0..12).collect::<Vec<u64>>());
        for workers in [2, 5] {
            assert_eq!(take(&mut start(5, 0, workers)?, 12), expected, "{workers} workers");
        }
        assert_eq!(take(&mut start(5, 4, 3)?, 8), expected[4..], "resumed");
        let mut recycling = start(5, 0, 2)?;
        for expected in &expected {
            let batch = recycling.next_batch()?;
            assert_eq!(batch, *expected, "recycled");
            recycling.recycle(batch);
        }
        assert_ne!(take(&mut start(6, 0, 1)?, 1), expected[..1], "another seed");
        assert_ne!(expected[0].images, expected[1].images);
    }
    Ok(())
}

#[test]
fn streams_of_a_seed_choose_other_patches() -> Result<(), Error> {
    let origins = |stream| -> Result<Vec<_>, Error> {
        let mut loader = Loader::start(cases(1), settings([8, 8, 8], 1, stream), 1, 0, 1)?;
        Ok(take(&mut loader, 20).into_iter().flat_map(|batch| batch.origins).map(|origin| origin.case).collect())
    };
    assert_ne!(origins(Stream::Training)?, origins(Stream::Validation)?);
    Ok(())
}

#[test]
fn the_last_third_of_a_batch_holds_foreground() -> Result<(), Error> {
    for (batch, expected) in [(1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (12, 4)] {
        let settings = LoaderSettings { batch, ..settings([8, 8, 8], 1, Stream::Validation) };
        let mut loader = Loader::start(cases(1), settings, 1, 0, 1)?;
        let forced: Vec<bool> = loader.next_batch()?.origins.iter().map(|origin| origin.foreground).collect();
        let wanted: Vec<bool> = (0..batch).map(|sample| sample >= batch - expected).collect();
        assert_eq!(forced, wanted, "of {batch}");
    }
    Ok(())
}

#[test]
fn a_loader_stops_at_any_time() -> Result<(), Error> {
    for taken in 0..6 {
        for workers in [1, 2, 4] {
            let mut loader = Loader::start(cases(1), settings([8, 8, 8], 1, Stream::Training), 0, 0, workers)?;
            take(&mut loader, taken);
            drop(loader);
        }
    }
    Ok(())
}

/// A case that counts how often it is sampled from, and whose disk fails at the given count.
struct Counted {
    case: Case,
    reads: AtomicUsize,
    fails_at: usize,
}

impl Counted {
    fn new(fails_at: usize) -> Arc<Counted> {
        Arc::new(Counted { case: Case::new(0, [9, 9, 9], 1), reads: AtomicUsize::new(0), fails_at })
    }
}

impl CaseData for Counted {
    fn id(&self) -> &str {
        self.case.id()
    }

    fn channels(&self) -> usize {
        self.case.channels()
    }

    fn shape_zyx(&self) -> [usize; 3] {
        self.case.shape_zyx
    }

    fn image(&self) -> &[f32] {
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        assert!(reads < self.fails_at, "the disk is gone");
        &self.case.image
    }

    fn labels(&self) -> &[i16] {
        &self.case.labels
    }

    fn locations(&self) -> &[Vec<u32>] {
        &self.case.locations
    }
}

#[test]
fn a_panic_of_a_worker_becomes_an_error() -> Result<(), Error> {
    for workers in [1, 3] {
        let case = Counted::new(10);
        let mut loader = Loader::start(vec![case], settings([8, 8, 8], 1, Stream::Training), 0, 0, workers)?;
        let error = (0..100).find_map(|_| loader.next_batch().err()).expect("an error");
        assert!(error.to_string().contains("the disk is gone"), "{error}");
        assert!(loader.next_batch().is_err());
    }
    Ok(())
}

#[test]
fn no_more_is_prepared_than_was_asked_for() -> Result<(), Error> {
    let (case, workers) = (Counted::new(usize::MAX), 2);
    let settings = LoaderSettings { ahead: 3, ..settings([8, 8, 8], 1, Stream::Training) };
    let mut loader = Loader::start(vec![case.clone()], settings, 0, 0, workers)?;
    for taken in 1..4 {
        loader.next_batch()?;
        // Long enough for workers without a bound to prepare hundreds.
        std::thread::sleep(Duration::from_millis(50));
        // One read is the check at the start; a worker holds one batch that it cannot hand over yet.
        let batches = (case.reads.load(Ordering::Relaxed) - 1).div_ceil(3);
        assert!(batches <= taken + workers * (3 + 1), "{batches} batches after {taken}");
    }
    assert!(loader.waited() > Duration::ZERO);
    Ok(())
}

#[test]
fn contradictions_are_refused() {
    let refused = |case: Case, settings: LoaderSettings, workers: usize, sentence: &str| {
        let error = Loader::start(vec![case.shared()], settings, 0, 0, workers).expect_err("refused").to_string();
        assert!(error.contains(sentence), "{error}");
    };
    let good = Case::new(1, [4, 5, 6], 1);
    let plain = settings([8, 8, 8], 1, Stream::Training);
    refused(good.clone(), plain.clone(), 0, "at least one worker");
    refused(good.clone(), LoaderSettings { batch: 0, ..plain.clone() }, 1, "at least one sample");
    refused(good.clone(), settings([8, 0, 8], 1, Stream::Training), 1, "is empty");
    refused(good.clone(), settings([8, 8, 8], 2, Stream::Training), 1, "case_1 has 1 channels, the plan 2");
    refused(good.clone(), LoaderSettings { annotated: Some(2), ..plain.clone() }, 1, "no list of annotated voxels");
    refused(
        Case { shape_zyx: [4, 5, 7], ..good.clone() },
        plain.clone(),
        1,
        "case_1 has 120 intensities and 120 labels",
    );
    refused(Case { shape_zyx: [4, 0, 7], ..good.clone() }, plain.clone(), 1, "is empty or too large");
    refused(
        Case { locations: vec![vec![3, 120]], ..good },
        plain.clone(),
        1,
        "case_1 has a class location at voxel 120, but only 120 voxels",
    );
    assert!(Loader::start(Vec::new(), plain, 0, 0, 1).expect_err("refused").to_string().contains("no case"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Without augmentation each voxel is the case's, and nothing beyond it.
    #[test]
    fn plain_patches_hold_the_voxels_of_the_case(
        shapes in prop::collection::vec(prop::array::uniform3(1_usize..14), 1..4),
        patch_zyx in prop::array::uniform3(1_usize..12),
        channels in 1_usize..3,
        batch in 1_usize..4,
        seed in any::<u64>(),
    ) {
        let cases: Vec<Case> =
            shapes.iter().enumerate().map(|(number, &shape)| Case::new(number, shape, channels)).collect();
        let settings = LoaderSettings { batch, ..settings(patch_zyx, channels, Stream::Validation) };
        let shared = cases.iter().cloned().map(Case::shared).collect();
        let mut loader = Loader::start(shared, settings, seed, 0, 2).unwrap();
        let voxels: usize = patch_zyx.iter().product();
        for _ in 0..3 {
            let got = loader.next_batch().unwrap();
            prop_assert_eq!(got.origins.len(), batch);
            for (sample, origin) in got.origins.iter().enumerate() {
                let case = &cases[origin.case];
                let mut foreground = false;
                for at in 0..voxels {
                    let place = [at / patch_zyx[1] / patch_zyx[2], at / patch_zyx[2] % patch_zyx[1], at % patch_zyx[2]];
                    let voxel: [i64; 3] = std::array::from_fn(|d| place[d] as i64 + origin.start_zyx[d]);
                    let inside = (0..3).all(|d| voxel[d] >= 0 && voxel[d] < case.shape_zyx[d] as i64);
                    let [z, y, x] = voxel.map(|n| n as usize);
                    let index = inside.then(|| (z * case.shape_zyx[1] + y) * case.shape_zyx[2] + x);
                    let label = index.map_or(0, |index| case.labels[index].max(0));
                    prop_assert_eq!(got.labels[sample * voxels + at], label);
                    foreground |= label > 0;
                    for channel in 0..channels {
                        let expected = index.map_or(0.0, |index| case.image[channel * case.labels.len() + index]);
                        prop_assert_eq!(got.images[(sample * channels + channel) * voxels + at], expected);
                    }
                }
                let possible = case.locations.iter().any(|list| !list.is_empty());
                prop_assert!(foreground || !origin.foreground || !possible, "foreground was asked for");
                // Along every axis the case fills the patch, or is whole within it; forced patches may reach beyond its
                // upper end.
                for (d, patch) in patch_zyx.iter().map(|n| *n as i64).enumerate() {
                    let (start, extent) = (origin.start_zyx[d], case.shape_zyx[d] as i64);
                    let missing = (patch - extent).max(0);
                    prop_assert!(start >= -(missing + 1) / 2);
                    prop_assert!(origin.foreground || start + patch <= extent + (missing + 1) / 2);
                }
            }
            loader.recycle(got);
        }
    }
}
