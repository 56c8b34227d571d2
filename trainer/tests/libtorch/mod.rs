//! A network's layers as libtorch's functions: an answer that shares no arithmetic with the inference core.
//!
//! It goes through the layers by itself, not with `Layers::walk`: a mistake in that walk must not be made here as well.

use scanside_core::nnunet::architecture::{Activation, Norm};
use scanside_core::nnunet::layers::{Affine, EncoderStage, Expected, Layers, Role, Unit};
use scanside_trainer::export::TrainedNetwork;
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// A network on libtorch.
pub(crate) struct OnLibtorch {
    layers: Layers,
    weights: BTreeMap<String, Tensor>,
    patch: Vec<i64>,
    channels: i64,
}

impl OnLibtorch {
    /// The network for patches of this shape.
    pub(crate) fn new(network: &TrainedNetwork, patch: &[usize]) -> OnLibtorch {
        let tensor = |(shape, values): &(Vec<usize>, Vec<f32>)| {
            Tensor::from_slice(values).reshape(shape.iter().map(|n| *n as i64).collect::<Vec<_>>())
        };
        OnLibtorch {
            layers: Layers::of(network.unet()),
            weights: network.weights().iter().map(|(name, t)| (name.clone(), tensor(t))).collect(),
            patch: patch.iter().map(|n| *n as i64).collect(),
            channels: network.unet().input_channels as i64,
        }
    }

    /// Logits of a patch.
    pub(crate) fn logits(&self, input: &[f32]) -> Vec<f32> {
        let shape = [&[1, self.channels], self.patch.as_slice()].concat();
        let mut x = Tensor::from_slice(input).reshape(shape);
        if let Some(stem) = &self.layers.stem {
            x = self.unit(stem, &x);
        }
        let mut skips = Vec::new();
        for stage in &self.layers.encoder {
            match stage {
                EncoderStage::Plain(units) => units.iter().for_each(|unit| x = self.unit(unit, &x)),
                EncoderStage::Residual(blocks) => {
                    for block in blocks {
                        let mut skip = x.shallow_clone();
                        if let Some(stride) = &block.pool {
                            let by = long(stride);
                            skip = match by.len() {
                                2 => skip.avg_pool2d(&by, &by, [0, 0], false, true, None),
                                _ => skip.avg_pool3d(&by, &by, [0, 0, 0], false, true, None),
                            };
                        }
                        if let Some(projection) = &block.projection {
                            skip = self.unit(projection, &skip);
                        }
                        block.main.iter().for_each(|unit| x = self.unit(unit, &x));
                        x = activate(x + skip, block.activation);
                    }
                }
            }
            skips.push(x.shallow_clone());
        }
        skips.pop();
        for stage in &self.layers.decoder {
            let (weight, bias) = self.affine(&stage.upsample);
            let by = long(&stage.upsample_stride);
            let zeros = vec![0; by.len()];
            let ones = vec![1; by.len()];
            let up = match by.len() {
                2 => x.conv_transpose2d(weight, bias, &by, &zeros, &zeros, 1, &ones),
                _ => x.conv_transpose3d(weight, bias, &by, &zeros, &zeros, 1, &ones),
            };
            x = Tensor::cat(&[up, skips.pop().unwrap()], 1);
            stage.convs.iter().for_each(|unit| x = self.unit(unit, &x));
        }
        let (weight, bias) = self.affine(&self.layers.decoder.last().unwrap().head);
        let ones = vec![1; self.patch.len()];
        let logits = convolve(&x, weight, bias, &ones, &vec![0; ones.len()]);
        Vec::try_from(logits.to_kind(Kind::Float).flatten(0, -1)).unwrap()
    }

    fn unit(&self, unit: &Unit, x: &Tensor) -> Tensor {
        let tensors = unit.tensors();
        let of = |role: Role| tensors.iter().find(|t| t.role == role).map(|t| self.tensor(t));
        let padding: Vec<i64> = unit.kernel.iter().map(|k| (*k as i64 - 1) / 2).collect();
        let mut y = convolve(x, of(Role::Weight).unwrap(), of(Role::Bias), &long(&unit.stride), &padding);
        if unit.activation_first {
            y = activate(y, unit.activation);
        }
        if let Norm::Instance { epsilon, .. } = unit.norm() {
            let none = None::<&Tensor>;
            y = y.instance_norm(of(Role::Scale), of(Role::Shift), none, none, true, 0.1, f64::from(epsilon), false);
        }
        if unit.activation_first { y } else { activate(y, unit.activation) }
    }

    fn affine(&self, affine: &Affine) -> (&Tensor, Option<&Tensor>) {
        let tensors = affine.tensors();
        (self.tensor(&tensors[0]), tensors.get(1).map(|t| self.tensor(t)))
    }

    fn tensor(&self, expected: &Expected) -> &Tensor {
        &self.weights[&expected.names[0]]
    }
}

fn activate(x: Tensor, activation: Activation) -> Tensor {
    match activation {
        Activation::None => x,
        Activation::Relu => x.relu(),
        // libtorch's own function has no slope in this binding.
        Activation::Leaky(slope) => x.relu() - (-x).relu() * f64::from(slope),
    }
}

fn long(numbers: &[usize]) -> Vec<i64> {
    numbers.iter().map(|n| *n as i64).collect()
}

fn convolve(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: &[i64], padding: &[i64]) -> Tensor {
    let ones = vec![1; stride.len()];
    match stride.len() {
        2 => x.conv2d(weight, bias, stride, padding, &ones, 1),
        _ => x.conv3d(weight, bias, stride, padding, &ones, 1),
    }
}
