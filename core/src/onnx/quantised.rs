//! Quantised graphs: pairs of `QuantizeLinear` and `DequantizeLinear` read for what they mean.
//!
//! Constants are dequantised where they stand, so that the graph computes in floats; their integers are kept by the
//! name of the convolution that uses them. A pair on an activation becomes one operator, [`super::grid_op`]. What does
//! not fit this pattern stays as it is and is tract's.

use std::collections::{BTreeMap, HashMap, HashSet};

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::grid_op;

/// Weights of a convolution as the file stores them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QuantWeights {
    /// In the order of the tensor.
    pub(super) values: Vec<i8>,
    /// One an output channel.
    pub(super) scales: Vec<f32>,
}

/// By name of the convolution: its weights, or why its integers cannot be used.
#[derive(Debug, Default)]
pub(super) struct QuantTable(pub(super) BTreeMap<String, Result<QuantWeights, String>>);

/// Whether there is anything to rewrite.
pub(super) fn is_quantised(graph: &GraphProto) -> bool {
    graph.node.iter().any(|n| n.op_type == "DequantizeLinear")
}

/// Rewrites the graph in place.
pub(super) fn rewrite(graph: &mut GraphProto) -> QuantTable {
    name_nodes(graph);
    let constants: HashMap<String, TensorProto> = graph
        .initializer
        .iter()
        .map(|t| (t.name.clone(), t.clone()))
        .chain(graph.node.iter().filter(|n| n.op_type == "Constant").filter_map(|n| {
            let value = n.attribute.iter().find(|a| a.name == "value")?.t.clone()?;
            Some((n.output.first()?.clone(), value))
        }))
        .collect();
    let mut kept: HashMap<String, Result<QuantWeights, String>> = HashMap::new();
    let mut gone: HashSet<usize> = HashSet::new();
    // Constants first: their values replace the operators.
    for (i, node) in graph.node.iter().enumerate().filter(|(_, n)| n.op_type == "DequantizeLinear") {
        let tensor = |k: usize| node.input.get(k).and_then(|name| constants.get(name));
        let (Some(values), Some(scale)) = (tensor(0), tensor(1)) else { continue };
        let Some(made) = dequantise(node, values, scale, tensor(2)) else { continue };
        kept.insert(node.output[0].clone(), made.kept);
        graph.initializer.push(TensorProto {
            name: node.output[0].clone(),
            dims: values.dims.clone(),
            data_type: DataType::Float as i32,
            raw_data: made.floats.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..Default::default()
        });
        gone.insert(i);
    }
    pairs(graph, &constants, &mut gone);
    let mut index = 0;
    graph.node.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
    drop_unused(graph);
    let mut table = QuantTable::default();
    for node in graph.node.iter().filter(|n| n.op_type == "Conv") {
        if let Some(kept) = node.input.get(1).and_then(|w| kept.get(w)) {
            table.0.insert(node.name.clone(), kept.clone());
        }
    }
    table
}

/// Convolutions are found again by their names.
fn name_nodes(graph: &mut GraphProto) {
    let mut seen: HashSet<String> = HashSet::new();
    for (i, node) in graph.node.iter_mut().enumerate() {
        if node.name.is_empty() || !seen.insert(node.name.clone()) {
            node.name = format!("{}.{i}", node.op_type);
            seen.insert(node.name.clone());
        }
    }
}

struct Dequantised {
    floats: Vec<f32>,
    kept: Result<QuantWeights, String>,
}

fn dequantise(
    node: &NodeProto,
    values: &TensorProto,
    scale: &TensorProto,
    zero: Option<&TensorProto>,
) -> Option<Dequantised> {
    let q = integers(values)?;
    let scales = floats(scale)?;
    let zeros = match zero {
        Some(z) => integers(z)?,
        None => vec![0],
    };
    let per_tensor = scales.len() == 1;
    let axis = node.attribute.iter().find(|a| a.name == "axis").map_or(1, |a| a.i);
    let rank = values.dims.len() as i64;
    let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
    let size = |n: i64| usize::try_from(n).ok();
    let (along, inner) = if per_tensor {
        (1, q.len().max(1))
    } else {
        (size(*values.dims.get(axis)?)?, values.dims[axis + 1..].iter().map(|&n| size(n)).product::<Option<usize>>()?)
    };
    if !per_tensor && along != scales.len() || inner == 0 || zeros.is_empty() {
        return None;
    }
    let index = |i: usize| if per_tensor { 0 } else { i / inner % along };
    let shifted: Vec<i64> =
        q.iter().enumerate().map(|(i, &v)| i64::from(v) - i64::from(zeros[index(i).min(zeros.len() - 1)])).collect();
    let floats = shifted.iter().enumerate().map(|(i, &v)| v as f32 * scales[index(i)]).collect();
    let small: Option<Vec<i8>> = shifted.iter().map(|&v| i8::try_from(v).ok()).collect();
    let first = values.dims.first().and_then(|&n| size(n)).unwrap_or(0);
    let kept = match small {
        None => Err("its weights, less their zero point, do not fit in signed bytes".to_owned()),
        Some(_) if !per_tensor && axis != 0 => {
            Err("its weights are scaled along another axis than the output".to_owned())
        }
        Some(values) => Ok(QuantWeights { values, scales: if per_tensor { vec![scales[0]; first] } else { scales } }),
    };
    Some(Dequantised { floats, kept })
}

/// Pairs on activations.
fn pairs(graph: &mut GraphProto, constants: &HashMap<String, TensorProto>, gone: &mut HashSet<usize>) {
    let outputs: HashSet<String> = graph.output.iter().map(|o| o.name.clone()).collect();
    let made_by: HashMap<String, usize> =
        graph.node.iter().enumerate().filter_map(|(i, n)| Some((n.output.first()?.clone(), i))).collect();
    let mut readers: HashMap<usize, usize> = HashMap::new();
    for node in &graph.node {
        for input in &node.input {
            if let Some(&i) = made_by.get(input) {
                *readers.entry(i).or_default() += 1;
            }
        }
    }
    let of = |node: &NodeProto| grid_of(node, constants);
    let mut replaced: Vec<(usize, usize, f32, u8)> = Vec::new();
    for (i, node) in graph.node.iter().enumerate().filter(|(i, n)| n.op_type == "DequantizeLinear" && !gone.contains(i))
    {
        let Some(&q) = node.input.first().and_then(|name| made_by.get(name)) else { continue };
        if graph.node[q].op_type != "QuantizeLinear" {
            continue;
        }
        match (of(&graph.node[q]), of(node)) {
            (Some(a), Some(b)) if a == b => replaced.push((q, i, a.0, a.1)),
            _ => {}
        }
    }
    for (q, dq, scale, zero) in replaced {
        let input = graph.node[q].input[0].clone();
        let node = &mut graph.node[dq];
        node.op_type = grid_op::NAME.into();
        node.domain = String::new();
        node.input = vec![input];
        node.attribute = vec![
            AttributeProto {
                name: "scale".into(),
                r#type: AttributeType::Float as i32,
                f: scale,
                ..Default::default()
            },
            AttributeProto {
                name: "zero".into(),
                r#type: AttributeType::Int as i32,
                i: zero.into(),
                ..Default::default()
            },
        ];
        if let Some(count) = readers.get_mut(&q) {
            *count -= 1;
            if *count == 0 && !graph.node[q].output.iter().any(|o| outputs.contains(o)) {
                gone.insert(q);
            }
        }
    }
}

/// Scale and zero point on unsigned bytes of a per-tensor operator.
fn grid_of(node: &NodeProto, constants: &HashMap<String, TensorProto>) -> Option<(f32, u8)> {
    let scale = floats(constants.get(node.input.get(1)?)?)?;
    let (zero, signed) = match node.input.get(2).filter(|name| !name.is_empty()) {
        None => (0, false),
        Some(name) => {
            let t = constants.get(name)?;
            let signed = match DataType::try_from(t.data_type).ok()? {
                DataType::Int8 => true,
                DataType::Uint8 => false,
                _ => return None,
            };
            (*integers(t)?.first()?, signed)
        }
    };
    match scale[..] {
        // A signed byte and the unsigned one 128 above it stand for the same value.
        [scale] if scale.is_finite() && scale > 0.0 => {
            Some((scale, u8::try_from(if signed { zero + 128 } else { zero }).ok()?))
        }
        _ => None,
    }
}

/// Constants that only quantisation read would be typed for nothing, and tract refuses some of them.
fn drop_unused(graph: &mut GraphProto) {
    let used: HashSet<String> = graph
        .node
        .iter()
        .flat_map(|n| n.input.iter().cloned())
        .chain(graph.output.iter().map(|o| o.name.clone()))
        .collect();
    graph.initializer.retain(|t| used.contains(&t.name));
    graph.node.retain(|n| n.op_type != "Constant" || n.output.iter().any(|o| used.contains(o)));
}

fn integers(t: &TensorProto) -> Option<Vec<i32>> {
    let raw = &t.raw_data;
    Some(match DataType::try_from(t.data_type).ok()? {
        DataType::Int8 if raw.is_empty() => t.int32_data.clone(),
        DataType::Uint8 if raw.is_empty() => t.int32_data.clone(),
        DataType::Int32 if raw.is_empty() => t.int32_data.clone(),
        DataType::Int8 => raw.iter().map(|&b| i32::from(b as i8)).collect(),
        DataType::Uint8 => raw.iter().map(|&b| i32::from(b)).collect(),
        DataType::Int32 => raw.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        _ => return None,
    })
}

fn floats(t: &TensorProto) -> Option<Vec<f32>> {
    if t.data_type != DataType::Float as i32 {
        return None;
    }
    Some(if t.raw_data.is_empty() {
        t.float_data.clone()
    } else {
        t.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    })
}
