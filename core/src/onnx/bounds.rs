//! Bounds what the graph library computes while it reads a graph.
//!
//! It evaluates every operator whose inputs are constants, as soon as they are known. Shapes are known before that, so a
//! file of a few bytes that asks for gigabytes of constants is refused here.

use tract_core::internal::*;
use tract_onnx::tract_hir::internal::{Factoid, InferenceFact, InferenceModel};

use super::OnnxError;

/// Bytes that a graph may compute from constants, however small its file is.
const FREE_BYTES: u64 = 64 << 20;
/// Bytes that it may compute beyond that for each byte of its file: weights of 8 bits are made floats, once or twice.
const PER_FILE_BYTE: u64 = 8;

/// Walks a graph whose input is known from its start to its end, as the library will, and adds up what is computed from
/// constants.
///
/// # Errors
/// It is more than a graph needs that was read from `file_bytes` bytes.
pub(super) fn check_constants(model: &mut InferenceModel, file_bytes: u64) -> Result<(), OnnxError> {
    let most = file_bytes.saturating_mul(PER_FILE_BYTE).saturating_add(FREE_BYTES);
    let mut sum = 0u64;
    for id in model.eval_order().map_err(OnnxError::graph)? {
        // What fails here fails again where the graph is typed, with a better error.
        let Ok(bytes) = constant_bytes(model, id) else { continue };
        sum = sum.saturating_add(bytes);
        if sum > most {
            return Err(OnnxError::Graph(format!(
                "the operator \"{}\" brings what is computed from constants to {sum} bytes; for a file of {file_bytes} \
                 bytes {most} are allowed",
                model.node(id).name
            )));
        }
        let _ = infer(model, id);
    }
    Ok(())
}

/// Bytes of a node's outputs where their values follow from constants and are not known yet; else 0.
fn constant_bytes(model: &InferenceModel, id: usize) -> TractResult<u64> {
    let node = model.node(id);
    let (inputs, outputs) = model.node_facts(id)?;
    let known = |facts: &[&InferenceFact]| facts.iter().all(|f| f.value.is_concrete());
    if InferenceModel::is_source(&node.op) || !known(&inputs) || known(&outputs) {
        return Ok(0);
    }
    let observed = observed(model, id)?;
    let (_, outputs, _) = node.op.clone().infer_facts(inputs, outputs, observed.iter().collect())?;
    Ok(outputs.iter().map(fact_bytes).fold(0, u64::saturating_add))
}

/// 0 where the shape is open.
fn fact_bytes(fact: &InferenceFact) -> u64 {
    let of_number = fact.datum_type.concretize().map_or(size_of::<f64>(), |t| t.size_of()) as u64;
    let Some(dims) = fact.shape.concretize() else { return 0 };
    let dims = dims.iter().map(|d| d.to_i64().map_or(0, |n| u64::try_from(n).unwrap_or(0)));
    dims.fold(of_number, u64::saturating_mul)
}

fn observed(model: &InferenceModel, id: usize) -> TractResult<TVec<InferenceFact>> {
    let outlets = model.node(id).op.observe_outlets(model, model.node(id))?;
    outlets.iter().map(|&outlet| model.outlet_fact(outlet).cloned()).collect()
}

/// One step of the library's own analysis, forwards alone.
fn infer(model: &mut InferenceModel, id: usize) -> TractResult<()> {
    let (inputs, outputs) = model.node_facts(id)?;
    let [inputs, outputs] = [inputs, outputs].map(|facts| facts.into_iter().cloned().collect::<TVec<_>>());
    let observed = observed(model, id)?;
    let op = &mut model.node_mut(id).op;
    let (_, inferred, _) = op.infer(inputs.iter().collect(), outputs.iter().collect(), observed.iter().collect())?;
    for (slot, fact) in inferred.iter().enumerate() {
        let outlet = OutletId::new(id, slot);
        let unified = model.outlet_fact(outlet)?.unify(fact)?;
        model.set_outlet_fact(outlet, unified)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{OnnxEngine, OnnxModel, Settings};
    use prost::Message;
    use tract_onnx::pb::attribute_proto::AttributeType;
    use tract_onnx::pb::tensor_proto::DataType;
    use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as Dim};
    use tract_onnx::pb::{
        AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
        TypeProto, ValueInfoProto, type_proto,
    };

    const FLOAT: i64 = DataType::Float as i64;

    fn ints(dims: &[i64], values: &[i64]) -> TensorProto {
        let (dims, int64_data) = (dims.to_vec(), values.to_vec());
        TensorProto { dims, int64_data, data_type: DataType::Int64 as i32, ..Default::default() }
    }

    fn floats(dims: &[i64], values: &[f32]) -> TensorProto {
        let (dims, float_data) = (dims.to_vec(), values.to_vec());
        TensorProto { dims, float_data, data_type: DataType::Float as i32, ..Default::default() }
    }

    fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            name: output.into(),
            op_type: op.into(),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: vec![output.into()],
            ..Default::default()
        }
    }

    /// A tensor of one channel and 4 x 4 x 4 voxels.
    fn value(name: &str) -> ValueInfoProto {
        let dim = |n| Dimension { value: Some(Dim::DimValue(n)), ..Default::default() };
        let shape = TensorShapeProto { dim: [1, 1, 4, 4, 4].map(dim).to_vec() };
        let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
        let value = Some(type_proto::Value::TensorType(tensor));
        ValueInfoProto {
            name: name.into(),
            r#type: Some(TypeProto { value, ..Default::default() }),
            ..Default::default()
        }
    }

    /// The bytes of a model that adds the maximum of `op(constants)` to its input.
    fn model(op: &str, constants: Vec<TensorProto>) -> Vec<u8> {
        let names: Vec<String> = (0..constants.len()).map(|i| format!("constant {i}")).collect();
        let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut cast = node("Cast", &["computed"], "float");
        let to = AttributeType::Int as i32;
        cast.attribute.push(AttributeProto { name: "to".into(), r#type: to, i: FLOAT, ..Default::default() });
        let graph = GraphProto {
            name: "test".into(),
            node: vec![
                node(op, &inputs, "computed"),
                cast,
                node("ReduceMax", &["float"], "most"),
                node("Add", &["input", "most"], "output"),
            ],
            initializer: names.iter().zip(constants).map(|(n, t)| TensorProto { name: n.clone(), ..t }).collect(),
            input: vec![value("input")],
            output: vec![value("output")],
            ..Default::default()
        };
        let opset = OperatorSetIdProto { version: 17, ..Default::default() };
        ModelProto { ir_version: 8, graph: Some(graph), opset_import: vec![opset], ..Default::default() }
            .encode_to_vec()
    }

    fn open(bytes: &[u8]) -> Result<(), String> {
        let model = OnnxModel::from_bytes(bytes).map_err(|e| e.to_string())?;
        let manifest = model.neutral_manifest().map_err(|e| e.to_string())?;
        OnnxEngine::new(model, &manifest, Settings::default()).map(drop).map_err(|e| e.to_string())
    }

    /// An operator whose result has `n` numbers, from constants of a few bytes.
    fn operators(n: i64) -> Vec<(&'static str, Vec<TensorProto>)> {
        vec![
            ("Expand", vec![floats(&[1], &[1.0]), ints(&[2], &[n, 1])]),
            ("Tile", vec![floats(&[1], &[1.0]), ints(&[1], &[n])]),
            ("Pad", vec![floats(&[1], &[1.0]), ints(&[2], &[0, n - 1])]),
            ("Range", vec![ints(&[], &[0]), ints(&[], &[n]), ints(&[], &[1])]),
            ("ConstantOfShape", vec![ints(&[2], &[1, n])]),
        ]
    }

    #[test]
    fn few_bytes_cannot_ask_for_gigabytes_of_constants() {
        // The library counts some extents in 32 bits: larger ones wrap round, and cost nothing.
        for (op, constants) in operators(1 << 30) {
            let error = open(&model(op, constants)).expect_err(op);
            assert!(error.contains("brings what is computed from constants to"), "{op}: {error}");
        }
        for (op, constants) in operators(1 << 10) {
            assert_eq!(open(&model(op, constants)), Ok(()), "{op}");
        }
    }
}
