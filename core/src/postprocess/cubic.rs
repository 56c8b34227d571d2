//! Logits interpolated with cubic splines and decided, plane by plane.
//!
//! A spline's coefficient depends on the whole axis, so each head keeps a window of planes, already at the scan's distance
//! of voxels in the plane: [`Samples`].

use super::decide::{Decision, round};
use crate::executor::Executor;
use crate::half_float::f16_to_f32;
use crate::preprocess::{GridMap, PlaneResampler, PlaneScratch, Samples, ValueRange, clip};
use crate::tiling::{LogitPlane, Tiling};
use crate::volume::{product, sum};
use alloc::vec;
use alloc::vec::Vec;

/// Turns finished logit planes of the network grid into label planes of the cropped scan, where the map between them has
/// cubic axes.
///
/// nnU-Net holds the result of a spline to the range of its input: to that of each slice where an axis is separate, else
/// to that of the volume. Here slices of axis 0 are held to their range. The range of a volume is known only when it ends,
/// and a logit beyond the largest of its head changes a label only where another head's lies in between; the volume's range
/// is not applied.
#[derive(Debug)]
pub(super) struct CubicExporter<'a> {
    map: &'a GridMap,
    tiling: &'a Tiling,
    decision: &'a Decision,
    heads: Vec<Head>,
    scratch: Vec<PlaneScratch>,
    /// Next output plane.
    next: usize,
    labels: Vec<u16>,
    best: Vec<f32>,
}

#[derive(Debug)]
struct Head {
    samples: Samples,
    /// Of the output plane that is decided.
    logits: Vec<f32>,
    row: Vec<f64>,
}

impl<'a> CubicExporter<'a> {
    pub(super) fn new(map: &'a GridMap, tiling: &'a Tiling, decision: &'a Decision, heads: usize) -> Self {
        let [_, m1, m2] = map.new;
        let head = |_| Head {
            samples: Samples::new(&map.axes[0], map.old[0]),
            logits: vec![0.0; m1 * m2],
            row: vec![0.0; m2],
        };
        CubicExporter {
            map,
            tiling,
            decision,
            heads: (0..heads).map(head).collect(),
            scratch: Vec::new(),
            next: 0,
            labels: vec![0; m1 * m2],
            best: vec![0.0; m1 * m2],
        }
    }

    /// Bytes an exporter takes.
    pub(super) fn bytes(map: &GridMap, heads: usize, workers: usize) -> Option<usize> {
        let plane = product([map.new[1], map.new[2]])?;
        // Without a spline along axis 0: the planes of an output, and the one that comes in.
        let held = Samples::planes(&map.axes[0], map.old[0]) + 1;
        let head = sum([product([8, held, plane]), product([4, plane]), product([8, map.new[2]])])?;
        sum([
            product([heads, head]),
            product([workers.min(heads), PlaneResampler::new(map).scratch_bytes()?]),
            product([2 + 4, plane]),
            Some(map.bytes()),
        ])
    }

    /// Takes plane `index` of the unpadded network grid and calls `emit` for every label plane that it completes.
    pub(super) fn push<X: Executor, E>(
        &mut self,
        executor: &X,
        index: usize,
        plane: &LogitPlane,
        mut emit: impl FnMut(&[u16]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.resample(executor, index, plane);
        while self.next < self.map.new[0] && self.blend(executor) {
            self.decide(executor);
            emit(&self.labels)?;
            self.next += 1;
        }
        Ok(())
    }

    /// Brings each head's plane to the scan's grid along its two axes.
    fn resample<X: Executor>(&mut self, executor: &X, index: usize, plane: &LogitPlane) {
        let tiling = self.tiling;
        let workers = executor.workers().clamp(1, self.heads.len().max(1));
        self.scratch.resize_with(workers, PlaneScratch::default);
        let resampler = PlaneResampler::new(self.map);
        let [below1, below2] = [tiling.pad_below[1], tiling.pad_below[2]];
        let [n1, n2] = resampler.old;
        let clip_each = self.map.separate == Some(0);
        for (batch, heads) in self.heads.chunks_mut(workers).enumerate() {
            let mut jobs: Vec<_> = heads.iter_mut().zip(&mut self.scratch).collect();
            executor.for_each(&mut jobs, |j, (head, scratch)| {
                let mut range = ValueRange::EMPTY;
                scratch.normalized.clear();
                for y in below1..below1 + n1 {
                    let row = &plane.row(batch * workers + j, y, tiling.padded)[below2..below2 + n2];
                    scratch.normalized.extend(row.iter().map(|&bits| f16_to_f32(bits)));
                }
                let mut out = head.samples.spare();
                resampler.run(scratch, &mut out);
                if clip_each {
                    scratch.normalized.iter().for_each(|&v| range.include(v));
                    clip(&mut out, range);
                }
                head.samples.push(index, out);
            });
        }
    }

    /// Makes the next output plane of each head; false where a plane that it needs has not come yet.
    fn blend<X: Executor>(&mut self, executor: &X) -> bool {
        let (along, next) = (&self.map.axes[0], self.next);
        let (first, last) = Samples::needed(along, next);
        let single_precision = self.map.single_precision;
        let width = self.map.new[2];
        let mut jobs: Vec<_> = self.heads.iter_mut().map(|head| (head, false)).collect();
        executor.for_each(&mut jobs, |_, (head, covered)| {
            *covered = head.samples.covers(first, last);
            if !*covered {
                return;
            }
            for (y, logits) in head.logits.chunks_exact_mut(width).enumerate() {
                head.samples.blend(along, next, y * width, &mut head.row);
                for (logit, value) in logits.iter_mut().zip(&head.row) {
                    *logit = round(*value, single_precision);
                }
            }
        });
        jobs.iter().all(|(_, covered)| *covered)
    }

    /// Decides the output plane; workers take blocks of rows.
    fn decide<X: Executor>(&mut self, executor: &X) {
        let ([_, m1, m2], decision) = (self.map.new, self.decision);
        let block = m1.div_ceil(executor.workers().clamp(1, m1)) * m2;
        let heads = &self.heads;
        let mut jobs: Vec<_> = self.labels.chunks_mut(block).zip(self.best.chunks_mut(block)).collect();
        executor.for_each(&mut jobs, |j, (labels, best)| {
            for (h, head) in heads.iter().enumerate() {
                decision.take(h, &head.logits[j * block..][..labels.len()], best, labels);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Serial;
    use crate::manifest::Resampling;
    use crate::postprocess::LabelExporter;
    use crate::preprocess::{AxisMap, SPLINE_PAD};
    use crate::tiling::RollingAccumulator;
    use crate::volume::Index3;

    const HEADS: usize = 3;

    /// Spline coefficients of one axis of a volume of `f64`, over the whole axis at once.
    fn filtered(volume: &[f64], shape: Index3, axis: usize, map: &AxisMap, new: usize) -> (Vec<f64>, Index3) {
        let stride: usize = shape[axis + 1..].iter().product();
        let mut out_shape = shape;
        out_shape[axis] = new;
        let mut out = vec![0.0; out_shape.iter().product()];
        for outer in 0..shape[..axis].iter().product() {
            for inner in 0..stride {
                let at = |i: usize, n: usize| (outer * n + i) * stride + inner;
                let line: Vec<f64> = (0..shape[axis]).map(|i| volume[at(i, shape[axis])]).collect();
                let mut padded = vec![line[0]; SPLINE_PAD];
                padded.extend(&line);
                padded.extend(vec![line[line.len() - 1]; SPLINE_PAD]);
                crate::preprocess::filter_line(&mut padded);
                for i in 0..new {
                    out[at(i, new)] = match map {
                        AxisMap::Identity => line[i],
                        AxisMap::Nearest(indices) => line[indices[i]],
                        AxisMap::Linear(t) => line[t[i].low] * t[i].weights[0] + line[t[i].high] * t[i].weights[1],
                        AxisMap::Cubic(t) => (0..4).map(|k| padded[t[i].first + k] * t[i].weights[k]).sum(),
                    };
                }
            }
        }
        (out, out_shape)
    }

    /// Logits as fp16 bits of a smooth, uneven field.
    fn logit(head: usize, [z, y, x]: Index3) -> f32 {
        let wave = |a: usize, b: usize| libm::sin((a * (3 + head) + b) as f64 * 0.37) as f32;
        crate::half_float::round_f64_to_f16(f64::from(wave(z, y) + wave(y, x) * 1.5 + wave(x, z + head)))
    }

    /// Labels by way of the exporter, and by whole volumes.
    fn labels(old: Index3, new: Index3, spacing: [[f64; 3]; 2], order_z: u8) -> [Vec<u16>; 2] {
        let kind = Resampling::Spline { order: 3, order_z, force_separate_z: None };
        let map = GridMap::new(kind, old, new, spacing[0], spacing[1]);
        assert!(map.is_cubic());
        let tiling = Tiling::new(old, old.map(|n| n + 3), 1.0, false);
        let decision = Decision::Largest(vec![0, 5, 9]);

        let mut sums = RollingAccumulator::new(&tiling, vec![0x3c00; tiling.patch.iter().product()], HEADS, 1);
        let [p0, p1, p2] = tiling.padded;
        let inside = |at: Index3| -> Index3 {
            core::array::from_fn(|k| at[k].saturating_sub(tiling.pad_below[k]).min(old[k] - 1))
        };
        let mut tile = Vec::new();
        for head in 0..HEADS {
            for i in 0..p0 * p1 * p2 {
                tile.push(logit(head, inside([i / (p1 * p2), i / p2 % p1, i % p2])));
            }
        }
        sums.add(&Serial, [0; 3], 0, &tile);
        let mut exporter = LabelExporter::new(&map, &tiling, &decision, HEADS);
        let mut streamed = Vec::new();
        for plane in sums.finish(&Serial, p0).unwrap() {
            let spare = exporter.push(&Serial, plane, |labels| {
                streamed.extend_from_slice(labels);
                Ok::<(), ()>(())
            });
            assert!(spare.unwrap().is_some());
        }

        let mut best = vec![f32::NEG_INFINITY; new.iter().product()];
        let mut whole = vec![0; best.len()];
        for (head, value) in [0, 5, 9].into_iter().enumerate() {
            let [n0, n1, n2] = old;
            let volume: Vec<f64> =
                (0..n0 * n1 * n2).map(|i| f64::from(logit(head, [i / (n1 * n2), i / n2 % n1, i % n2]))).collect();
            let mut state = (volume, old);
            for axis in [2, 1, 0] {
                if axis == 0 && map.separate == Some(0) {
                    for (slice, input) in state.0.chunks_exact_mut(new[1] * new[2]).zip(0..) {
                        let own = (0..n1 * n2).map(|i| logit(head, [input, i / n2, i % n2]));
                        let mut range = ValueRange::EMPTY;
                        own.for_each(|v| range.include(v));
                        clip(slice, range);
                    }
                }
                state = filtered(&state.0, state.1, axis, &map.axes[axis], new[axis]);
            }
            for ((best, label), v) in best.iter_mut().zip(&mut whole).zip(&state.0) {
                let v = round(*v, false);
                if v > *best {
                    (*best, *label) = (v, value);
                }
            }
        }
        [streamed, whole]
    }

    #[test]
    fn planes_in_order_give_the_labels_of_whole_volumes() {
        let one = [1.0; 3];
        for (old, new, spacing, order_z) in [
            ([21, 9, 12], [34, 17, 9], [one, one], 0),
            ([80, 5, 7], [61, 5, 13], [one, one], 0),
            ([6, 9, 12], [6, 14, 10], [one, one], 0),
            // Axis 0 is separate: outputs take the nearest slice, or lie between two.
            ([9, 9, 12], [14, 14, 17], [[5.0, 1.0, 1.0], one], 0),
            ([9, 9, 12], [14, 14, 17], [[5.0, 1.0, 1.0], one], 1),
            ([14, 9, 12], [6, 14, 17], [[5.0, 1.0, 1.0], one], 1),
            // Another axis is separate.
            ([20, 9, 12], [31, 14, 17], [[1.0, 5.0, 1.0], one], 1),
        ] {
            let [streamed, whole] = labels(old, new, spacing, order_z);
            assert_eq!(streamed.len(), whole.len(), "{old:?} {new:?}");
            let differ = streamed.iter().zip(&whole).filter(|(a, b)| a != b).count();
            assert_eq!(differ, 0, "{old:?} {new:?} {order_z}");
        }
    }
}
