//! The planes that outputs along axis 0 are made from, however many each needs.

use super::axis::AxisMap;
use super::column::SplineColumn;
use super::plane::{blend_cubic, blend_linear};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Planes in order, of which outputs are blended along the axis.
#[derive(Debug)]
pub(crate) enum Samples {
    /// Axis 0 is a cubic spline.
    Spline(SplineColumn),
    /// Otherwise: the planes that the next outputs need, with their indices.
    Planes { held: VecDeque<(usize, Vec<f64>)>, pool: Vec<Vec<f64>> },
}

impl Samples {
    /// No planes yet, of an axis of `samples` planes that `map` samples.
    pub(crate) fn new(map: &AxisMap, samples: usize) -> Samples {
        match map {
            AxisMap::Cubic(_) => Samples::Spline(SplineColumn::new(samples)),
            _ => Samples::Planes { held: VecDeque::new(), pool: Vec::new() },
        }
    }

    /// Planes held at most, where each output is blended as soon as its planes are there.
    pub(crate) fn planes(map: &AxisMap, samples: usize) -> usize {
        match map {
            AxisMap::Cubic(_) => SplineColumn::planes(samples),
            AxisMap::Linear(_) => 3,
            _ => 1,
        }
    }

    /// The first and the last plane that output `k` is made from; of a spline's coefficients, counted with their padding.
    pub(crate) fn needed(map: &AxisMap, k: usize) -> (usize, usize) {
        match map {
            AxisMap::Identity => (k, k),
            AxisMap::Nearest(indices) => (indices[k], indices[k]),
            AxisMap::Linear(taps) => (taps[k].low, taps[k].high),
            AxisMap::Cubic(taps) => (taps[k].first, taps[k].first + 3),
        }
    }

    /// The part of output `k` from value `start` of its plane on. All planes that it needs are [covered](Self::covers).
    pub(crate) fn blend(&self, map: &AxisMap, k: usize, start: usize, out: &mut [f64]) {
        let (first, last) = Samples::needed(map, k);
        let part = |index: usize| &self.plane(index)[start..start + out.len()];
        match map {
            AxisMap::Linear(taps) => blend_linear(&taps[k], part(first), part(last), out),
            AxisMap::Cubic(taps) => blend_cubic(&taps[k], core::array::from_fn(|i| part(first + i)), out),
            _ => out.copy_from_slice(part(first)),
        }
    }

    pub(crate) fn spare(&mut self) -> Vec<f64> {
        match self {
            Samples::Spline(column) => column.spare(),
            Samples::Planes { pool, .. } => pool.pop().unwrap_or_default(),
        }
    }

    pub(crate) fn push(&mut self, index: usize, plane: Vec<f64>) {
        match self {
            Samples::Spline(column) => column.push(index, plane),
            Samples::Planes { held, .. } => held.push_back((index, plane)),
        }
    }

    /// Lets go of what lies below `first`; says whether everything up to `last` is there.
    pub(crate) fn covers(&mut self, first: usize, last: usize) -> bool {
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
