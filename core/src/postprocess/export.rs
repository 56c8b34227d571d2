//! Logits interpolated to the scan's grid and decided, plane by plane.

use super::cubic::CubicExporter;
use super::decide::{Decision, round};
use crate::executor::Executor;
use crate::half_float::f16_to_f32;
use crate::preprocess::{AxisMap, GridMap};
use crate::tiling::{LogitPlane, Tiling};
use crate::volume::{product, sum};
use alloc::vec;
use alloc::vec::Vec;

/// Two source positions and their weights; where both are the same, only the first counts.
#[derive(Clone, Copy)]
struct Tap {
    low: usize,
    high: usize,
    weights: [f64; 2],
}

fn tap(map: &AxisMap, i: usize) -> Tap {
    match map {
        AxisMap::Nearest(indices) => Tap { low: indices[i], high: indices[i], weights: [1.0, 0.0] },
        AxisMap::Linear(taps) => Tap { low: taps[i].low, high: taps[i].high, weights: taps[i].weights },
        _ => Tap { low: i, high: i, weights: [1.0, 0.0] },
    }
}

/// Turns finished logit planes of the network grid into label planes of the cropped scan, in network axis order.
#[derive(Debug)]
pub struct LabelExporter<'a> {
    map: &'a GridMap,
    tiling: &'a Tiling,
    decision: &'a Decision,
    heads: usize,
    previous: Option<LogitPlane>,
    /// Next output plane.
    next: usize,
    labels: Vec<u16>,
    scratch: Vec<Scratch>,
    /// Does all of the work where an axis is cubic.
    cubic: Option<CubicExporter<'a>>,
}

/// Buffers of one worker.
#[derive(Debug)]
struct Scratch {
    /// Per head two rows of the network grid, blended along axis 0, and which rows they are.
    rows: Vec<f64>,
    row_numbers: [usize; 2],
    /// One row blended along axis 1.
    row: Vec<f64>,
    logits: Vec<f32>,
    best: Vec<f32>,
}

impl Scratch {
    fn new(heads: usize, map: &GridMap) -> Self {
        Scratch {
            rows: vec![0.0; 2 * heads * map.old[2]],
            row_numbers: [usize::MAX; 2],
            row: vec![0.0; map.old[2]],
            logits: vec![0.0; map.new[2]],
            best: vec![0.0; map.new[2]],
        }
    }
}

impl<'a> LabelExporter<'a> {
    /// An exporter over `map`, which leads from the network grid to the cropped scan.
    pub fn new(map: &'a GridMap, tiling: &'a Tiling, decision: &'a Decision, heads: usize) -> Self {
        let cubic = map.is_cubic().then(|| CubicExporter::new(map, tiling, decision, heads));
        let labels = if cubic.is_some() { Vec::new() } else { vec![0; map.new[1] * map.new[2]] };
        LabelExporter { map, tiling, decision, heads, previous: None, next: 0, labels, scratch: Vec::new(), cubic }
    }

    /// Bytes an exporter takes.
    pub(crate) fn bytes(map: &GridMap, heads: usize, workers: usize) -> Option<usize> {
        if map.is_cubic() {
            return CubicExporter::bytes(map, heads, workers);
        }
        let scratch = sum([product([8, 2 * heads + 1, map.old[2]]), product([8, map.new[2]])])?;
        sum([product([2, map.new[1], map.new[2]]), product([workers, scratch]), Some(map.bytes())])
    }

    /// Takes the next plane of the padded network grid, calls `emit` for every label plane that it completes, and
    /// gives back a plane that is no longer needed.
    pub fn push<X: Executor, E>(
        &mut self,
        executor: &X,
        plane: LogitPlane,
        mut emit: impl FnMut(&[u16]) -> Result<(), E>,
    ) -> Result<Option<LogitPlane>, E> {
        let padding = self.tiling.pad_below[0];
        let Some(index) = plane.index().checked_sub(padding).filter(|&i| i < self.map.old[0]) else {
            return Ok(Some(plane));
        };
        if let Some(cubic) = &mut self.cubic {
            cubic.push(executor, index, &plane, emit)?;
            return Ok(Some(plane));
        }
        while self.next < self.map.new[0] {
            let along = tap(&self.map.axes[0], self.next);
            let highest = if along.weights[1] == 0.0 { along.low } else { along.high };
            if highest > index {
                break;
            }
            let at = |i: usize| if i == index { Some(&plane) } else { self.previous.as_ref() };
            let pair = [at(along.low).unwrap_or(&plane), at(highest).unwrap_or(&plane)];
            decide_plane(executor, self.context(), pair, along.weights, &mut self.scratch, &mut self.labels);
            emit(&self.labels)?;
            self.next += 1;
        }
        Ok(self.previous.replace(plane))
    }

    fn context(&self) -> Context<'a> {
        Context { map: self.map, tiling: self.tiling, decision: self.decision, heads: self.heads }
    }
}

/// What does not change from plane to plane.
#[derive(Clone, Copy)]
struct Context<'a> {
    map: &'a GridMap,
    tiling: &'a Tiling,
    decision: &'a Decision,
    heads: usize,
}

/// Decides one output plane between two logit planes; workers take blocks of rows.
fn decide_plane<X: Executor>(
    executor: &X,
    context: Context<'_>,
    planes: [&LogitPlane; 2],
    weights: [f64; 2],
    scratch: &mut Vec<Scratch>,
    labels: &mut [u16],
) {
    let [_, m1, m2] = context.map.new;
    let workers = executor.workers().min(m1);
    while scratch.len() < workers {
        scratch.push(Scratch::new(context.heads, context.map));
    }
    let block = m1.div_ceil(workers);
    let mut jobs: Vec<_> = labels.chunks_mut(block * m2).zip(scratch.iter_mut()).collect();
    executor.for_each(&mut jobs, |j, (rows, scratch)| {
        scratch.row_numbers = [usize::MAX; 2];
        for (y, row) in rows.chunks_exact_mut(m2).enumerate() {
            decide_row(context, planes, weights, j * block + y, scratch, row);
        }
    });
}

fn decide_row(
    context: Context<'_>,
    planes: [&LogitPlane; 2],
    weights: [f64; 2],
    y: usize,
    scratch: &mut Scratch,
    labels: &mut [u16],
) {
    let map = context.map;
    let n2 = map.old[2];
    let across = tap(&map.axes[1], y);
    // Neighbouring output rows mostly lie between the same two network rows, which are kept by parity.
    for number in [across.low, across.high] {
        if scratch.row_numbers[number % 2] != number {
            scratch.row_numbers[number % 2] = number;
            for head in 0..context.heads {
                let target = &mut scratch.rows[(2 * head + number % 2) * n2..][..n2];
                blend_planes(context.tiling, planes, weights, head, number, target);
            }
        }
    }
    for head in 0..context.heads {
        let kept = |number: usize| &scratch.rows[(2 * head + number % 2) * n2..][..n2];
        let row = if across.low == across.high {
            kept(across.low)
        } else {
            let [a, b] = across.weights;
            for ((r, l), h) in scratch.row.iter_mut().zip(kept(across.low)).zip(kept(across.high)) {
                *r = l * a + h * b;
            }
            &scratch.row
        };
        let logits = &mut scratch.logits;
        match &map.axes[2] {
            AxisMap::Linear(taps) => {
                for (out, t) in logits.iter_mut().zip(taps) {
                    let value = row[t.low] * t.weights[0] + row[t.high] * t.weights[1];
                    *out = round(value, map.single_precision);
                }
            }
            AxisMap::Nearest(indices) => {
                for (out, &i) in logits.iter_mut().zip(indices) {
                    *out = round(row[i], map.single_precision);
                }
            }
            _ => {
                for (out, &v) in logits.iter_mut().zip(row) {
                    *out = round(v, map.single_precision);
                }
            }
        }
        context.decision.take(head, logits, &mut scratch.best, labels);
    }
}

/// Row `y` of the unpadded network grid between two planes.
fn blend_planes(
    tiling: &Tiling,
    planes: [&LogitPlane; 2],
    weights: [f64; 2],
    head: usize,
    y: usize,
    target: &mut [f64],
) {
    let y = y + tiling.pad_below[1];
    let inside = tiling.pad_below[2]..tiling.pad_below[2] + target.len();
    let row = |plane: usize| &planes[plane].row(head, y, tiling.padded)[inside.clone()];
    let [a, b] = weights;
    if b == 0.0 {
        for (t, &low) in target.iter_mut().zip(row(0)) {
            *t = f16_to_f32(low) as f64 * a;
        }
    } else {
        for ((t, &low), &high) in target.iter_mut().zip(row(0)).zip(row(1)) {
            *t = f16_to_f32(low) as f64 * a + f16_to_f32(high) as f64 * b;
        }
    }
}
