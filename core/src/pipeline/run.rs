//! Row of tiles by row of tiles: fill the input window, run the network, add up, hand finished planes out.

use super::layout::Layout;
use super::tile::TileWorker;
use super::window::InputWindow;
use crate::engine::{Engine, EngineError};
use crate::executor::Executor;
use crate::manifest::Manifest;
use crate::memory::MemoryPlan;
use crate::patch::{PatchNumber, PatchPrecision};
use crate::postprocess::{LabelExporter, LabelPlacer, LabelSink, SinkError};
use crate::preprocess::{PreprocessError, ScanFacts, SlabReader, SlabSettings};
use crate::tiling::{AccumulatorError, RollingAccumulator, importance_map};
use crate::volume::VoxelSource;
use alloc::vec::Vec;
use core::fmt;

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading, normalising, resampling.
    Prepare,
    /// The network's passes.
    Network,
    /// Adding tiles up.
    Stitch,
    /// Interpolating logits, deciding and writing labels.
    Export,
}

/// Hears of a run's progress, and may stop it.
pub trait Observer {
    /// The run goes on with this phase.
    fn phase(&mut self, _phase: Phase) {}

    /// So many tiles of `tiles` are done. Returning `false` stops the run.
    fn tiles_done(&mut self, _done: usize, _tiles: usize) -> bool {
        true
    }
}

/// An observer that is not interested.
impl Observer for () {}

/// Why a run stopped.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PipelineError {
    /// The scan.
    Preprocess(PreprocessError),
    /// The network.
    Engine(EngineError),
    /// The sums of logits.
    Accumulate(AccumulatorError),
    /// The labels could not be handed on.
    Sink(SinkError),
    /// The observer asked to stop.
    Cancelled,
}

impl fmt::Display for PipelineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PipelineError::Preprocess(e) => e.fmt(f),
            PipelineError::Engine(e) => e.fmt(f),
            PipelineError::Accumulate(e) => e.fmt(f),
            PipelineError::Sink(e) => e.fmt(f),
            PipelineError::Cancelled => f.write_str("interrupted"),
        }
    }
}

impl core::error::Error for PipelineError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            PipelineError::Preprocess(e) => e.source(),
            PipelineError::Engine(e) => e.source(),
            PipelineError::Accumulate(e) => e.source(),
            PipelineError::Sink(e) => e.source(),
            PipelineError::Cancelled => None,
        }
    }
}

macro_rules! from {
    ($variant:ident, $error:ty) => {
        impl From<$error> for PipelineError {
            fn from(e: $error) -> Self {
                PipelineError::$variant(e)
            }
        }
    };
}
from!(Preprocess, PreprocessError);
from!(Engine, EngineError);
from!(Accumulate, AccumulatorError);
from!(Sink, SinkError);

/// Segments a scan: label planes reach `sink` in ascending `z`, all of them or an error.
///
/// `facts` come from [`crate::preprocess::measure`] on the layout's box, `memory` from [`crate::memory::plan`].
/// The result depends on neither the number of workers nor how the source keeps its voxels.
///
/// # Errors
/// See [`PipelineError`].
#[allow(clippy::too_many_arguments)]
pub fn segment<S, E, X, K, O>(
    layout: &Layout,
    manifest: &Manifest,
    facts: &ScanFacts,
    memory: &MemoryPlan,
    source: &mut S,
    engine: &E,
    executor: &X,
    sink: &mut K,
    observer: &mut O,
) -> Result<(), PipelineError>
where
    S: VoxelSource + ?Sized,
    E: Engine + ?Sized,
    X: Executor,
    K: LabelSink + ?Sized,
    O: Observer + ?Sized,
{
    let stored = engine.footprint(executor.workers()).patch;
    let run = match stored {
        PatchPrecision::F32 => segment_in::<f32, S, E, X, K, O>,
        PatchPrecision::F16 => segment_in::<u16, S, E, X, K, O>,
    };
    run(layout, manifest, facts, memory, source, engine, executor, sink, observer)
}

/// [`segment`] with patches of one precision.
#[allow(clippy::too_many_arguments)]
fn segment_in<T, S, E, X, K, O>(
    layout: &Layout,
    manifest: &Manifest,
    facts: &ScanFacts,
    memory: &MemoryPlan,
    source: &mut S,
    engine: &E,
    executor: &X,
    sink: &mut K,
    observer: &mut O,
) -> Result<(), PipelineError>
where
    T: PatchNumber,
    S: VoxelSource + ?Sized,
    E: Engine + ?Sized,
    X: Executor,
    K: LabelSink + ?Sized,
    O: Observer + ?Sized,
{
    let tiling = &layout.tiling;
    let (channels, heads, folds) = (manifest.channels.len(), manifest.labels.heads().len(), manifest.folds);
    let settings = SlabSettings { transpose: layout.transpose, planes_per_read: memory.planes_per_read };
    let mut slabs = SlabReader::new(&layout.data_map, facts, settings);
    let plane_len = channels * layout.data_map.new[1] * layout.data_map.new[2];
    let mut window = InputWindow::<T>::new(channels, plane_len);
    let mut sums = RollingAccumulator::new(tiling, importance_map(tiling.patch), heads, folds);
    let mut exporter = LabelExporter::new(&layout.logit_map, tiling, &layout.decision, heads);
    let mut placer =
        LabelPlacer::new(layout.file_shape, layout.bounds.clone(), layout.transpose, layout.decision.largest_value());
    let mirrored = layout.mirrors.len() > 1;
    let workers = memory.workers.min(executor.workers()).max(1);
    let mut tile_workers: Vec<TileWorker<T>> = (0..memory.tiles.clamp(1, workers))
        .map(|_| TileWorker::new(channels, heads, tiling.patch, mirrored, memory.workspace_blocks))
        .collect();
    let (mut done, total) = (0, tiling.tiles());

    for row in 0..tiling.starts[0].len() {
        observer.phase(Phase::Prepare);
        let start = tiling.starts[0][row];
        window.drop_below(start.saturating_sub(tiling.pad_below[0]).min(window.end()));
        let end = (start + tiling.patch[0]).saturating_sub(tiling.pad_below[0]).min(tiling.shape[0]);
        while window.end() < end {
            window.push(|plane| slabs.next_plane(source, executor, plane))?;
        }

        let mut tiles = tiling.row(row).peekable();
        while tiles.peek().is_some() {
            let mut count = 0;
            for (worker, start) in tile_workers.iter_mut().zip(&mut tiles) {
                worker.start = start;
                count += 1;
            }
            let batch = &mut tile_workers[..count];
            for fold in 0..folds {
                observer.phase(Phase::Network);
                executor.for_each(batch, |_, worker| {
                    if fold == 0 {
                        window.cut(tiling, worker.start, &mut worker.input);
                    }
                    worker.run(engine, executor, fold, tiling.patch, &layout.mirrors);
                });
                observer.phase(Phase::Stitch);
                for worker in batch.iter_mut() {
                    core::mem::replace(&mut worker.outcome, Ok(()))?;
                    sums.add(executor, worker.start, fold, &worker.logits);
                }
            }
            done += count;
            if !observer.tiles_done(done, total) {
                return Err(PipelineError::Cancelled);
            }
        }

        observer.phase(Phase::Export);
        let finished: Vec<_> = sums.finish(executor, tiling.finished_by(row).end)?.collect();
        for plane in finished {
            let spare = exporter.push(executor, plane, |labels| placer.push(labels, sink))?;
            if let Some(spare) = spare {
                sums.recycle(spare);
            }
        }
    }
    placer.finish(sink)?;
    Ok(())
}
