//! Instance norm as one operator of tract's graph.
//!
//! tract writes it as a chain of sums and products in single precision; kept whole, it can be fused after a convolution,
//! and its statistics are summed in double precision wherever it runs.

use tract_core::internal::*;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::infer::{InferenceOp, InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{Expansion, expand};
use tract_onnx::tract_hir::ops::activations::LeakyRelu;

use crate::arch::{Activation, Affine, Isa};
use crate::kernels::Norm;

/// `(x - mean) / sqrt(var + epsilon) * scale + shift` over the spatial axes; inputs `x`, `scale`, `shift`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InstanceNorm {
    /// Bits, so that the operator has a total equality.
    epsilon_bits: u32,
}

impl Eq for InstanceNorm {}

impl InstanceNorm {
    pub(crate) fn epsilon(&self) -> f32 {
        f32::from_bits(self.epsilon_bits)
    }
}

/// Makes the parser build this operator for ONNX's `InstanceNormalization`, and `Relu` as a leaky one of slope 0.
pub(crate) fn register(onnx: &mut tract_onnx::Onnx) {
    onnx.op_register.insert("InstanceNormalization", build);
    onnx.op_register.insert("Relu", |_, _| Ok((expand(LeakyRelu(0.0)), vec![])));
}

fn build(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let epsilon: f32 = node.get_attr_opt("epsilon")?.unwrap_or(1e-5);
    Ok((expand(InstanceNorm { epsilon_bits: epsilon.to_bits() }), vec![]))
}

impl Expansion for InstanceNorm {
    fn name(&self) -> StaticName {
        "InstanceNorm".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        if inputs.len() != 3 || outputs.len() != 1 {
            bail!("InstanceNormalization takes three inputs and gives one output");
        }
        s.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        s.equals(&inputs[0].datum_type, &inputs[1].datum_type)?;
        s.equals(&inputs[0].datum_type, &inputs[2].datum_type)?;
        s.equals(&inputs[1].shape, &inputs[2].shape)?;
        s.equals(&inputs[0].shape, &outputs[0].shape)?;
        s.equals(&inputs[1].shape[0], &inputs[0].shape[1])?;
        Ok(())
    }

    fn wire(&self, name: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(name, self.clone(), inputs)
    }
}

impl Op for InstanceNorm {
    fn name(&self) -> StaticName {
        "ScansideInstanceNorm".into()
    }

    op_as_typed_op!();
}

impl EvalOp for InstanceNorm {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (x, scale, shift) = args_3!(inputs);
        let (scale, shift) = (scale.try_as_plain_ram()?, shift.try_as_plain_ram()?);
        let (scale, shift) = (scale.as_slice::<f32>()?, shift.as_slice::<f32>()?);
        let isa = Isa::detect();
        let mut x = x.into_tensor();
        let voxels: usize = x.shape()[2..].iter().product();
        ensure!(voxels * x.shape()[1] > 0, "InstanceNormalization over an empty tensor");
        let mut view = x.try_as_plain_ram_mut()?;
        for (c, channel) in view.as_slice_mut::<f32>()?.chunks_exact_mut(voxels).enumerate() {
            let c = c % scale.len();
            let (factor, summand) = Norm::affine(isa.moments(channel), voxels, scale[c], shift[c], self.epsilon());
            isa.change_row(channel, Some(Affine { scale: factor, shift: summand }), Activation::None);
        }
        Ok(tvec!(x.into_tvalue()))
    }
}

impl TypedOp for InstanceNorm {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].datum_type == f32::datum_type(), "InstanceNormalization in another type than f32");
        Ok(tvec!(inputs[0].datum_type.fact(inputs[0].shape.clone())))
    }

    as_op!();
}
