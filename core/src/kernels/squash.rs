//! Logits to probabilities: the sigmoid of each, or the softmax over channels. The last step of some networks.

use super::output::Output;
use super::source::{Source, Target};
use super::{Pass, blocks, split};
use crate::executor::Executor;
use serde::{Deserialize, Serialize};

/// Rows read at once.
const ROWS: usize = 4;

/// How numbers become probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Squash {
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `exp(x) / sum(exp(x))` over the channels of a voxel.
    Softmax,
}

impl Squash {
    /// Channels, planes and rows of a tile.
    pub fn tile_step(channels: usize, grid: [usize; 3]) -> [usize; 3] {
        [channels, 1, grid[1].div_ceil(4).next_multiple_of(ROWS)]
    }

    /// Blocks of scratch a worker needs.
    pub fn scratch_blocks(source: &Source<'_>) -> usize {
        let nx = source.grid[2];
        blocks::<f32>(source.channels() * ROWS * nx) + 2 * blocks::<f32>(ROWS * nx) + source.aux_blocks(ROWS)
    }

    /// Runs it.
    ///
    /// # Panics
    /// If the output is of another shape than the source, or the scratch is too small.
    pub fn run<E: Executor>(self, pass: Pass<'_, '_, E>, source: &Source<'_>, out: &Output<'_>) {
        let Pass { isa, executor, scratch } = pass;
        let (channels, nx) = (source.channels(), source.grid[2]);
        executor.for_each(scratch, |_, scratch| {
            let mut rest = &mut **scratch;
            let data: &mut [f32] = split(&mut rest, channels * ROWS * nx);
            let most: &mut [f32] = split(&mut rest, ROWS * nx);
            let sum: &mut [f32] = split(&mut rest, ROWS * nx);
            while let Some(mut tile) = out.take() {
                let b = tile.bounds().clone();
                for z in b.z {
                    for y0 in b.y.clone().step_by(ROWS) {
                        let rows = y0..(y0 + ROWS).min(b.y.end);
                        let n = rows.len() * nx;
                        let mut target = Target { data: &mut *data, channel: n, pitch: nx };
                        source.read(isa, z, rows.clone(), &mut target, rest);
                        let data = &mut data[..channels * n];
                        match self {
                            Squash::Sigmoid => data.iter_mut().for_each(|v| *v = 1.0 / (1.0 + libm::expf(-*v))),
                            Squash::Softmax => softmax(data, &mut most[..n], &mut sum[..n]),
                        }
                        for (c, run) in b.c.clone().zip(data.chunks_exact(n)) {
                            tile.write(isa, c, z, rows.clone(), run);
                        }
                    }
                }
            }
        });
    }
}

/// `data` is `[channels][voxels]`. The largest logit is taken off first, so that nothing overflows.
fn softmax(data: &mut [f32], most: &mut [f32], sum: &mut [f32]) {
    let n = most.len();
    most.fill(f32::NEG_INFINITY);
    sum.fill(0.0);
    for channel in data.chunks_exact(n) {
        most.iter_mut().zip(channel).for_each(|(m, &v)| *m = m.max(v));
    }
    for channel in data.chunks_exact_mut(n) {
        for ((v, m), s) in channel.iter_mut().zip(&*most).zip(&mut *sum) {
            *v = libm::expf(*v - m);
            *s += *v;
        }
    }
    for channel in data.chunks_exact_mut(n) {
        channel.iter_mut().zip(&*sum).for_each(|(v, s)| *v /= s);
    }
}
