//! The patches of a fold, in order: those to train on and those to watch.

use super::settings::RunSettings;
use crate::augment;
use crate::dataset::cache::CachedCase;
use crate::dataset::soft::SoftCase;
use crate::dataset::splits::{self, Split};
use crate::loader::{Batch, CaseData, Loader, Settings, Stream, TaughtCase};
use crate::loss::HardCounts;
use crate::plan::TrainingPlan;
use crate::work::Work;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_core::manifest::Normalization;
use std::sync::Arc;
use std::time::Duration;
use tch::{Device, Kind, TchError, Tensor};

/// Batches that each worker of a loader has ready.
const AHEAD: usize = 2;

/// The patches of a run.
#[derive(Debug)]
pub struct FoldPatches {
    training: Loader,
    watching: Option<Loader>,
    watched_per_epoch: usize,
    device: Device,
}

/// A batch on the device.
#[derive(Debug)]
pub struct Patches {
    /// `[n, channels, z, y, x]`.
    pub images: Tensor,
    /// Label values, `[n, z, y, x]`, 64-bit integers.
    pub labels: Tensor,
    /// What teachers say, probabilities `[n, heads, z, y, x]`, where cases come with soft labels.
    pub soft: Option<Tensor>,
}

impl Patches {
    /// The same tensors, for another thread.
    pub fn shallow_clone(&self) -> Patches {
        Patches {
            images: self.images.shallow_clone(),
            labels: self.labels.shallow_clone(),
            soft: self.soft.as_ref().map(Tensor::shallow_clone),
        }
    }
}

/// Opens the soft labels of a case.
pub type OpenSoft<'a> = dyn Fn(&str) -> Result<SoftCase, Error> + 'a;

impl FoldPatches {
    /// The patches of a fold from epoch `first_epoch` on; with `soft`, those to train on come with soft labels.
    ///
    /// # Errors
    /// Cases are missing or damaged, or threads cannot be started.
    pub fn new(
        work: &Work,
        plan: &TrainingPlan,
        settings: &RunSettings,
        split: &Split,
        first_epoch: usize,
        soft: Option<&OpenSoft<'_>>,
    ) -> Result<FoldPatches, Error> {
        let loader = |ids: &[String], stream, per_epoch: usize| {
            let first = (first_epoch * per_epoch) as u64;
            let soft = soft.filter(|_| stream == Stream::Training);
            loader(work, plan, settings, ids, stream, first, soft)
        };
        let watched = !split.val.is_empty() && settings.validation_steps > 0;
        Ok(FoldPatches {
            training: loader(&split.train, Stream::Training, settings.steps_per_epoch)?,
            watching: match watched {
                true => Some(loader(&split.val, Stream::Validation, settings.validation_steps)?),
                false => None,
            },
            watched_per_epoch: if watched { settings.validation_steps } else { 0 },
            device: settings.device,
        })
    }

    /// The next batch to train on.
    ///
    /// # Errors
    /// A worker failed, there is no memory, or the user stopped the run.
    pub fn next_batch(&mut self) -> Result<Patches, Error> {
        fetch(&mut self.training, self.device)
    }

    /// The batches to watch after an epoch, one after the other.
    ///
    /// # Errors
    /// As [`FoldPatches::next_batch`], and what `each` returns.
    pub fn watch(&mut self, mut each: impl FnMut(&Patches) -> Result<(), Error>) -> Result<(), Error> {
        let Some(loader) = &mut self.watching else { return Ok(()) };
        for _ in 0..self.watched_per_epoch {
            each(&fetch(loader, self.device)?)?;
        }
        Ok(())
    }

    /// How long training has waited for batches in all.
    pub fn waited(&self) -> Duration {
        self.training.waited()
    }
}

fn fetch(loader: &mut Loader, device: Device) -> Result<Patches, Error> {
    if crate::stop::requested() {
        return Err(Error::new(
            ErrorKind::Interrupted,
            "stopped; the run goes on from its last whole epoch with --resume",
        ));
    }
    let batch = loader.next_batch().or_error(ErrorKind::Input)?;
    let patches = tensors(&batch, device).or_error(ErrorKind::DoesNotFit)?;
    loader.recycle(batch);
    Ok(patches)
}

fn tensors(batch: &Batch, device: Device) -> Result<Patches, TchError> {
    let [z, y, x] = batch.shape_zyx.map(|n| n as i64);
    let images = Tensor::f_from_slice(&batch.images)?.f_view([-1, batch.channels as i64, z, y, x])?;
    let labels = Tensor::f_from_slice(&batch.labels)?.f_view([-1, z, y, x])?.f_to_kind(Kind::Int64)?;
    let soft = match batch.soft.is_empty() {
        true => None,
        false => {
            let samples = images.size()[0];
            Some(Tensor::f_from_slice(&batch.soft)?.f_view([samples, -1, z, y, x])?.f_to_device(device)?)
        }
    };
    Ok(Patches { images: images.f_to_device(device)?, labels: labels.f_to_device(device)?, soft })
}

/// The cases of a fold of a work folder.
///
/// # Errors
/// Nothing is prepared there, or the splits do not fit the cases.
pub fn split(work: &Work, settings: &RunSettings) -> Result<Split, Error> {
    let ids = prepared_ids(work)?;
    splits::fold(&splits::read(&work.splits(), &ids)?, &ids, settings.fold)
}

/// Ids of the cases that were prepared, in order.
///
/// # Errors
/// There are none.
pub fn prepared_ids(work: &Work) -> Result<Vec<String>, Error> {
    let missing = || format!("{} has no prepared cases; run scanside-train plan first", work.root().display());
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(work.cache()).or_error_with(ErrorKind::Input, missing)? {
        let name = entry.or_error_with(ErrorKind::Input, missing)?.file_name();
        ids.extend(name.to_str().and_then(|name| name.strip_suffix(".scase")).map(str::to_string));
    }
    if ids.is_empty() {
        return Err(Error::new(ErrorKind::Input, missing()));
    }
    ids.sort();
    Ok(ids)
}

fn loader(
    work: &Work,
    plan: &TrainingPlan,
    settings: &RunSettings,
    ids: &[String],
    stream: Stream,
    first: u64,
    soft: Option<&OpenSoft<'_>>,
) -> Result<Loader, Error> {
    let masked: Vec<bool> = plan
        .channels
        .iter()
        .map(|channel| matches!(channel.normalization, Normalization::ZScore { masked: true }))
        .collect();
    let cases = ids
        .iter()
        .map(|id| -> Result<Arc<dyn CaseData>, Error> {
            let case = CachedCase::open(&work.case(id))?;
            Ok(match soft {
                None => Arc::new(case),
                Some(open) => Arc::new(TaughtCase { case, soft: open(id)? }),
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let loading = Settings {
        plan: augment::Plan::new(plan.patch_zyx, &masked),
        batch: settings.batch_size.unwrap_or(plan.batch_size),
        stream,
        // Where there is an ignore label, the list of all annotated voxels follows those of the classes.
        annotated: plan.targets.ignore.map(|_| HardCounts::new(&plan.targets).classes()),
        ahead: AHEAD,
    };
    Loader::start(cases, loading, settings.seed, first, settings.threads).or_error(ErrorKind::Input)
}
