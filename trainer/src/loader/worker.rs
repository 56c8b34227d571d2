//! A thread that prepares every n-th batch.

use super::{Batch, CaseData, LoaderSettings, Origin, PatchSampler, Stream, seed};
use crate::augment::{self, Augmenter, Draw, spatial::Source};
use rand::RngExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

/// A batch, or the message of the panic that prevented it.
pub(super) type Outcome = Result<Batch, String>;

pub(super) struct Worker {
    cases: Arc<Vec<Arc<dyn CaseData>>>,
    settings: Arc<LoaderSettings>,
    seed: u64,
    sampler: PatchSampler,
    augmenter: Augmenter,
}

impl Worker {
    pub(super) fn new(cases: Arc<Vec<Arc<dyn CaseData>>>, settings: Arc<LoaderSettings>, seed: u64) -> Worker {
        let plan = settings.plan.clone();
        let window_zyx = match settings.stream {
            Stream::Training => plan.initial_zyx(),
            Stream::Validation => plan.patch_zyx,
        };
        let sampler = PatchSampler { patch_zyx: plan.patch_zyx, window_zyx, annotated: settings.annotated };
        Worker { cases, settings, seed, sampler, augmenter: Augmenter::new(plan) }
    }

    /// Prepares the batches of `first`, `first + step` and so on, until the receiver is dropped or one fails.
    pub(super) fn run(mut self, first: u64, step: u64, finished: &SyncSender<Outcome>, recycled: &Receiver<Batch>) {
        for iteration in (0..).map(|i: u64| first + i * step) {
            let mut batch = recycled.try_recv().unwrap_or_else(|_| self.empty());
            let outcome = catch_unwind(AssertUnwindSafe(|| self.fill(&mut batch, iteration)));
            let outcome = outcome.map(|()| batch).map_err(|panic| message(&*panic));
            let failed = outcome.is_err();
            if finished.send(outcome).is_err() || failed {
                return;
            }
        }
    }

    fn empty(&self) -> Batch {
        let LoaderSettings { plan, batch, .. } = &*self.settings;
        let voxels: usize = batch * plan.patch_zyx.iter().product::<usize>();
        Batch {
            iteration: 0,
            shape_zyx: plan.patch_zyx,
            channels: plan.channels(),
            images: vec![0.0; voxels * plan.channels()],
            labels: vec![0; voxels],
            soft: vec![0.0; voxels * self.heads()],
            origins: Vec::with_capacity(*batch),
        }
    }

    /// Heads of the soft labels; 0 where there are none.
    fn heads(&self) -> usize {
        match self.settings.stream {
            Stream::Training => self.cases[0].soft().map_or(0, |soft| soft.heads.count()),
            Stream::Validation => 0,
        }
    }

    fn fill(&mut self, batch: &mut Batch, iteration: u64) {
        let LoaderSettings { plan, batch: samples, stream, .. } = &*Arc::clone(&self.settings);
        let voxels: usize = plan.patch_zyx.iter().product();
        batch.iteration = iteration;
        batch.origins.clear();
        let heads = self.heads();
        let slots = batch.images.chunks_exact_mut(voxels * plan.channels()).zip(batch.labels.chunks_exact_mut(voxels));
        for (sample, (image, labels)) in slots.enumerate() {
            let mut rng = seed::generator(self.seed, *stream, iteration, sample);
            let foreground = PatchSampler::foreground(sample, *samples);
            let case = rng.random_range(0..self.cases.len());
            let data = &*self.cases[case];
            let shape_zyx = data.shape_zyx();
            let source = Source { shape_zyx, channels: data.channels(), image: data.image(), labels: data.labels() };
            let start = self.sampler.choose(shape_zyx, data.locations(), foreground, &mut rng);
            let start_zyx = match stream {
                Stream::Training => {
                    let draw = Draw::random(plan, &mut rng);
                    self.augmenter.apply(&source, start, &draw, image, labels);
                    if let Some(soft) = data.soft() {
                        let at = sample * heads * voxels..(sample + 1) * heads * voxels;
                        self.augmenter.apply_soft(&soft, start, &draw, &mut batch.soft[at]);
                    }
                    self.augmenter.window(start).centre_start(plan.patch_zyx)
                }
                Stream::Validation => {
                    augment::plain(&source, start, plan.patch_zyx, image, labels);
                    start
                }
            };
            batch.origins.push(Origin { case, start_zyx, foreground });
        }
    }
}

/// The message of a panic.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}
