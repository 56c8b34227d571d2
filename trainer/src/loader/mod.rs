//! Patches sampled from the cache and augmented on worker threads.
//!
//! A [`Loader`] delivers the batches of a run in order. Each sample depends on the run's seed, the stream, the iteration
//! and its place in the batch alone, so that a run that was stopped goes on with the same bytes, whatever the number of
//! workers and whatever had been prepared.

mod patch;
mod seed;
mod worker;

pub use patch::Patches;
pub use seed::Stream;

use crate::augment::Plan;
use crate::dataset::cache::CachedCase;
use crate::dataset::soft::{SoftCase, SoftLabels};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use worker::{Outcome, Worker};

/// A preprocessed case.
pub trait CaseData: Send + Sync {
    /// Its name, for messages.
    fn id(&self) -> &str;
    /// Channels of the image.
    fn channels(&self) -> usize;
    /// Extents: `z, y, x`.
    fn shape_zyx(&self) -> [usize; 3];
    /// Normalised intensities, `[channels, z, y, x]`.
    fn image(&self) -> &[f32];
    /// Label values, `[z, y, x]`; -1 outside the nonzero mask.
    fn labels(&self) -> &[i16];
    /// For each foreground class or region, flat indices of some of its voxels.
    fn locations(&self) -> &[Vec<u32>];
    /// What teachers say of it, if that is to go with its patches.
    fn soft(&self) -> Option<SoftLabels<'_>> {
        None
    }
}

/// A case and what teachers say of it.
#[derive(Debug)]
pub struct TaughtCase {
    /// The case.
    pub case: CachedCase,
    /// Its soft labels.
    pub soft: SoftCase,
}

impl CaseData for TaughtCase {
    fn id(&self) -> &str {
        self.case.id()
    }
    fn channels(&self) -> usize {
        self.case.channels()
    }
    fn shape_zyx(&self) -> [usize; 3] {
        self.case.shape_zyx()
    }
    fn image(&self) -> &[f32] {
        self.case.image()
    }
    fn labels(&self) -> &[i16] {
        self.case.labels()
    }
    fn locations(&self) -> &[Vec<u32>] {
        self.case.locations()
    }
    fn soft(&self) -> Option<SoftLabels<'_>> {
        Some(self.soft.labels())
    }
}

impl CaseData for CachedCase {
    fn id(&self) -> &str {
        self.id()
    }
    fn channels(&self) -> usize {
        self.channels()
    }
    fn shape_zyx(&self) -> [usize; 3] {
        self.shape_zyx()
    }
    fn image(&self) -> &[f32] {
        self.image()
    }
    fn labels(&self) -> &[i16] {
        self.labels()
    }
    fn locations(&self) -> &[Vec<u32>] {
        self.locations()
    }
}

/// What a loader delivers.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The patch and its augmentation.
    pub plan: Plan,
    /// Samples of a batch.
    pub batch: usize,
    /// For training patches are augmented, for validation they are not.
    pub stream: Stream,
    /// Which of a case's locations are those of all annotated voxels, where the dataset has an ignore label: then every
    /// patch is centred on one of them or on a class.
    pub annotated: Option<usize>,
    /// Batches that each worker may have ready; memory is bounded by it.
    pub ahead: usize,
}

/// Where a sample comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Index of the case.
    pub case: usize,
    /// First voxel of the patch before it was augmented, in the case's voxels; it may lie beyond the case.
    pub start_zyx: [i64; 3],
    /// Whether foreground was asked for.
    pub foreground: bool,
}

/// The samples of one iteration.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The iteration that it is for.
    pub iteration: u64,
    /// Extents of a patch: `z, y, x`.
    pub shape_zyx: [usize; 3],
    /// Channels of the image.
    pub channels: usize,
    /// Normalised intensities, `[samples, channels, z, y, x]`.
    pub images: Vec<f32>,
    /// Label values, `[samples, z, y, x]`, all 0 or above.
    pub labels: Vec<i16>,
    /// What teachers say, `[samples, heads, z, y, x]`; empty where cases come without soft labels.
    pub soft: Vec<f32>,
    /// Where each sample comes from.
    pub origins: Vec<Origin>,
}

/// Prepares batches on threads of its own, until it is dropped.
#[derive(Debug)]
pub struct Loader {
    lanes: Vec<Lane>,
    first: u64,
    next: u64,
    waited: Duration,
}

/// The loader's side of one worker, who makes every n-th batch.
#[derive(Debug)]
struct Lane {
    finished: Receiver<Outcome>,
    used: Sender<Batch>,
    thread: JoinHandle<()>,
}

impl Loader {
    /// Starts `workers` threads, of which the first batch is that of `first_iteration`.
    ///
    /// # Errors
    ///
    /// If there is no case, a case contradicts itself or the plan, or a thread cannot be started.
    pub fn start(
        cases: Vec<Arc<dyn CaseData>>,
        settings: Settings,
        seed: u64,
        first_iteration: u64,
        workers: usize,
    ) -> Result<Loader> {
        ensure!(workers > 0, "a loader needs at least one worker");
        check(&cases, &settings)?;
        let (cases, settings) = (Arc::new(cases), Arc::new(settings));
        let mut lanes = Vec::with_capacity(workers);
        for lane in 0..workers as u64 {
            let (finished_sender, finished): (SyncSender<Outcome>, _) = sync_channel(settings.ahead);
            let (used, used_receiver) = channel();
            let worker = Worker::new(Arc::clone(&cases), Arc::clone(&settings), seed);
            let thread = std::thread::Builder::new()
                .name(format!("loader {lane}"))
                .spawn(move || worker.run(first_iteration + lane, workers as u64, &finished_sender, &used_receiver))
                .context("a thread that prepares batches cannot be started")?;
            lanes.push(Lane { finished, used, thread });
        }
        Ok(Loader { lanes, first: first_iteration, next: first_iteration, waited: Duration::ZERO })
    }

    /// The batch of the next iteration; waits until it is ready.
    ///
    /// # Errors
    ///
    /// If a worker panicked; the loader delivers nothing more then.
    pub fn next_batch(&mut self) -> Result<Batch> {
        let begun = Instant::now();
        let outcome = self.lanes[self.lane_of(self.next)].finished.recv();
        self.waited += begun.elapsed();
        match outcome {
            Ok(Ok(batch)) => {
                self.next += 1;
                Ok(batch)
            }
            Ok(Err(message)) => Err(anyhow!("batch {} could not be prepared: {message}", self.next)),
            Err(_) => bail!("batch {} could not be prepared: its thread ended after an earlier error", self.next),
        }
    }

    /// Takes a batch back, so that its memory serves a later one.
    pub fn recycle(&mut self, batch: Batch) {
        // A worker that has ended needs no memory.
        let _ = self.lanes[self.lane_of(batch.iteration)].used.send(batch);
    }

    /// How long [`Self::next_batch`] has waited in all.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    fn lane_of(&self, iteration: u64) -> usize {
        (iteration.wrapping_sub(self.first) % self.lanes.len() as u64) as usize
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        let lanes = std::mem::take(&mut self.lanes);
        // All channels are closed before the first thread is waited for: workers end in parallel.
        let threads: Vec<JoinHandle<()>> = lanes.into_iter().map(|lane| lane.thread).collect();
        for thread in threads {
            // Panics were reported as errors already.
            let _ = thread.join();
        }
    }
}

fn check(cases: &[Arc<dyn CaseData>], settings: &Settings) -> Result<()> {
    let Settings { plan, batch, annotated, .. } = settings;
    ensure!(!cases.is_empty(), "there is no case to sample patches from");
    ensure!(*batch > 0, "a batch needs at least one sample");
    ensure!(plan.patch_zyx.iter().all(|&n| n > 0), "a patch of {:?} voxels is empty", plan.patch_zyx);
    let heads = cases[0].soft().map(|soft| soft.heads);
    for case in cases {
        let soft = case.soft();
        ensure!(
            soft.map(|soft| soft.heads) == heads && soft.is_none_or(|soft| soft.shape_zyx == case.shape_zyx()),
            "case {}: its soft labels have another shape, or other heads than those of {}",
            case.id(),
            cases[0].id()
        );
        let (id, shape, channels) = (case.id(), case.shape_zyx(), case.channels());
        let voxels = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n)).unwrap_or(0);
        ensure!(voxels > 0, "case {id}: a shape of {shape:?} voxels is empty or too large");
        ensure!(channels == plan.channels(), "case {id} has {channels} channels, the plan {}", plan.channels());
        ensure!(
            case.labels().len() == voxels && Some(case.image().len()) == voxels.checked_mul(channels),
            "case {id}: {} intensities and {} labels do not fit {channels} channels of {shape:?} voxels",
            case.image().len(),
            case.labels().len(),
        );
        let lists = case.locations();
        if let Some(&beyond) = lists.iter().flatten().find(|&&location| location as usize >= voxels) {
            bail!("case {id}: voxel {beyond} of a class lies beyond its {voxels} voxels");
        }
        if let Some(list) = annotated {
            ensure!(*list < lists.len(), "case {id} has no list of annotated voxels: {} lists", lists.len());
        }
    }
    Ok(())
}
