//! Seconds of a window, measured on the loaded engine as a run would call it.

use crate::error::{Error, ErrorKind, OrError};
use crate::machine::{Threads, noise};
use crate::model::Model;
use scanside_core::engine::{Engine, EngineError};
use scanside_core::executor::Executor;
use scanside_core::patch::{PatchNumber, PatchPrecision};
use scanside_core::pipeline::MemoryPlan;
use scanside_core::workspace::Block;
use std::time::Instant;

/// A first round that took longer than this is what is taken; otherwise it warms up, and the median of [`TIMED`] counts.
const LONG_SECONDS: f64 = 1.0;
const TIMED: usize = 3;

/// Rounds timed so far, by what their time depends on: calls side by side, threads, blocks of workspace.
#[derive(Debug, Default)]
pub(crate) struct WindowTimes(Vec<([usize; 3], f64)>);

impl WindowTimes {
    /// Seconds of one round: as many calls of the network side by side as the plan has tiles in flight.
    ///
    /// # Errors
    /// The network cannot be run.
    pub(crate) fn seconds_per_round(
        &mut self,
        model: &Model,
        memory: &MemoryPlan,
        threads: &Threads,
    ) -> Result<f64, Error> {
        let key = [memory.tiles, threads.workers(), memory.workspace_blocks];
        if let Some((_, seconds)) = self.0.iter().find(|(known, _)| *known == key) {
            return Ok(*seconds);
        }
        let seconds = match model.engine.footprint(threads.workers()).patch {
            PatchPrecision::F32 => time::<f32>(model, memory, threads)?,
            PatchPrecision::F16 => time::<u16>(model, memory, threads)?,
        };
        self.0.push((key, seconds));
        Ok(seconds)
    }
}

/// Buffers of one call.
struct Call<T> {
    input: Vec<T>,
    output: Vec<T>,
    workspace: Vec<Block>,
    outcome: Result<(), EngineError>,
}

fn time<T: PatchNumber>(model: &Model, memory: &MemoryPlan, threads: &Threads) -> Result<f64, Error> {
    let engine = &model.engine;
    let shape = engine.shape();
    let call = || Call::<T> {
        input: noise(shape.input_len()),
        output: vec![T::default(); shape.output_len()],
        workspace: vec![Block::ZERO; memory.workspace_blocks],
        outcome: Ok(()),
    };
    let mut calls: Vec<Call<T>> = (0..memory.tiles.max(1)).map(|_| call()).collect();
    let mut round = || -> Result<f64, Error> {
        let start = Instant::now();
        threads.for_each(&mut calls, |_, call| {
            let (input, output) = (T::patch(&call.input), T::patch_mut(&mut call.output));
            call.outcome = engine.infer(0, input, output, &mut call.workspace, threads);
        });
        let seconds = start.elapsed().as_secs_f64();
        calls
            .iter_mut()
            .try_for_each(|call| std::mem::replace(&mut call.outcome, Ok(())))
            .or_error(ErrorKind::Model)?;
        Ok(seconds)
    };
    let first = round()?;
    if first > LONG_SECONDS {
        return Ok(first);
    }
    let mut timed = [0.0; TIMED];
    for seconds in &mut timed {
        *seconds = round()?;
    }
    timed.sort_by(f64::total_cmp);
    Ok(timed[TIMED / 2])
}
