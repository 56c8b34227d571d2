//! The run itself, row of tiles by row of tiles: fill the input window, run the network, add up, export finished planes.

use super::error::RunError;
use super::plan::PlannedRun;
use super::tile::{Pass, TileWorker};
use super::window::InputWindow;
use crate::engine::Engine;
use crate::executor::Executor;
use crate::patch::{PatchNumber, PatchPrecision};
use crate::postprocess::{LabelExporter, LabelPlacer, LabelSink};
use crate::preprocess::{ScanFacts, SlabReader, SlabSettings, measure};
use crate::tiling::{RollingAccumulator, Tiling, importance_map};
use crate::volume::{Index3, VoxelSource};
use alloc::vec::Vec;
use core::iter::Peekable;

/// The stage that a run is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading all voxels for statistics of each channel. Once, at the start.
    Statistics,
    /// Reading, normalising, resampling.
    Prepare,
    /// The network's passes.
    Network,
    /// Adding tiles up.
    Stitch,
    /// Interpolating logits, deciding and writing labels.
    Export,
}

/// Receives the progress of a run, and may stop it.
pub trait Observer {
    /// The run goes on with this phase.
    fn phase(&mut self, _phase: Phase) {}

    /// So many of the run's `passes` of the network over a tile are done: tiles times mirrored variants times folds.
    /// Returning `false` stops the run.
    fn passes_done(&mut self, _done: usize, _passes: usize) -> bool {
        true
    }
}

/// An observer that ignores everything.
impl Observer for () {}

impl<E: Engine> PlannedRun<'_, E> {
    /// Segments the scan: label planes reach `sink` in ascending `z`, all of them or an error.
    ///
    /// `source` holds the scan that was looked at; it need not be the same object. Where [`resident_source`](super::MemoryPlan::resident_source)
    /// says so it should keep the voxels in memory, which only changes time and memory. The labels depend on neither the
    /// number of workers nor the plan.
    ///
    /// # Errors
    /// The scan cannot be read, is another one or unsuited; the network or the sink fails; the observer stops the run.
    pub fn segment<S, X, K, O>(
        &self,
        source: &mut S,
        executor: &X,
        sink: &mut K,
        observer: &mut O,
    ) -> Result<(), RunError>
    where
        S: VoxelSource + ?Sized,
        X: Executor,
        K: LabelSink + ?Sized,
        O: Observer + ?Sized,
    {
        self.run.check_source(source)?;
        let (planned, got) = (self.memory.workers, executor.workers());
        if got > planned {
            return Err(RunError::Workers { planned, got });
        }
        observer.phase(Phase::Statistics);
        let layout = self.run.layout();
        let facts = measure(source, &layout.bounds, &self.run.manifest().channels, layout.clip_axis())?;
        match self.engine.footprint(got).patch {
            PatchPrecision::F32 => Stages::<f32, E>::new(self, &facts).segment(source, executor, sink, observer),
            PatchPrecision::F16 => Stages::<u16, E>::new(self, &facts).segment(source, executor, sink, observer),
        }
    }
}

/// The buffers of a run whose patches are stored as `T`.
struct Stages<'a, T, E> {
    engine: &'a E,
    tiling: &'a Tiling,
    mirrors: &'a [Vec<usize>],
    folds: usize,
    slabs: SlabReader<'a>,
    window: InputWindow<T>,
    workers: Vec<TileWorker<T>>,
    sums: RollingAccumulator,
    exporter: LabelExporter<'a>,
    placer: LabelPlacer,
}

impl<'a, T: PatchNumber, E: Engine> Stages<'a, T, E> {
    fn new(planned: &'a PlannedRun<'_, E>, facts: &'a ScanFacts) -> Self {
        let (memory, layout, manifest) = (&planned.memory, planned.run.layout(), planned.run.manifest());
        let tiling = &layout.tiling;
        let (channels, heads, folds) = (manifest.channels.len(), manifest.labels.heads().len(), manifest.folds);
        let settings = SlabSettings { transpose: layout.transpose, planes_per_read: memory.planes_per_read.max(1) };
        let plane_len = channels * layout.data_map.new[1] * layout.data_map.new[2];
        let mirrored = layout.mirrors.len() > 1;
        let worker = |_| TileWorker::new(channels, heads, tiling.patch, mirrored, memory.workspace_blocks);
        let largest = layout.decision.largest_value();
        Stages {
            engine: planned.engine,
            tiling,
            mirrors: &layout.mirrors,
            folds,
            slabs: SlabReader::new(&layout.data_map, facts, settings),
            window: InputWindow::new(channels, plane_len),
            workers: (0..memory.tiles.clamp(1, memory.workers.max(1))).map(worker).collect(),
            sums: RollingAccumulator::new(tiling, importance_map(tiling.patch), heads, folds),
            exporter: LabelExporter::new(&layout.logit_map, tiling, &layout.decision, heads),
            placer: LabelPlacer::new(layout.file_shape, layout.bounds.clone(), layout.transpose, largest),
        }
    }

    fn segment<S, X, K, O>(
        mut self,
        source: &mut S,
        executor: &X,
        sink: &mut K,
        observer: &mut O,
    ) -> Result<(), RunError>
    where
        S: VoxelSource + ?Sized,
        X: Executor,
        K: LabelSink + ?Sized,
        O: Observer + ?Sized,
    {
        let mut done = 0;
        for row in 0..self.tiling.starts[0].len() {
            observer.phase(Phase::Prepare);
            self.fill_window(row, source, executor)?;
            let mut starts = self.tiling.row(row).peekable();
            while starts.peek().is_some() {
                self.add_tiles(&mut starts, executor, observer, &mut done)?;
            }
            observer.phase(Phase::Export);
            self.export(row, executor, sink)?;
        }
        self.placer.finish(sink)?;
        Ok(())
    }

    /// Reads the planes of the network grid that this row of tiles covers.
    fn fill_window<S: VoxelSource + ?Sized, X: Executor>(
        &mut self,
        row: usize,
        source: &mut S,
        executor: &X,
    ) -> Result<(), RunError> {
        let (tiling, window) = (self.tiling, &mut self.window);
        let (start, padding) = (tiling.starts[0][row], tiling.pad_below[0]);
        window.drop_below(start.saturating_sub(padding).min(window.end()));
        let end = (start + tiling.patch[0]).saturating_sub(padding).min(tiling.shape[0]);
        while window.end() < end {
            window.push(|plane| self.slabs.next_plane(source, executor, plane))?;
        }
        Ok(())
    }

    /// Runs the next tiles, one for each tile worker, through all folds and adds their logits up. `done` counts passes.
    fn add_tiles<X: Executor, O: Observer + ?Sized>(
        &mut self,
        starts: &mut Peekable<impl Iterator<Item = Index3>>,
        executor: &X,
        observer: &mut O,
        done: &mut usize,
    ) -> Result<(), RunError> {
        let (engine, tiling, mirrors, window) = (self.engine, self.tiling, self.mirrors, &self.window);
        let mut count = 0;
        for (worker, start) in self.workers.iter_mut().zip(starts) {
            worker.start = start;
            count += 1;
        }
        let batch = &mut self.workers[..count];
        let passes = tiling.tiles() * mirrors.len() * self.folds;
        for fold in 0..self.folds {
            observer.phase(Phase::Network);
            for index in 0..mirrors.len() {
                let pass = Pass { fold, mirrors, index };
                executor.for_each(batch, |_, worker| {
                    if fold == 0 && index == 0 {
                        window.cut(tiling, worker.start, &mut worker.input);
                    }
                    worker.run(engine, executor, tiling.patch, &pass);
                });
                for worker in batch.iter_mut() {
                    core::mem::replace(&mut worker.outcome, Ok(()))?;
                }
                *done += count;
                if !observer.passes_done(*done, passes) {
                    return Err(RunError::Cancelled);
                }
            }
            observer.phase(Phase::Stitch);
            for worker in batch.iter_mut() {
                self.sums.add(executor, worker.start, fold, &worker.logits);
            }
        }
        Ok(())
    }

    /// Decides and writes the planes that no tile after this row touches.
    fn export<X: Executor, K: LabelSink + ?Sized>(
        &mut self,
        row: usize,
        executor: &X,
        sink: &mut K,
    ) -> Result<(), RunError> {
        let finished: Vec<_> = self.sums.finish(executor, self.tiling.finished_by(row).end)?.collect();
        for plane in finished {
            let spare = self.exporter.push(executor, plane, |labels| self.placer.push(labels, sink))?;
            if let Some(spare) = spare {
                self.sums.recycle(spare);
            }
        }
        Ok(())
    }
}
