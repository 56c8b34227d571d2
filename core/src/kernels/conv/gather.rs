//! Input rows into scratch: read, settled, padded, and put where the taps of the kernel are offsets.

use super::{Conv, Precision, Scratch};
use crate::arch::{Isa, numbers_mut};
use crate::kernels::source::{Source, Target};
use core::ops::Range;

impl Conv {
    /// Reads the input rows that a tile of `rows` rows from `y0` needs from plane `iz`, padding included.
    #[allow(clippy::too_many_arguments)] // As above.
    pub(super) fn gather(
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
        if self.bands > 1 && is_plane {
            let skip = (range.start as isize - first) as usize;
            self.gather_bands(isa, source, iz as usize, range, skip, rows.div_ceil(self.tall), base, s);
            return;
        }
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

    /// Reads rows `range` of a plane, the first of which is row `skip` of the tile's, and splits them into bands.
    #[allow(clippy::too_many_arguments)] // As above.
    fn gather_bands(
        &self,
        isa: Isa,
        source: &Source<'_>,
        z: usize,
        range: Range<usize>,
        skip: usize,
        lines: usize,
        base: usize,
        s: &mut Scratch<'_>,
    ) {
        let nx = self.g.input[2];
        let channel = self.staged_channel();
        for plane in s.staged.chunks_exact_mut(channel) {
            plane[..self.lead].fill(0.0);
            // Rows outside the input are mixed into all bands: they have to be zero, not anything.
            for (r, row) in plane[self.lead..].chunks_exact_mut(self.pitch).enumerate() {
                let gap = if (skip..skip + range.len()).contains(&r) { nx } else { 0 };
                row[gap..].fill(0.0);
            }
        }
        let data = &mut s.staged[self.lead + skip * self.pitch..];
        source.read(isa, z, range, &mut Target { data, channel, pitch: self.pitch }, s.aux);
        let out: &mut [f32] = numbers_mut(s.rows);
        for c in 0..self.g.cin {
            let to = &mut out[c * self.channel() + base..];
            for band in 0..self.bands {
                to[band * self.phase_len..][..self.lead].fill(0.0);
            }
            let from = &s.staged[c * channel..][..channel];
            for line in 0..lines {
                let at = self.lead + line * self.pitch;
                let from = &from[self.lead + line * self.tall * self.pitch..];
                isa.winograd_split(from, self.pitch, &mut to[at..], self.phase_len, self.pitch);
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
            let Some(r) = (from_top / sy).checked_sub(y0).filter(|&r| r < self.scratch_lines) else { continue };
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
