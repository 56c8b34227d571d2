//! Trained networks on libtorch, as teachers and to verify written files.

use super::onnx::Reference;
use super::plans::Described;
use super::{ByLastName, ModelFacts, TrainedNetwork};
use crate::network::{Network, values};
use crate::torch_error::OrTorchError;
use scanside_app::error::{Error, ErrorKind, OrError};
use tch::{Device, Tensor};

/// A trained network on `device`.
///
/// # Errors
/// The network has parts that cannot be trained, or there is no memory.
pub fn network_of(trained: &TrainedNetwork, device: Device) -> Result<Network, Error> {
    let mut network = Network::new(trained.unet(), device).or_error(ErrorKind::Model)?;
    network.parameters.load(&mut ByLastName::new(trained)).or_error(ErrorKind::Model)?;
    Ok(network)
}

/// The network on libtorch: a patch in, logits of full resolution out.
///
/// # Errors
/// The network has parts that cannot be trained, or libtorch has no memory for it.
pub fn on_libtorch(network: &TrainedNetwork, facts: &ModelFacts) -> Result<Box<Reference<'static>>, Error> {
    let described = Described::read(&facts.plans, &facts.dataset, &facts.configuration, &facts.trainer_name)?;
    let built = network_of(network, Device::Cpu)?;
    let mut shape = vec![1, network.unet().input_channels as i64];
    shape.extend(described.configuration.patch.iter().map(|n| *n as i64));
    Ok(Box::new(move |patch: &[f32]| {
        let logits = Tensor::f_from_slice(patch)
            .and_then(|patch| patch.f_reshape(shape.as_slice()))
            .and_then(|images| tch::no_grad(|| built.forward(&images)));
        logits.and_then(|logits| values(&logits[0])).or_torch_error()
    }))
}
