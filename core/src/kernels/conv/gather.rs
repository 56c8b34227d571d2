//! Input rows into scratch: read, settled, padded, and put where the taps of the kernel are offsets.

use super::{Conv, Job, Precision, Scratch};
use crate::arch::{Bands, Isa, numbers, numbers_mut};
use crate::kernels::source::{ByteTarget, Target};
use core::ops::Range;

/// The input rows that a tile reaches in each plane.
pub(super) struct Window {
    /// The tile's first row.
    y0: usize,
    /// Lines of scratch it takes.
    lines: usize,
    /// Those inside the input.
    range: Range<usize>,
    /// Rows outside, before them.
    skip: usize,
}

impl Conv {
    /// The window of rows `y`.
    pub(super) fn window(&self, y: &Range<usize>) -> Window {
        let g = &self.g;
        let first = (y.start * g.stride[1]) as isize - g.pad[1] as isize;
        let reach = (y.len() - 1) * g.stride[1] + (g.kernel[1] - 1) * g.dilation[1] + 1;
        let inside = |y: isize| y.clamp(0, g.input[1] as isize) as usize;
        let range = inside(first)..inside(first + reach as isize);
        let skip = (range.start as isize - first) as usize;
        Window { y0: y.start, lines: y.len().div_ceil(self.tall), range, skip }
    }

    /// What padding holds: 0, which in integers is the zero point in every lane.
    fn padding(&self) -> i32 {
        match self.precision {
            Precision::F32 => 0,
            Precision::Int(q) if self.group == 4 => i32::from_le_bytes([q.zero; 4]),
            Precision::Int(q) => i32::from(q.zero) * 0x0001_0001,
        }
    }

    /// Readies scratch for a tile: fills it with padding. All planes of a tile put their rows at the same places, so what
    /// lies around them stays.
    pub(super) fn clear(&self, job: &Job<'_, '_>, s: &mut Scratch<'_>) {
        numbers_mut(s.rows).fill(self.padding());
        if self.bands > 1 {
            numbers_mut::<f32>(s.staged).fill(0.0);
        }
        if let Precision::Int(quant) = self.precision {
            job.source.byte_tables(job.isa, quant, s.tables);
        }
    }

    /// Reads a window of plane `iz` into a slot.
    pub(super) fn gather(&self, job: &Job<'_, '_>, iz: isize, w: &Window, slot: usize, s: &mut Scratch<'_>) {
        let (isa, source) = (job.isa, job.source);
        let base = slot * self.plane();
        if !(0..self.g.input[0] as isize).contains(&iz) || w.range.is_empty() {
            let all: &mut [i32] = numbers_mut(s.rows);
            for lane in 0..self.g.cin.div_ceil(self.group) {
                all[lane * self.channel() + base..][..self.plane()].fill(self.padding());
            }
            return;
        }
        let iz = iz as usize;
        let at = self.lead + w.skip * self.pitch;
        if self.bands > 1 {
            let mut target =
                Target { data: &mut numbers_mut(s.staged)[at..], channel: self.staged_channel(), pitch: self.pitch };
            source.read(isa, iz, w.range.clone(), &mut target, s.aux);
            self.split_bands(isa, w.lines, base, s);
        } else if self.is_direct() {
            let data = &mut numbers_mut(s.rows)[base + at..];
            let mut target = Target { data, channel: self.channel(), pitch: self.pitch };
            source.read(isa, iz, w.range.clone(), &mut target, s.aux);
        } else {
            let nx = self.g.input[2];
            let (rows, channel) = (w.range.clone(), self.reach() * nx);
            if let Precision::Int(quant) = self.precision {
                let mut target = ByteTarget { data: numbers_mut(s.staged), channel, quant, tables: s.tables };
                source.read_bytes(isa, iz, rows, &mut target, s.aux);
            } else {
                let mut target = Target { data: numbers_mut(s.staged), channel, pitch: nx };
                source.read(isa, iz, rows, &mut target, s.aux);
            }
            self.place_staged(isa, w, base, s);
        }
    }

    /// Staged rows, which lie as in scratch, into bands.
    fn split_bands(&self, isa: Isa, lines: usize, base: usize, s: &mut Scratch<'_>) {
        let channel = self.staged_channel();
        let out: &mut [f32] = numbers_mut(s.rows);
        for c in 0..self.g.cin {
            let from = &numbers::<f32>(s.staged)[c * channel + self.lead..][..channel - self.lead];
            let to = &mut out[c * self.channel() + base + self.lead..];
            let bands = Bands { pitch: self.pitch, band: self.phase_len };
            isa.winograd_split(from, to, bands, lines);
        }
    }

    /// Staged rows, which follow one another, packed into lanes and put where each phase wants them.
    fn place_staged(&self, isa: Isa, w: &Window, base: usize, s: &mut Scratch<'_>) {
        let g = &self.g;
        let (nx, n) = (g.input[2], w.range.len() * g.input[2]);
        let lanes = g.cin.div_ceil(self.group);
        for lane in 0..lanes {
            let base = lane * self.channel() + base;
            if self.precision == Precision::F32 {
                let run = &numbers(s.staged)[lane * self.reach() * nx..][..n];
                self.place(isa, w, run, numbers_mut(s.line), &mut numbers_mut(s.rows)[base..]);
                continue;
            }
            // Channels that fill up the last group have weights of zero: any run will do.
            let run = |c: usize| &numbers::<u8>(s.staged)[c.min(g.cin - 1) * self.reach() * nx..][..n];
            let runs = core::array::from_fn(|i| run(lane * self.group + i));
            isa.pack_bytes(runs, &mut numbers_mut(s.line)[..n]);
            // Integers are moved as the bits of floats; no arithmetic is done on them.
            let (packed, halves) = numbers_mut::<f32>(s.line).split_at_mut(n);
            self.place(isa, w, packed, halves, &mut numbers_mut(s.rows)[base..]);
        }
    }

    /// Places of a row of a phase that hold voxels; the others are padding.
    fn columns(&self, px: usize) -> Range<usize> {
        let g = &self.g;
        if g.stride[2] == 1 {
            return 0..g.input[2];
        }
        // Places j with 0 <= j * stride + px - pad < input.
        let lo = g.pad[2].saturating_sub(px).div_ceil(g.stride[2]).min(self.pitch);
        lo..(g.input[2] + g.pad[2]).saturating_sub(px).div_ceil(g.stride[2]).clamp(lo, self.pitch)
    }

    /// Puts the rows of one channel where each phase wants them.
    fn place(&self, isa: Isa, w: &Window, run: &[f32], halves: &mut [f32], out: &mut [f32]) {
        let g = &self.g;
        let [_, sy, sx] = g.stride;
        let nx = g.input[2];
        // Where rows have an even length, those at even places of the run are those at even places of each row.
        let by_halves = sx == 2 && nx.is_multiple_of(2);
        let (even, odd) = halves.split_at_mut(run.len().div_ceil(2));
        if by_halves {
            isa.unzip(run, even, &mut odd[..run.len() / 2]);
        }
        for (p, &(py, px)) in self.phases.iter().enumerate() {
            let columns = self.columns(px);
            if columns.is_empty() {
                continue;
            }
            let start = columns.start * sx + px - if sx == 1 { px } else { g.pad[2] };
            let phase = &mut out[p * self.phase_len + self.lead..];
            for (k, y) in w.range.clone().enumerate() {
                let Some(from_top) = (y + g.pad[1]).checked_sub(py).filter(|d| d % sy == 0) else { continue };
                let Some(r) = (from_top / sy).checked_sub(w.y0).filter(|&r| r < self.scratch_lines) else { continue };
                let to = &mut phase[r * self.pitch..][columns.clone()];
                if by_halves {
                    let half = if start.is_multiple_of(2) { &*even } else { &*odd };
                    to.copy_from_slice(&half[k * nx / 2 + start / 2..][..to.len()]);
                } else if sx == 1 {
                    to.copy_from_slice(&run[k * nx..][..nx]);
                } else {
                    let from = run[k * nx + start..(k + 1) * nx].iter().step_by(sx);
                    to.iter_mut().zip(from).for_each(|(d, v)| *d = *v);
                }
            }
        }
    }
}
