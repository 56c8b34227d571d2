//! Whether a graph's outputs are logits or probabilities.
//!
//! Logits go through a sigmoid or a softmax after they were averaged; probabilities have been through it inside the graph.
//! Between which bounds a value lies is followed from operator to operator, so that it does not matter what stands between
//! the last activation and the output: casts, other axis orders, averages, quantisation, or the activation itself written
//! out in simpler operators.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::OnnxError;
use crate::manifest::{Labels, Manifest};

/// Rounding, and grids of quantised values that do not end at 1.
const SLACK: f64 = 0.01;
/// Constants of more numbers are weights.
const MOST_NUMBERS: i64 = 1 << 16;

/// Whether the outputs of all folds lie between 0 and 1, whatever the input.
///
/// # Errors
/// Some do and others do not, or no region could ever be found.
pub(super) fn are_probabilities(graph: &GraphProto, manifest: &Manifest) -> Result<bool, OnnxError> {
    let bounds = bounds(graph);
    let outputs = || graph.output.iter().take(manifest.folds).map(|output| output.name.as_str());
    let of = |name: &str| bounds.get(name).copied().unwrap_or(ANY);
    let is_probability = |name: &str| of(name).low >= -SLACK && of(name).high <= 1.0 + SLACK;
    let first = outputs().next().is_some_and(is_probability);
    if let Some(other) = outputs().find(|output| is_probability(output) != first) {
        return Err(OnnxError::Graph(format!(
            "of its outputs, some are probabilities (between 0 and 1) and others are not: \"{}\" and \"{other}\"; export \
             all of them without the last activation",
            graph.output[0].name
        )));
    }
    let regions = matches!(manifest.labels, Labels::Regions { .. });
    if let Some(output) = outputs().find(|output| regions && !first && of(output).high <= 0.0) {
        return Err(OnnxError::Graph(format!(
            "its output \"{output}\" is never above 0, so that no region would be found; export it without the last \
             activation (LogSoftmax, for example)"
        )));
    }
    Ok(first)
}

/// The least and the largest number that a value can be.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bounds {
    low: f64,
    high: f64,
}

const ANY: Bounds = Bounds { low: f64::NEG_INFINITY, high: f64::INFINITY };
const UNIT: Bounds = Bounds { low: 0.0, high: 1.0 };

impl Bounds {
    fn new(low: f64, high: f64) -> Bounds {
        // Infinity times zero is no number, and says nothing.
        if low.is_nan() || high.is_nan() { ANY } else { Bounds { low, high } }
    }

    fn hull(self, other: Bounds) -> Bounds {
        Bounds { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// Of a function that never decreases.
    fn map(self, f: impl Fn(f64) -> f64) -> Bounds {
        Bounds::new(f(self.low), f(self.high))
    }

    /// The products or quotients of the ends.
    fn ends(self, other: Bounds, f: impl Fn(f64, f64) -> f64) -> Bounds {
        let ends = [(self.low, other.low), (self.low, other.high), (self.high, other.low), (self.high, other.high)];
        let ends = ends.map(|(a, b)| f(a, b));
        if ends.iter().any(|end| end.is_nan()) {
            return ANY;
        }
        Bounds {
            low: ends.into_iter().fold(f64::INFINITY, f64::min),
            high: ends.into_iter().fold(f64::NEG_INFINITY, f64::max),
        }
    }

    fn divided_by(self, other: Bounds) -> Bounds {
        if other.low > 0.0 || other.high < 0.0 { self.ends(other, |a, b| a / b) } else { ANY }
    }
}

/// The bounds of every value that is bounded. Nodes are in the order in which they are computed.
fn bounds(graph: &GraphProto) -> HashMap<&str, Bounds> {
    let constants = graph.initializer.iter().filter_map(|t| Some((t.name.as_str(), numbers(t)?)));
    let mut known: HashMap<&str, Bounds> = constants.collect();
    for node in &graph.node {
        if let (Some(bounds), Some(output)) = (of_node(node, &known), node.output.first())
            && bounds != ANY
        {
            known.insert(output, bounds);
        }
    }
    known
}

fn of_node(node: &NodeProto, known: &HashMap<&str, Bounds>) -> Option<Bounds> {
    let inputs = || node.input.iter().map(|name| known.get(name.as_str()).copied().unwrap_or(ANY));
    let input = |i: usize| inputs().nth(i).unwrap_or(ANY);
    let fold = |f: fn(Bounds, Bounds) -> Bounds| inputs().reduce(f).unwrap_or(ANY);
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name);
    Some(match node.op_type.as_str() {
        "Sigmoid" | "HardSigmoid" | "Softmax" | "Hardmax" => UNIT,
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Not" | "And" | "Or" | "Xor" => UNIT,
        "LogSoftmax" => Bounds { low: f64::NEG_INFINITY, high: 0.0 },
        "Tanh" | "Softsign" | "Erf" | "Sin" | "Cos" => Bounds { low: -1.0, high: 1.0 },
        "Exp" => input(0).map(f64::exp),
        "Relu" => input(0).map(|v| v.max(0.0)),
        "Neg" => Bounds { low: -input(0).high, high: -input(0).low },
        "Abs" => Bounds { low: 0.0, high: input(0).low.abs().max(input(0).high.abs()) },
        "Reciprocal" => Bounds { low: 1.0, high: 1.0 }.divided_by(input(0)),
        "Add" | "Sum" => fold(|a, b| Bounds::new(a.low + b.low, a.high + b.high)),
        "Sub" => Bounds::new(input(0).low - input(1).high, input(0).high - input(1).low),
        "Mul" => fold(|a, b| a.ends(b, |a, b| a * b)),
        "Div" => input(0).divided_by(input(1)),
        "Min" => fold(|a, b| Bounds { low: a.low.min(b.low), high: a.high.min(b.high) }),
        "Max" => fold(|a, b| Bounds { low: a.low.max(b.low), high: a.high.max(b.high) }),
        "Clip" => {
            // Attributes in old operator sets, inputs in newer ones.
            let low = attribute("min").map_or_else(|| input(1).low, |a| a.f.into());
            let high = attribute("max").map_or_else(|| input(2).high, |a| a.f.into());
            input(0).map(|v| v.max(low).min(high))
        }
        "Concat" | "Mean" => fold(Bounds::hull),
        "Where" => input(1).hull(input(2)),
        "Constant" => numbers(attribute("value")?.t.as_ref()?)?,
        // What was moved, cut out, or averaged with weights that sum to one.
        "Identity" | "Cast" | "Dropout" | "Transpose" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Slice"
        | "Expand" | "Tile" | "Gather" | "DepthToSpace" | "SpaceToDepth" | "MaxPool" | "ReduceMax" | "ReduceMin"
        | "ReduceMean" | "QuantizeLinear" | "DequantizeLinear" => input(0),
        // Padding is zero.
        "Pad" if node.input.len() < 3 => input(0).hull(Bounds { low: 0.0, high: 0.0 }),
        "AveragePool" => input(0).hull(Bounds { low: 0.0, high: 0.0 }),
        "Resize" | "Upsample" if attribute("mode").is_none_or(|a| a.s != b"cubic") => input(0),
        _ => return None,
    })
}

/// The bounds of a constant's numbers.
fn numbers(t: &TensorProto) -> Option<Bounds> {
    let count = t.dims.iter().try_fold(1i64, |n, &d| n.checked_mul(d)).filter(|n| (1..=MOST_NUMBERS).contains(n))?;
    let all: Vec<f64> = match DataType::try_from(t.data_type).ok()? {
        DataType::Float if t.raw_data.is_empty() => t.float_data.iter().map(|&v| v.into()).collect(),
        DataType::Float => {
            t.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into()).collect()
        }
        DataType::Float16 if t.raw_data.is_empty() => {
            t.int32_data.iter().map(|&v| half::f16::from_bits(v as u16).into()).collect()
        }
        DataType::Float16 => {
            t.raw_data.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).into()).collect()
        }
        _ => return None,
    };
    let bounds = all.iter().map(|&v| Bounds::new(v, v)).reduce(Bounds::hull)?;
    (all.len() as i64 == count).then_some(bounds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Channel, Label, NetworkGrid, Normalization};
    use tract_onnx::pb::AttributeProto;
    use tract_onnx::pb::ValueInfoProto;

    fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
        let input = inputs.iter().map(|&name| name.into()).collect();
        NodeProto { op_type: op.into(), input, output: vec![output.into()], ..Default::default() }
    }

    fn graph(nodes: Vec<NodeProto>, outputs: &[&str]) -> GraphProto {
        let constant = |name: &str, values: &[f32]| TensorProto {
            name: name.into(),
            data_type: DataType::Float as i32,
            dims: vec![values.len() as i64],
            float_data: values.to_vec(),
            ..Default::default()
        };
        let output = |&name: &&str| ValueInfoProto { name: name.into(), ..Default::default() };
        GraphProto {
            node: nodes,
            output: outputs.iter().map(output).collect(),
            initializer: vec![
                constant("one", &[1.0]),
                constant("half", &[0.5]),
                constant("weights", &[0.25, 0.75]),
                constant("minus", &[-3.0]),
            ],
            ..Default::default()
        }
    }

    fn manifest(folds: usize, regions: bool) -> Manifest {
        let heads = vec![Label::new("a", 1)];
        let labels = if regions { Labels::Regions { heads } } else { Labels::Exclusive { heads } };
        let grid = NetworkGrid::new([8; 3], [None; 3]);
        let mut manifest = Manifest::new(grid, vec![Channel::new("CT", Normalization::None)], labels);
        manifest.folds = folds;
        manifest
    }

    fn ask(nodes: Vec<NodeProto>) -> Result<bool, String> {
        are_probabilities(&graph(nodes, &["y"]), &manifest(1, true)).map_err(|e| e.to_string())
    }

    #[test]
    fn probabilities_are_told_from_logits() {
        let conv = || node("Conv", &["x", "w"], "c");
        let last = |op: &str| vec![conv(), node(op, &["c"], "y")];
        for op in ["Sigmoid", "Softmax", "HardSigmoid", "Hardmax"] {
            assert_eq!(ask(last(op)), Ok(true), "{op}");
        }
        for op in ["Identity", "Relu", "Tanh", "Exp", "Softplus", "LeakyRelu", "Conv"] {
            assert_eq!(ask(last(op)), Ok(false), "{op}");
        }
        assert!(ask(last("LogSoftmax")).unwrap_err().contains("is never above 0"));
        let exclusive = are_probabilities(&graph(last("LogSoftmax"), &["y"]), &manifest(1, false));
        assert!(matches!(exclusive, Ok(false)));
    }

    #[test]
    fn what_stands_behind_the_last_activation_does_not_matter() {
        let sigmoid = || vec![node("Conv", &["x", "w"], "c"), node("Sigmoid", &["c"], "s")];
        for (op, more) in [
            ("Cast", vec![]),
            ("Transpose", vec![]),
            ("Concat", vec!["s"]),
            ("Mean", vec!["s"]),
            ("Max", vec!["half"]),
            ("Clip", vec!["minus", "one"]),
            ("Mul", vec!["weights"]),
        ] {
            let mut nodes = sigmoid();
            nodes.push(node(op, &[vec!["s"], more].concat(), "y"));
            assert_eq!(ask(nodes), Ok(true), "{op}");
        }
        for (op, more) in [("Concat", vec!["c"]), ("Div", vec!["half"]), ("Add", vec!["s"]), ("Sub", vec!["half"])] {
            let mut nodes = sigmoid();
            nodes.push(node(op, &[vec!["s"], more].concat(), "y"));
            assert_eq!(ask(nodes), Ok(false), "{op}");
        }
        // The average of two, and what was quantised.
        let mut nodes = sigmoid();
        nodes.extend([
            node("Add", &["s", "s"], "sum"),
            node("Mul", &["sum", "half"], "average"),
            node("QuantizeLinear", &["average", "scale", "zero"], "bytes"),
            node("DequantizeLinear", &["bytes", "scale", "zero"], "y"),
        ]);
        assert_eq!(ask(nodes), Ok(true));
    }

    #[test]
    fn an_activation_in_simple_operators_is_recognised() {
        let conv = || node("Conv", &["x", "w"], "c");
        // 1 / (1 + exp(-x)), (tanh(x / 2) + 1) / 2, and a comparison.
        let mut limits = node("Clip", &["c"], "y");
        let limit = |name: &str, f: f32| AttributeProto { name: name.into(), f, ..Default::default() };
        limits.attribute = vec![limit("min", 0.0), limit("max", 1.0)];
        for nodes in [
            vec![
                conv(),
                node("Neg", &["c"], "n"),
                node("Exp", &["n"], "e"),
                node("Add", &["e", "one"], "d"),
                node("Div", &["one", "d"], "y"),
            ],
            vec![conv(), node("Tanh", &["c"], "t"), node("Add", &["t", "one"], "u"), node("Mul", &["u", "half"], "y")],
            vec![conv(), node("Greater", &["c", "half"], "g"), node("Cast", &["g"], "y")],
            vec![conv(), limits],
        ] {
            assert_eq!(ask(nodes.clone()), Ok(true), "{nodes:?}");
        }
    }

    #[test]
    fn folds_of_both_kinds_are_refused() {
        let nodes = || vec![node("Conv", &["x", "w"], "c"), node("Sigmoid", &["c"], "s")];
        let ask = |outputs: &[&str], folds| are_probabilities(&graph(nodes(), outputs), &manifest(folds, true));
        assert!(matches!(ask(&["s", "s"], 2), Ok(true)));
        assert!(matches!(ask(&["s", "c"], 1), Ok(true)));
        let error = ask(&["s", "c"], 2).unwrap_err().to_string();
        assert!(error.contains("others are not: \"s\" and \"c\""), "{error}");
    }
}
