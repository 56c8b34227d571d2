//! What a network costs: parameters, and multiplications per patch.

use scanside_core::nnunet::architecture::UNet;
use scanside_core::nnunet::layers::{Affine, EncoderStage, Expected, Layers, Role, Unit};

/// A network's size and arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Learned numbers, the heads of deep supervision among them.
    pub parameters: u64,
    /// Multiply-adds of the convolutions of one patch without mirroring; one head runs.
    pub macs: u64,
}

impl Cost {
    /// The cost of a network on patches of this size.
    pub fn of(unet: &UNet, patch: &[usize]) -> Cost {
        let layers = Layers::of(unet);
        let mut tally = Tally { parameters: 0, macs: 0 };
        let mut size = patch.to_vec();
        let mut sizes = Vec::new();
        if let Some(stem) = &layers.stem {
            tally.unit(stem, &size);
        }
        for (stage, layers) in unet.stages.iter().zip(&layers.encoder) {
            size.iter_mut().zip(&stage.stride).for_each(|(n, by)| *n /= by);
            match layers {
                EncoderStage::Plain(units) => units.iter().for_each(|unit| tally.unit(unit, &size)),
                EncoderStage::Residual(blocks) => {
                    for block in blocks {
                        block.main.iter().chain(&block.projection).for_each(|unit| tally.unit(unit, &size));
                    }
                }
            }
            sizes.push(size.clone());
        }
        for (i, stage) in layers.decoder.iter().enumerate() {
            let place = sizes.len() - 2 - i;
            tally.affine(&stage.upsample, &sizes[place + 1], true);
            stage.convs.iter().for_each(|unit| tally.unit(unit, &sizes[place]));
            tally.affine(&stage.head, &sizes[place], place == 0);
        }
        Cost { parameters: tally.parameters, macs: tally.macs }
    }
}

struct Tally {
    parameters: u64,
    macs: u64,
}

impl Tally {
    /// `size` is where each weight is applied: the output of a convolution, the input of a transposed one.
    fn tensors(&mut self, tensors: &[Expected], size: &[usize], runs: bool) {
        let voxels: u64 = size.iter().map(|n| *n as u64).product();
        for tensor in tensors {
            match tensor.role {
                Role::Mean | Role::Variance | Role::Counter => continue,
                Role::Weight if runs => self.macs += tensor.values() * voxels,
                _ => {}
            }
            self.parameters += tensor.values();
        }
    }

    fn unit(&mut self, unit: &Unit, size: &[usize]) {
        self.tensors(&unit.tensors(), size, true);
    }

    fn affine(&mut self, affine: &Affine, size: &[usize], runs: bool) {
        self.tensors(&affine.tensors(), size, runs);
    }
}
