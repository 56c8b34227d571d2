//! Trained networks brought back to libtorch: to teach, and to compare with what a written file answers.

use super::onnx::Reference;
use super::plans::Described;
use super::{ByLastName, ModelFacts, TrainedNetwork};
use crate::network::{Network, values};
use anyhow::ensure;
use tch::{Device, Tensor};

/// A trained network on `device`.
///
/// # Errors
/// The network has parts that are not trained here, or there is no memory.
pub fn network_of(trained: &TrainedNetwork, device: Device) -> anyhow::Result<Network> {
    let mut network = Network::new(trained.unet(), device)?;
    network.parameters.load(&mut ByLastName::new(trained))?;
    Ok(network)
}

/// The network on libtorch: a patch in, logits of full resolution out.
///
/// # Errors
/// The network is none that is trained here, or libtorch has no memory for it.
pub fn on_libtorch(network: &TrainedNetwork, facts: &ModelFacts) -> anyhow::Result<Box<Reference<'static>>> {
    let described = Described::read(&facts.plans, &facts.dataset, &facts.configuration, &facts.trainer_name)?;
    let built = network_of(network, Device::Cpu)?;
    let mut shape = vec![1, network.unet().input_channels as i64];
    shape.extend(described.configuration.patch.iter().map(|n| *n as i64));
    Ok(Box::new(move |patch: &[f32]| {
        ensure!(patch.len() as i64 == shape.iter().product::<i64>(), "a patch of {} values", patch.len());
        let images = Tensor::f_from_slice(patch)?.f_reshape(shape.as_slice())?;
        let logits = tch::no_grad(|| built.forward(&images))?;
        Ok(values(&logits[0])?)
    }))
}
