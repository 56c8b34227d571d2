//! Quantise-dequantise of an activation as one operator of tract's graph.
//!
//! tract keeps the two apart and moves other operators between them; as one, it is a value going to the nearest of a
//! grid, which can stay pending on a tensor or become the input of an integer convolution.

use tract_core::internal::*;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::infer::{InferenceOp, InferenceResult, Solver, TensorProxy};
use tract_onnx::tract_hir::internal::{Expansion, expand};

use crate::arch::{Isa, Quant};

/// Name of the operator in a rewritten graph; attributes `scale` and `zero`.
pub(super) const NAME: &str = "ScansideGrid";

/// To the nearest value of a grid of unsigned bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GridOp {
    /// Bits, so that the operator has a total equality.
    scale_bits: u32,
    zero: u8,
}

impl Eq for GridOp {}

impl GridOp {
    pub(super) fn quant(&self) -> Quant {
        Quant { scale: f32::from_bits(self.scale_bits), zero: self.zero }
    }
}

/// Makes the parser build this operator.
pub(super) fn register(onnx: &mut tract_onnx::Onnx) {
    onnx.op_register.insert(NAME, build);
}

fn build(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let scale: f32 = node.get_attr("scale")?;
    let zero: i64 = node.get_attr("zero")?;
    ensure!(scale.is_finite() && scale > 0.0, "a quantisation without a step");
    Ok((expand(GridOp { scale_bits: scale.to_bits(), zero: zero.try_into()? }), vec![]))
}

impl Expansion for GridOp {
    fn name(&self) -> StaticName {
        "Grid".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        if inputs.len() != 1 || outputs.len() != 1 {
            bail!("a quantisation takes one input and gives one output");
        }
        s.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        s.equals(&inputs[0].shape, &outputs[0].shape)?;
        Ok(())
    }

    fn wire(&self, name: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(name, self.clone(), inputs)
    }
}

impl Op for GridOp {
    fn name(&self) -> StaticName {
        NAME.into()
    }

    op_as_typed_op!();
}

impl EvalOp for GridOp {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut x = args_1!(inputs).into_tensor();
        Isa::SCALAR.onto_grid(x.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?, self.quant());
        Ok(tvec!(x.into_tvalue()))
    }
}

impl TypedOp for GridOp {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs[0].datum_type == f32::datum_type(), "quantises another type than f32");
        Ok(tvec!(inputs[0].datum_type.fact(inputs[0].shape.clone())))
    }

    as_op!();
}
