//! The cost of a network: parameters, and multiplications per patch.

use scanside_core::nnunet::architecture::UNet;
use scanside_core::nnunet::layers::{Block, DecoderStage, Expected, Layers, Role, Unit};
use scanside_core::nnunet::walk::LayerVisitor;
use std::convert::Infallible;

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
        let mut tally = Tally { parameters: 0, macs: 0 };
        let Ok(()) = Layers::of(unet).walk(&mut tally, patch.to_vec());
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
}

/// Strides divide the patch.
fn divided(size: &[usize], stride: &[usize]) -> Vec<usize> {
    size.iter().zip(stride).map(|(n, by)| n / by).collect()
}

impl LayerVisitor for Tally {
    /// The size of a tensor, in voxels per axis.
    type Value = Vec<usize>;
    type Error = Infallible;

    fn unit(&mut self, unit: &Unit, input: &Vec<usize>) -> Result<Vec<usize>, Infallible> {
        let output = divided(input, &unit.stride);
        self.tensors(&unit.tensors(), &output, true);
        Ok(output)
    }

    fn pool(&mut self, _: &Block, stride: &[usize], input: &Vec<usize>) -> Result<Vec<usize>, Infallible> {
        Ok(divided(input, stride))
    }

    fn add(&mut self, _: &Block, main: Vec<usize>, _: Vec<usize>) -> Result<Vec<usize>, Infallible> {
        Ok(main)
    }

    fn upsample(&mut self, stage: &DecoderStage, input: &Vec<usize>) -> Result<Vec<usize>, Infallible> {
        self.tensors(&stage.upsample.tensors(), input, true);
        Ok(input.iter().zip(&stage.upsample_stride).map(|(n, by)| n * by).collect())
    }

    fn join(&mut self, _: &DecoderStage, upsampled: Vec<usize>, _: &Vec<usize>) -> Result<Vec<usize>, Infallible> {
        Ok(upsampled)
    }

    fn head(&mut self, stage: &DecoderStage, output: &Vec<usize>) -> Result<(), Infallible> {
        self.tensors(&stage.head.tensors(), output, stage.level == 0);
        Ok(())
    }
}
