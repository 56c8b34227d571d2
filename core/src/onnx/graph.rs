//! From an ONNX file to tract's typed graph: what both engines start from.

use std::collections::BTreeMap;

use prost::Message;
use tract_core::internal::*;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, TensorProto};
use tract_onnx::prelude::{Framework, InferenceModelExt};

use super::bounds::check_constants;
use super::metadata::manifest_check;
use super::outputs::are_probabilities;
use super::quantised::{self, QuantTable};
use super::widen::widen_to_f32;
use super::{OnnxError, OnnxModel, grid_op, norm_op};
use crate::manifest::{Labels, Manifest};

/// What the graph is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Operators of the file by name, with their number.
    pub operators: BTreeMap<String, usize>,
    /// Numbers in the file's weights, all folds together.
    pub parameters: u64,
    /// How most of them are stored: `f32`, `f16` or `int8`.
    pub precision: &'static str,
}

/// One typed graph a fold.
pub(super) struct TypedFolds {
    pub(super) folds: Vec<TypedModel>,
    /// Of the input.
    pub(super) shape: TVec<usize>,
    pub(super) summary: Summary,
    pub(super) quantised: QuantTable,
}

impl TypedFolds {
    /// Types the graph for the patch that the manifest names.
    pub(super) fn new(mut model: OnnxModel, manifest: &Manifest) -> Result<TypedFolds, OnnxError> {
        manifest_check(manifest, model.graph()?)?;
        check_outputs(manifest, model.graph()?)?;
        let grid = &manifest.grid;
        let channels = manifest.channels.len();
        let heads = manifest.labels.heads().len();
        let [z, y, x] = grid.patch_zyx;
        let shape: TVec<usize> =
            if grid.two_dimensional { tvec![1, channels, y, x] } else { tvec![1, channels, z, y, x] };
        let mut expected = shape.clone();
        expected[1] = heads;

        let mut onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
        norm_op::register(&mut onnx);
        grid_op::register(&mut onnx);
        check_operators(&onnx, model.graph()?)?;
        let summary = model.summary();
        if let Some(graph) = &mut model.proto.graph {
            widen_to_f32(graph);
        }
        refuse_nan(model.graph()?)?;
        let quantised = match &mut model.proto.graph {
            Some(graph) if quantised::is_quantised(graph) => quantised::rewrite(graph),
            _ => QuantTable::default(),
        };
        let mut inferred = onnx.model_for_proto_model(&model.proto).map_err(OnnxError::graph)?;
        let file_bytes = model.proto.encoded_len() as u64;
        // tract has its own copy of the weights now.
        drop(model);
        if inferred.inputs.len() != 1 {
            return Err(OnnxError::Graph(format!("it has {} inputs; one is supported", inferred.inputs.len())));
        }
        inferred.set_input_fact(0, f32::fact(&shape).into()).map_err(OnnxError::graph)?;
        check_constants(&mut inferred, file_bytes)?;
        let mut typed = inferred.into_typed().map_err(OnnxError::graph)?;
        typed.prop_consts().map_err(OnnxError::graph)?;
        let outputs = typed.outputs.clone();
        if outputs.len() < manifest.folds {
            return Err(OnnxError::Manifest(format!(
                "the manifest names {} folds, the graph has {} outputs",
                manifest.folds,
                outputs.len()
            )));
        }
        let mut folds = Vec::new();
        for (k, &outlet) in outputs.iter().take(manifest.folds).enumerate() {
            let fact = typed.outlet_fact(outlet).map_err(OnnxError::graph)?;
            if fact.shape.as_concrete() != Some(&expected[..]) {
                return Err(OnnxError::Manifest(format!(
                    "output {k} of the graph has the shape {:?}; {heads} labels on a patch of {:?} need {expected:?}",
                    fact.shape, grid.patch_zyx
                )));
            }
            let mut one = typed.clone();
            one.select_output_outlets(&[outlet]).map_err(OnnxError::graph)?;
            folds.push(one);
        }
        Ok(TypedFolds { folds, shape, summary, quantised })
    }
}

impl OnnxModel {
    /// Operators, parameters and precision of the graph.
    pub(crate) fn summary(&self) -> Summary {
        let empty = GraphProto::default();
        summarise(self.proto.graph.as_ref().unwrap_or(&empty))
    }
}

fn summarise(graph: &GraphProto) -> Summary {
    let mut operators = BTreeMap::new();
    for node in &graph.node {
        *operators.entry(node.op_type.clone()).or_default() += 1;
    }
    let count = |types: &[DataType]| -> u64 {
        let of_type = |t: &&TensorProto| types.is_empty() || types.iter().any(|&d| t.data_type == d as i32);
        let tensors = graph.initializer.iter().filter(of_type);
        tensors.map(|t| t.dims.iter().map(|&d| d.max(0) as u64).product::<u64>()).sum()
    };
    let parameters = count(&[]);
    let mostly = |types: &[DataType]| 2 * count(types) > parameters;
    let precision = if mostly(&[DataType::Int8, DataType::Uint8]) {
        "int8"
    } else if mostly(&[DataType::Float16]) {
        "f16"
    } else {
        "f32"
    };
    Summary { operators, parameters, precision }
}

/// Runs code of the graph library. It was not written for hostile files and may panic on one: such a panic becomes an
/// error, where panics unwind. [`OnnxEngine::new`](super::OnnxEngine::new) says what that needs.
pub(super) fn guarded<T>(build: impl FnOnce() -> Result<T, OnnxError>) -> Result<T, OnnxError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(build))
        .unwrap_or_else(|payload| Err(OnnxError::panicked(&*payload)))
}

/// Regions are found by comparing with one half what a sigmoid makes of logits; of probabilities, it makes more than that
/// everywhere.
fn check_outputs(manifest: &Manifest, graph: &GraphProto) -> Result<(), OnnxError> {
    let regions = matches!(manifest.labels, Labels::Regions { .. });
    if are_probabilities(graph, manifest)? && regions && !manifest.probabilities {
        return Err(OnnxError::Manifest(
            "the graph's outputs are probabilities (they lie between 0 and 1), and the manifest does not say so \
             (`probabilities`)"
                .into(),
        ));
    }
    Ok(())
}

/// A weight that is not a number makes every logit one: the training diverged, or the file is damaged.
fn refuse_nan(graph: &GraphProto) -> Result<(), OnnxError> {
    let nan = |t: &&TensorProto| {
        t.data_type == DataType::Float as i32
            && (t.float_data.iter().any(|v| v.is_nan())
                || t.raw_data.chunks_exact(4).any(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_nan()))
    };
    match graph.initializer.iter().find(nan) {
        Some(t) => Err(OnnxError::Graph(format!("the weight \"{}\" holds NaN: its training diverged", t.name))),
        None => Ok(()),
    }
}

/// Names every operator that tract has no builder for, with the first node that uses it.
fn check_operators(onnx: &tract_onnx::Onnx, graph: &GraphProto) -> Result<(), OnnxError> {
    let mut unknown: BTreeMap<&str, &str> = BTreeMap::new();
    for node in &graph.node {
        let known = node.op_type == "Constant" || onnx.op_register.0.contains_key(&node.op_type);
        if !known {
            unknown.entry(&node.op_type).or_insert(&node.name);
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = unknown.iter().map(|(op, node)| format!("{op} (node \"{node}\")")).collect();
    Err(OnnxError::Operators(list.join(", ")))
}
