//! A run's state between two epochs, as a file.

use super::step::Trainee;
use crate::export::tensors::{AVERAGE, EPOCHS_DONE, MOMENTUM, TensorFile, read_tensors, write_tensors};
use crate::network::values;
use scanside::exit::{Exit, Failure, OrExit};
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
pub(super) fn save(path: &Path, trainee: &Trainee, state: &State) -> Result<(), Failure> {
    let told = || format!("{} cannot be written", path.display());
    let tensors = gather(trainee).or_exit_with(Exit::CouldNotWrite, told)?;
    let borrowed: Vec<(&str, &[usize], &[f32])> =
        tensors.iter().map(|(name, shape, values)| (name.as_str(), *shape, values.as_slice())).collect();
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

type Named<'a> = (String, &'a [usize], Vec<f32>);

fn gather(trainee: &Trainee) -> Result<Vec<Named<'_>>, TchError> {
    let mut tensors = Vec::new();
    for (i, parameter) in trainee.network.parameters.iter().enumerate() {
        let shape = parameter.shape.as_slice();
        tensors.push((parameter.name.clone(), shape, values(&parameter.tensor)?));
        if let Some(average) = &trainee.average {
            tensors.push((format!("{AVERAGE}{}", parameter.name), shape, values(&average.values()[i])?));
        }
        if let Some(momentum) = &trainee.descent.momentum()[i] {
            tensors.push((format!("{MOMENTUM}{}", parameter.name), shape, values(momentum)?));
        }
    }
    Ok(tensors)
}

/// Takes a saved state up again.
///
/// # Errors
/// The file cannot be read, or is of another network.
pub(super) fn restore(path: &Path, trainee: &mut Trainee, device: Device) -> Result<State, Failure> {
    let TensorFile { mut tensors, metadata } = read_tensors(path)?;
    let wrong = |what: &str| Failure::says(Exit::BadModel, format!("{}: {what}", path.display()));
    let number = |key: &str| -> Result<Option<u64>, Failure> {
        let parse = |text: &String| text.parse().map_err(|_| wrong(&format!("{key} is no number")));
        metadata.get(key).map(parse).transpose()
    };
    let mut averages = Vec::new();
    for (i, parameter) in trainee.network.parameters.iter().enumerate() {
        let mut take = |prefix: &str| -> Result<Option<Tensor>, Failure> {
            let name = format!("{prefix}{}", parameter.name);
            let Some((shape, values)) = tensors.remove(&name) else { return Ok(None) };
            if shape != parameter.shape {
                return Err(wrong(&format!("{name} has the shape {shape:?}, the network {:?}", parameter.shape)));
            }
            let shape: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
            let tensor = Tensor::f_from_slice(&values).and_then(|t| t.f_reshape(shape)?.f_to_device(device));
            tensor.or_exit(Exit::DoesNotFit).map(Some)
        };
        let weights = take("")?.ok_or_else(|| wrong(&format!("{} is missing", parameter.name)))?;
        tch::no_grad(|| parameter.tensor.shallow_clone().f_copy_(&weights)).or_exit(Exit::BadModel)?;
        averages.extend(take(AVERAGE)?);
        if let Some(momentum) = take(MOMENTUM)? {
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
