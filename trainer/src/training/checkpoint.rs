//! A run's state between two epochs, as a file.

use super::step::Trainee;
use crate::export::tensors::{AVERAGE, EPOCHS_DONE, LIFT, MOMENTUM, TensorFile, read_tensors, write_tensors};
use crate::network::values;
use scanside_app::error::{Error, ErrorKind, OrError};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, TchError, Tensor};

/// What a checkpoint holds beside tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct State {
    /// Epochs done.
    pub(super) epochs_done: usize,
    /// Pseudo-Dice averaged over epochs.
    pub(super) ema_dice: Option<f64>,
}

/// Writes the state; the file appears whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub(super) fn save(path: &Path, trainee: &Trainee, state: &State) -> Result<(), Error> {
    let told = || format!("{} cannot be written", path.display());
    let tensors = gather(trainee).or_error_with(ErrorKind::Output, told)?;
    let borrowed: Vec<(&str, &[usize], &[f32])> =
        tensors.iter().map(|(name, shape, values)| (name.as_str(), shape.as_slice(), values.as_slice())).collect();
    let mut metadata = BTreeMap::from([(EPOCHS_DONE.to_string(), state.epochs_done.to_string())]);
    if let Some(ema) = state.ema_dice {
        // Shortest text that reads back as the same number.
        metadata.insert("ema_dice".into(), format!("{ema:?}"));
    }
    if let Some(average) = &trainee.average {
        metadata.insert("average_steps".into(), average.steps().to_string());
    }
    write_tensors(path, &borrowed, &metadata)
}

/// A tensor's name, extents and values.
type Named = (String, Vec<usize>, Vec<f32>);

fn gather(trainee: &Trainee) -> Result<Vec<Named>, TchError> {
    let mut tensors = Vec::new();
    for (i, parameter) in trainee.network.parameters.iter().enumerate() {
        let shape = &parameter.shape;
        tensors.push((parameter.name.clone(), shape.clone(), values(&parameter.tensor)?));
        if let Some(average) = &trainee.average {
            tensors.push((format!("{AVERAGE}{}", parameter.name), shape.clone(), values(&average.values()[i])?));
        }
        if let Some(momentum) = &trainee.descent.momentum()[i] {
            tensors.push((format!("{MOMENTUM}{}", parameter.name), shape.clone(), values(momentum)?));
        }
    }
    for (i, lift) in trainee.lifts.iter().enumerate() {
        tensors.push((format!("{LIFT}{i}"), extents(&lift.weight), values(&lift.weight)?));
        if let Some(momentum) = &trainee.descent.momentum()[trainee.network.parameters.len() + i] {
            tensors.push((format!("{MOMENTUM}{LIFT}{i}"), extents(momentum), values(momentum)?));
        }
    }
    Ok(tensors)
}

fn extents(tensor: &Tensor) -> Vec<usize> {
    tensor.size().into_iter().map(|n| n as usize).collect()
}

/// Takes a saved state up again.
///
/// # Errors
/// The file cannot be read, or is of another network.
pub(super) fn restore(path: &Path, trainee: &mut Trainee, device: Device) -> Result<State, Error> {
    let TensorFile { mut tensors, metadata } = read_tensors(path)?;
    let wrong = |what: &str| Error::new(ErrorKind::Model, format!("{}: {what}", path.display()));
    let number = |key: &str| -> Result<Option<u64>, Error> {
        let parse = |text: &String| text.parse().map_err(|_| wrong(&format!("{key} is no number")));
        metadata.get(key).map(parse).transpose()
    };
    let mut take = |prefix: &str, name: &str, expected: &[usize]| -> Result<Option<Tensor>, Error> {
        let name = format!("{prefix}{name}");
        let Some((shape, values)) = tensors.remove(&name) else { return Ok(None) };
        if shape != expected {
            return Err(wrong(&format!("{name} has the shape {shape:?}, the network {expected:?}")));
        }
        let shape: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
        let tensor = Tensor::f_from_slice(&values).and_then(|t| t.f_reshape(shape)?.f_to_device(device));
        tensor.or_error(ErrorKind::DoesNotFit).map(Some)
    };
    let lifts = trainee.lifts.iter().enumerate();
    let lifts = lifts.map(|(i, lift)| (format!("{LIFT}{i}"), extents(&lift.weight), &lift.weight));
    let parameters = trainee.network.parameters.iter().map(|p| (p.name.clone(), p.shape.clone(), &p.tensor));
    let mut averages = Vec::new();
    for (i, (name, shape, tensor)) in parameters.chain(lifts).enumerate() {
        let weights = take("", &name, &shape)?.ok_or_else(|| wrong(&format!("{name} is missing")))?;
        tch::no_grad(|| tensor.shallow_clone().f_copy_(&weights)).or_error(ErrorKind::Model)?;
        averages.extend(take(AVERAGE, &name, &shape)?);
        if let Some(momentum) = take(MOMENTUM, &name, &shape)? {
            trainee.descent.restore(i, momentum);
        }
    }
    if let Some(average) = &mut trainee.average {
        if averages.len() != average.values().len() {
            return Err(wrong("it holds no averaged weights; the run was begun without them"));
        }
        average.restore(number("average_steps")?.unwrap_or(0), averages);
    }
    let epochs_done = number(EPOCHS_DONE)?.ok_or_else(|| wrong("it does not say how far the run was"))? as usize;
    let ema_dice = metadata.get("ema_dice").and_then(|text| text.parse().ok());
    Ok(State { epochs_done, ema_dice })
}
