//! Transposed convolution whose kernel equals its stride, computed as it is read.
//!
//! Every output voxel receives one tap of one input voxel, so a row is a product of the small tensor's row with a
//! matrix. The full-size result is never stored: the layer that reads it computes the rows it needs, at a few per cent
//! of its own work, and the largest tensor but one of a U-Net is never in memory.

use super::source::{Read, Rows, Source, Target};
use super::{blocks, split};
use crate::arch::{
    Activation, BLOCK_ROWS, Block, Isa, Lines, Quant, RUN_PAD, Strip, StripInput, StripSums, StripWeights,
};
use alloc::vec::Vec;

/// Lines that the run of all low rows is cut into, to give the inner loop its full strip.
const LINES: usize = 3;

/// Length of such a line.
fn line(run: usize) -> usize {
    run.div_ceil(LINES).next_multiple_of(RUN_PAD)
}

/// Packed weights: one matrix for each place of the kernel along z.
#[derive(Clone, Copy)]
pub struct UpsampleWeights<'a> {
    /// `[kz][block][cin][BLOCK_ROWS]` over rows `[cout, ky, kx]`.
    pub weights: &'a [f32],
    /// `[cout]`.
    pub bias: &'a [f32],
}

/// What is read and how it grows.
pub struct Upsample<'a> {
    /// The small tensor.
    pub low: Source<'a>,
    /// Output channels.
    pub cout: usize,
    /// Kernel and stride.
    pub kernel: [usize; 3],
    /// Packed weights.
    pub weights: UpsampleWeights<'a>,
    /// Pending on the result.
    pub activation: Activation,
    /// Pending after that: grids, one after the other.
    pub grids: Vec<Quant>,
}

impl Upsample<'_> {
    /// Elements of packed weights.
    pub fn weight_elements(cin: usize, cout: usize, kernel: [usize; 3]) -> usize {
        kernel[0] * (cout * kernel[1] * kernel[2]).div_ceil(BLOCK_ROWS) * cin * BLOCK_ROWS
    }

    /// Packs `[cin, cout, kz, ky, kx]` (ONNX's order) into `[kz][block][cin][BLOCK_ROWS]`.
    pub fn pack(cin: usize, cout: usize, [kz, ky, kx]: [usize; 3], w: &[f32]) -> Vec<f32> {
        let mut packed = alloc::vec![0f32; Self::weight_elements(cin, cout, [kz, ky, kx])];
        let rows = cout * ky * kx;
        let count = rows.div_ceil(BLOCK_ROWS);
        for c in 0..cin {
            for o in 0..cout {
                for z in 0..kz {
                    for t in 0..ky * kx {
                        let row = o * ky * kx + t;
                        let at = ((z * count + row / BLOCK_ROWS) * cin + c) * BLOCK_ROWS + row % BLOCK_ROWS;
                        packed[at] = w[((c * cout + o) * kz + z) * ky * kx + t];
                    }
                }
            }
        }
        packed
    }

    fn low_rows(&self, rows: usize) -> usize {
        rows.div_ceil(self.kernel[1]) + usize::from(self.kernel[1] > 1)
    }

    /// Computes rows, and puts them onto `grids`, one after the other.
    fn compute(&self, isa: Isa, rows: &Rows, grids: &[Quant], target: &mut Target<'_>, mut aux: &mut [Block]) {
        let [kz, ky, kx] = self.kernel;
        let nx = self.low.grid[2];
        let cin = self.low.channels();
        let low = rows.y.start / ky..(rows.y.end - 1) / ky + 1;
        let len = low.len() * nx;
        let line = line(self.low_rows(rows.y.len()) * nx);
        let run = LINES * line + RUN_PAD;
        let src: &mut [f32] = split(&mut aux, cin * run);
        let sums: &mut [f32] = split(&mut aux, (BLOCK_ROWS + 2) * run);
        let (sums, pairs) = sums.split_at_mut(BLOCK_ROWS * run);
        self.low.read(isa, rows.z / kz, low.clone(), &mut Target { data: src, channel: run, pitch: nx }, aux);

        let per_channel = ky * kx;
        let total = self.cout * per_channel;
        let count = total.div_ceil(BLOCK_ROWS);
        // Channels as taps of one: the inner loop is over taps.
        let taps: Vec<usize> = (0..cin).map(|c| c * run).collect();
        let plane = &self.weights.weights[(rows.z % kz) * count * cin * BLOCK_ROWS..];
        for b in 0..count {
            let in_block = BLOCK_ROWS.min(total - b * BLOCK_ROWS);
            let mut bias = [0f32; BLOCK_ROWS];
            for (i, v) in bias[..in_block].iter_mut().enumerate() {
                *v = self.weights.bias[(b * BLOCK_ROWS + i) / per_channel];
            }
            let strip = Strip::new(
                StripInput { data: src, channel: run, channels: 1, taps: &taps },
                StripWeights { data: &plane[b * cin * BLOCK_ROWS..][..cin * BLOCK_ROWS], taps: cin, first_tap: 0 },
                Lines { len: line, count: len.div_ceil(line), step: line },
                StripSums { data: sums, pitch: run, rows: in_block, start: Some(bias) },
            );
            isa.conv_f32(strip.expect("scratch is as large as `aux_blocks` says"));
            for i in (0..in_block).step_by(if kx == 2 { 2 } else { 1 }) {
                let row = b * BLOCK_ROWS + i;
                let (o, ty, tx) = (row / per_channel, row / kx % ky, row % kx);
                if kx == 2 {
                    // Rows come in pairs: a block holds an even number of them.
                    let (even, odd) = (&sums[i * run..][..len], &sums[(i + 1) * run..][..len]);
                    isa.zip(even, odd, &mut pairs[..2 * len]);
                }
                for (r, y) in rows.y.clone().enumerate().filter(|(_, y)| y % ky == ty) {
                    let at = (y / ky - low.start) * nx;
                    let out = target.row(o, r, nx * kx);
                    if kx == 2 {
                        out.copy_from_slice(&pairs[2 * at..][..2 * nx]);
                    } else {
                        for (to, from) in out[tx..].iter_mut().step_by(kx).zip(&sums[i * run + at..][..nx]) {
                            *to = *from;
                        }
                    }
                }
            }
        }
        // Where rows follow one another, all of a channel at once.
        let row = nx * kx;
        let (runs, len) = if target.pitch == row { (1, rows.y.len() * row) } else { (rows.y.len(), row) };
        for c in 0..self.cout {
            for r in 0..runs {
                let run = target.row(c, r, len);
                isa.change_row(run, None, self.activation);
                for &grid in grids {
                    isa.onto_grid(run, grid);
                }
            }
        }
    }
}

impl Read for Upsample<'_> {
    fn channels(&self) -> usize {
        self.cout
    }

    fn aux_blocks(&self, rows: usize) -> usize {
        let low = self.low_rows(rows);
        let run = LINES * line(low * self.low.grid[2]) + RUN_PAD;
        blocks::<f32>(self.low.channels() * run) + blocks::<f32>((BLOCK_ROWS + 2) * run) + self.low.aux_blocks(low)
    }

    fn read(&self, isa: Isa, rows: &Rows, target: &mut Target<'_>, aux: &mut [Block]) {
        self.compute(isa, rows, &self.grids, target, aux);
    }

    fn read_for_grid(&self, isa: Isa, rows: &Rows, quant: Quant, target: &mut Target<'_>, aux: &mut [Block]) {
        let grids = match self.grids.split_last() {
            Some((last, others)) if *last == quant => others,
            _ => &self.grids,
        };
        self.compute(isa, rows, grids, target, aux);
    }
}
