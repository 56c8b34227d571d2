//! Patches sampled from the cache and augmented on worker threads.
//!
//! A [`Loader`] delivers the batches of a run in order. Each sample depends only on the run's seed, the stream, the
//! iteration and its place in the batch. A run that was stopped therefore continues with the same bytes, for any number of
//! workers and of batches that had been prepared.

mod check;
mod sampler;
mod seed;
mod worker;

pub use sampler::PatchSampler;
pub use seed::Stream;

use crate::augment::Plan;
use crate::dataset::cache::CachedCase;
use crate::dataset::soft::{SoftCase, SoftLabels};
use scanside_app::error::{Error, ErrorKind, OrError};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use worker::{Outcome, Worker};

/// A preprocessed case.
pub trait CaseData: Send + Sync {
    /// Its name, for errors.
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
    /// Its soft labels, if its patches are to have them.
    fn soft(&self) -> Option<SoftLabels<'_>> {
        None
    }
}

/// A case with soft labels.
#[derive(Debug)]
pub struct SoftLabelledCase {
    /// The case.
    pub case: CachedCase,
    /// Its soft labels.
    pub soft: SoftCase,
}

impl CaseData for SoftLabelledCase {
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
pub struct LoaderSettings {
    /// The patch and its augmentation.
    pub plan: Plan,
    /// Samples of a batch.
    pub batch: usize,
    /// Patches for training are augmented, those for validation are not.
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
    /// Whether the patch had to contain foreground.
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
    /// The teachers' probabilities, `[samples, heads, z, y, x]`; empty where the cases have no soft labels.
    pub soft: Vec<f32>,
    /// Where each sample comes from.
    pub origins: Vec<Origin>,
}

/// Prepares batches on threads of its own, until it is dropped.
#[derive(Debug)]
pub struct Loader {
    workers: Vec<WorkerHandle>,
    first: u64,
    next: u64,
    waited: Duration,
}

/// The loader's side of one worker, which prepares every n-th batch.
#[derive(Debug)]
struct WorkerHandle {
    finished: Receiver<Outcome>,
    recycled: Sender<Batch>,
    thread: JoinHandle<()>,
}

impl Loader {
    /// Starts `workers` threads. The first batch is that of `first_iteration`.
    ///
    /// # Errors
    /// There is no case; a case contradicts itself or the plan; or a thread cannot be started.
    pub fn start(
        cases: Vec<Arc<dyn CaseData>>,
        settings: LoaderSettings,
        seed: u64,
        first_iteration: u64,
        workers: usize,
    ) -> Result<Loader, Error> {
        if workers == 0 {
            return Err(Error::new(ErrorKind::Usage, "a loader needs at least one worker"));
        }
        check::settings(&settings)?;
        check::cases(&cases, &settings)?;
        let (cases, settings) = (Arc::new(cases), Arc::new(settings));
        let mut handles = Vec::with_capacity(workers);
        for number in 0..workers as u64 {
            let (finished_sender, finished): (SyncSender<Outcome>, _) = sync_channel(settings.ahead);
            let (recycled, recycled_receiver) = channel();
            let worker = Worker::new(Arc::clone(&cases), Arc::clone(&settings), seed);
            let thread = std::thread::Builder::new()
                .name(format!("loader {number}"))
                .spawn(move || {
                    worker.run(first_iteration + number, workers as u64, &finished_sender, &recycled_receiver)
                })
                .or_error_with(ErrorKind::Internal, || "a thread that prepares batches cannot be started")?;
            handles.push(WorkerHandle { finished, recycled, thread });
        }
        Ok(Loader { workers: handles, first: first_iteration, next: first_iteration, waited: Duration::ZERO })
    }

    /// The batch of the next iteration; waits until it is ready.
    ///
    /// # Errors
    /// A worker panicked. The loader delivers no further batches then.
    pub fn next_batch(&mut self) -> Result<Batch, Error> {
        let started = Instant::now();
        let outcome = self.workers[self.worker_of(self.next)].finished.recv();
        self.waited += started.elapsed();
        let problem = match outcome {
            Ok(Ok(batch)) => {
                self.next += 1;
                return Ok(batch);
            }
            Ok(Err(message)) => message,
            Err(_) => "its thread ended after an earlier error".into(),
        };
        Err(Error::new(ErrorKind::Internal, format!("batch {} could not be prepared: {problem}", self.next)))
    }

    /// Takes a batch back, so that its memory is used for a later one.
    pub fn recycle(&mut self, batch: Batch) {
        // A worker that has ended needs no memory.
        let _ = self.workers[self.worker_of(batch.iteration)].recycled.send(batch);
    }

    /// How long [`Self::next_batch`] has waited in total.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    fn worker_of(&self, iteration: u64) -> usize {
        (iteration.wrapping_sub(self.first) % self.workers.len() as u64) as usize
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        let workers = std::mem::take(&mut self.workers);
        // All channels are closed before the first thread is joined: workers end in parallel.
        let threads: Vec<JoinHandle<()>> = workers.into_iter().map(|worker| worker.thread).collect();
        for thread in threads {
            // Panics were reported as errors already.
            let _ = thread.join();
        }
    }
}
