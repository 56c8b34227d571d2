//! The gradient of a convolution's weights.
//!
//! The gradient of a weight is the sum over positions of the output's gradient there times the input that the weight met:
//! a dot product of two rows as long as the image, one of them shifted by the tap. Chunks of the image are brought into
//! scratch, inputs padded and output gradients with zeros in the gaps, such that every tap is an offset of one flat run
//! over lines and planes alike; then all pairs of channels and taps are multiplied (`arch::correlate`). Where it pays,
//! kernels of three along y go through the transpose of Winograd's method: both sides go to six bands of a line for four
//! rows, bands meet their like alone, and six sums a weight column become three gradients.
//!
//! Workers share the output channels out among themselves, and every sum is made in the order of the chunks by one of
//! them: the result is the same at any number.

mod gather;
mod layout;

use crate::arch::{BANDS, Correlation, CorrelationRows, Isa};
use crate::executor::Executor;
use crate::kernels::conv::ConvGeometry;
use crate::kernels::stored::Stored;
use crate::kernels::{Pass, blocks, split};
use alloc::vec::Vec;
use core::ops::Range;

/// The weight gradient of one convolution, laid out.
#[derive(Debug)]
pub struct WeightGradient {
    g: ConvGeometry,
    /// Bands that stand for [`Self::tall`] rows: 6 for 4 with Winograd's method, otherwise 1 for 1.
    bands: usize,
    tall: usize,
    /// Output channels that one worker takes.
    share: usize,
    /// Output planes and lines of a chunk.
    planes: usize,
    lines: usize,
    /// Planes and lines of a phase that taps reach beyond a chunk's own.
    halo: [usize; 2],
    pitch: usize,
    /// Elements before the first line of a phase.
    lead: usize,
    /// Stride phases `(z, y, x)` that some tap reads.
    phases: Vec<[usize; 3]>,
    /// Elements of a phase of one channel.
    phase_len: usize,
    /// Offset of each tap in a channel.
    taps: Vec<usize>,
}

/// One worker's scratch, cut up.
struct Scratch<'a> {
    /// `[band][cin][phase][plane][line][pitch]`.
    inputs: &'a mut [f32],
    /// `[band][share][plane][line][pitch]`.
    gradients: &'a mut [f32],
    /// Rows of one channel of either, before they are split.
    staged_input: &'a mut [f32],
    staged_gradient: &'a mut [f32],
    /// `[band][share][cin][tap]`.
    sums: &'a mut [f32],
}

/// What all shares of a run read.
struct Task<'a> {
    isa: Isa,
    input: &'a [Stored<'a>],
    output: &'a Stored<'a>,
}

/// A chunk of the output.
struct Chunk {
    /// Output channels.
    channels: Range<usize>,
    /// Output planes.
    z: Range<usize>,
    /// The first line.
    line: usize,
}

impl WeightGradient {
    fn sizes(&self) -> [usize; 5] {
        let g = &self.g;
        [
            self.bands * g.cin * self.channel(),
            self.bands * self.share * self.row(),
            self.staged_input(),
            self.staged_gradient(),
            self.bands * self.share * g.cin * self.taps.len(),
        ]
    }

    /// Blocks of scratch a worker needs.
    pub fn scratch_blocks(&self) -> usize {
        self.sizes().iter().map(|&n| blocks::<f32>(n)).sum()
    }

    /// Adds to `gradient` (`[cout, cin, kz, ky, kx]`) that of the weights between an input, joined from tensors along
    /// channels, and the gradient of the output. There is scratch for each of the workers that this was made for.
    ///
    /// # Panics
    /// If lengths do not fit the geometry.
    pub fn run<E: Executor>(
        &self,
        pass: Pass<'_, '_, E>,
        input: &[Stored<'_>],
        output: &Stored<'_>,
        gradient: &mut [f32],
    ) {
        let Pass { isa, executor, scratch } = pass;
        let task = Task { isa, input, output };
        let per_channel = self.g.cin * self.g.taps();
        assert_eq!(gradient.len(), self.g.cout * per_channel);
        assert_eq!(input.iter().map(|s| s.channels).sum::<usize>(), self.g.cin);
        let shares = gradient.chunks_mut(self.share * per_channel);
        assert!(shares.len() <= scratch.len(), "{} shares for {} workers", shares.len(), scratch.len());
        let mut items: Vec<_> = scratch.iter_mut().zip(shares).collect();
        executor.for_each(&mut items, |i, (scratch, gradient)| {
            let mut rest = &mut ***scratch;
            let [inputs, gradients, staged_input, staged_gradient, sums] = self.sizes();
            let mut s = Scratch {
                inputs: split(&mut rest, inputs),
                gradients: split(&mut rest, gradients),
                staged_input: split(&mut rest, staged_input),
                staged_gradient: split(&mut rest, staged_gradient),
                sums: split(&mut rest, sums),
            };
            let first = i * self.share;
            self.share(&task, first..(first + self.share).min(self.g.cout), gradient, &mut s);
        });
    }

    /// Adds the gradients of the weights of some output channels.
    fn share(&self, task: &Task<'_>, channels: Range<usize>, gradient: &mut [f32], s: &mut Scratch<'_>) {
        let g = &self.g;
        let [oz, oy, _] = g.output;
        let offsets: Vec<usize> =
            (0..g.cin).flat_map(|c| self.taps.iter().map(move |tap| c * self.channel() + tap)).collect();
        s.sums.fill(0.0);
        for line in (0..oy.div_ceil(self.tall)).step_by(self.lines) {
            s.inputs.fill(0.0);
            s.gradients.fill(0.0);
            s.staged_input.fill(0.0);
            s.staged_gradient.fill(0.0);
            for z in (0..oz).step_by(self.planes) {
                let chunk = Chunk { channels: channels.clone(), z: z..(z + self.planes).min(oz), line };
                self.gather_inputs(task, &chunk, s);
                self.gather_gradients(task, &chunk, s);
                let len = self.run_len(chunk.z.len());
                for band in 0..self.bands {
                    let rows = CorrelationRows {
                        data: &s.gradients[band * self.share * self.row()..],
                        pitch: self.row(),
                        count: channels.len(),
                        len,
                    };
                    let inputs = &s.inputs[band * g.cin * self.channel()..];
                    let sums = &mut s.sums[band * self.share * offsets.len()..];
                    let products = Correlation::new(rows, inputs, &offsets, sums);
                    task.isa.correlate(products.expect("scratch is as large as the layout says"));
                }
            }
        }
        if self.bands == 1 {
            task.isa.add_row(gradient, &s.sums[..gradient.len()]);
        } else {
            self.join_bands(s.sums, gradient);
        }
    }

    /// The transpose of what makes six weights of three.
    fn join_bands(&self, sums: &[f32], gradient: &mut [f32]) {
        let [kz, ky, kx] = self.g.kernel;
        let band = self.share * self.g.cin * kz * kx;
        for (plane, gradient) in gradient.chunks_exact_mut(ky * kx).enumerate() {
            for x in 0..kx {
                let w: [f32; BANDS] = core::array::from_fn(|b| sums[b * band + plane * kx + x]);
                let (even, odd) = (w[1] + w[2], w[1] - w[2]);
                let (steep_even, steep_odd) = (w[3] + w[4], w[3] - w[4]);
                gradient[x] += 4.0 * w[0] + (2.0 / 3.0) * even - (8.0 / 3.0) * steep_even;
                gradient[kx + x] += (2.0 / 3.0) * odd - (4.0 / 3.0) * steep_odd;
                gradient[2 * kx + x] += (2.0 / 3.0) * (even - steep_even) + w[5];
            }
        }
    }
}
