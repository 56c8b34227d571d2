//! The cubic spline along axis 0, on a window of planes.

use super::axis::SPLINE_PAD;
use super::spline::{LAST, MEMORY, POLE, anticausal, causal, initial_weights};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Planes turned into coefficients at a time: the window below the filter's memory is passed once per block.
const BLOCK: usize = 8;

/// Planes that decide the first causal value to double precision.
const START: usize = SPLINE_PAD + MEMORY + 1;

/// Takes the samples of an axis plane by plane, in order, and gives spline coefficients as soon as they are decided.
///
/// Indices count on the axis padded by [`SPLINE_PAD`] edge samples at both ends.
#[derive(Debug)]
pub(crate) struct SplineColumn {
    padded: usize,
    /// Index of the first plane held.
    first: usize,
    /// Planes before this index are coefficients, those from it on causal values.
    decided: usize,
    planes: VecDeque<Vec<f64>>,
    /// The first causal value, gathered while the first planes come in.
    initial: Vec<f64>,
    initial_weights: Vec<f64>,
    pool: Vec<Vec<f64>>,
}

impl SplineColumn {
    /// A column over an axis of `samples` planes.
    pub(crate) fn new(samples: usize) -> Self {
        let padded = samples + 2 * SPLINE_PAD;
        SplineColumn {
            padded,
            first: 0,
            decided: 0,
            planes: VecDeque::new(),
            initial: Vec::new(),
            initial_weights: initial_weights(padded).take(START).collect(),
            pool: Vec::new(),
        }
    }

    /// Planes held at most for an axis of `samples` planes.
    pub(crate) fn planes(samples: usize) -> usize {
        // Window, the block's look-back of a spline's four taps, the padding that comes with the last sample, three
        // planes of the filter's own.
        (samples + 2 * SPLINE_PAD).min((BLOCK + MEMORY + 4 + SPLINE_PAD).max(START + SPLINE_PAD)) + 3
    }

    /// An empty plane to fill and [`Self::push`].
    pub(crate) fn spare(&mut self) -> Vec<f64> {
        self.pool.pop().unwrap_or_default()
    }

    /// Takes sample plane `index` of the unpadded axis; they come in order.
    pub(crate) fn push(&mut self, index: usize, sample: Vec<f64>) {
        let last = index + 1 + 2 * SPLINE_PAD == self.padded;
        for _ in 0..if index == 0 { SPLINE_PAD } else { 0 } {
            let mut edge = self.spare();
            edge.clone_from(&sample);
            self.push_padded(edge);
        }
        for _ in 0..if last { SPLINE_PAD } else { 0 } {
            let mut edge = self.spare();
            edge.clone_from(&sample);
            self.push_padded(edge);
        }
        self.push_padded(sample);
    }

    fn pushed(&self) -> usize {
        self.first + self.planes.len()
    }

    fn push_padded(&mut self, mut sample: Vec<f64>) {
        let index = self.pushed();
        if let Some(&weight) = self.initial_weights.get(index) {
            self.initial.resize(sample.len(), 0.0);
            for (sum, v) in self.initial.iter_mut().zip(&sample) {
                *sum += weight * v;
            }
            self.planes.push_back(sample);
            if index + 1 == self.initial_weights.len() {
                core::mem::swap(&mut self.planes[0], &mut self.initial);
                let planes = self.planes.make_contiguous();
                for i in 1..planes.len() {
                    let (done, rest) = planes.split_at_mut(i);
                    causal(&mut rest[0], &done[i - 1]);
                }
                // From here on it serves as the anticausal pass's running plane.
            }
        } else {
            if let Some(previous) = self.planes.back() {
                causal(&mut sample, previous);
            }
            self.planes.push_back(sample);
        }
    }

    /// Whether coefficients up to `last` can be given once the samples pushed so far are filtered.
    pub(crate) fn ready(&self, last: usize) -> bool {
        let enough = (last + 1 + MEMORY + BLOCK).max(self.initial_weights.len());
        last < self.decided || self.pushed() == self.padded || self.pushed() >= enough
    }

    /// Forgets everything below `first`, coefficients or not: what no output looks at is not worth making. Not before the first
    /// causal value is known, for which all planes are needed, and never the last plane, which the next one continues.
    pub(crate) fn release(&mut self, first: usize) {
        if self.pushed() < self.initial_weights.len() {
            return;
        }
        while self.first < first && self.planes.len() > 1 {
            let plane = self.planes.pop_front();
            self.pool.extend(plane);
            self.first += 1;
        }
        self.decided = self.decided.max(self.first);
    }

    /// Makes coefficients at least up to `last`, for which the column must be [`Self::ready`].
    pub(crate) fn decide(&mut self, last: usize) {
        if last < self.decided {
            return;
        }
        let end = self.pushed();
        let complete = end == self.padded;
        let limit = if complete { end } else { end - MEMORY };
        let (base, decided) = (self.first, self.decided);
        let planes = self.planes.make_contiguous();
        // Above the window the coefficients are taken as constant; what that is wrong by fades on the way down.
        if complete {
            planes[end - 1 - base].iter_mut().for_each(|v| *v *= LAST);
        } else {
            self.initial.clear();
            self.initial.extend(planes[end - 1 - base].iter().map(|v| v * LAST));
            for i in (limit..end - 1).rev() {
                for (running, v) in self.initial.iter_mut().zip(&planes[i - base]) {
                    *running = POLE * (*running - v);
                }
            }
            anticausal(&mut planes[limit - 1 - base], &self.initial);
        }
        for i in (decided..limit - 1).rev() {
            let (head, tail) = planes.split_at_mut(i + 1 - base);
            anticausal(&mut head[i - base], &tail[0]);
        }
        self.decided = limit;
    }

    /// Coefficient plane `index`.
    pub(crate) fn coefficients(&self, index: usize) -> &[f64] {
        &self.planes[index - self.first]
    }
}

#[cfg(test)]
mod tests {
    use super::super::spline::filter_line;
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_window_gives_the_whole_lines_coefficients(
            n in 1usize..200, seed: u32, begin in 0usize..16, stride in 1usize..12,
        ) {
            let mut state = seed;
            let samples: Vec<f64> = (0..n).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f64 / (1 << 20) as f64
            }).collect();
            let mut line = vec![samples[0]; SPLINE_PAD];
            line.extend(&samples);
            line.extend(vec![samples[n - 1]; SPLINE_PAD]);
            filter_line(&mut line);
            let mut column = SplineColumn::new(n);
            let mut pushed = 0;
            let mut most = 0;
            // Outputs look at four planes each; where the grid becomes coarser, far from those before.
            for first in (begin..n + 2 * SPLINE_PAD - 3).step_by(stride) {
                while { column.release(first); !column.ready(first + 3) } {
                    let mut plane = column.spare();
                    plane.clear();
                    plane.push(samples[pushed]);
                    column.push(pushed, plane);
                    pushed += 1;
                    most = most.max(column.planes.len() + column.pool.len() + 1);
                }
                column.decide(first + 3);
                for (i, expected) in line.iter().enumerate().skip(first).take(4) {
                    let got = column.coefficients(i)[0];
                    prop_assert!((got - expected).abs() <= 4e-14 * 16.0, "{i}: {got} {expected}");
                }
            }
            prop_assert!(most <= SplineColumn::planes(n), "{most} planes, {} announced", SplineColumn::planes(n));
        }
    }
}
