//! What computes a network: libtorch with autograd, or the core's kernels on a CPU.

use super::native::{GradientSet, NativeNet, Tape, WeightSet};
use super::{Feature, Network, values};
use crate::torch_error::OrTorchError;
use scanside_app::error::{Error, ErrorKind};
use scanside_app::machine::Threads;
use scanside_core::nnunet::architecture::UNet;
use tch::{Device, Kind, TchError, Tensor};

/// Number format of convolutions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16: the range of single precision with 8 significant bits. Only libtorch computes in it.
    Bf16,
}

/// The output of a network for a batch of patches.
#[derive(Debug)]
pub struct Answer {
    /// The logits of all resolutions, the full one first, `[n, heads, z, y, x]`.
    pub logits: Vec<Tensor>,
    /// The requested features, in that order, `[n, channels, z, y, x]`.
    pub features: Vec<Tensor>,
}

/// Computes the logits of a network, and gradients of its parameters from gradients of the logits.
#[derive(Debug)]
pub enum Engine {
    /// libtorch, on any device.
    Torch(Precision),
    /// The core's kernels: several times faster on a CPU, for plain U-Nets.
    Native(Box<Native>),
}

/// The core's kernels with their buffers.
#[derive(Debug)]
pub struct Native {
    net: NativeNet,
    threads: Threads,
    weights: WeightSet,
    /// The packed weights are the network's current ones.
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
    pub fn new(
        unet: &UNet,
        patch: [usize; 3],
        device: Device,
        threads: usize,
        precision: Precision,
    ) -> Result<Engine, Error> {
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

    /// The logits of all resolutions and `features`, both of which a loss can be differentiated with respect to.
    ///
    /// # Errors
    /// libtorch fails or has no memory.
    pub fn forward(&mut self, network: &Network, images: &Tensor, features: &[Feature]) -> Result<Answer, Error> {
        match self {
            Engine::Torch(precision) => network.answer(images, features, *precision).or_torch_error(),
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
    pub fn infer(&mut self, network: &Network, images: &Tensor) -> Result<Vec<Tensor>, Error> {
        match self {
            Engine::Torch(precision) => {
                Ok(tch::no_grad(|| network.answer(images, &[], *precision)).or_torch_error()?.logits)
            }
            Engine::Native(native) => native.forward(network, images),
        }
    }

    /// The gradients of all parameters, after the loss of the last [`Engine::forward`]'s output was differentiated.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn gradients(
        &mut self,
        network: &Network,
        answer: &Answer,
        features: &[Feature],
    ) -> Result<Vec<Option<Tensor>>, Error> {
        match self {
            Engine::Torch(_) => Ok(network.parameters.gradients()),
            Engine::Native(native) => native.backward(network, answer, features),
        }
    }

    /// The gradients of `loss`, computed from the last [`Engine::forward`]'s logits, with respect to its features. Parameters
    /// get no gradients.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn feature_gradients(
        &mut self,
        answer: &Answer,
        features: &[Feature],
        loss: &Tensor,
    ) -> Result<Vec<Tensor>, Error> {
        match self {
            Engine::Torch(_) => Tensor::f_run_backward(&[loss], &answer.features, false, false).or_torch_error(),
            Engine::Native(native) => {
                loss.f_backward().or_torch_error()?;
                native.feature_gradients(answer, features)
            }
        }
    }
}

impl Native {
    fn forward(&mut self, network: &Network, images: &Tensor) -> Result<Vec<Tensor>, Error> {
        let samples = images.size()[0] as usize;
        if samples == 0 {
            return Err(Error::new(ErrorKind::Internal, "a batch needs at least one sample"));
        }
        self.images = values(images).or_torch_error()?;
        if !self.packed {
            let tensors = network.parameters.iter().map(|p| values(&p.tensor)).collect::<Result<Vec<_>, _>>();
            let tensors = tensors.or_torch_error()?;
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
        (0..self.net.levels()).map(|level| self.logits(level, samples)).collect::<Result<_, _>>().or_torch_error()
    }

    /// The logits of one resolution, of the first `samples` tapes.
    fn logits(&self, level: usize, samples: usize) -> Result<Tensor, TchError> {
        let [z, y, x] = self.net.grid(level).map(|n| n as i64);
        let of_sample = |tape: &Tape| Tensor::f_from_slice(tape.logits(level))?.f_view([-1, z, y, x]);
        let logits = self.tapes[..samples].iter().map(of_sample).collect::<Result<Vec<_>, _>>()?;
        Tensor::f_stack(&logits, 0)
    }

    /// The values of features, of the first `samples` tapes.
    fn read(&self, samples: i64, features: &[Feature]) -> Result<Vec<Tensor>, Error> {
        let tensors = features
            .iter()
            .map(|feature| {
                let (channels, grid) = self.net.feature_shape(*feature);
                let mut values = vec![0.0; samples as usize * channels * grid.iter().product::<usize>()];
                let each = values.len() / samples as usize;
                for (tape, values) in self.tapes.iter().zip(values.chunks_exact_mut(each)) {
                    self.net.read_feature(tape, *feature, values);
                }
                Tensor::f_from_slice(&values)?.f_view(shape(samples, channels, grid))
            })
            .collect::<Result<_, TchError>>();
        tensors.or_torch_error()
    }

    fn backward(
        &mut self,
        network: &Network,
        answer: &Answer,
        features: &[Feature],
    ) -> Result<Vec<Option<Tensor>>, Error> {
        let samples = self.samples(answer)?;
        let levels = gradients_of(&answer.logits).or_torch_error()?;
        let of_features = gradients_of(&answer.features).or_torch_error()?;
        self.gradients.clear();
        let images = self.images.chunks_exact(self.images.len() / samples);
        for (i, (image, tape)) in images.zip(&mut self.tapes).enumerate() {
            let levels: Vec<&[f32]> = levels.iter().map(|level| part(level, i, samples)).collect();
            let of_features: Vec<(Feature, &[f32])> = features
                .iter()
                .zip(&of_features)
                .filter(|(_, values)| !values.is_empty())
                .map(|(feature, values)| (*feature, part(values, i, samples)))
                .collect();
            self.net.backward(&self.weights, image, tape, &levels, &of_features, &mut self.gradients, &self.threads);
        }
        let tensors = network
            .parameters
            .iter()
            .zip(self.gradients.iter())
            .map(|(parameter, (_, gradient))| {
                let shape: Vec<i64> = parameter.shape.iter().map(|n| *n as i64).collect();
                Tensor::f_from_slice(gradient)?.f_to_kind(Kind::Float)?.f_reshape(shape).map(Some)
            })
            .collect::<Result<_, TchError>>();
        tensors.or_torch_error()
    }

    fn feature_gradients(&mut self, answer: &Answer, features: &[Feature]) -> Result<Vec<Tensor>, Error> {
        let samples = self.samples(answer)?;
        let levels = gradients_of(&answer.logits).or_torch_error()?;
        let mut found = vec![Vec::new(); features.len()];
        for (i, tape) in self.tapes[..samples].iter_mut().enumerate() {
            let levels: Vec<&[f32]> = levels.iter().map(|level| part(level, i, samples)).collect();
            let of_sample = self.net.feature_gradients(&self.weights, tape, &levels, features, &self.threads);
            found.iter_mut().zip(of_sample).for_each(|(all, one)| all.extend(one));
        }
        let tensors = features
            .iter()
            .zip(found)
            .map(|(feature, values)| {
                let (channels, grid) = self.net.feature_shape(*feature);
                Tensor::f_from_slice(&values)?.f_view(shape(samples as i64, channels, grid))
            })
            .collect::<Result<_, TchError>>();
        tensors.or_torch_error()
    }

    fn samples(&self, answer: &Answer) -> Result<usize, Error> {
        let samples = answer.logits.first().map_or(0, |logits| logits.size()[0] as usize);
        if !self.packed || samples == 0 || samples > self.tapes.len() {
            let sentence = format!("the gradients of {samples} samples need their forward pass first");
            return Err(Error::new(ErrorKind::Internal, sentence));
        }
        Ok(samples)
    }
}

/// The gradients that autograd has computed; empty for a tensor that the loss does not depend on.
fn gradients_of(tensors: &[Tensor]) -> Result<Vec<Vec<f32>>, TchError> {
    let gradient = |tensor: &Tensor| {
        let gradient = tensor.grad();
        if gradient.defined() { values(&gradient) } else { Ok(Vec::new()) }
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
