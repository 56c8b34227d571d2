//! One plane of a scan resampled along its two axes, in double precision.

use super::axis::{AxisMap, CubicTap, GridMap, LinearTap, SPLINE_PAD};
use super::normalize::ValueRange;
use super::spline::{filter_line, filter_rows};
use crate::volume::{product, sum};
use alloc::vec::Vec;

/// Buffers of one worker.
#[derive(Debug, Default)]
pub(crate) struct PlaneScratch {
    /// The plane to resample.
    pub(crate) normalized: Vec<f32>,
    line: Vec<f64>,
    rows: Vec<f64>,
    first: Vec<f64>,
}

/// Resamples planes of `[n1, n2]` to `[m1, m2]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlaneResampler<'a> {
    pub(crate) old: [usize; 2],
    pub(crate) new: [usize; 2],
    pub(crate) maps: [&'a AxisMap; 2],
}

impl<'a> PlaneResampler<'a> {
    /// Resamples as `map` does along its last two axes.
    pub(crate) fn new(map: &'a GridMap) -> PlaneResampler<'a> {
        PlaneResampler {
            old: [map.old[1], map.old[2]],
            new: [map.new[1], map.new[2]],
            maps: [&map.axes[1], &map.axes[2]],
        }
    }

    /// Bytes of one worker's scratch.
    pub(crate) fn scratch_bytes(&self) -> Option<usize> {
        let ([n1, n2], m2) = (self.old, self.new[1]);
        let (rows, line) = (n1 + 2 * SPLINE_PAD, n2 + 2 * SPLINE_PAD);
        sum([product([4, n1, n2]), product([8, line]), product([8, rows, m2]), product([8, m2])])
    }

    /// Resamples the scratch's plane along axis 2, then axis 1.
    pub(crate) fn run(&self, scratch: &mut PlaneScratch, out: &mut Vec<f64>) {
        let [n1, n2] = self.old;
        let [m1, m2] = self.new;
        let pad = if matches!(self.maps[0], AxisMap::Cubic(_)) { SPLINE_PAD } else { 0 };
        scratch.rows.resize((n1 + 2 * pad) * m2, 0.0);
        for (row, target) in scratch.normalized.chunks_exact(n2).zip(scratch.rows[pad * m2..].chunks_exact_mut(m2)) {
            resample_row(self.maps[1], row, &mut scratch.line, target);
        }
        out.resize(m1 * m2, 0.0);
        let rows = &mut scratch.rows;
        match self.maps[0] {
            AxisMap::Identity => out.copy_from_slice(rows),
            AxisMap::Nearest(indices) => {
                for (&i, target) in indices.iter().zip(out.chunks_exact_mut(m2)) {
                    target.copy_from_slice(&rows[i * m2..][..m2]);
                }
            }
            AxisMap::Linear(taps) => {
                for (tap, target) in taps.iter().zip(out.chunks_exact_mut(m2)) {
                    blend_linear(tap, &rows[tap.low * m2..][..m2], &rows[tap.high * m2..][..m2], target);
                }
            }
            AxisMap::Cubic(taps) => {
                for p in 0..pad {
                    rows.copy_within(pad * m2..(pad + 1) * m2, p * m2);
                    rows.copy_within((pad + n1 - 1) * m2..(pad + n1) * m2, (pad + n1 + p) * m2);
                }
                scratch.first.resize(m2, 0.0);
                filter_rows(rows, m2, &mut scratch.first);
                for (tap, target) in taps.iter().zip(out.chunks_exact_mut(m2)) {
                    let source = core::array::from_fn(|i| &rows[(tap.first + i) * m2..][..m2]);
                    blend_cubic(tap, source, target);
                }
            }
        }
    }
}

fn resample_row(map: &AxisMap, row: &[f32], line: &mut Vec<f64>, target: &mut [f64]) {
    match map {
        AxisMap::Identity => target.iter_mut().zip(row).for_each(|(t, &v)| *t = v as f64),
        AxisMap::Nearest(indices) => target.iter_mut().zip(indices).for_each(|(t, &i)| *t = row[i] as f64),
        AxisMap::Linear(taps) => {
            for (t, tap) in target.iter_mut().zip(taps) {
                *t = row[tap.low] as f64 * tap.weights[0] + row[tap.high] as f64 * tap.weights[1];
            }
        }
        AxisMap::Cubic(taps) => {
            line.clear();
            line.extend(edge(row[0]));
            line.extend(row.iter().map(|&v| v as f64));
            line.extend(edge(row[row.len() - 1]));
            filter_line(line);
            for (t, tap) in target.iter_mut().zip(taps) {
                let c = &line[tap.first..tap.first + 4];
                let w = &tap.weights;
                *t = c[0] * w[0] + c[1] * w[1] + c[2] * w[2] + c[3] * w[3];
            }
        }
    }
}

fn edge(value: f32) -> impl Iterator<Item = f64> {
    core::iter::repeat_n(value as f64, SPLINE_PAD)
}

/// Two rows or planes blended.
pub(crate) fn blend_linear(tap: &LinearTap, low: &[f64], high: &[f64], target: &mut [f64]) {
    let [a, b] = tap.weights;
    for ((t, l), h) in target.iter_mut().zip(low).zip(high) {
        *t = l * a + h * b;
    }
}

/// Four rows or planes of coefficients blended.
pub(crate) fn blend_cubic(tap: &CubicTap, source: [&[f64]; 4], target: &mut [f64]) {
    let [a, b, c, d] = tap.weights;
    let [s0, s1, s2, s3] = source;
    for ((((t, v0), v1), v2), v3) in target.iter_mut().zip(s0).zip(s1).zip(s2).zip(s3) {
        *t = v0 * a + v1 * b + v2 * c + v3 * d;
    }
}

/// Holds values to a range.
pub(crate) fn clip(values: &mut [f64], range: ValueRange) {
    let (low, high) = (range.low as f64, range.high as f64);
    for v in values {
        *v = v.max(low).min(high);
    }
}
