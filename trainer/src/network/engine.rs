//! What computes a network: libtorch with autograd, or the core's kernels on a CPU.

use super::native::{GradientSet, NativeNet, Tape, WeightSet};
use super::{Network, values};
use anyhow::{Result, ensure};
use scanside::threads::Threads;
use scanside_core::nnunet::architecture::UNet;
use tch::{Device, Kind, Tensor};

/// Computes logits, and gradients from those of the logits.
#[derive(Debug)]
pub enum Engine {
    /// libtorch, on any device.
    Torch,
    /// The core's kernels: several times faster on a CPU, for plain U-Nets.
    Native(Box<Native>),
}

/// The core's kernels with their memory.
#[derive(Debug)]
pub struct Native {
    net: NativeNet,
    threads: Threads,
    weights: WeightSet,
    /// The weights are those of the network as it is now.
    packed: bool,
    /// One per sample of the batch.
    tapes: Vec<Tape>,
    images: Vec<f32>,
    gradients: GradientSet,
}

impl Engine {
    /// The fastest for this network and device.
    ///
    /// # Errors
    /// Threads cannot be started.
    pub fn new(unet: &UNet, patch: [usize; 3], device: Device, threads: usize) -> Result<Engine> {
        if device != Device::Cpu {
            return Ok(Engine::Torch);
        }
        let Ok(net) = NativeNet::new(unet, patch, threads) else { return Ok(Engine::Torch) };
        let threads = Threads::new(threads).map_err(|failure| failure.error)?;
        let (gradients, weights) = (net.gradients(), net.weight_set());
        Ok(Engine::Native(Box::new(Native {
            net,
            threads,
            weights,
            packed: false,
            tapes: Vec::new(),
            images: Vec::new(),
            gradients,
        })))
    }

    /// Must be called when the network's weights have changed.
    pub fn weights_changed(&mut self) {
        if let Engine::Native(native) = self {
            native.packed = false;
        }
    }

    /// The logits of all resolutions, the full one first, `[n, heads, z, y, x]`; a loss of them can go backward.
    ///
    /// # Errors
    /// libtorch refuses an operation, or there is no memory.
    pub fn forward(&mut self, network: &Network, images: &Tensor) -> Result<Vec<Tensor>> {
        match self {
            Engine::Torch => Ok(network.forward(images)?),
            Engine::Native(native) => {
                let logits = native.forward(network, images)?;
                Ok(logits.into_iter().map(|logits| logits.set_requires_grad(true)).collect())
            }
        }
    }

    /// The logits alone.
    ///
    /// # Errors
    /// As [`Engine::forward`].
    pub fn infer(&mut self, network: &Network, images: &Tensor) -> Result<Vec<Tensor>> {
        match self {
            Engine::Torch => Ok(tch::no_grad(|| network.forward(images))?),
            Engine::Native(native) => native.forward(network, images),
        }
    }

    /// The gradients of all parameters, once the loss of the last [`Engine::forward`]'s logits has gone backward.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn gradients(&mut self, network: &Network, logits: &[Tensor]) -> Result<Vec<Option<Tensor>>> {
        match self {
            Engine::Torch => Ok(network.parameters.gradients()),
            Engine::Native(native) => native.backward(network, logits),
        }
    }
}

impl Native {
    fn forward(&mut self, network: &Network, images: &Tensor) -> Result<Vec<Tensor>> {
        let samples = images.size()[0] as usize;
        self.images = values(images)?;
        ensure!(samples > 0, "a batch needs at least one sample");
        if !self.packed {
            let tensors = network.parameters.iter().map(|p| values(&p.tensor)).collect::<Result<Vec<_>, _>>()?;
            let tensors: Vec<&[f32]> = tensors.iter().map(Vec::as_slice).collect();
            self.net.prepare(&tensors, &mut self.weights);
            self.packed = true;
        }
        while self.tapes.len() < samples {
            self.tapes.push(self.net.tape());
        }
        for (image, tape) in self.images.chunks_exact(self.images.len() / samples).zip(&mut self.tapes) {
            self.net.forward(&self.weights, image, tape, &self.threads);
        }
        (0..self.net.levels())
            .map(|level| {
                let [z, y, x] = self.net.grid(level).map(|n| n as i64);
                let logits = self.tapes[..samples]
                    .iter()
                    .map(|tape| Tensor::f_from_slice(tape.logits(level))?.f_view([-1, z, y, x]))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(Tensor::f_stack(&logits, 0)?)
            })
            .collect()
    }

    fn backward(&mut self, network: &Network, logits: &[Tensor]) -> Result<Vec<Option<Tensor>>> {
        let samples = logits.first().map_or(0, |logits| logits.size()[0] as usize);
        ensure!(
            self.packed && samples > 0 && samples <= self.tapes.len(),
            "backward of {samples} samples without forward"
        );
        let levels = logits
            .iter()
            .map(|logits| {
                let gradient = logits.grad();
                // A level without weight in the loss.
                if gradient.defined() { values(&gradient) } else { Ok(Vec::new()) }
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.gradients.clear();
        let images = self.images.chunks_exact(self.images.len() / samples);
        for (i, (image, tape)) in images.zip(&mut self.tapes).enumerate() {
            let of_sample: Vec<&[f32]> = levels
                .iter()
                .map(|level| {
                    let size = level.len() / samples;
                    &level[i * size..(i + 1) * size]
                })
                .collect();
            self.net.backward(&self.weights, image, tape, &of_sample, &[], &mut self.gradients, &self.threads);
        }
        network
            .parameters
            .iter()
            .zip(self.gradients.iter())
            .map(|(parameter, (_, gradient))| {
                let shape: Vec<i64> = parameter.shape.iter().map(|n| *n as i64).collect();
                Ok(Some(Tensor::f_from_slice(gradient)?.f_to_kind(Kind::Float)?.f_reshape(shape)?))
            })
            .collect()
    }
}
