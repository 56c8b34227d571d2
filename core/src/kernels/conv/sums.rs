//! The sums of a block of output channels over some lines of scratch.

use super::{Conv, ConvWeights, Job, Precision, Scratch};
use crate::arch::{BLOCK_ROWS, Block, Lines, Plain, Strip, StripInput, StripSums, StripWeights, numbers, numbers_mut};
use alloc::vec::Vec;
use core::ops::Range;

/// Bytes of weights that stay in the first-level cache beside the rows they meet.
const WEIGHTS: usize = 14 * 1024;

/// Lines of scratch whose sums are made at once.
pub(super) struct Run<'a> {
    /// Taps that lie inside the input along z, as offsets in a channel.
    pub(super) taps: &'a [usize],
    /// The first one's place among all.
    pub(super) first_tap: usize,
    /// Where the first line starts.
    pub(super) start: usize,
    pub(super) lines: usize,
}

/// How the inner loop walks over the lines of a run.
struct Shape {
    runs: usize,
    len: usize,
    lines: usize,
    line: usize,
}

impl Conv {
    /// Sums of one block of channels over one run, all bands.
    pub(super) fn block(&self, job: &Job<'_, '_>, c: Range<usize>, run: &Run<'_>, s: &mut Scratch<'_>) {
        let (isa, g) = (job.isa, &self.g);
        let lanes = g.cin.div_ceil(self.group);
        let weight_taps = g.kernel[0] * self.tap_yx.len();
        // One tap: channels become taps, for the inner loop is over taps.
        let as_taps: Vec<usize>;
        let (channels, taps, first_tap, weight_taps) = match run.taps {
            &[tap] if weight_taps == 1 => {
                as_taps = (0..lanes).map(|c| c * self.channel() + tap).collect();
                (1, as_taps.as_slice(), 0, lanes)
            }
            taps => (lanes, taps, run.first_tap, weight_taps),
        };
        // As many channels at a time as keep their weights in the first-level cache while the lines pass by.
        let per_channel = weight_taps * BLOCK_ROWS;
        let some = (WEIGHTS / (4 * per_channel)).clamp(1, channels);
        let vectors = g.output[2].div_ceil(isa.lanes());
        let shape = if self.packed {
            let last = (run.lines - 1) * self.pitch + g.output[2];
            Shape { runs: 1, len: isa.lanes(), lines: last.div_ceil(isa.lanes()), line: isa.lanes() }
        } else if isa.strips(run.lines) * vectors <= isa.strips(vectors) * run.lines {
            Shape { runs: 1, len: g.output[2], lines: run.lines, line: self.pitch }
        } else {
            Shape { runs: run.lines, len: isa.lanes(), lines: vectors, line: isa.lanes() }
        };
        for (band, first) in (0..self.bands).flat_map(|b| (0..channels).step_by(some).map(move |c| (b, c))) {
            let here = some.min(channels - first);
            let src = run.start + first * self.channel() + band * self.phase_len;
            let at = ((c.start / BLOCK_ROWS * self.bands + band) * channels + first) * per_channel;
            for i in 0..shape.runs {
                let piece = Piece {
                    src: src + i * self.pitch,
                    to: band * self.sums_band() + i * self.pitch,
                    channels: here,
                    taps,
                    first_tap,
                    weight_taps,
                    rows: c.len(),
                    shape: &shape,
                };
                let range = at..at + here * per_channel;
                match job.weights {
                    ConvWeights::F32(weights, bias) => {
                        let mut padded = [0f32; BLOCK_ROWS];
                        if self.bands == 1 {
                            padded[..c.len()].copy_from_slice(&bias[c.clone()]);
                        }
                        let bias = (first == 0).then_some(padded);
                        isa.conv_f32(piece.strip(self, s.rows, s.sums, &weights[range], bias));
                    }
                    ConvWeights::Int { words, totals, .. } => {
                        let Precision::Int(quant) = self.precision else { return };
                        let mut padded = [0i32; BLOCK_ROWS];
                        for (p, &t) in padded.iter_mut().zip(&totals[c.clone()]) {
                            *p = -i32::from(quant.zero) * t;
                        }
                        let bias = (first == 0).then_some(padded);
                        isa.conv_int(piece.strip(self, s.rows, s.sums, &words[range], bias));
                    }
                }
            }
        }
    }
}

/// What one pass of the inner loop takes of a run: some channels of a band, walked over in a shape.
struct Piece<'a> {
    /// Where it starts in scratch, and in the sums.
    src: usize,
    to: usize,
    channels: usize,
    taps: &'a [usize],
    first_tap: usize,
    weight_taps: usize,
    rows: usize,
    shape: &'a Shape,
}

impl Piece<'_> {
    /// The pass, in the numbers that the weights have.
    fn strip<'a, T: Plain>(
        &'a self,
        conv: &Conv,
        rows: &'a [Block],
        sums: &'a mut [Block],
        weights: &'a [T],
        bias: Option<[T; BLOCK_ROWS]>,
    ) -> Strip<'a, T> {
        let strip = Strip::new(
            StripInput {
                data: &numbers(rows)[self.src..],
                channel: conv.channel(),
                channels: self.channels,
                taps: self.taps,
            },
            StripWeights { data: weights, taps: self.weight_taps, first_tap: self.first_tap },
            Lines { len: self.shape.len, count: self.shape.lines, step: self.shape.line },
            StripSums {
                data: &mut numbers_mut(sums)[self.to..],
                pitch: conv.sums_pitch(),
                rows: self.rows,
                start: bias,
            },
        );
        strip.expect("scratch, weights and sums are as large as the layout says")
    }
}
