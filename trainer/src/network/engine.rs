//! What computes a network: libtorch with autograd, or the core's kernels on a CPU.

use super::native::{GradientSet, NativeNet, Tape, WeightSet};
use super::{Feature, Network, values};
use anyhow::{Result, ensure};
use scanside_app::machine::Threads;
use scanside_core::nnunet::architecture::UNet;
use tch::{Device, Kind, Tensor};

/// What convolutions multiply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16: the range of single precision with 8 bits of it. libtorch alone computes in it.
    Bf16,
}

/// What a network says of patches.
#[derive(Debug)]
pub struct Answer {
    /// The logits of all resolutions, the full one first, `[n, heads, z, y, x]`.
    pub logits: Vec<Tensor>,
    /// The activations asked for, in that order, `[n, channels, z, y, x]`.
    pub features: Vec<Tensor>,
}

/// Computes logits, and gradients from those of the logits.
#[derive(Debug)]
pub enum Engine {
    /// libtorch, on any device.
    Torch(Precision),
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
    /// The fastest for this network, device and precision.
    ///
    /// # Errors
    /// Threads cannot be started.
    pub fn new(unet: &UNet, patch: [usize; 3], device: Device, threads: usize, precision: Precision) -> Result<Engine> {
        if device != Device::Cpu || precision != Precision::F32 {
            return Ok(Engine::Torch(precision));
        }
        let Ok(net) = NativeNet::new(unet, patch, threads) else { return Ok(Engine::Torch(precision)) };
        let threads = Threads::new(threads)?;
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

    /// The logits of all resolutions and the activations of `features`; a loss of both can go backward.
    ///
    /// # Errors
    /// libtorch refuses an operation, or there is no memory.
    pub fn forward(&mut self, network: &Network, images: &Tensor, features: &[Feature]) -> Result<Answer> {
        match self {
            Engine::Torch(precision) => Ok(network.answer(images, features, *precision)?),
            Engine::Native(native) => {
                let leaf = |tensors: Vec<Tensor>| tensors.into_iter().map(|t| t.set_requires_grad(true)).collect();
                let logits = native.forward(network, images)?;
                Ok(Answer { features: leaf(native.read(logits[0].size()[0], features)?), logits: leaf(logits) })
            }
        }
    }

    /// The logits alone.
    ///
    /// # Errors
    /// As [`Engine::forward`].
    pub fn infer(&mut self, network: &Network, images: &Tensor) -> Result<Vec<Tensor>> {
        match self {
            Engine::Torch(precision) => Ok(tch::no_grad(|| network.answer(images, &[], *precision))?.logits),
            Engine::Native(native) => native.forward(network, images),
        }
    }

    /// The gradients of all parameters, once the loss of the last [`Engine::forward`]'s answer has gone backward.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn gradients(
        &mut self,
        network: &Network,
        answer: &Answer,
        features: &[Feature],
    ) -> Result<Vec<Option<Tensor>>> {
        match self {
            Engine::Torch(_) => Ok(network.parameters.gradients()),
            Engine::Native(native) => native.backward(network, answer, features),
        }
    }

    /// The gradients of `loss`, made of the last [`Engine::forward`]'s logits, with respect to its features. Parameters get
    /// none.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn feature_gradients(&mut self, answer: &Answer, features: &[Feature], loss: &Tensor) -> Result<Vec<Tensor>> {
        match self {
            Engine::Torch(_) => Ok(Tensor::f_run_backward(&[loss], &answer.features, false, false)?),
            Engine::Native(native) => {
                loss.f_backward()?;
                native.feature_gradients(answer, features)
            }
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

    /// The activations of features, of the first `samples` tapes.
    fn read(&self, samples: i64, features: &[Feature]) -> Result<Vec<Tensor>> {
        features
            .iter()
            .map(|feature| {
                let (channels, grid) = self.net.feature_shape(*feature);
                let mut values = vec![0.0; samples as usize * channels * grid.iter().product::<usize>()];
                let each = values.len() / samples as usize;
                for (tape, values) in self.tapes.iter().zip(values.chunks_exact_mut(each)) {
                    self.net.read_feature(tape, *feature, values);
                }
                Ok(Tensor::f_from_slice(&values)?.f_view(shape(samples, channels, grid))?)
            })
            .collect()
    }

    fn backward(&mut self, network: &Network, answer: &Answer, features: &[Feature]) -> Result<Vec<Option<Tensor>>> {
        let samples = self.samples(answer)?;
        let (levels, places) = (gradients_of(&answer.logits)?, gradients_of(&answer.features)?);
        self.gradients.clear();
        let images = self.images.chunks_exact(self.images.len() / samples);
        for (i, (image, tape)) in images.zip(&mut self.tapes).enumerate() {
            let levels: Vec<&[f32]> = levels.iter().map(|level| part(level, i, samples)).collect();
            let places: Vec<(Feature, &[f32])> = features
                .iter()
                .zip(&places)
                .filter(|(_, values)| !values.is_empty())
                .map(|(feature, values)| (*feature, part(values, i, samples)))
                .collect();
            self.net.backward(&self.weights, image, tape, &levels, &places, &mut self.gradients, &self.threads);
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

    fn feature_gradients(&mut self, answer: &Answer, features: &[Feature]) -> Result<Vec<Tensor>> {
        let samples = self.samples(answer)?;
        let levels = gradients_of(&answer.logits)?;
        let mut found = vec![Vec::new(); features.len()];
        for (i, tape) in self.tapes[..samples].iter_mut().enumerate() {
            let levels: Vec<&[f32]> = levels.iter().map(|level| part(level, i, samples)).collect();
            let of_sample = self.net.feature_gradients(&self.weights, tape, &levels, features, &self.threads);
            found.iter_mut().zip(of_sample).for_each(|(all, one)| all.extend(one));
        }
        features
            .iter()
            .zip(found)
            .map(|(feature, values)| {
                let (channels, grid) = self.net.feature_shape(*feature);
                Ok(Tensor::f_from_slice(&values)?.f_view(shape(samples as i64, channels, grid))?)
            })
            .collect()
    }

    fn samples(&self, answer: &Answer) -> Result<usize> {
        let samples = answer.logits.first().map_or(0, |logits| logits.size()[0] as usize);
        ensure!(
            self.packed && samples > 0 && samples <= self.tapes.len(),
            "backward of {samples} samples without forward"
        );
        Ok(samples)
    }
}

/// Values of the gradients that a loss has left; none for a tensor that it does not reach.
fn gradients_of(tensors: &[Tensor]) -> Result<Vec<Vec<f32>>> {
    let gradient = |tensor: &Tensor| {
        let gradient = tensor.grad();
        if gradient.defined() { Ok(values(&gradient)?) } else { Ok(Vec::new()) }
    };
    tensors.iter().map(gradient).collect()
}

/// What belongs to sample `i`.
fn part(values: &[f32], i: usize, samples: usize) -> &[f32] {
    let size = values.len() / samples;
    &values[i * size..(i + 1) * size]
}

fn shape(samples: i64, channels: usize, [z, y, x]: [usize; 3]) -> [i64; 5] {
    [samples, channels as i64, z as i64, y as i64, x as i64]
}
