//! Checkpoints: the state of a run between two epochs, as a file.

use super::step::TrainingState;
use crate::export::tensors::{AVERAGE, EPOCHS_DONE, MOMENTUM, PROJECTION, TensorFile, read_tensors, write_tensors};
use crate::network::values;
use crate::torch_error::OrTorchError;
use scanside_app::error::{Error, ErrorKind};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, TchError, Tensor};

/// What a checkpoint contains besides tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Progress {
    /// Completed epochs.
    pub(super) epochs_done: usize,
    /// Pseudo-Dice, smoothed over epochs.
    pub(super) ema_dice: Option<f64>,
}

/// Writes a checkpoint; the file appears whole or not at all.
///
/// # Errors
/// The file cannot be written, or libtorch fails.
pub(super) fn save(path: &Path, state: &TrainingState, progress: &Progress) -> Result<(), Error> {
    let tensors = named_tensors(state).or_torch_error()?;
    let borrowed: Vec<(&str, &[usize], &[f32])> =
        tensors.iter().map(|(name, shape, values)| (name.as_str(), shape.as_slice(), values.as_slice())).collect();
    let mut metadata = BTreeMap::from([(EPOCHS_DONE.to_string(), progress.epochs_done.to_string())]);
    if let Some(ema) = progress.ema_dice {
        // Shortest text that reads back as the same number.
        metadata.insert("ema_dice".into(), format!("{ema:?}"));
    }
    if let Some(average) = &state.average {
        metadata.insert("average_steps".into(), average.steps().to_string());
    }
    write_tensors(path, &borrowed, &metadata)
}

/// A tensor's name, shape and values.
type NamedTensor = (String, Vec<usize>, Vec<f32>);

fn named_tensors(state: &TrainingState) -> Result<Vec<NamedTensor>, TchError> {
    let mut tensors = Vec::new();
    for (i, parameter) in state.network.parameters.iter().enumerate() {
        let shape = &parameter.shape;
        tensors.push((parameter.name.clone(), shape.clone(), values(&parameter.tensor)?));
        if let Some(average) = &state.average {
            tensors.push((format!("{AVERAGE}{}", parameter.name), shape.clone(), values(&average.values()[i])?));
        }
        if let Some(momentum) = &state.optimiser.momentum()[i] {
            tensors.push((format!("{MOMENTUM}{}", parameter.name), shape.clone(), values(momentum)?));
        }
    }
    for (i, projection) in state.projections.iter().enumerate() {
        tensors.push((format!("{PROJECTION}{i}"), shape_of(&projection.weight), values(&projection.weight)?));
        if let Some(momentum) = &state.optimiser.momentum()[state.network.parameters.len() + i] {
            tensors.push((format!("{MOMENTUM}{PROJECTION}{i}"), shape_of(momentum), values(momentum)?));
        }
    }
    Ok(tensors)
}

fn shape_of(tensor: &Tensor) -> Vec<usize> {
    tensor.size().into_iter().map(|n| n as usize).collect()
}

/// Restores a checkpoint into a state of the same network.
///
/// # Errors
/// The file cannot be read, or is of another network; libtorch fails.
pub(super) fn restore(path: &Path, state: &mut TrainingState, device: Device) -> Result<Progress, Error> {
    let mut saved = Saved { path, file: read_tensors(path)?, device };
    let projections = state.projections.iter().enumerate();
    let projections = projections.map(|(i, p)| (format!("{PROJECTION}{i}"), shape_of(&p.weight), &p.weight));
    let parameters = state.network.parameters.iter().map(|p| (p.name.clone(), p.shape.clone(), &p.tensor));
    let mut averages = Vec::new();
    for (i, (name, shape, tensor)) in parameters.chain(projections).enumerate() {
        let weights = saved.take(&name, &shape)?.ok_or_else(|| saved.wrong(&format!("{name} is missing")))?;
        tch::no_grad(|| tensor.shallow_clone().f_copy_(&weights)).or_torch_error()?;
        averages.extend(saved.take(&format!("{AVERAGE}{name}"), &shape)?);
        if let Some(momentum) = saved.take(&format!("{MOMENTUM}{name}"), &shape)? {
            state.optimiser.restore(i, momentum);
        }
    }
    if let Some(average) = &mut state.average {
        if averages.len() != average.values().len() {
            return Err(saved.wrong("it has no averaged weights: the run was started without them"));
        }
        average.restore(saved.number("average_steps")?.unwrap_or(0), averages);
    }
    let epochs_done = saved.number(EPOCHS_DONE)?;
    let epochs_done = epochs_done.ok_or_else(|| saved.wrong("it does not state the number of completed epochs"))?;
    let ema_dice = saved.file.metadata.get("ema_dice").and_then(|text| text.parse().ok());
    Ok(Progress { epochs_done: epochs_done as usize, ema_dice })
}

/// A checkpoint file that was read.
struct Saved<'a> {
    path: &'a Path,
    file: TensorFile,
    device: Device,
}

impl Saved<'_> {
    fn wrong(&self, problem: &str) -> Error {
        Error::new(ErrorKind::Model, format!("{}: {problem}", self.path.display())).about(self.path)
    }

    fn number(&self, key: &str) -> Result<Option<u64>, Error> {
        let parse = |text: &String| text.parse().map_err(|_| self.wrong(&format!("{key} is not a number")));
        self.file.metadata.get(key).map(parse).transpose()
    }

    /// Removes a tensor of the expected shape; `None` where the file has none of this name.
    fn take(&mut self, name: &str, expected: &[usize]) -> Result<Option<Tensor>, Error> {
        let Some((shape, values)) = self.file.tensors.remove(name) else { return Ok(None) };
        if shape != expected {
            return Err(self.wrong(&format!("{name} has the shape {shape:?}, the network needs {expected:?}")));
        }
        let shape: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
        let tensor = Tensor::f_from_slice(&values).and_then(|t| t.f_reshape(shape)?.f_to_device(self.device));
        tensor.or_torch_error().map(Some)
    }
}
