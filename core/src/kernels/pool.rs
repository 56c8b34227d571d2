//! Maximum and average over windows.

use super::conv::{is_tensor, is_window};
use super::output::Output;
use super::source::{Source, Target};
use super::{Pass, blocks, split};
use crate::executor::Executor;
use serde::{Deserialize, Serialize};

/// A window that slides over the input; voxels outside the input do not count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolGeometry {
    /// The largest value, not the mean.
    pub max: bool,
    /// The mean divides by the window's size, padding included.
    pub count_padding: bool,
    /// Window.
    pub kernel: [usize; 3],
    /// Stride.
    pub stride: [usize; 3],
    /// Padding before the first voxel.
    pub pad: [usize; 3],
    /// Channels.
    pub channels: usize,
    /// Input `z, y, x`.
    pub input: [usize; 3],
    /// Output `z, y, x`.
    pub output: [usize; 3],
}

impl PoolGeometry {
    /// Whether pooling of this shape can be run: all extents are at least 1, tensors have at most 2^31 elements, and the
    /// window, stride and padding are at most 1024 along each axis.
    pub fn is_possible(&self) -> bool {
        [self.kernel, self.stride].into_iter().all(|w| is_window(w, 1))
            && is_window(self.pad, 0)
            && is_tensor(self.channels, self.input)
            && is_tensor(self.channels, self.output)
    }
}

/// Pooling of one tensor.
pub struct Pool;

impl Pool {
    /// Planes and rows of a tile.
    pub fn tile_step(g: &PoolGeometry) -> [usize; 3] {
        [g.channels, 1, g.output[1].div_ceil(4).max(1)]
    }

    /// Blocks of scratch a worker needs.
    pub fn scratch_blocks(g: &PoolGeometry, source: &Source<'_>) -> usize {
        blocks::<f32>(g.channels * g.input[2]) * 2 + blocks::<f32>(g.output[2]) + source.aux_blocks(1)
    }

    /// Runs it.
    ///
    /// # Panics
    /// If the geometry is not [possible](PoolGeometry::is_possible), the source or the output is of another shape, or the
    /// scratch is too small.
    pub fn run<E: Executor>(pass: Pass<'_, '_, E>, g: &PoolGeometry, source: &Source<'_>, out: &Output<'_>) {
        let Pass { isa, executor, scratch } = pass;
        assert!(g.is_possible(), "impossible pooling: {g:?}");
        assert_eq!((source.channels(), source.grid), (g.channels, g.input), "a source of another shape");
        let window = |axis: usize, o: usize| {
            let start = o * g.stride[axis];
            let lo = start.max(g.pad[axis]) - g.pad[axis];
            let hi = (start + g.kernel[axis]).saturating_sub(g.pad[axis]).min(g.input[axis]);
            // A last window of ceil mode may lie wholly in the padding.
            lo.min(hi)..hi
        };
        let full: usize = g.kernel.iter().product();
        let nx = g.input[2];
        executor.for_each(scratch, |_, scratch| {
            let mut rest = &mut **scratch;
            let rows: &mut [f32] = split(&mut rest, g.channels * nx);
            let merged: &mut [f32] = split(&mut rest, g.channels * nx);
            let line: &mut [f32] = split(&mut rest, g.output[2]);
            while let Some(mut tile) = out.take() {
                let b = tile.bounds().clone();
                for z in b.z {
                    for y in b.y.clone() {
                        let (wz, wy) = (window(0, z), window(1, y));
                        merged.fill(if g.max { f32::NEG_INFINITY } else { 0.0 });
                        for sz in wz.clone() {
                            for sy in wy.clone() {
                                let mut target = Target { data: rows, channel: nx, pitch: nx };
                                source.read(isa, sz, sy..sy + 1, &mut target, rest);
                                for (m, &v) in merged.iter_mut().zip(&*rows) {
                                    *m = match g.max {
                                        true if v > *m || v.is_nan() => v,
                                        true => *m,
                                        false => *m + v,
                                    };
                                }
                            }
                        }
                        for c in b.c.clone() {
                            for (x, o) in line.iter_mut().enumerate() {
                                let wx = window(2, x);
                                let seen = wz.len() * wy.len() * wx.len();
                                let values = merged[c * nx..][wx].iter();
                                *o = if g.max {
                                    values.fold(f32::NEG_INFINITY, |m, &v| if v > m || v.is_nan() { v } else { m })
                                } else {
                                    values.sum::<f32>() / if g.count_padding { full } else { seen.max(1) } as f32
                                };
                            }
                            tile.write(isa, c, z, y..y + 1, line);
                        }
                    }
                }
            }
        });
    }
}
