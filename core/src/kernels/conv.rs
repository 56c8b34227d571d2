//! Convolution as shifted products over a rolling window of input planes.
//!
//! A tile is some rows of some output planes. The input rows it needs are read plane by plane into scratch, settled and
//! padded, so that every tap of the kernel is an offset; planes that the next output plane needs again stay. Where the
//! stride along x is 1, the padding between two rows is shared: the end of one is the beginning of the next, and a tile
//! is one run of positions in which only those few are computed in vain. Other strides split rows by phase.

use super::norm::Statistics;
use super::output::{OutTile, Output};
use super::source::{Source, Target};
use super::{blocks, split};
use crate::arch::{Affine, BLOCK_ROWS, Block, Isa, Quant, RUN_PAD, StripF32, StripInt, numbers, numbers_mut};
use crate::executor::Executor;
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Elements of scratch for input rows: they should stay in the second-level cache beside a block of weights.
const SCRATCH: usize = 48 * 1024;
/// Positions whose sums are made before they are written: the sums of a block stay in the first-level cache.
const RUN: usize = 768;
/// Bytes of weights that stay in the first-level cache beside the rows they meet.
const WEIGHTS: usize = 14 * 1024;
/// Rows are worked on in multiples of this where there are as many: the lines of a strip.
const LINES: usize = 3;
/// Tiles a layer is cut into where it is large enough.
const TILES: usize = 16;

/// Shape of a convolution; axes `z, y, x`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvGeometry {
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// Input grid.
    pub input: [usize; 3],
    /// Output grid.
    pub output: [usize; 3],
    /// Kernel.
    pub kernel: [usize; 3],
    /// Stride.
    pub stride: [usize; 3],
    /// Dilation.
    pub dilation: [usize; 3],
    /// Padding before the first voxel.
    pub pad: [usize; 3],
}

impl ConvGeometry {
    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Multiply-accumulates, padding included.
    pub fn macs(&self) -> u64 {
        (self.cin * self.taps() * self.cout) as u64 * self.output.iter().map(|&n| n as u64).product::<u64>()
    }

    /// Elements of packed float weights.
    pub fn weight_elements(&self) -> usize {
        self.cout.div_ceil(BLOCK_ROWS) * BLOCK_ROWS * self.cin * self.taps()
    }

    /// Bytes of packed integer weights.
    pub fn int_weight_bytes(&self) -> usize {
        self.cout.div_ceil(BLOCK_ROWS) * BLOCK_ROWS * self.cin.next_multiple_of(4) * self.taps()
    }

    /// Packs `[cout, cin, kz, ky, kx]` into `[block][cin][tap][BLOCK_ROWS]`, filled up with zeros.
    pub fn pack(&self, w: &[f32]) -> Vec<f32> {
        let taps = self.taps();
        let mut packed = vec![0f32; self.weight_elements()];
        for o in 0..self.cout {
            for k in 0..self.cin * taps {
                packed[(o / BLOCK_ROWS * self.cin * taps + k) * BLOCK_ROWS + o % BLOCK_ROWS] =
                    w[o * self.cin * taps + k];
            }
        }
        packed
    }

    /// Packs signed bytes `[cout, cin, kz, ky, kx]` into `[block][cin / 4][tap][BLOCK_ROWS][4]`, filled up with zeros.
    pub fn pack_int(&self, w: &[i8]) -> Vec<i8> {
        let taps = self.taps();
        let groups = self.cin.div_ceil(4);
        let mut packed = vec![0i8; self.int_weight_bytes()];
        for o in 0..self.cout {
            for c in 0..self.cin {
                for t in 0..taps {
                    let word = ((o / BLOCK_ROWS * groups + c / 4) * taps + t) * BLOCK_ROWS + o % BLOCK_ROWS;
                    packed[word * 4 + c % 4] = w[(o * self.cin + c) * taps + t];
                }
            }
        }
        packed
    }
}

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
    scratch_rows: usize,
    pitch: usize,
    /// Elements before the first row of a phase: the padding of its first row, rounded up.
    lead: usize,
    /// Stride phases `(y, x)` that some tap reads.
    phases: Vec<(usize, usize)>,
    phase_len: usize,
    /// Offset of each tap of one kernel plane inside a plane's phases.
    tap_yx: Vec<usize>,
    run_rows: usize,
}

/// One worker's scratch, cut up.
struct Scratch<'a> {
    rows: &'a mut [Block],
    sums: &'a mut [Block],
    line: &'a mut [Block],
    staged: &'a mut [f32],
    aux: &'a mut [Block],
}

impl Conv {
    /// Lays out tiles and scratch.
    pub fn new(isa: Isa, g: &ConvGeometry, precision: Precision) -> Conv {
        let [_, ky, kx] = g.kernel;
        let [_, sy, sx] = g.stride;
        let [_, dy, dx] = g.dilation;
        let mut phases: Vec<(usize, usize)> = Vec::new();
        for y in 0..ky {
            for x in 0..kx {
                let phase = ((y * dy) % sy, (x * dx) % sx);
                if !phases.contains(&phase) {
                    phases.push(phase);
                }
            }
        }
        let halo_y = (ky - 1) * dy / sy;
        let (lead, pitch) = if sx == 1 {
            let after = (g.output[2] + (kx - 1) * dx).saturating_sub(g.pad[2] + g.input[2]);
            (g.pad[2].next_multiple_of(RUN_PAD), (g.input[2] + g.pad[2].max(after)).max(g.output[2]))
        } else {
            (0, g.output[2] + (kx - 1) * dx / sx)
        };
        // Rows start at aligned addresses.
        let pitch = pitch.next_multiple_of(isa.lanes());
        let group = match precision {
            Precision::F32 => 1,
            Precision::Int(_) => isa.int_group(),
        };
        let lanes = g.cin.div_ceil(group);
        let elements = |rows: usize| lanes * g.kernel[0] * phases.len() * (rows + halo_y) * pitch;
        // At least one full run of positions; beyond that as many rows as fit the cache.
        let mut rows = 1;
        while rows < g.output[1] && (elements(rows + 1) <= SCRATCH || rows < LINES) {
            rows += 1;
        }
        // Equal tiles: no thin last one; and whole strips.
        rows = g.output[1].div_ceil(g.output[1].div_ceil(rows)).next_multiple_of(LINES);
        let across = g.output[1].div_ceil(rows);
        let mut planes = g.output[0];
        while across * g.output[0].div_ceil(planes) < TILES && planes > 2 * g.kernel[0] {
            planes = planes.div_ceil(2);
        }
        let mut channels = g.cout.div_ceil(BLOCK_ROWS);
        while across * g.output[0].div_ceil(planes) * g.cout.div_ceil(channels * BLOCK_ROWS) < TILES / 2 && channels > 2
        {
            channels = channels.div_ceil(2);
        }
        let scratch_rows = rows + halo_y;
        let phase_len = (lead + scratch_rows * pitch).next_multiple_of(RUN_PAD);
        let mut tap_yx = Vec::with_capacity(ky * kx);
        for y in 0..ky {
            for x in 0..kx {
                let phase = ((y * dy) % sy, (x * dx) % sx);
                let p = phases.iter().position(|&q| q == phase).unwrap_or(0);
                let x = if sx == 1 { lead + x * dx - g.pad[2] } else { x * dx / sx };
                tap_yx.push(p * phase_len + y * dy / sy * pitch + x);
            }
        }
        let run_rows = (RUN / pitch / LINES * LINES).clamp(LINES, rows);
        Conv {
            g: g.clone(),
            precision,
            group,
            step: [channels * BLOCK_ROWS, planes, rows],
            scratch_rows,
            pitch,
            lead,
            phases,
            phase_len,
            tap_yx,
            run_rows,
        }
    }

    /// Channels, planes and rows of a tile.
    pub fn tile_step(&self) -> [usize; 3] {
        self.step
    }

    /// Tiles in all.
    pub fn tiles(&self) -> usize {
        let g = &self.g;
        let n = |n: usize, s: usize| n.div_ceil(s);
        n(g.cout, self.step[0]) * n(g.output[0], self.step[1]) * n(g.output[1], self.step[2])
    }

    fn plane(&self) -> usize {
        self.phases.len() * self.phase_len
    }

    fn channel(&self) -> usize {
        self.g.kernel[0] * self.plane()
    }

    /// Input rows that the taps of one tile reach in one plane.
    fn reach(&self) -> usize {
        (self.step[2] - 1) * self.g.stride[1] + (self.g.kernel[1] - 1) * self.g.dilation[1] + 1
    }

    fn is_direct(&self) -> bool {
        self.precision == Precision::F32 && self.g.stride[1] == 1 && self.g.stride[2] == 1
    }

    /// Sizes in elements of 4 bytes: rows, sums, line, staged rows.
    fn sizes(&self) -> [usize; 4] {
        let lanes = self.g.cin.div_ceil(self.group);
        let staged = if self.is_direct() { 0 } else { self.g.cin * self.reach() * self.g.input[2] };
        [
            lanes * self.channel() + RUN_PAD,
            BLOCK_ROWS * (self.run_rows * self.pitch + RUN_PAD),
            self.g.output[2].max(3 * self.g.input[2]),
            staged,
        ]
    }

    /// Blocks of scratch a worker needs.
    pub fn scratch_blocks(&self, source: &Source<'_>) -> usize {
        self.sizes().iter().map(|&n| blocks::<f32>(n)).sum::<usize>() + source.aux_blocks(self.reach())
    }

    /// Runs the layer; `scratch` holds one slice a worker. `grid`: values go to the nearest of it before anything else
    /// sees them.
    #[allow(clippy::too_many_arguments)] // A layer's inputs, outputs and surroundings.
    pub fn run<E: Executor>(
        &self,
        isa: Isa,
        source: &Source<'_>,
        weights: ConvWeights<'_>,
        out: &Output<'_>,
        scratch: Vec<&mut [Block]>,
        statistics: bool,
        grid: Option<Quant>,
        executor: &E,
    ) -> Vec<Statistics> {
        let channels = if statistics { self.g.cout } else { 0 };
        let mut workers: Vec<_> = scratch.into_iter().map(|s| (s, Statistics::new(self.tiles(), channels))).collect();
        executor.for_each(&mut workers, |_, (scratch, sums)| {
            let mut rest = &mut **scratch;
            let [rows, acc, line, staged] = self.sizes();
            let mut s = Scratch {
                rows: cut(&mut rest, rows),
                sums: cut(&mut rest, acc),
                line: cut(&mut rest, line),
                staged: split(&mut rest, staged),
                aux: rest,
            };
            while let Some((i, mut tile)) = out.take() {
                self.tile(isa, source, weights, &mut tile, &mut s, grid, |c, row| {
                    if statistics {
                        sums.add(i, c, isa.moments(row));
                    }
                });
            }
        });
        workers.into_iter().map(|w| w.1).collect()
    }

    #[allow(clippy::too_many_arguments)] // As above.
    fn tile(
        &self,
        isa: Isa,
        source: &Source<'_>,
        weights: ConvWeights<'_>,
        tile: &mut OutTile<'_>,
        s: &mut Scratch<'_>,
        grid: Option<Quant>,
        mut seen: impl FnMut(usize, &[f32]),
    ) {
        let g = &self.g;
        let b = tile.bounds().clone();
        let kz = g.kernel[0];
        let per_plane = self.tap_yx.len();
        let ox = g.output[2];
        let mut taps = vec![0usize; kz * per_plane];
        let mut held = vec![isize::MAX; kz];
        let int = matches!(weights, ConvWeights::Int { .. });
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
                    self.gather(isa, source, at(k), b.y.start, b.y.len(), slot, s);
                    held[slot] = at(k);
                }
                for (tap, &off) in taps[k * per_plane..].iter_mut().zip(&self.tap_yx) {
                    *tap = slot * self.plane() + off;
                }
            }
            for y0 in b.y.clone().step_by(self.run_rows) {
                let rows = self.run_rows.min(b.y.end - y0);
                let start = (y0 - b.y.start) * self.pitch;
                let pitch = self.run_rows * self.pitch + RUN_PAD;
                for block in (b.c.start..b.c.end).step_by(BLOCK_ROWS) {
                    let count = BLOCK_ROWS.min(b.c.end - block);
                    self.block(
                        isa,
                        weights,
                        block,
                        count,
                        &taps[first * per_plane..last * per_plane],
                        first * per_plane,
                        start,
                        rows,
                        s,
                    );
                    for i in 0..count {
                        for y in 0..rows {
                            let from = i * pitch + y * self.pitch;
                            let row: &mut [f32] = match weights {
                                ConvWeights::F32(..) => &mut numbers_mut(s.sums)[from..from + ox],
                                ConvWeights::Int { scale, bias, .. } => {
                                    let line = &mut numbers_mut(s.line)[..ox];
                                    let affine = Affine { scale: scale[block + i], shift: bias[block + i] };
                                    isa.from_int(&numbers(s.sums)[from..from + ox], affine, line);
                                    line
                                }
                            };
                            if let Some(grid) = grid {
                                isa.onto_grid(row, grid);
                            }
                            seen(block + i, row);
                            tile.write(isa, [block + i, z, y0 + y], row);
                        }
                    }
                }
            }
        }
    }

    /// Sums of one block of channels over one run.
    #[allow(clippy::too_many_arguments)] // As above.
    fn block(
        &self,
        isa: Isa,
        weights: ConvWeights<'_>,
        channel: usize,
        count: usize,
        taps: &[usize],
        first_tap: usize,
        start: usize,
        lines: usize,
        s: &mut Scratch<'_>,
    ) {
        let g = &self.g;
        let lanes = g.cin.div_ceil(self.group);
        let weight_taps = g.taps();
        let per_block = lanes * weight_taps * BLOCK_ROWS;
        let pitch = self.run_rows * self.pitch + RUN_PAD;
        let block = channel / BLOCK_ROWS;
        let rows = count;
        let len = g.output[2];
        // One tap: channels become taps, for the inner loop is over taps.
        let as_taps: Vec<usize>;
        let (channels, taps, first_tap, weight_taps) = if weight_taps == 1 && !taps.is_empty() {
            as_taps = (0..lanes).map(|c| c * self.channel() + taps[0]).collect();
            (1, as_taps.as_slice(), 0, lanes)
        } else {
            (lanes, taps, first_tap, weight_taps)
        };
        // As many channels at a time as keep their weights in the first-level cache while the lines pass by.
        let some = (WEIGHTS / (4 * BLOCK_ROWS * weight_taps)).clamp(1, channels);
        for c in (0..channels).step_by(some) {
            let here = some.min(channels - c);
            let src = start + c * self.channel();
            let per_channel = weight_taps * BLOCK_ROWS;
            let range = block * per_block + c * per_channel..block * per_block + (c + here) * per_channel;
            match weights {
                ConvWeights::F32(weights, bias) => {
                    let mut padded = [0f32; BLOCK_ROWS];
                    padded[..rows].copy_from_slice(&bias[channel..channel + rows]);
                    isa.conv_f32(StripF32 {
                        src: &numbers(s.rows)[src..],
                        channel: self.channel(),
                        cin: here,
                        taps,
                        weights: &weights[range],
                        first_tap,
                        weight_taps,
                        bias: (c == 0).then_some(padded),
                        rows,
                        len,
                        lines,
                        line: self.pitch,
                        sums: numbers_mut(s.sums),
                        pitch,
                    });
                }
                ConvWeights::Int { words, totals, .. } => {
                    let Precision::Int(quant) = self.precision else { return };
                    let mut padded = [0i32; BLOCK_ROWS];
                    for (p, &t) in padded.iter_mut().zip(&totals[channel..channel + rows]) {
                        *p = -i32::from(quant.zero) * t;
                    }
                    isa.conv_int(StripInt {
                        src: &numbers(s.rows)[src..],
                        channel: self.channel(),
                        groups: here,
                        taps,
                        weights: &words[range],
                        bias: (c == 0).then_some(padded),
                        rows,
                        len,
                        lines,
                        line: self.pitch,
                        sums: numbers_mut(s.sums),
                        pitch,
                    });
                }
            }
        }
    }

    /// Reads the input rows that a tile of `rows` rows from `y0` needs from plane `iz`, padding included.
    #[allow(clippy::too_many_arguments)] // As above.
    fn gather(
        &self,
        isa: Isa,
        source: &Source<'_>,
        iz: isize,
        y0: usize,
        rows: usize,
        slot: usize,
        s: &mut Scratch<'_>,
    ) {
        let g = &self.g;
        let [nz, ny, nx] = g.input;
        let first = (y0 * g.stride[1]) as isize - g.pad[1] as isize;
        let reach = (rows - 1) * g.stride[1] + (g.kernel[1] - 1) * g.dilation[1] + 1;
        let inside = |y: isize| y.clamp(0, ny as isize) as usize;
        let range = inside(first)..inside(first + reach as isize);
        let is_plane = (0..nz as isize).contains(&iz) && !range.is_empty();
        let base = slot * self.plane();
        if self.is_direct() && is_plane {
            let data: &mut [f32] = numbers_mut(s.rows);
            for c in 0..g.cin {
                let plane = &mut data[c * self.channel() + base..][..self.phase_len];
                plane[..self.lead].fill(0.0);
                for (r, row) in plane[self.lead..].chunks_exact_mut(self.pitch).enumerate().take(reach) {
                    let y = first + r as isize;
                    let gap = if (0..ny as isize).contains(&y) { nx } else { 0 };
                    row[gap..].fill(0.0);
                }
            }
            let skip = (range.start as isize - first) as usize;
            let data = &mut data[base + self.lead + skip * self.pitch..];
            let mut target = Target { data, channel: self.channel(), pitch: self.pitch };
            source.read(isa, iz as usize, range, &mut target, s.aux);
            return;
        }
        // Padding is 0, which in integers is the zero point in every lane.
        let lanes = g.cin.div_ceil(self.group);
        let nothing = match self.precision {
            Precision::F32 => 0,
            Precision::Int(q) if self.group == 4 => i32::from_le_bytes([q.zero; 4]),
            Precision::Int(q) => i32::from(q.zero) * 0x0001_0001,
        };
        let all: &mut [i32] = numbers_mut(s.rows);
        for c in 0..lanes {
            let plane = &mut all[c * self.channel() + base..][..self.plane()];
            if !is_plane {
                plane.fill(nothing);
                continue;
            }
            for (p, &(py, px)) in self.phases.iter().enumerate() {
                let phase = &mut plane[p * self.phase_len..][..self.phase_len];
                phase[..self.lead].fill(nothing);
                let columns = self.columns(px);
                for (r, row) in phase[self.lead..].chunks_exact_mut(self.pitch).enumerate() {
                    let y = ((y0 + r) * g.stride[1] + py).checked_sub(g.pad[1]);
                    if y.is_some_and(|y| range.contains(&y)) {
                        row[..columns.start].fill(nothing);
                        row[columns.end..].fill(nothing);
                    } else {
                        row.fill(nothing);
                    }
                }
            }
        }
        if !is_plane {
            return;
        }
        let staged_rows = self.reach();
        let mut target = Target { data: s.staged, channel: staged_rows * nx, pitch: nx };
        source.read(isa, iz as usize, range.clone(), &mut target, s.aux);
        for lane in 0..lanes {
            for (r, y) in range.clone().enumerate() {
                let row = |c: usize| &s.staged[(c * staged_rows + r) * nx..][..nx];
                let at = lane * self.channel() + base;
                if let Precision::Int(quant) = self.precision {
                    // Channels that fill up the last group have weights of zero: any row will do.
                    let rows = core::array::from_fn(|i| row((lane * self.group + i).min(g.cin - 1)));
                    if g.stride[1] == 1 && g.stride[2] == 1 {
                        let at = at + self.lead + (y + g.pad[1] - y0) * self.pitch;
                        isa.pack_rows(rows, quant, &mut numbers_mut(s.rows)[at..at + nx]);
                        continue;
                    }
                    isa.pack_rows(rows, quant, &mut numbers_mut(s.line)[..nx]);
                    // Integers travel as the bits of floats: nothing computes on them.
                    let (line, halves) = numbers_mut::<f32>(s.line).split_at_mut(nx);
                    self.place(isa, y, y0, at, line, halves, numbers_mut(s.rows));
                } else {
                    let halves = numbers_mut::<f32>(s.line);
                    self.place(isa, y, y0, at, row(lane), halves, numbers_mut(s.rows));
                }
            }
        }
    }

    /// Places of a row of a phase that hold voxels; the others are padding.
    fn columns(&self, px: usize) -> core::ops::Range<usize> {
        let g = &self.g;
        if g.stride[2] == 1 {
            return 0..g.input[2];
        }
        // Places j with 0 <= j * stride + px - pad < input.
        let lo = g.pad[2].saturating_sub(px).div_ceil(g.stride[2]).min(self.pitch);
        lo..(g.input[2] + g.pad[2]).saturating_sub(px).div_ceil(g.stride[2]).clamp(lo, self.pitch)
    }

    /// Puts the input row `y` where each phase wants it.
    fn place(&self, isa: Isa, y: usize, y0: usize, base: usize, line: &[f32], halves: &mut [f32], rows: &mut [f32]) {
        let g = &self.g;
        let [_, sy, sx] = g.stride;
        let nx = g.input[2];
        let (even, odd) = halves.split_at_mut(nx.div_ceil(2));
        let odd = &mut odd[..nx / 2];
        if sx == 2 {
            isa.unzip(line, even, odd);
        }
        for (p, &(py, px)) in self.phases.iter().enumerate() {
            let Some(from_top) = (y + g.pad[1]).checked_sub(py).filter(|d| d % sy == 0) else { continue };
            let Some(r) = (from_top / sy).checked_sub(y0).filter(|&r| r < self.scratch_rows) else { continue };
            let columns = self.columns(px);
            let row = &mut rows[base + p * self.phase_len + self.lead + r * self.pitch..][columns.clone()];
            if row.is_empty() {
                continue;
            }
            let start = columns.start * sx + px - if sx == 1 { px } else { g.pad[2] };
            match sx {
                1 => row.copy_from_slice(line),
                2 => row.copy_from_slice(&if start % 2 == 0 { &*even } else { &*odd }[start / 2..][..row.len()]),
                _ => row.iter_mut().zip(line[start..].iter().step_by(sx)).for_each(|(d, v)| *d = *v),
            }
        }
    }
}

/// Splits blocks for `elements` of 4 bytes off the front.
fn cut<'a>(rest: &mut &'a mut [Block], elements: usize) -> &'a mut [Block] {
    let (front, tail) = core::mem::take(rest).split_at_mut(blocks::<f32>(elements));
    *rest = tail;
    front
}
