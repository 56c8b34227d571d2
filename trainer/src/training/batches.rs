//! The batches of a fold, in order: those to train on and those of the validation patches.

use super::settings::{RunSettings, TrainingContext};
use crate::augment;
use crate::dataset::cache::CachedCase;
use crate::dataset::soft::SoftCase;
use crate::dataset::splits::{self, Split};
use crate::loader::{Batch, CaseData, Loader, LoaderSettings, SoftLabelledCase, Stream};
use crate::loss::HardCounts;
use crate::torch_error::OrTorchError;
use crate::work::Work;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::interrupt::Stop;
use std::sync::Arc;
use std::time::Duration;
use tch::{Device, Kind, TchError, Tensor};

/// Batches that each worker of a loader prepares in advance.
const AHEAD: usize = 2;

/// The batches of a fold.
#[derive(Debug)]
pub struct FoldBatches {
    training: Loader,
    validation: Option<Loader>,
    validation_per_epoch: usize,
    device: Device,
    stop: Stop,
}

/// A batch on the device.
#[derive(Debug)]
pub struct DeviceBatch {
    /// `[n, channels, z, y, x]`.
    pub images: Tensor,
    /// Label values, `[n, z, y, x]`, 64-bit integers.
    pub labels: Tensor,
    /// The teachers' probabilities, `[n, heads, z, y, x]`, where the cases have soft labels.
    pub soft: Option<Tensor>,
}

impl DeviceBatch {
    /// The same tensors, for another thread.
    pub fn shallow_clone(&self) -> DeviceBatch {
        DeviceBatch {
            images: self.images.shallow_clone(),
            labels: self.labels.shallow_clone(),
            soft: self.soft.as_ref().map(Tensor::shallow_clone),
        }
    }
}

/// Opens the soft labels of a case.
pub type OpenSoft<'a> = dyn Fn(&str) -> Result<SoftCase, Error> + 'a;

impl FoldBatches {
    /// The batches of a fold, beginning with epoch `first_epoch`. With `soft`, batches to train on have soft labels.
    ///
    /// # Errors
    /// Cases are missing or damaged, or threads cannot be started.
    pub fn new(
        context: &TrainingContext<'_>,
        split: &Split,
        first_epoch: usize,
        soft: Option<&OpenSoft<'_>>,
    ) -> Result<FoldBatches, Error> {
        let settings = context.settings;
        let validated = !split.val.is_empty() && settings.validation_steps > 0;
        let training = {
            let first = (first_epoch * settings.steps_per_epoch) as u64;
            loader(context, open_cases(context.work, &split.train, soft)?, Stream::Training, first)?
        };
        let validation = match validated {
            true => {
                let first = (first_epoch * settings.validation_steps) as u64;
                let cases = open_cases(context.work, &split.val, None)?;
                Some(loader(context, cases, Stream::Validation, first)?)
            }
            false => None,
        };
        Ok(FoldBatches {
            training,
            validation,
            validation_per_epoch: if validated { settings.validation_steps } else { 0 },
            device: settings.device,
            stop: context.stop.clone(),
        })
    }

    /// The next batch to train on.
    ///
    /// # Errors
    /// A worker failed, there is no memory, or the caller asked to stop.
    pub fn next_batch(&mut self) -> Result<DeviceBatch, Error> {
        check_stop(&self.stop)?;
        fetch(&mut self.training, self.device)
    }

    /// The batches of validation patches of an epoch, one after the other.
    ///
    /// # Errors
    /// As [`FoldBatches::next_batch`], and what `each` returns.
    pub fn validation(&mut self, mut each: impl FnMut(&DeviceBatch) -> Result<(), Error>) -> Result<(), Error> {
        let Some(loader) = &mut self.validation else { return Ok(()) };
        for _ in 0..self.validation_per_epoch {
            check_stop(&self.stop)?;
            each(&fetch(loader, self.device)?)?;
        }
        Ok(())
    }

    /// How long training has waited for batches in total.
    pub fn waited(&self) -> Duration {
        self.training.waited()
    }
}

fn check_stop(stop: &Stop) -> Result<(), Error> {
    if stop.requested() {
        let sentence = "interrupted; --resume continues the training from its last completed epoch";
        return Err(Error::new(ErrorKind::Interrupted, sentence));
    }
    Ok(())
}

fn fetch(loader: &mut Loader, device: Device) -> Result<DeviceBatch, Error> {
    let batch = loader.next_batch()?;
    let tensors = tensors(&batch, device).or_torch_error()?;
    loader.recycle(batch);
    Ok(tensors)
}

fn tensors(batch: &Batch, device: Device) -> Result<DeviceBatch, TchError> {
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
    Ok(DeviceBatch { images: images.f_to_device(device)?, labels: labels.f_to_device(device)?, soft })
}

/// The cases of the fold to train.
///
/// # Errors
/// The work folder is not prepared, or the splits do not fit the cases.
pub fn split(work: &Work, settings: &RunSettings) -> Result<Split, Error> {
    let ids = prepared_ids(work)?;
    splits::fold(&splits::read(&work.splits(), &ids)?, &ids, settings.fold)
}

/// Ids of the prepared cases, in order.
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

fn open_cases(work: &Work, ids: &[String], soft: Option<&OpenSoft<'_>>) -> Result<Vec<Arc<dyn CaseData>>, Error> {
    let open = |id: &String| -> Result<Arc<dyn CaseData>, Error> {
        let case = CachedCase::open(&work.case(id))?;
        Ok(match soft {
            None => Arc::new(case),
            Some(open) => Arc::new(SoftLabelledCase { case, soft: open(id)? }),
        })
    };
    ids.iter().map(open).collect()
}

fn loader(
    context: &TrainingContext<'_>,
    cases: Vec<Arc<dyn CaseData>>,
    stream: Stream,
    first: u64,
) -> Result<Loader, Error> {
    let TrainingContext { plan, settings, .. } = *context;
    let masked: Vec<bool> = plan.channels.iter().map(|channel| channel.normalization.masked()).collect();
    let loading = LoaderSettings {
        plan: augment::Plan::new(plan.patch_zyx, &masked),
        batch: settings.batch_size.unwrap_or(plan.batch_size),
        stream,
        // With an ignore label, the list of all annotated voxels follows those of the classes.
        annotated: plan.targets.ignore.map(|_| HardCounts::new(&plan.targets).classes()),
        ahead: AHEAD,
    };
    Loader::start(cases, loading, settings.seed, first, settings.threads)
}
