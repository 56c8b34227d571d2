//! The gradient of a convolution's input.
//!
//! It is a convolution of the output's gradient with the weights turned round and their channels exchanged. Where the
//! convolution strides, input voxels whose places differ in the remainder by the stride meet different taps: each
//! remainder is a convolution of its own, with the taps that it meets, into voxels that lie a stride apart.

use crate::arch::{BLOCK_ROWS, Block, Cuts, Isa, Order, Tiles};
use crate::executor::Executor;
use crate::kernels::conv::{Conv, ConvGeometry, ConvWeights, Precision};
use crate::kernels::output::Output;
use crate::kernels::source::Source;
use crate::kernels::{Pass, blocks, split};
use alloc::vec::Vec;
use core::ops::Range;

/// What happens to the numbers that a gradient is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// They are replaced.
    Replace,
    /// The gradient is added to them.
    Add,
}

/// Where a gradient goes.
pub struct GradientTarget<'a> {
    /// `[cin, z, y, x]`.
    pub gradient: &'a mut [f32],
    /// What happens to what it holds.
    pub update: Update,
    /// [`DataGradient::shared_blocks`] for that update.
    pub shared: &'a mut [Block],
}

/// The data gradient of one convolution, laid out.
#[derive(Debug)]
pub struct DataGradient {
    g: ConvGeometry,
    remainders: Vec<Remainder>,
}

/// Input voxels `start + m * stride` of each axis.
#[derive(Debug)]
struct Remainder {
    start: [usize; 3],
    g: ConvGeometry,
    conv: Conv,
    /// The first tap on each axis; others follow a stride apart.
    first: [usize; 3],
    /// Its weights among all.
    weights: Range<usize>,
}

/// One axis of a remainder.
struct Axis {
    first: usize,
    kernel: usize,
    pad: usize,
    output: usize,
}

/// Input `start + m * stride` meets tap `first + j * stride` of output `m + base - j`. None where there is no such tap.
fn axis(g: &ConvGeometry, a: usize, start: usize) -> Option<Axis> {
    let (stride, kernel) = (g.stride[a], g.kernel[a]);
    let first = (start + g.pad[a]) % stride;
    let taps = kernel.checked_sub(first).filter(|&n| n > 0)?.div_ceil(stride);
    let base = (start + g.pad[a] - first) / stride;
    // Taps of zero are added where outputs further on would have to be read before the first.
    let taps = taps.max(base + 1);
    Some(Axis { first, kernel: taps, pad: taps - 1 - base, output: (g.input[a] - start).div_ceil(stride) })
}

impl DataGradient {
    /// Lays out tiles and scratch.
    ///
    /// # Panics
    /// If the convolution is dilated, or not [possible](ConvGeometry::is_possible).
    pub fn new(isa: Isa, g: &ConvGeometry) -> DataGradient {
        assert_eq!(g.dilation, [1; 3], "gradients of dilated convolutions");
        assert!(g.is_possible(), "an impossible convolution: {g:?}");
        let mut remainders = Vec::new();
        let mut end = 0;
        for z in 0..g.stride[0].min(g.input[0]) {
            for y in 0..g.stride[1].min(g.input[1]) {
                for x in 0..g.stride[2].min(g.input[2]) {
                    let (Some(z_axis), Some(y_axis), Some(x_axis)) = (axis(g, 0, z), axis(g, 1, y), axis(g, 2, x))
                    else {
                        continue;
                    };
                    let axes = [z_axis, y_axis, x_axis];
                    let part = ConvGeometry {
                        cin: g.cout,
                        cout: g.cin,
                        input: g.output,
                        output: [0, 1, 2].map(|a| axes[a].output),
                        kernel: [0, 1, 2].map(|a| axes[a].kernel),
                        stride: [1; 3],
                        dilation: [1; 3],
                        pad: [0, 1, 2].map(|a| axes[a].pad),
                    };
                    let conv = Conv::new(isa, &part, Precision::F32);
                    let len = match conv.prepared_weights() {
                        0 => part.weight_elements(),
                        n => n,
                    };
                    let first = [0, 1, 2].map(|a| axes[a].first);
                    remainders.push(Remainder { start: [z, y, x], g: part, conv, first, weights: end..end + len });
                    end += len;
                }
            }
        }
        DataGradient { g: g.clone(), remainders }
    }

    /// Elements of prepared weights.
    pub fn weight_elements(&self) -> usize {
        self.remainders.last().map_or(0, |r| r.weights.end)
    }

    /// Turns round, exchanges, packs and transforms weights `[cout, cin, kz, ky, kx]`. What `packed` holds does not matter.
    ///
    /// # Panics
    /// If a slice has another length than the geometry says.
    pub fn prepare_weights(&self, isa: Isa, w: &[f32], out: &mut [f32], packed: &mut Vec<f32>) {
        let g = &self.g;
        assert_eq!((w.len(), out.len()), (g.cout * g.cin * g.taps(), self.weight_elements()));
        for r in &self.remainders {
            let out = &mut out[r.weights.clone()];
            if r.conv.prepared_weights() > 0 {
                packed.resize(r.g.weight_elements(), 0.0);
                r.turn(g, w, packed);
                r.conv.prepare_weights(isa, packed, out);
            } else {
                r.turn(g, w, out);
            }
        }
    }

    /// Whether results go to their place at once.
    fn is_direct(&self, update: Update) -> bool {
        update == Update::Replace && self.g.stride == [1; 3]
    }

    /// Elements of one remainder's result.
    fn part(&self) -> usize {
        let voxels = |r: &Remainder| r.g.output.iter().product::<usize>();
        self.g.cin * self.remainders.iter().map(voxels).max().unwrap_or(0)
    }

    /// Blocks of memory that workers share; zero where nothing is kept back.
    pub fn shared_blocks(&self, update: Update) -> usize {
        if self.is_direct(update) { 0 } else { blocks::<f32>(self.part()) }
    }

    /// Blocks of scratch a worker needs to read such a source.
    pub fn scratch_blocks(&self, source: &Source<'_>) -> usize {
        self.remainders.iter().map(|r| r.conv.scratch_blocks(source)).max().unwrap_or(0)
    }

    /// Computes the gradient of the input from that of the output, with weights that [`Self::prepare_weights`] made.
    ///
    /// # Panics
    /// If a length does not fit the geometry, or the scratch is too small.
    pub fn run<E: Executor>(
        &self,
        pass: Pass<'_, '_, E>,
        output: &Source<'_>,
        weights: &[f32],
        target: GradientTarget<'_>,
    ) {
        let Pass { isa, executor, scratch } = pass;
        let GradientTarget { gradient, update, mut shared } = target;
        let g = &self.g;
        let zeros = alloc::vec![0f32; g.cin];
        let mut run = |r: &Remainder, out: &mut [f32]| {
            let shape = [r.g.cout, r.g.output[0], r.g.output[1], r.g.output[2]];
            let cuts = Cuts::whole(shape, Order::Channels, r.conv.tile_step()).expect("a gradient has elements");
            let tiles = Output::F32(Tiles::new(out, cuts, &mut []));
            let weights = ConvWeights::F32(&weights[r.weights.clone()], &zeros);
            r.conv.run(Pass { isa, executor, scratch: &mut *scratch }, output, weights, None, &tiles);
        };
        if self.is_direct(update) {
            return self.remainders.iter().for_each(|r| run(r, gradient));
        }
        if update == Update::Replace {
            gradient.fill(0.0);
        }
        let part: &mut [f32] = split(&mut shared, self.part());
        let voxels: usize = g.input.iter().product();
        for r in &self.remainders {
            let some: usize = r.g.output.iter().product();
            let part = &mut part[..g.cin * some];
            run(r, part);
            let mut channels: Vec<_> = gradient.chunks_exact_mut(voxels).zip(part.chunks_exact(some)).collect();
            let per_worker = channels.len().div_ceil(executor.workers().max(1));
            let mut shares: Vec<_> = channels.chunks_mut(per_worker).collect();
            executor.for_each(&mut shares, |_, channels| {
                for (to, from) in channels.iter_mut() {
                    r.add(isa, g, from, to);
                }
            });
        }
    }
}

impl Remainder {
    /// Packs its weights, turned round and with their channels exchanged.
    fn turn(&self, g: &ConvGeometry, w: &[f32], packed: &mut [f32]) {
        let ([kz, ky, kx], [nz, ny, nx]) = (g.kernel, self.g.kernel);
        let at = |a: usize, n: usize, k: usize| self.first[a] + (n - 1 - k) * g.stride[a];
        let taps: Vec<Option<usize>> = (0..nz * ny * nx)
            .map(|k| {
                let (z, y, x) = (at(0, nz, k / (ny * nx)), at(1, ny, k / nx % ny), at(2, nx, k % nx));
                (z < kz && y < ky && x < kx).then_some((z * ky + y) * kx + x)
            })
            .collect();
        let per_pair = kz * ky * kx;
        for (k, packed) in packed.chunks_exact_mut(BLOCK_ROWS).enumerate() {
            packed.fill(0.0);
            let (block, o, tap) = (k / taps.len() / g.cout, k / taps.len() % g.cout, taps[k % taps.len()]);
            let pairs = &w[o * g.cin * per_pair..][..g.cin * per_pair];
            if let Some(tap) = tap {
                let column = pairs[block * BLOCK_ROWS * per_pair..].iter().skip(tap).step_by(per_pair);
                packed.iter_mut().zip(column).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// Adds one channel of a result to the voxels that it belongs to.
    fn add(&self, isa: Isa, g: &ConvGeometry, from: &[f32], to: &mut [f32]) {
        let [_, ny, nx] = g.input;
        let [_, my, mx] = self.g.output;
        for (i, row) in from.chunks_exact(mx).enumerate() {
            let (z, y) = (self.start[0] + i / my * g.stride[0], self.start[1] + i % my * g.stride[1]);
            let to = &mut to[(z * ny + y) * nx..][..nx];
            if g.stride[2] == 1 {
                isa.add_row(to, row);
            } else {
                to[self.start[2]..].iter_mut().step_by(g.stride[2]).zip(row).for_each(|(to, from)| *to += from);
            }
        }
    }
}
