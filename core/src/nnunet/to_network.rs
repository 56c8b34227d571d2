//! A network and its weights as a compiled network, without ONNX and tract in between.
//!
//! It builds, to the byte, what lowering the [ONNX model](super::to_onnx) of the same folder builds, and holds the
//! weights once: no second copy in another form is alive at any time, but for the tensor at hand.

use super::architecture::{Activation, Norm};
use super::error::NnUnetError;
use super::layers::{Affine, Block, DecoderStage, Expected, Layers, Role, Unit};
use super::to_onnx::Weights;
use super::walk::{LayerVisitor, Operation};
use crate::kernels::{ConvGeometry, PoolGeometry};
use crate::network::{self, Graph, GraphBuilder, SpecError, ValueSpec};

/// A network to compile.
pub(super) struct Plan<'a> {
    pub(super) layers: &'a Layers,
    pub(super) channels: usize,
    pub(super) patch_zyx: [usize; 3],
    /// Store weights and tensors in half precision.
    pub(super) half: bool,
}

/// Why a network was not compiled.
pub(super) enum Stop {
    /// A weight cannot be read or used.
    Failed(NnUnetError),
    /// The network has a layer that only the ONNX path knows.
    NotCovered,
}

impl From<NnUnetError> for Stop {
    fn from(error: NnUnetError) -> Stop {
        Stop::Failed(error)
    }
}

impl From<SpecError> for Stop {
    fn from(_: SpecError) -> Stop {
        Stop::NotCovered
    }
}

impl Plan<'_> {
    /// Compiles fold number `fold` with these weights.
    pub(super) fn compile(
        &self,
        fold: usize,
        weights: &mut dyn Weights,
    ) -> Result<(Graph, network::Weights<'static>), Stop> {
        let builder = GraphBuilder::new(self.channels, self.patch_zyx, self.half);
        let input = builder.input();
        let mut compiler = Compiler { prefix: format!("fold{fold}."), builder, weights, output: None };
        self.layers.walk(&mut compiler, input)?;
        let output = compiler.output.ok_or(Stop::NotCovered)?;
        Ok(compiler.builder.finish(output)?)
    }
}

struct Compiler<'a> {
    prefix: String,
    builder: GraphBuilder,
    weights: &'a mut dyn Weights,
    output: Option<ValueSpec>,
}

impl LayerVisitor for Compiler<'_> {
    type Value = ValueSpec;
    type Error = Stop;

    fn unit(&mut self, unit: &Unit, input: &ValueSpec) -> Result<ValueSpec, Stop> {
        let tensors = unit.tensors();
        let mut value = input.clone();
        for operation in unit.operations() {
            value = match operation {
                Operation::Convolution => self.convolve(unit, &tensors, value)?,
                Operation::Norm(norm) => self.normalise(unit, norm, &tensors, value)?,
                Operation::Activation(activation) => self.activate(&unit.path, activation, value),
            };
        }
        Ok(value)
    }

    fn pool(&mut self, block: &Block, stride: &[usize], input: &ValueSpec) -> Result<ValueSpec, Stop> {
        let stride = three(stride);
        let geometry = PoolGeometry {
            max: false,
            count_padding: false,
            kernel: stride,
            stride,
            pad: [0; 3],
            channels: input.channels(),
            input: input.grid,
            output: core::array::from_fn(|a| input.grid[a] / stride[a]),
        };
        Ok(self.builder.pool(&format!("{}{}.skip.pool", self.prefix, block.path), input.clone(), &geometry))
    }

    fn add(&mut self, block: &Block, main: ValueSpec, skip: ValueSpec) -> Result<ValueSpec, Stop> {
        // Nothing else reads the main path.
        let sum = self.builder.add(&format!("{}{}.add", self.prefix, block.path), main, skip, true);
        Ok(self.activate(&block.path, block.activation, sum))
    }

    fn upsample(&mut self, stage: &DecoderStage, input: &ValueSpec) -> Result<ValueSpec, Stop> {
        let kernel = three(&stage.upsample_stride);
        let (weight, bias) = self.affine(&stage.upsample)?;
        Ok(self.builder.upsample(input.clone(), stage.upsample.output, kernel, &weight, &bias))
    }

    fn join(&mut self, _: &DecoderStage, upsampled: ValueSpec, skip: &ValueSpec) -> Result<ValueSpec, Stop> {
        Ok(self.builder.concat(vec![upsampled, skip.clone()]))
    }

    /// The output alone.
    fn head(&mut self, stage: &DecoderStage, output: &ValueSpec) -> Result<(), Stop> {
        if stage.level == 0 {
            let (weight, bias) = self.affine(&stage.head)?;
            let geometry = geometry(output, stage.head.output, [1; 3], [1; 3]);
            let name = format!("{}{}", self.prefix, stage.head.path);
            self.output = Some(self.builder.conv(&name, output.clone(), &geometry, &weight, &bias, false));
        }
        Ok(())
    }
}

impl Compiler<'_> {
    fn convolve(&mut self, unit: &Unit, tensors: &[Expected], input: ValueSpec) -> Result<ValueSpec, Stop> {
        let weight = self.tensor(tensors, Role::Weight, 0, 0.0)?;
        let bias = self.tensor(tensors, Role::Bias, unit.output, 0.0)?;
        let geometry = geometry(&input, unit.output, three(&unit.kernel), three(&unit.stride));
        let name = format!("{}{}.conv", self.prefix, unit.path);
        Ok(self.builder.conv(&name, input, &geometry, &weight, &bias, is_normed(unit)))
    }

    fn normalise(
        &mut self,
        unit: &Unit,
        norm: Norm,
        tensors: &[Expected],
        value: ValueSpec,
    ) -> Result<ValueSpec, Stop> {
        match norm {
            Norm::Off => Ok(value),
            Norm::Instance { epsilon, .. } => {
                let scale = self.tensor(tensors, Role::Scale, unit.output, 1.0)?;
                let shift = self.tensor(tensors, Role::Shift, unit.output, 0.0)?;
                let name = format!("{}{}.norm", self.prefix, unit.path);
                Ok(self.builder.norm(&name, value, &scale, &shift, epsilon))
            }
            Norm::Batch { .. } => Err(Stop::NotCovered),
        }
    }

    fn activate(&mut self, path: &str, activation: Activation, value: ValueSpec) -> ValueSpec {
        let activation = match activation {
            Activation::None => return value,
            Activation::Leaky(0.0) => Activation::Relu,
            Activation::Relu | Activation::Leaky(_) => activation,
        };
        self.builder.activation(&format!("{}{path}.nonlin", self.prefix), value, activation)
    }

    /// Weight and bias.
    fn affine(&mut self, affine: &Affine) -> Result<(Vec<f32>, Vec<f32>), Stop> {
        let tensors = affine.tensors();
        let weight = self.tensor(&tensors, Role::Weight, 0, 0.0)?;
        let bias = self.tensor(&tensors, Role::Bias, affine.output, 0.0)?;
        Ok((weight, bias))
    }

    /// The tensor of this role; where the layer has none, `channels` times `fill`.
    fn tensor(&mut self, tensors: &[Expected], role: Role, channels: usize, fill: f32) -> Result<Vec<f32>, Stop> {
        match tensors.iter().find(|t| t.role == role) {
            Some(tensor) => Ok(self.weights.read_f32(tensor.name())?),
            None => Ok(vec![fill; channels]),
        }
    }
}

/// Whether an instance norm is what reads the convolution.
fn is_normed(unit: &Unit) -> bool {
    let [_, next, after] = unit.operations();
    let next = if next == Operation::Activation(Activation::None) { after } else { next };
    matches!(next, Operation::Norm(Norm::Instance { .. }))
}

/// A convolution padded by half its odd kernel.
fn geometry(input: &ValueSpec, cout: usize, kernel: [usize; 3], stride: [usize; 3]) -> ConvGeometry {
    ConvGeometry {
        cin: input.channels(),
        cout,
        input: input.grid,
        output: core::array::from_fn(|a| (input.grid[a] - 1) / stride[a] + 1),
        kernel,
        stride,
        dilation: [1; 3],
        pad: kernel.map(|k| k / 2),
    }
}

/// Extents of the last axes of three; the others are 1.
fn three(axes: &[usize]) -> [usize; 3] {
    let mut all = [1; 3];
    all[3 - axes.len()..].copy_from_slice(axes);
    all
}
