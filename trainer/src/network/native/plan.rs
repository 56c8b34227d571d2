//! The layers of a network as the kernels see them.

use super::{Unsupported, three};
use core::ops::Range;
use scanside_core::network::Activation;
use scanside_core::nnunet::architecture::Norm;
use scanside_core::nnunet::layers::{DecoderStage, Expected, Role, Unit};
use scanside_core::raw::{Conv, ConvGeometry, DataGradient, Isa, Precision, WeightGradient};

/// What plans are made for.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) isa: Isa,
    pub(super) workers: usize,
}

/// What a decoder stage joins.
pub(super) struct Join {
    /// Numbers of the units below and of the skip.
    pub(super) low: usize,
    pub(super) skip: usize,
    /// Their channels.
    pub(super) below: usize,
    pub(super) here: usize,
    /// Their grids.
    pub(super) from: [usize; 3],
    pub(super) to: [usize; 3],
}

/// A convolution with its norm and activation.
#[derive(Debug)]
pub(super) struct UnitPlan {
    pub(super) g: ConvGeometry,
    pub(super) forward: Conv,
    pub(super) weight_gradient: WeightGradient,
    /// None where the input is the image.
    pub(super) data_gradient: Option<DataGradient>,
    /// Epsilon of the instance norm.
    pub(super) norm: Option<f32>,
    pub(super) activation: Activation,
    pub(super) tensors: UnitTensors,
}

/// Numbers of a unit's tensors.
#[derive(Debug, Default)]
pub(super) struct UnitTensors {
    pub(super) weight: usize,
    pub(super) bias: Option<usize>,
    pub(super) scale: Option<usize>,
    pub(super) shift: Option<usize>,
}

/// A decoder stage.
#[derive(Debug)]
pub(super) struct StagePlan {
    /// The unit below, the skip's, and the level of resolution.
    pub(super) low: usize,
    pub(super) skip: usize,
    pub(super) level: usize,
    pub(super) units: Range<usize>,
    pub(super) upsample: UpsamplePlan,
    pub(super) head: HeadPlan,
}

/// A transposed convolution whose kernel equals its stride: the data gradient of this convolution.
#[derive(Debug)]
pub(super) struct UpsamplePlan {
    pub(super) g: ConvGeometry,
    pub(super) data_gradient: Conv,
    pub(super) weight_gradient: WeightGradient,
    pub(super) weight: usize,
    pub(super) bias: Option<usize>,
}

/// A convolution of one voxel to logits.
#[derive(Debug)]
pub(super) struct HeadPlan {
    pub(super) g: ConvGeometry,
    pub(super) forward: Conv,
    pub(super) data_gradient: DataGradient,
    pub(super) weight_gradient: WeightGradient,
    pub(super) weight: usize,
    pub(super) bias: usize,
}

/// Gives the next tensors their numbers.
fn number(tensors: &[Expected], next: &mut usize) -> UnitTensors {
    let mut numbers = UnitTensors::default();
    for tensor in tensors {
        match tensor.role {
            Role::Weight => numbers.weight = *next,
            Role::Bias => numbers.bias = Some(*next),
            Role::Scale => numbers.scale = Some(*next),
            Role::Shift => numbers.shift = Some(*next),
            // Of batch norm alone, which is refused.
            Role::Mean | Role::Variance | Role::Counter => {}
        }
        *next += 1;
    }
    numbers
}

impl UnitPlan {
    /// A unit on a grid of `input` voxels; its tensors get the next numbers.
    pub(super) fn new(
        Target { isa, workers }: Target,
        unit: &Unit,
        input: [usize; 3],
        reads_image: bool,
        tensor: &mut usize,
    ) -> Result<UnitPlan, Unsupported> {
        let (kernel, stride) = (three(&unit.kernel), three(&unit.stride));
        if kernel.iter().any(|k| k % 2 == 0) {
            return Err(Unsupported(format!("{}: a kernel of {kernel:?} is not odd on every axis", unit.path)));
        }
        let g = ConvGeometry {
            cin: unit.input,
            cout: unit.output,
            input,
            output: [0, 1, 2].map(|a| (input[a] - 1) / stride[a] + 1),
            kernel,
            stride,
            dilation: [1; 3],
            pad: kernel.map(|k| k / 2),
        };
        Ok(UnitPlan {
            forward: Conv::new(isa, &g, Precision::F32),
            weight_gradient: WeightGradient::new(isa, &g, workers),
            data_gradient: (!reads_image).then(|| DataGradient::new(isa, &g)),
            norm: match unit.norm() {
                Norm::Off => None,
                Norm::Instance { epsilon, .. } => Some(epsilon),
                Norm::Batch { .. } => return Err(Unsupported("batch norm is not among the native layers".into())),
            },
            activation: match unit.activation {
                Activation::None | Activation::Relu => unit.activation,
                Activation::Leaky(slope) if !(0.0..=1.0).contains(&slope) => {
                    return Err(Unsupported(format!("a leaky ReLU's slope of {slope} is not from 0 to 1")));
                }
                Activation::Leaky(_) => unit.activation,
            },
            tensors: number(&unit.tensors(), tensor),
            g,
        })
    }

    /// Elements of the output.
    pub(super) fn elements(&self) -> usize {
        self.g.cout * self.voxels()
    }

    /// Voxels of a channel of the output.
    pub(super) fn voxels(&self) -> usize {
        self.g.output.iter().product()
    }
}

impl StagePlan {
    /// A stage without units. Tensors of the transposed convolution get the next numbers.
    pub(super) fn new(
        Target { isa, workers }: Target,
        stage: &DecoderStage,
        join: &Join,
        heads: usize,
        tensor: &mut usize,
    ) -> StagePlan {
        let &Join { low, skip, below, here, from, to } = join;
        let kernel = three(&stage.upsample_stride);
        let (dilation, pad) = ([1; 3], [0; 3]);
        let g = ConvGeometry { cin: here, cout: below, input: to, output: from, kernel, stride: kernel, dilation, pad };
        let numbers = number(&stage.upsample.tensors(), tensor);
        let upsample = UpsamplePlan {
            data_gradient: Conv::new(isa, &g, Precision::F32),
            weight_gradient: WeightGradient::new(isa, &g, workers),
            weight: numbers.weight,
            bias: numbers.bias,
            g,
        };
        let (kernel, stride) = ([1; 3], [1; 3]);
        let g = ConvGeometry { cin: here, cout: heads, input: to, output: to, kernel, stride, dilation, pad };
        let head = HeadPlan {
            forward: Conv::new(isa, &g, Precision::F32),
            data_gradient: DataGradient::new(isa, &g),
            weight_gradient: WeightGradient::new(isa, &g, workers),
            weight: 0,
            bias: 0,
            g,
        };
        StagePlan { low, skip, level: stage.level, units: 0..0, upsample, head }
    }

    /// Numbers the head's tensors, which come last in a stage.
    pub(super) fn number_head(&mut self, tensor: &mut usize) {
        (self.head.weight, self.head.bias) = (*tensor, *tensor + 1);
        *tensor += 2;
    }

    /// Channels here.
    pub(super) fn features(&self) -> usize {
        self.upsample.g.cin
    }

    /// Voxels of a channel here.
    pub(super) fn voxels(&self) -> usize {
        self.head.g.output.iter().product()
    }
}
