//! The engine for ONNX graphs: tract reads and checks the graph, our steps or tract's executor run it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tract_core::internal::*;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto};
use tract_onnx::prelude::{Framework, InferenceModelExt};

use super::OnnxError;
use super::file::{graph_of, with_f32_tensors};
use super::lower::lower;
use super::metadata::manifest_check;
use super::network::{Kind, Network};
use super::norm_op;
use super::tract_plan::PlanRunner;
use crate::engine::{Engine, EngineError, EngineFootprint};
use crate::manifest::Manifest;

/// Small tables, slices of slices and the like that a run allocates beside its arena.
const RUN_SLACK_BYTES: usize = 64 * 1024;

/// An ONNX network, ready to run.
///
/// Graphs made of convolutions, transposed convolutions whose kernel equals their stride, instance and batch norm,
/// ReLUs, additions, concatenations and pooling are lowered to steps over one arena of known size. Any other graph runs
/// in tract's executor, with [`Self::is_lowered`] false and a footprint that is an upper estimate.
///
/// Each fold is its own plan: computing one does no work of another. Work inside is single-threaded; callers run several
/// patches at once.
pub struct TractEngine {
    folds: Vec<Runner>,
    channels: usize,
    heads: usize,
    patch_zyx: [usize; 3],
    summary: Summary,
    not_lowered: Option<String>,
    /// Arenas of finished runs, kept for the next: fresh pages from the system cost more than the sums done on them.
    arenas: Mutex<Vec<Vec<f32>>>,
}

enum Runner {
    Network(Network),
    Plan(PlanRunner),
}

/// What the graph is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Operators of the file by name, with their number.
    pub operators: BTreeMap<String, usize>,
    /// Numbers in the file's weights, all folds together.
    pub parameters: u64,
    /// Multiply-accumulates of convolutions for one patch of one fold; none where the graph could not be lowered.
    pub macs_per_patch: Option<u64>,
}

impl TractEngine {
    /// Prepares the graph of `proto` for the patch that `manifest` names.
    ///
    /// Weights are held once more in the order the kernels read them; `proto` is not needed afterwards.
    ///
    /// # Errors
    /// An operator tract does not know (by name), shapes that disagree with the manifest, or a graph tract cannot type.
    pub fn new(proto: &ModelProto, manifest: &Manifest) -> Result<TractEngine, OnnxError> {
        guarded(|| Self::build(proto, manifest, true))
    }

    /// As [`Self::new`], but always in tract's own executor: a second opinion for tests and for `inspect`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn without_lowering(proto: &ModelProto, manifest: &Manifest) -> Result<TractEngine, OnnxError> {
        guarded(|| Self::build(proto, manifest, false))
    }

    fn build(proto: &ModelProto, manifest: &Manifest, lowering: bool) -> Result<TractEngine, OnnxError> {
        manifest_check(manifest, graph_of(proto)?)?;
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
        check_operators(&onnx, proto)?;
        let graph = graph_of(proto)?;
        let mut summary = Summary {
            operators: BTreeMap::new(),
            parameters: graph
                .initializer
                .iter()
                .map(|t| t.dims.iter().map(|&d| d.max(0) as u64).product::<u64>())
                .sum(),
            macs_per_patch: None,
        };
        for node in &graph.node {
            *summary.operators.entry(node.op_type.clone()).or_default() += 1;
        }

        let typed = {
            let proto = with_f32_tensors(proto);
            refuse_nan(graph_of(&proto)?)?;
            let mut model = onnx.model_for_proto_model(&proto).map_err(OnnxError::graph)?;
            if model.inputs.len() != 1 {
                return Err(OnnxError::Graph(format!("it has {} inputs; one is supported", model.inputs.len())));
            }
            model.set_input_fact(0, f32::fact(&shape).into()).map_err(OnnxError::graph)?;
            let mut typed = model.into_typed().map_err(OnnxError::graph)?;
            typed.prop_consts().map_err(OnnxError::graph)?;
            typed
        };
        let outputs = typed.outputs.clone();
        if outputs.len() < manifest.folds {
            return Err(OnnxError::Manifest(format!(
                "the manifest names {} folds, the graph has {} outputs",
                manifest.folds,
                outputs.len()
            )));
        }
        let mut folds = Vec::new();
        let mut not_lowered = None;
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
            let network = if lowering { lower(&one).map_err(|e| e.0) } else { Err("not asked for".into()) };
            folds.push(match network {
                Ok(network) => Runner::Network(network),
                Err(why) => {
                    not_lowered.get_or_insert(why);
                    Runner::Plan(PlanRunner::new(one, shape.clone()).map_err(OnnxError::graph)?)
                }
            });
        }
        if let Some(Runner::Network(network)) = folds.first() {
            let macs = network.steps.iter().map(|s| match &s.kind {
                Kind::Conv(c) => c.macs(),
                Kind::Upsample(u) => u.macs(),
                _ => 0,
            });
            summary.macs_per_patch = Some(macs.sum());
        }
        Ok(TractEngine {
            folds,
            channels,
            heads,
            patch_zyx: grid.patch_zyx,
            summary,
            not_lowered,
            arenas: Mutex::new(Vec::new()),
        })
    }

    /// Operators, parameters and work, for `inspect`.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Whether the graph runs in our steps with an exact footprint, not in tract's executor.
    pub fn is_lowered(&self) -> bool {
        self.not_lowered.is_none()
    }

    /// The first operator that keeps the graph in tract's executor.
    pub fn not_lowered(&self) -> Option<&str> {
        self.not_lowered.as_deref()
    }

    /// Gives the arenas kept from earlier runs back to the system.
    pub fn release_buffers(&self) {
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn arena_floats(&self) -> usize {
        self.folds
            .iter()
            .map(|f| match f {
                Runner::Network(n) => n.arena_floats(),
                Runner::Plan(_) => 0,
            })
            .max()
            .unwrap_or(0)
    }
}

impl Engine for TractEngine {
    fn name(&self) -> &'static str {
        if self.is_lowered() { "native" } else { "tract" }
    }

    fn channels(&self) -> usize {
        self.channels
    }

    fn heads(&self) -> usize {
        self.heads
    }

    fn folds(&self) -> usize {
        self.folds.len()
    }

    fn patch_zyx(&self) -> [usize; 3] {
        self.patch_zyx
    }

    fn footprint(&self) -> EngineFootprint {
        let mut shared_bytes = 64 * 1024;
        let mut worker_bytes = 4 * self.arena_floats();
        for fold in &self.folds {
            match fold {
                Runner::Network(n) => shared_bytes += n.weight_bytes(),
                Runner::Plan(p) => {
                    shared_bytes += p.shared_bytes();
                    worker_bytes = worker_bytes.max(p.worker_bytes());
                }
            }
        }
        EngineFootprint { shared_bytes, worker_bytes: worker_bytes + RUN_SLACK_BYTES }
    }

    fn infer(&self, fold: usize, input: &[f32], output: &mut [f32]) -> Result<(), EngineError> {
        let voxels: usize = self.patch_zyx.iter().product();
        for (expected, got) in [(self.channels * voxels, input.len()), (self.heads * voxels, output.len())] {
            if expected != got {
                return Err(EngineError::Shape { expected, got });
            }
        }
        let runner = self.folds.get(fold).ok_or_else(|| {
            EngineError::Backend(format!("fold {fold} was asked for, the model has {}", self.folds.len()).into())
        })?;
        match runner {
            Runner::Plan(plan) => plan.run(input, output),
            Runner::Network(network) => {
                let kept = self.arenas.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let mut arena = match kept {
                    Some(arena) => arena,
                    None => {
                        let floats = self.arena_floats();
                        let mut arena = Vec::new();
                        arena.try_reserve_exact(floats).map_err(|_| {
                            EngineError::Backend(format!("the system refused {} bytes of memory", 4 * floats).into())
                        })?;
                        arena.resize(floats, 0f32);
                        arena
                    }
                };
                network.run(input, output, &mut arena);
                self.arenas.lock().unwrap_or_else(PoisonError::into_inner).push(arena);
                Ok(())
            }
        }
    }
}

/// Graph code that was not written for hostile files may panic on one; to the user that is a bad model, not a crash.
fn guarded<T>(build: impl FnOnce() -> Result<T, OnnxError>) -> Result<T, OnnxError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(build))
        .unwrap_or_else(|_| Err(OnnxError::Graph("reading it failed inside the graph library".into())))
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
fn check_operators(onnx: &tract_onnx::Onnx, proto: &ModelProto) -> Result<(), OnnxError> {
    let mut unknown: BTreeMap<&str, &str> = BTreeMap::new();
    for node in &graph_of(proto)?.node {
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
