//! A graph in tract's own executor: the way for operators that have no step of ours.

use std::sync::Arc as StdArc;

use tract_core::internal::*;
use tract_core::ops::konst::Const;

use crate::engine::EngineError;

/// Part of the estimate added for packed panels and kernel temporaries, which are not nodes of the graph.
const MARGIN_DIVISOR: usize = 8;
const MARGIN_BYTES: usize = 4 << 20;

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
        let shared = plan
            .model()
            .nodes
            .iter()
            .filter_map(|n| n.op_as::<Const>().map(|_| n.outputs[0].fact.mem_bytes()))
            .sum::<usize>();
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

/// Walks the plan in its order and adds up what is alive, every output counted as freshly allocated.
fn worker_bytes(plan: &TypedSimplePlan) -> TractResult<usize> {
    let model = plan.model();
    let order = plan.order_without_consts();
    let mut last_use = vec![0usize; model.nodes.len()];
    for (step, &n) in order.iter().enumerate() {
        last_use[n] = last_use[n].max(step);
        for i in &model.nodes[n].inputs {
            last_use[i.node] = last_use[i.node].max(step);
        }
    }
    for o in &model.outputs {
        last_use[o.node] = order.len();
    }
    let size = |n: usize| model.nodes[n].outputs.iter().map(|o| o.fact.mem_bytes()).sum::<usize>();
    let (mut live, mut peak, mut largest) = (0usize, 0usize, 0usize);
    for (step, &n) in order.iter().enumerate() {
        live += size(n);
        largest = largest.max(size(n));
        peak = peak.max(live);
        let mut done: Vec<usize> = model.nodes[n].inputs.iter().map(|i| i.node).chain([n]).collect();
        done.sort_unstable();
        done.dedup();
        for d in done {
            if last_use[d] == step && !model.nodes[d].op_is::<Const>() {
                live -= size(d);
            }
        }
    }
    // One more of the largest: operators that copy an input they do not own.
    Ok(peak + largest + peak / MARGIN_DIVISOR + MARGIN_BYTES)
}
