//! A graph in tract's own executor: the way for operators that have no step of ours.

use std::sync::Arc as StdArc;

use tract_core::internal::*;
use tract_core::ops::binary::{OptBinByScalar, OptBinUnicast, TypedBinOp};
use tract_core::ops::change_axes::IntoShape;
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::konst::Const;
use tract_core::ops::matmul::pack::DynPackedExoticFact;

use super::norm_op::InstanceNorm;
use crate::engine::EngineError;

/// Part of the estimate added for packed panels and kernel temporaries, which are not nodes of the graph.
const MARGIN_DIVISOR: usize = 8;
const MARGIN_BYTES: usize = 4 << 20;
/// Blocks from this size are mapped by themselves and unmapped when freed. The GNU allocator raises the size as blocks are
/// freed, unless the program sets it, as Scanside's programs do.
const MAPPED_BYTES: usize = 128 << 10;
const PAGE_BYTES: usize = 4 << 10;

/// One fold's plan.
pub(crate) struct PlanRunner {
    plan: StdArc<TypedSimplePlan>,
    shape: TVec<usize>,
    shared: usize,
    worker: usize,
}

impl PlanRunner {
    pub(crate) fn new(model: TypedModel, shape: TVec<usize>) -> TractResult<PlanRunner> {
        let model = model.into_optimized()?;
        let plan = TypedSimplePlan::new(model)?;
        let shared = shared_bytes(&plan);
        let worker = worker_bytes(&plan)?;
        Ok(PlanRunner { plan, shape, shared, worker })
    }

    pub(crate) fn shared_bytes(&self) -> usize {
        self.shared
    }

    pub(crate) fn worker_bytes(&self) -> usize {
        self.worker
    }

    pub(crate) fn run(&self, input: &[f32], output: &mut [f32]) -> Result<(), EngineError> {
        self.try_run(input, output).map_err(|e| EngineError::Backend(format!("{e:#}").into()))
    }

    fn try_run(&self, input: &[f32], output: &mut [f32]) -> TractResult<()> {
        let tensor = Tensor::from_shape(&self.shape, input)?;
        let result = self.plan.run(tvec!(tensor.into_tvalue()))?;
        let values = result[0].try_as_plain_ram()?;
        let values = values.as_slice::<f32>()?;
        ensure!(values.len() == output.len(), "the network gave {} values, not {}", values.len(), output.len());
        output.copy_from_slice(values);
        Ok(())
    }
}

trait MemBytes {
    fn mem_bytes(&self) -> usize;
}

impl MemBytes for TypedFact {
    fn mem_bytes(&self) -> usize {
        if let Some(exotic) = &self.exotic_fact {
            // Packed operands: the plain size where tract states it, rounded up to whole panels by the margin.
            return exotic.mem_size().to_usize().unwrap_or(0);
        }
        self.shape.as_concrete().map_or(0, |s| s.iter().product::<usize>() * self.datum_type.size_of())
    }
}

/// Whether the node gathers its input during the product instead of copying it. Its output then is the input's own
/// memory, whatever size tract states for it, and the two tables of offsets live with the plan.
fn is_lazy(node: &TypedNode) -> bool {
    node.op.name() == "LazyIm2col"
}

fn shared_bytes(plan: &TypedSimplePlan) -> usize {
    let bytes: usize = plan
        .model()
        .nodes
        .iter()
        .map(|n| match &n.outputs[0].fact.exotic_fact {
            _ if n.op_is::<Const>() => n.outputs[0].fact.mem_bytes(),
            Some(packed) if is_lazy(n) => packed
                .downcast_ref::<DynPackedExoticFact>()
                .map_or(0, |p| size_of::<isize>() * (p.k.to_usize().unwrap_or(0) + p.mn.to_usize().unwrap_or(0))),
            _ => 0,
        })
        .sum();
    bytes + bytes / MARGIN_DIVISOR + MARGIN_BYTES
}

/// Whether the node writes its result into the memory of its first input, where nothing else needs that any more: tract
/// lets go of an input before the operator runs.
fn reuses_input(model: &TypedModel, node: &TypedNode) -> bool {
    let Some(input) = node.inputs.first() else { return false };
    if model.nodes[input.node].op_is::<Const>() || node.outputs.len() != 1 {
        return false;
    }
    let (from, to) = (&model.nodes[input.node].outputs[input.slot].fact, &node.outputs[0].fact);
    if from.exotic_fact.is_some() || to.exotic_fact.is_some() || from.datum_type != to.datum_type {
        return false;
    }
    let moves_voxels = node.op_as::<AxisOp>().is_some_and(|axis| matches!(axis, AxisOp::Move(..)));
    if (node.op_is::<AxisOp>() && !moves_voxels) || node.op_is::<IntoShape>() {
        return true;
    }
    let in_place = node.op_as::<ElementWiseOp>().is_some_and(|op| op.0.output_type(from.datum_type).is_none())
        || node.op_is::<TypedBinOp>()
        || node.op_is::<OptBinByScalar>()
        || node.op_is::<OptBinUnicast>()
        || node.op_is::<InstanceNorm>();
    in_place && from.shape == to.shape
}

/// Walks the plan in its order and adds up what is alive.
fn worker_bytes(plan: &TypedSimplePlan) -> TractResult<usize> {
    let model = plan.model();
    let order = plan.order_without_consts();
    let mut last_use = vec![0usize; model.nodes.len()];
    for o in &model.outputs {
        last_use[o.node] = order.len();
    }
    // From the end, so that what a lazy node borrows lives as long as the node's own readers.
    for (step, &n) in order.iter().enumerate().rev() {
        last_use[n] = last_use[n].max(step);
        for i in &model.nodes[n].inputs {
            let until = if is_lazy(&model.nodes[n]) { last_use[n] } else { step };
            last_use[i.node] = last_use[i.node].max(until);
        }
    }
    let size = |n: usize| {
        let node = &model.nodes[n];
        if is_lazy(node) { 0 } else { node.outputs.iter().map(|o| resident_bytes(o.fact.mem_bytes())).sum::<usize>() }
    };
    let mut ends = vec![Vec::new(); order.len() + 1];
    for &n in order {
        ends[last_use[n]].push(n);
    }
    let (mut live, mut peak) = (0usize, 0usize);
    for (step, &n) in order.iter().enumerate() {
        let node = &model.nodes[n];
        let owned = node.inputs.first().is_some_and(|input| last_use[input.node] == step && !reads_twice(node));
        let grown = match (owned && reuses_input(model, node), is_direct(node)) {
            (true, _) => 0,
            (false, true) => size(n),
            (false, false) => 2 * size(n),
        };
        peak = peak.max(live + grown);
        live += size(n);
        live -= ends[step].iter().map(|&d| size(d)).sum::<usize>();
    }
    let peak = peak + peak / MARGIN_DIVISOR;
    Ok(peak + MARGIN_BYTES)
}

/// Whether the operator writes its result where it stays. The others compute in an array of their own and copy that, so that
/// the result is there twice for a moment.
fn is_direct(node: &TypedNode) -> bool {
    const DIRECT: [&str; 9] = [
        "Source",
        "OptMatMul",
        "OptMatMulPack",
        "OptSimpleMatMulPack",
        "Im2col",
        "LazyIm2col",
        "DepthWiseConv",
        "DepthwiseDeconv",
        "Concat",
    ];
    DIRECT.iter().any(|direct| node.op.name() == *direct)
}

/// What a block takes of the machine's memory: whole pages, or, of a heap that is full of holes, up to twice its size.
fn resident_bytes(block: usize) -> usize {
    if block < MAPPED_BYTES { 2 * block } else { block.next_multiple_of(PAGE_BYTES) + PAGE_BYTES }
}

/// Whether the node reads its first input twice: then it is not the only owner.
fn reads_twice(node: &TypedNode) -> bool {
    node.inputs.iter().skip(1).any(|input| Some(input) == node.inputs.first())
}
