//! Half-precision models before tract types them.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, type_proto};

/// Widens 16-bit weights and tensors to f32: tract's half-precision convolutions are slow on most
/// CPUs and overflow in the norms, and f32 holds every f16 exactly.
pub(super) fn widen_to_f32(graph: &mut GraphProto) {
    const F16: i32 = DataType::Float16 as i32;
    const F32: i32 = DataType::Float as i32;
    let tensors = |n: &NodeProto| {
        n.attribute.iter().any(|a| a.t.as_ref().is_some_and(|t| t.data_type == F16) || casts_to_f16(&n.op_type, a))
    };
    if !graph.initializer.iter().any(|t| t.data_type == F16) && !graph.node.iter().any(tensors) {
        return;
    }
    graph.initializer.iter_mut().for_each(widen);
    for node in &mut graph.node {
        for a in &mut node.attribute {
            if casts_to_f16(&node.op_type, a) {
                a.i = i64::from(F32);
            }
            a.t.iter_mut().for_each(widen);
        }
    }
    for info in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
        if let Some(type_proto::Value::TensorType(t)) = info.r#type.as_mut().and_then(|t| t.value.as_mut())
            && t.elem_type == F16
        {
            t.elem_type = F32;
        }
    }
}

fn casts_to_f16(op: &str, a: &AttributeProto) -> bool {
    op == "Cast" && a.name == "to" && a.i == DataType::Float16 as i64
}

fn widen(t: &mut TensorProto) {
    if t.data_type != DataType::Float16 as i32 {
        return;
    }
    let values: Vec<f32> = if t.raw_data.is_empty() {
        t.int32_data.iter().map(|&v| half::f16::from_bits(v as u16).to_f32()).collect()
    } else {
        t.raw_data.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
    };
    t.data_type = DataType::Float as i32;
    t.int32_data = Vec::new();
    t.raw_data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
}
