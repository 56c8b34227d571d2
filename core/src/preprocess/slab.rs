//! The network grid filled slab by slab: planes of the scan go in once, in order; planes of the network grid come out.

use super::PreprocessError;
use super::axis::{AxisMap, GridMap};
use super::column::SplineColumn;
use super::normalize::ValueRange;
use super::plane::{PlaneResampler, PlaneScratch, blend_cubic, blend_linear, clip};
use super::scan::ScanFacts;
use crate::executor::Executor;
use crate::volume::{Index3, VoxelSource, product, sum};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// How slabs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabSettings {
    /// Network axis `i` is file axis `transpose[i]`.
    pub transpose: Index3,
    /// Planes of network axis 0 fetched with one reading of the source.
    pub planes_per_read: usize,
}

/// Bytes that reading slabs takes beside the source and the planes given out.
pub(crate) fn reader_bytes(map: &GridMap, settings: &SlabSettings, channels: usize, workers: usize) -> Option<usize> {
    let plane_in = product([map.old[1], map.old[2]])?;
    let plane_out = product([map.new[1], map.new[2]])?;
    let held = match &map.axes[0] {
        AxisMap::Cubic(_) => SplineColumn::planes(map.old[0]),
        AxisMap::Linear(_) => 3,
        _ => 1,
    };
    let jobs = workers.min(settings.planes_per_read);
    let copies = if settings.transpose == [0, 1, 2] { 1 } else { 2 };
    let resampler = plane_resampler(map);
    sum([
        product([channels, held + settings.planes_per_read, 8, plane_out]),
        product([copies, settings.planes_per_read, 4, plane_in]),
        product([jobs, resampler.scratch_bytes()?]),
        product([8, plane_out]),
        Some(map.bytes()),
    ])
}

fn plane_resampler(map: &GridMap) -> PlaneResampler<'_> {
    PlaneResampler { old: [map.old[1], map.old[2]], new: [map.new[1], map.new[2]], maps: [&map.axes[1], &map.axes[2]] }
}

/// Reads a scan as normalised planes of the network grid, in ascending order.
#[derive(Debug)]
pub struct SlabReader<'a> {
    map: &'a GridMap,
    facts: &'a ScanFacts,
    settings: SlabSettings,
    channels: Vec<ChannelWindow>,
    /// Voxels as read, and in network order.
    raw: Vec<f32>,
    ordered: Vec<f32>,
    scratch: Vec<PlaneScratch>,
    blended: Vec<f64>,
    next_plane: usize,
}

/// What one channel holds along axis 0.
#[derive(Debug)]
struct ChannelWindow {
    next_input: usize,
    samples: Samples,
}

#[derive(Debug)]
enum Samples {
    /// Axis 0 is a cubic spline.
    Spline(SplineColumn),
    /// Otherwise: the planes that the next outputs need, with their indices.
    Planes { held: VecDeque<(usize, Vec<f64>)>, pool: Vec<Vec<f64>> },
}

impl Samples {
    fn spare(&mut self) -> Vec<f64> {
        match self {
            Samples::Spline(column) => column.spare(),
            Samples::Planes { pool, .. } => pool.pop().unwrap_or_default(),
        }
    }

    fn push(&mut self, index: usize, plane: Vec<f64>) {
        match self {
            Samples::Spline(column) => column.push(index, plane),
            Samples::Planes { held, .. } => held.push_back((index, plane)),
        }
    }

    /// Lets go of what lies below `first`; says whether everything up to `last` is there.
    fn covers(&mut self, first: usize, last: usize) -> bool {
        match self {
            Samples::Spline(column) => {
                column.release(first);
                let ready = column.ready(last);
                if ready {
                    column.decide(last);
                }
                ready
            }
            Samples::Planes { held, pool } => {
                while held.front().is_some_and(|(i, _)| *i < first) {
                    pool.extend(held.pop_front().map(|(_, plane)| plane));
                }
                held.back().is_some_and(|(i, _)| *i >= last)
            }
        }
    }

    fn plane(&self, index: usize) -> &[f64] {
        match self {
            Samples::Spline(column) => column.coefficients(index),
            Samples::Planes { held, .. } => {
                let first = held.front().map_or(0, |(i, _)| *i);
                &held[index - first].1
            }
        }
    }
}

impl<'a> SlabReader<'a> {
    /// A reader at the first plane.
    pub fn new(map: &'a GridMap, facts: &'a ScanFacts, settings: SlabSettings) -> Self {
        let window = |_| ChannelWindow {
            next_input: 0,
            samples: match &map.axes[0] {
                AxisMap::Cubic(_) => Samples::Spline(SplineColumn::new(map.old[0])),
                _ => Samples::Planes { held: VecDeque::new(), pool: Vec::new() },
            },
        };
        SlabReader {
            map,
            facts,
            settings,
            channels: facts.channels.iter().map(window).collect(),
            raw: Vec::new(),
            ordered: Vec::new(),
            scratch: Vec::new(),
            blended: Vec::new(),
            next_plane: 0,
        }
    }

    /// Writes the next plane of the network grid, `[channels, y, x]`, into `out`.
    ///
    /// # Errors
    /// Voxels that cannot be read.
    pub fn next_plane<S: VoxelSource + ?Sized, X: Executor>(
        &mut self,
        source: &mut S,
        executor: &X,
        out: &mut [f32],
    ) -> Result<(), PreprocessError> {
        let k = self.next_plane;
        let plane = self.map.new[1] * self.map.new[2];
        self.blended.resize(plane, 0.0);
        for (c, target) in out.chunks_exact_mut(plane).enumerate() {
            let (first, last) = match &self.map.axes[0] {
                AxisMap::Identity => (k, k),
                AxisMap::Nearest(indices) => (indices[k], indices[k]),
                AxisMap::Linear(taps) => (taps[k].low, taps[k].high),
                AxisMap::Cubic(taps) => (taps[k].first, taps[k].first + 3),
            };
            while !self.channels[c].samples.covers(first, last) {
                if !matches!(self.channels[c].samples, Samples::Spline(_)) {
                    // Planes that no output looks at need not be read.
                    self.channels[c].next_input = self.channels[c].next_input.max(first);
                }
                self.read_planes(source, executor, c)?;
            }
            let samples = &self.channels[c].samples;
            match &self.map.axes[0] {
                AxisMap::Linear(taps) => {
                    blend_linear(&taps[k], samples.plane(first), samples.plane(last), &mut self.blended);
                }
                AxisMap::Cubic(taps) => {
                    blend_cubic(&taps[k], core::array::from_fn(|i| samples.plane(first + i)), &mut self.blended);
                }
                _ => self.blended.copy_from_slice(samples.plane(first)),
            }
            clip_plane(self.map, &self.facts.channels[c].ranges, &mut self.blended);
            for (t, v) in target.iter_mut().zip(&self.blended) {
                *t = *v as f32;
            }
        }
        self.next_plane += 1;
        Ok(())
    }

    /// Reads the next planes of channel `c`, normalises them and resamples them in the plane.
    fn read_planes<S: VoxelSource + ?Sized, X: Executor>(
        &mut self,
        source: &mut S,
        executor: &X,
        c: usize,
    ) -> Result<(), PreprocessError> {
        let start = self.channels[c].next_input;
        let count = self.settings.planes_per_read.min(self.map.old[0] - start);
        let [a0, a1, a2] = self.settings.transpose;
        let mut bounds = self.facts.bounds.clone();
        let corner = bounds.0[a0].start;
        bounds.0[a0] = corner + start..corner + start + count;
        self.raw.resize(bounds.voxels(), 0.0);
        source.read(c, &bounds, &mut self.raw)?;
        let planes: &[f32] = if self.settings.transpose == [0, 1, 2] {
            &self.raw
        } else {
            self.ordered.resize(self.raw.len(), 0.0);
            transpose(&self.raw, bounds.shape(), self.settings.transpose, &mut self.ordered);
            &self.ordered
        };

        let resampler = plane_resampler(self.map);
        let [n1, n2] = resampler.old;
        let normalizer = self.facts.channels[c].normalizer;
        let mask = if normalizer.masked { self.facts.mask.as_ref() } else { None };
        let clip_each = self.map.separate == Some(0) && is_cubic(self.map);
        let workers = executor.workers().min(count);
        self.scratch.resize_with(workers, PlaneScratch::default);
        let samples = &mut self.channels[c].samples;
        for batch in (0..count).step_by(workers) {
            let mut jobs: Vec<_> =
                self.scratch.iter_mut().take(count - batch).map(|scratch| (scratch, samples.spare())).collect();
            executor.for_each(&mut jobs, |j, (scratch, out)| {
                let index = batch + j;
                let plane = &planes[index * n1 * n2..(index + 1) * n1 * n2];
                let normalized = &mut scratch.normalized;
                normalized.clear();
                match mask {
                    None => normalized.extend(plane.iter().map(|&v| normalizer.apply(v))),
                    Some(mask) => normalized.extend(plane.iter().enumerate().map(|(i, &v)| {
                        let mut at = [0; 3];
                        (at[a0], at[a1], at[a2]) = (start + index, i / n2, i % n2);
                        if mask.contains(at[0], at[1], at[2]) { normalizer.apply(v) } else { v }
                    })),
                }
                let mut range = ValueRange::EMPTY;
                if clip_each {
                    normalized.iter().for_each(|&v| range.include(v));
                }
                resampler.run(scratch, out);
                if clip_each {
                    clip(out, range);
                }
            });
            for (j, (_, plane)) in jobs.into_iter().enumerate() {
                samples.push(start + batch + j, plane);
            }
        }
        self.channels[c].next_input = start + count;
        Ok(())
    }
}

fn is_cubic(map: &GridMap) -> bool {
    map.axes.iter().any(|a| matches!(a, AxisMap::Cubic(_)))
}

/// Splines overshoot; the result is held to the range of the input, or of the slice where one axis is separate.
fn clip_plane(map: &GridMap, ranges: &[ValueRange], values: &mut [f64]) {
    if !is_cubic(map) {
        return;
    }
    let width = map.new[2];
    let input = |axis: usize, i: usize| match &map.axes[axis] {
        AxisMap::Nearest(indices) => indices[i],
        _ => i,
    };
    match map.separate {
        // Each plane was clipped when it came in.
        Some(0) => {}
        Some(1) => {
            for (y, row) in values.chunks_exact_mut(width).enumerate() {
                clip(row, ranges[input(1, y)]);
            }
        }
        Some(_) => {
            for row in values.chunks_exact_mut(width) {
                for (x, v) in row.iter_mut().enumerate() {
                    clip(core::slice::from_mut(v), ranges[input(2, x)]);
                }
            }
        }
        None => clip(values, ranges[0]),
    }
}

/// Copies a box in file order (`shape`) to network order, where network axis `i` is file axis `axes[i]`.
fn transpose(source: &[f32], shape: Index3, axes: Index3, target: &mut [f32]) {
    let strides = [shape[1] * shape[2], shape[2], 1];
    let [s0, s1, s2] = axes.map(|a| strides[a]);
    let [m0, m1, m2] = axes.map(|a| shape[a]);
    let mut rows = target.chunks_exact_mut(m2);
    for i in 0..m0 {
        for (j, row) in (0..m1).zip(&mut rows) {
            let mut at = i * s0 + j * s1;
            for v in row {
                *v = source[at];
                at += s2;
            }
        }
    }
}
