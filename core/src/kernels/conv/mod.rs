//! Convolution as shifted products over a rolling window of input planes.
//!
//! A tile is some rows of some output planes. The input rows it needs are read plane by plane into scratch, settled and
//! padded, so that every tap of the kernel is an offset; planes that the next output plane needs again stay. Where the
//! stride along x is 1, the padding between two rows is shared: the end of one is the beginning of the next, and a tile
//! is one run of positions in which only those few are computed and not used. Other strides split rows by phase. Where it
//! pays, kernels of three along y are computed by Winograd's method (`arch::winograd`): rows go to scratch as bands, each
//! band is convolved along z and x alone, and the sums of six bands become four rows.

mod gather;
mod geometry;
mod layout;
mod sums;

pub use geometry::{ConvGeometry, MOST_INT_PRODUCTS};
pub(super) use geometry::{is_tensor, is_window};
#[cfg(feature = "train")]
pub(super) use layout::{apart, period};

use super::output::{OutTile, Output};
use super::source::Source;
use super::{Pass, blocks, split};
use crate::arch::{
    Affine, BAND_REACH, BAND_ROWS, BLOCK_ROWS, Bands, Block, ByteTable, Isa, Quant, RUN_PAD, numbers, numbers_mut,
};
use crate::executor::Executor;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use sums::Run;

/// Voxels that are finished at once, where rows are shorter: a call, and the sum over the lanes of a vector, cost as much
/// as some vectors.
const AT_ONCE: usize = 512;

/// What a convolution multiplies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Precision {
    /// Single precision.
    F32,
    /// Unsigned bytes on this grid with signed bytes.
    Int(Quant),
}

/// Packed weights in the form that the instruction set takes.
#[derive(Clone, Copy)]
pub enum ConvWeights<'a> {
    /// [`ConvGeometry::pack`] and one bias a channel.
    F32(&'a [f32], &'a [f32]),
    /// Groups of signed weights for [`Isa::int_group`], the sum of each channel's weights, and what turns a channel's
    /// integer sum into its value: the product of both scales, and the bias.
    Int {
        /// `[block][group][tap][BLOCK_ROWS]`.
        words: &'a [i32],
        /// `[cout]`.
        totals: &'a [i32],
        /// `[cout]`.
        scale: &'a [f32],
        /// `[cout]`.
        bias: &'a [f32],
    },
}

/// A convolution with its tiles laid out.
#[derive(Debug)]
pub struct Conv {
    g: ConvGeometry,
    precision: Precision,
    /// Channels that share a lane: 1 in f32.
    group: usize,
    /// Channels, planes and rows of a tile.
    step: [usize; 3],
    /// Bands that stand for [`Self::tall`] rows: 6 for 4 with Winograd's method, otherwise 1 for 1.
    bands: usize,
    tall: usize,
    /// Lines of a band or phase in scratch.
    scratch_lines: usize,
    pitch: usize,
    /// Elements before the first line of a phase: the padding of its first row, rounded up.
    lead: usize,
    /// Stride phases `(y, x)` that some tap reads.
    phases: Vec<(usize, usize)>,
    /// Elements of a band or phase.
    phase_len: usize,
    /// Lines follow one another with no gap but their padding, and a run of them is one line of positions: where rows
    /// are short or end soon after a vector does, whole vectors of one row each would be mostly empty.
    packed: bool,
    /// Offset of each tap of one kernel plane inside a plane's phases.
    tap_yx: Vec<usize>,
    /// Lines whose sums are made at once.
    run_lines: usize,
}

/// What all tiles of a run share.
struct Job<'a, 's> {
    isa: Isa,
    source: &'a Source<'s>,
    weights: ConvWeights<'a>,
    grid: Option<Quant>,
}

/// Rows of output that some lines of sums make.
struct Made {
    /// Output channel, plane and rows.
    c: usize,
    z: usize,
    y: Range<usize>,
    /// The channel's row of sums, and the lines of it.
    row: usize,
    lines: Range<usize>,
}

/// One worker's scratch, cut up.
struct Scratch<'a> {
    rows: &'a mut [Block],
    sums: &'a mut [Block],
    line: &'a mut [Block],
    staged: &'a mut [Block],
    /// What becomes of each byte of an input channel.
    tables: &'a mut [ByteTable],
    aux: &'a mut [Block],
}

impl Conv {
    /// Channels, planes and rows of a tile.
    pub fn tile_step(&self) -> [usize; 3] {
        self.step
    }

    fn plane(&self) -> usize {
        self.bands * self.phases.len() * self.phase_len
    }

    fn channel(&self) -> usize {
        layout::apart(self.g.kernel[0] * self.plane())
    }

    /// Input rows that the taps of one tile reach in one plane.
    fn reach(&self) -> usize {
        (self.step[2] - 1) * self.g.stride[1] + (self.g.kernel[1] - 1) * self.g.dilation[1] + 1
    }

    /// Elements from one output channel's sums to the next's.
    fn sums_pitch(&self) -> usize {
        (self.run_lines * self.pitch).next_multiple_of(RUN_PAD) + RUN_PAD
    }

    /// Elements from one band's sums to the next's.
    fn sums_band(&self) -> usize {
        BLOCK_ROWS * self.sums_pitch()
    }

    /// Elements from row to row of output.
    fn line_pitch(&self) -> usize {
        self.g.output[2].next_multiple_of(RUN_PAD)
    }

    /// Elements from one input channel's staged rows to the next's, where rows lie there as they do in scratch.
    fn staged_channel(&self) -> usize {
        (self.lead + (self.step[2] + BAND_REACH - BAND_ROWS) * self.pitch).next_multiple_of(RUN_PAD) + RUN_PAD
    }

    fn is_direct(&self) -> bool {
        self.precision == Precision::F32 && self.g.stride[1] == 1 && self.g.stride[2] == 1 && self.bands == 1
    }

    /// Bytes of a staged number.
    fn staged_bytes(&self) -> usize {
        if self.precision == Precision::F32 { 4 } else { 1 }
    }

    /// Tables of bytes that a tile needs.
    fn tables(&self) -> usize {
        if self.precision == Precision::F32 { 0 } else { self.g.cin }
    }

    /// Sizes in elements of 4 bytes: rows, sums, line, staged rows.
    fn sizes(&self) -> [usize; 4] {
        let lanes = self.g.cin.div_ceil(self.group);
        let staged = match (self.is_direct(), self.bands) {
            (true, _) => 0,
            (_, 1) => (self.g.cin * self.reach() * self.g.input[2]).div_ceil(4 / self.staged_bytes()),
            _ => self.g.cin * self.staged_channel(),
        };
        [
            lanes * self.channel() + 2 * RUN_PAD,
            self.bands * self.sums_band(),
            (self.run_lines * self.tall * self.line_pitch().max(self.pitch))
                .max(2 * self.reach() * self.g.input[2] + 2),
            staged,
        ]
    }

    /// Elements of the weights that [`Self::prepare_weights`] makes; none where the packed ones serve.
    pub fn prepared_weights(&self) -> usize {
        if self.bands == 1 { 0 } else { self.g.weight_elements() / self.g.kernel[1] * self.bands }
    }

    /// Transforms packed weights for Winograd's method.
    pub fn prepare_weights(&self, isa: Isa, packed: &[f32], out: &mut [f32]) {
        isa.winograd_weights(packed, out, self.g.cin, self.g.kernel);
    }

    /// Whether there are as many weights as the layout says.
    fn takes(&self, weights: ConvWeights<'_>) -> bool {
        let g = &self.g;
        match (weights, self.precision) {
            (ConvWeights::F32(packed, bias), Precision::F32) => {
                let prepared = if self.bands == 1 { g.weight_elements() } else { self.prepared_weights() };
                packed.len() >= prepared && bias.len() >= g.cout
            }
            (ConvWeights::Int { words, totals, scale, bias }, Precision::Int(_)) => {
                let blocks = g.cout.div_ceil(BLOCK_ROWS);
                let count = blocks * g.cin.div_ceil(self.group) * g.taps() * BLOCK_ROWS;
                words.len() >= count && [totals.len(), scale.len(), bias.len()].iter().all(|&n| n >= g.cout)
            }
            _ => false,
        }
    }

    /// Blocks of scratch a worker needs.
    pub fn scratch_blocks(&self, source: &Source<'_>) -> usize {
        let aux = match self.precision {
            Precision::F32 => source.aux_blocks(self.reach()),
            Precision::Int(_) => source.byte_aux_blocks(self.reach()),
        };
        self.sizes().iter().map(|&n| blocks::<f32>(n)).sum::<usize>() + blocks::<ByteTable>(self.tables()) + aux
    }

    /// Runs the layer. With `grid`, values go to the nearest of it before anything else sees them.
    ///
    /// # Panics
    /// If weights, scratch or output are smaller than the layout says, or the source is of another shape.
    pub fn run<E: Executor>(
        &self,
        pass: Pass<'_, '_, E>,
        source: &Source<'_>,
        weights: ConvWeights<'_>,
        grid: Option<Quant>,
        out: &Output<'_>,
    ) {
        assert!(self.takes(weights), "weights of another convolution");
        assert_eq!((source.channels(), source.grid), (self.g.cin, self.g.input), "a source of another shape");
        let job = Job { isa: pass.isa, source, weights, grid };
        pass.executor.for_each(pass.scratch, |_, scratch| {
            let mut rest = &mut **scratch;
            let [rows, acc, line, staged] = self.sizes();
            let mut s = Scratch {
                rows: cut(&mut rest, rows),
                sums: cut(&mut rest, acc),
                line: cut(&mut rest, line),
                staged: cut(&mut rest, staged),
                tables: split(&mut rest, self.tables()),
                aux: rest,
            };
            while let Some(mut tile) = out.take() {
                self.tile(&job, &mut tile, &mut s);
            }
        });
    }

    fn tile(&self, job: &Job<'_, '_>, tile: &mut OutTile<'_>, s: &mut Scratch<'_>) {
        let g = &self.g;
        let b = tile.bounds().clone();
        let kz = g.kernel[0];
        let per_plane = self.tap_yx.len();
        let ox = g.output[2];
        let mut taps = vec![0usize; kz * per_plane];
        let mut held = vec![isize::MAX; kz];
        let int = matches!(job.weights, ConvWeights::Int { .. });
        let window = self.window(&b.y);
        let at_once = (AT_ONCE / (ox * self.tall)).clamp(1, self.run_lines);
        self.clear(job, s);
        for z in b.z {
            let at = |k: usize| (z * g.stride[0] + k * g.dilation[0]) as isize - g.pad[0] as isize;
            let inside = |k: usize| (0..g.input[0] as isize).contains(&at(k));
            // Kernel planes outside the input add nothing: in floats they are left out; they are a prefix and a suffix.
            let first = if int { 0 } else { (0..kz).find(|&k| inside(k)).unwrap_or(kz) };
            let last = if int { kz } else { (first..kz).take_while(|&k| inside(k)).count() + first };
            for k in first..last {
                // Neighbouring output planes share input planes where the kernel is not dilated along z.
                let slot = if g.dilation[0] == 1 { at(k).rem_euclid(kz as isize) as usize } else { k };
                if held[slot] != at(k) {
                    self.gather(job, at(k), &window, slot, s);
                    held[slot] = at(k);
                }
                for (tap, &off) in taps[k * per_plane..].iter_mut().zip(&self.tap_yx) {
                    *tap = slot * self.plane() + off;
                }
            }
            for y0 in b.y.clone().step_by(self.run_lines * self.tall) {
                let rows = (self.run_lines * self.tall).min(b.y.end - y0);
                let run = Run {
                    taps: &taps[first * per_plane..last * per_plane],
                    first_tap: first * per_plane,
                    start: (y0 - b.y.start) / self.tall * self.pitch,
                    lines: rows.div_ceil(self.tall),
                };
                for block in (b.c.start..b.c.end).step_by(BLOCK_ROWS) {
                    let count = BLOCK_ROWS.min(b.c.end - block);
                    self.block(job, block..block + count, &run, s);
                    for i in 0..count {
                        for first in (0..run.lines).step_by(at_once) {
                            let lines = first..run.lines.min(first + at_once);
                            let y = y0 + first * self.tall..y0 + rows.min(lines.end * self.tall);
                            self.finish(job, &Made { c: block + i, z, y, row: i, lines }, tile, s);
                        }
                    }
                }
            }
        }
    }

    /// Writes rows of output, and adds them up where that is wanted.
    fn finish(&self, job: &Job<'_, '_>, made: &Made, tile: &mut OutTile<'_>, s: &mut Scratch<'_>) {
        let Made { c, z, y, .. } = made;
        let (isa, c, z, n) = (job.isa, *c, *z, y.len() * self.g.output[2]);
        if let (ConvWeights::Int { scale, bias, .. }, OutTile::U8(tile, quant)) = (job.weights, &mut *tile)
            && job.grid == Some(*quant)
        {
            let acc = &mut numbers_mut::<i32>(s.sums)[self.sums_at(made)..];
            join_rows(acc, made.lines.len(), self.pitch, self.g.output[2]);
            let affine = Affine { scale: scale[c], shift: bias[c] };
            let bytes = isa.finish_bytes(&acc[..n], affine, *quant, tile.rows_mut(c, z, y.clone()));
            if tile.is_summed() {
                tile.add(c, quant.moments(n, bytes));
            }
            return;
        }
        let values = &mut self.rows(job, made, s)[..n];
        if let Some(grid) = job.grid {
            isa.onto_grid(values, grid);
        }
        tile.write(isa, c, z, y.clone(), values);
        if tile.is_summed() {
            tile.add(c, isa.moments(values));
        }
    }

    /// Where the sums of the first line are, in f32 or integers.
    fn sums_at(&self, made: &Made) -> usize {
        made.row * self.sums_pitch() + made.lines.start * self.pitch
    }

    /// Rows of output, one after the other.
    fn rows<'s>(&self, job: &Job<'_, '_>, made: &Made, s: &'s mut Scratch<'_>) -> &'s mut [f32] {
        let (isa, c, lines) = (job.isa, made.c, made.lines.len());
        let ox = self.g.output[2];
        let from = self.sums_at(made);
        let positions = (lines - 1) * self.pitch + ox;
        let (made, pitch, rows): (&mut [f32], _, _) = match job.weights {
            ConvWeights::F32(_, bias) if self.bands > 1 => {
                let (sums, out) = (&numbers(s.sums)[from..], numbers_mut(s.line));
                let pitch = self.line_pitch();
                for line in 0..lines {
                    let (sums, out) = (&sums[line * self.pitch..], &mut out[line * self.tall * pitch..]);
                    let bands = Bands { pitch, band: self.sums_band() };
                    isa.winograd_join(sums, out, bands, ox, bias[c]);
                }
                (out, pitch, lines * self.tall)
            }
            ConvWeights::F32(..) => (&mut numbers_mut(s.sums)[from..], self.pitch, lines),
            ConvWeights::Int { scale, bias, .. } => {
                let out = numbers_mut(s.line);
                let affine = Affine { scale: scale[c], shift: bias[c] };
                isa.from_int(&numbers(s.sums)[from..from + positions], affine, &mut out[..positions]);
                (out, self.pitch, lines)
            }
        };
        join_rows(made, rows, pitch, ox);
        made
    }
}

/// Moves rows of `len` that start every `pitch` together.
fn join_rows<T: Copy>(data: &mut [T], rows: usize, pitch: usize, len: usize) {
    if pitch != len {
        for row in 1..rows {
            data.copy_within(row * pitch..row * pitch + len, row * len);
        }
    }
}

/// Splits blocks for `elements` of 4 bytes off the front.
fn cut<'a>(rest: &mut &'a mut [Block], elements: usize) -> &'a mut [Block] {
    let (front, tail) = core::mem::take(rest).split_at_mut(blocks::<f32>(elements));
    *rest = tail;
    front
}
