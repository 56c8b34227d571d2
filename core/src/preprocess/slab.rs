//! The network grid filled slab by slab: planes of the scan go in once, in order; planes of the network grid come out.

use super::PreprocessError;
use super::axis::{AxisMap, GridMap};
use super::normalize::ValueRange;
use super::plane::{PlaneResampler, PlaneScratch, clip};
use super::samples::Samples;
use super::scan::ScanFacts;
use crate::executor::Executor;
use crate::volume::{Index3, VoxelSource, product, sum};
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
    let held = Samples::planes(&map.axes[0], map.old[0]);
    let jobs = workers.min(settings.planes_per_read);
    let copies = if settings.transpose == [0, 1, 2] { 1 } else { 2 };
    let resampler = PlaneResampler::new(map);
    sum([
        product([channels, held + settings.planes_per_read, 8, plane_out]),
        product([copies, settings.planes_per_read, 4, plane_in]),
        product([jobs, resampler.scratch_bytes()?]),
        product([8, plane_out]),
        Some(map.bytes()),
    ])
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

impl<'a> SlabReader<'a> {
    /// A reader at the first plane.
    pub fn new(map: &'a GridMap, facts: &'a ScanFacts, settings: SlabSettings) -> Self {
        let window = |_| ChannelWindow { next_input: 0, samples: Samples::new(&map.axes[0], map.old[0]) };
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
            let (first, last) = Samples::needed(&self.map.axes[0], k);
            while !self.channels[c].samples.covers(first, last) {
                if !matches!(self.channels[c].samples, Samples::Spline(_)) {
                    // Planes that no output looks at need not be read.
                    self.channels[c].next_input = self.channels[c].next_input.max(first);
                }
                self.read_planes(source, executor, c)?;
            }
            self.channels[c].samples.blend(&self.map.axes[0], k, 0, &mut self.blended);
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

        let resampler = PlaneResampler::new(self.map);
        let [n1, n2] = resampler.old;
        let normalizer = self.facts.channels[c].normalizer;
        let mask = if normalizer.masked { self.facts.mask.as_ref() } else { None };
        let clip_each = self.map.separate == Some(0) && self.map.is_cubic();
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

/// Splines overshoot; the result is held to the range of the input, or of the slice where one axis is separate.
fn clip_plane(map: &GridMap, ranges: &[ValueRange], values: &mut [f64]) {
    if !map.is_cubic() {
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
