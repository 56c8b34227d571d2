//! The steps of a network, timed one by one.

use super::limits::Limits;
use crate::machine::Threads;
use scanside_core::engine::EngineError;
use scanside_core::network::{ConvSpec, Kind, Step, StepObserver};
use scanside_core::onnx::OnnxEngine;
use scanside_core::patch::PatchNumber;
use scanside_core::workspace::Block;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// One step of a network, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// The fastest of the timed runs.
    pub seconds: f64,
    /// Multiply-adds, in thousand millions.
    pub gmac: f64,
    /// What is read and written once, weights included.
    pub megabytes: f64,
    /// Share of the time that arithmetic would take alone.
    pub arithmetic: f64,
    /// Share of the time that moving the bytes would take alone.
    pub memory: f64,
}

/// The fastest time of each step.
struct Watch {
    start: Instant,
    least: Vec<f64>,
}

impl StepObserver for Watch {
    fn begin(&mut self, _: usize) {
        self.start = Instant::now();
    }
    fn end(&mut self, step: usize) {
        let seconds = self.start.elapsed().as_secs_f64();
        if self.least.len() <= step {
            self.least.resize(step + 1, f64::INFINITY);
        }
        self.least[step] = self.least[step].min(seconds);
    }
}

/// Times each step of the network; nothing where tract runs it.
pub(super) fn layers<T: PatchNumber>(
    engine: &OnnxEngine,
    input: &[T],
    output: &mut [T],
    workspace: &mut [Block],
    executor: &Threads,
    runs: u32,
) -> Result<Vec<Layer>, EngineError> {
    let Some(native) = engine.native() else { return Ok(vec![]) };
    let mut watch = Watch { start: Instant::now(), least: vec![] };
    for _ in 0..runs {
        let (input, output) = (T::patch(input), T::patch_mut(output));
        native.infer_observed(0, input, output, workspace, executor, &mut watch)?;
    }
    let limits = Limits::measure(native.networks()[0].isa(), executor);
    let layer = |(step, &seconds): (&Step, &f64)| {
        let int = matches!(&step.kind, Kind::Conv(_, ConvSpec::Int { .. }));
        let rate = if int { limits.int_macs } else { limits.float_macs };
        let macs = step.macs() as f64;
        let bytes = native.networks()[0].step_bytes(step) as f64;
        Layer {
            name: step.name.clone(),
            seconds,
            gmac: macs / 1e9,
            megabytes: bytes / 1e6,
            arithmetic: macs / rate / seconds,
            memory: bytes / limits.bytes / seconds,
        }
    };
    Ok(native.networks()[0].graph().steps.iter().zip(&watch.least).map(layer).collect())
}
