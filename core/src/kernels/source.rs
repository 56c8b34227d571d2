//! What a layer reads: stored tensors with what is pending on them, joined along channels, some computed on the way.

use super::resample::Resample;
use super::upsample::Upsample;
use crate::arch::{Activation, Affine, Block, ByteTable, Isa, Order, Quant, Row, RowMut, numbers_mut};
use alloc::vec::Vec;
use core::ops::Range;

/// A tensor's numbers as stored.
#[derive(Clone, Copy)]
pub enum Data<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Half precision.
    F16(&'a [u16]),
    /// Bytes on a grid.
    U8(&'a [u8], Quant),
}

/// Something pending on a stored tensor.
#[derive(Clone, Copy)]
pub enum Op<'a> {
    /// `x * scale[c] + shift[c]`.
    Affine(&'a [f32], &'a [f32]),
    /// An activation.
    Act(Activation),
    /// To the nearest value of a grid.
    Grid(Quant),
}

/// A stored tensor, or its last planes, with what is pending, in order.
pub struct Stored<'a> {
    /// The numbers.
    pub data: Data<'a>,
    /// Channels.
    pub channels: usize,
    /// Order of the planes.
    pub order: Order,
    /// Numbers of the tensor before the first of `data`: they are not read, and are not there any more.
    pub gone: usize,
    /// Pending.
    pub ops: Vec<Op<'a>>,
}

/// Some channels of a source.
pub enum Part<'a> {
    /// They are stored.
    Stored(Stored<'a>),
    /// They are a transposed convolution of something smaller, computed as they are read.
    Upsampled(Upsample<'a>),
    /// They are `0` between the voxels of something smaller, which turns a convolution into a transposed one.
    Spread(Source<'a>, [usize; 3]),
    /// They are something on another grid, interpolated as they are read.
    Resampled(Resample<'a>),
}

/// A tensor to be read.
pub struct Source<'a> {
    /// Its channels.
    pub parts: Vec<Part<'a>>,
    /// `z, y, x`.
    pub grid: [usize; 3],
}

/// Where rows go: row `r` of channel `c` starts at `c * channel + r * pitch`.
pub struct Target<'a> {
    /// Scratch.
    pub data: &'a mut [f32],
    /// Elements from channel to channel.
    pub channel: usize,
    /// Elements from row to row.
    pub pitch: usize,
}

impl Target<'_> {
    /// One row of `len` elements.
    pub fn row(&mut self, c: usize, r: usize, len: usize) -> &mut [f32] {
        &mut self.data[c * self.channel + r * self.pitch..][..len]
    }
}

/// Rows shorter than this are settled several at a time and then put in place: a call costs as much as some vectors.
const SHORT: usize = 64;

impl Stored<'_> {
    /// Reads rows `rows` of plane `z` of channel `c` of a grid into channel `to` of the target.
    #[allow(clippy::too_many_arguments)] // Where from, where to, and what of it.
    pub(super) fn read(
        &self,
        isa: Isa,
        grid: [usize; 3],
        z: usize,
        c: usize,
        rows: Range<usize>,
        to: usize,
        target: &mut Target<'_>,
    ) {
        let nx = grid[2];
        let (first, ahead) = self.place(grid, z, c);
        let at = |row: usize| first + row * nx;
        if target.pitch == nx {
            let len = rows.len() * nx;
            return self.run(isa, c, at(rows.start), ahead, &mut target.data[to * target.channel..][..len]);
        }
        if nx >= SHORT {
            for (r, y) in rows.enumerate() {
                self.run(isa, c, at(y), ahead, target.row(to, r, nx));
            }
            return;
        }
        let mut some = [0f32; 16 * SHORT];
        let most = some.len() / nx;
        for first in (0..rows.len()).step_by(most) {
            let some = &mut some[..most.min(rows.len() - first) * nx];
            self.run(isa, c, at(rows.start + first), ahead, some);
            for (r, row) in some.chunks_exact(nx).enumerate() {
                target.row(to, first + r, nx).copy_from_slice(row);
            }
        }
    }

    /// Where plane `z` of channel `c` starts in the data, and how far it is from there to the next plane.
    fn place(&self, [nz, ny, nx]: [usize; 3], z: usize, c: usize) -> (usize, usize) {
        let [channel, plane] = self.order.strides([self.channels, nz, ny, nx]);
        ((c * channel + z * plane) * nx - self.gone, plane * nx)
    }

    /// Reads a run of channel `c`; what is wanted next lies `ahead` further.
    fn run(&self, isa: Isa, c: usize, at: usize, ahead: usize, dst: &mut [f32]) {
        let n = dst.len();
        let row = match self.data {
            Data::F32(d) => {
                isa.prefetch(d, at + ahead, n);
                Row::F32(&d[at..at + n])
            }
            Data::F16(d) => {
                isa.prefetch(d, at + ahead, n);
                Row::F16(&d[at..at + n])
            }
            Data::U8(d, q) => {
                isa.prefetch(d, at + ahead, n);
                Row::U8(&d[at..at + n], q)
            }
        };
        settle(isa, row, &self.ops, c, dst);
    }
}

/// Reads a run of channel `c` and applies what is pending on it.
pub(super) fn settle(isa: Isa, row: Row<'_>, mut ops: &[Op<'_>], c: usize, dst: &mut [f32]) {
    let mut first = Some(row);
    loop {
        let affine = match ops.first() {
            Some(Op::Affine(scale, shift)) => Some(Affine { scale: scale[c], shift: shift[c] }),
            _ => None,
        };
        ops = &ops[usize::from(affine.is_some())..];
        let act = match ops.first() {
            Some(Op::Act(act)) => *act,
            _ => Activation::None,
        };
        ops = &ops[usize::from(matches!(ops.first(), Some(Op::Act(_))))..];
        match first.take() {
            Some(row) => isa.read_row(row, affine, act, dst),
            None => isa.change_row(dst, affine, act),
        }
        while let Some(Op::Grid(q)) = ops.first() {
            isa.onto_grid(dst, *q);
            ops = &ops[1..];
        }
        if ops.is_empty() {
            return;
        }
    }
}

impl Source<'_> {
    /// Channels of all parts.
    pub fn channels(&self) -> usize {
        self.parts.iter().map(Part::channels).sum()
    }

    /// # Panics
    /// If the grid has no such rows.
    fn check(&self, z: usize, rows: &Range<usize>) {
        let [nz, ny, nx] = self.grid;
        assert!(z < nz && rows.start < rows.end && rows.end <= ny && nx > 0, "rows {rows:?} of plane {z}");
    }

    /// Reads rows `rows` of plane `z`, all channels; row `rows.start` becomes row 0 of the target.
    ///
    /// `aux` has [`Self::aux_blocks`] for as many rows.
    ///
    /// # Panics
    /// If the grid has no such rows, or the tensors, the target or `aux` are too small.
    pub fn read(&self, isa: Isa, z: usize, rows: Range<usize>, target: &mut Target<'_>, aux: &mut [Block]) {
        self.check(z, &rows);
        let mut first = 0;
        for part in &self.parts {
            part.read(isa, self.grid, z, rows.clone(), first, target, aux);
            first += part.channels();
        }
    }

    /// What becomes of each stored byte on the way to grid `quant`, a table for each channel of [`Data::U8`]: whatever is
    /// pending, there are but 256 numbers.
    pub fn byte_tables(&self, isa: Isa, quant: Quant, tables: &mut [ByteTable]) {
        let every: [u8; 256] = core::array::from_fn(|i| i as u8);
        let mut values = [0f32; 256];
        let mut tables = tables.iter_mut();
        for part in &self.parts {
            let mine = tables.by_ref().take(part.channels()).enumerate();
            if let Part::Stored(Stored { data: Data::U8(_, from), ops, .. }) = part {
                for (c, table) in mine {
                    settle(isa, Row::U8(&every, *from), ops, c, &mut values);
                    isa.write_row(&values, RowMut::U8(table, quant));
                }
            } else {
                mine.for_each(drop);
            }
        }
    }

    /// Reads as [`Self::read`] does, onto grid `quant`: channel `c` starts at `c * channel`, its rows follow one another.
    #[allow(clippy::too_many_arguments)] // As `read`, with the grid and its tables.
    pub fn read_bytes(
        &self,
        isa: Isa,
        z: usize,
        rows: Range<usize>,
        quant: Quant,
        tables: &[ByteTable],
        dst: &mut [u8],
        channel: usize,
        aux: &mut [Block],
    ) {
        self.check(z, &rows);
        let nx = self.grid[2];
        let n = rows.len() * nx;
        let mut first = 0;
        for part in &self.parts {
            let channels = part.channels();
            if let Part::Stored(stored) = part {
                for c in 0..channels {
                    let (plane, ahead) = stored.place(self.grid, z, c);
                    let at = plane + rows.start * nx;
                    let out = &mut dst[(first + c) * channel..][..n];
                    if let Data::U8(bytes, _) = stored.data {
                        isa.prefetch(bytes, at + ahead, n);
                        isa.map_bytes(&tables[first + c], &bytes[at..at + n], out);
                        continue;
                    }
                    let mut some = [0f32; 16 * SHORT];
                    for (i, out) in out.chunks_mut(some.len()).enumerate() {
                        let some = &mut some[..out.len()];
                        stored.run(isa, c, at + i * 16 * SHORT, ahead, some);
                        isa.write_row(some, RowMut::U8(out, quant));
                    }
                }
            } else {
                let (mine, rest) = aux.split_at_mut(super::blocks::<f32>(channels * n));
                let mut target = Target { data: numbers_mut(mine), channel: n, pitch: nx };
                match part {
                    Part::Upsampled(up) => {
                        // What was just put onto this grid need not be put there twice.
                        let grids = match up.grids.split_last() {
                            Some((last, others)) if *last == quant => others,
                            _ => &up.grids,
                        };
                        up.read(isa, z, rows.clone(), 0, grids, &mut target, rest);
                    }
                    _ => part.read(isa, self.grid, z, rows.clone(), 0, &mut target, rest),
                }
                for c in 0..channels {
                    let from = &numbers_mut::<f32>(mine)[c * n..][..n];
                    isa.write_row(from, RowMut::U8(&mut dst[(first + c) * channel..][..n], quant));
                }
            }
            first += channels;
        }
    }

    /// Blocks that [`Self::read_bytes`] needs for `rows` rows.
    pub fn byte_aux_blocks(&self, rows: usize) -> usize {
        let of = |part: &Part<'_>| match part {
            Part::Stored(_) => 0,
            part => super::blocks::<f32>(part.channels() * rows * self.grid[2]) + part.aux_blocks(rows),
        };
        self.parts.iter().map(of).max().unwrap_or(0)
    }

    /// Blocks that [`Self::read`] needs for `rows` rows.
    pub fn aux_blocks(&self, rows: usize) -> usize {
        self.parts.iter().map(|p| p.aux_blocks(rows)).max().unwrap_or(0)
    }
}

#[allow(clippy::too_many_arguments)] // One loop of the reading above.
fn spread(
    isa: Isa,
    low: &Source<'_>,
    by: [usize; 3],
    z: usize,
    rows: Range<usize>,
    first: usize,
    target: &mut Target<'_>,
    aux: &mut [Block],
) {
    let nx = low.grid[2];
    let channels = low.channels();
    let (mine, rest) = aux.split_at_mut(super::blocks::<f32>(channels * nx));
    let mine: &mut [f32] = crate::arch::numbers_mut(mine);
    for (r, y) in rows.enumerate() {
        if y % by[1] != 0 {
            continue;
        }
        let y = y / by[1];
        low.read(isa, z, y..y + 1, &mut Target { data: mine, channel: nx, pitch: nx }, rest);
        for c in 0..channels {
            let row = &mut target.data[(first + c) * target.channel + r * target.pitch..];
            for (to, from) in row.iter_mut().step_by(by[2]).zip(&mine[c * nx..(c + 1) * nx]) {
                *to = *from;
            }
        }
    }
}

impl Part<'_> {
    /// Reads rows of plane `z` of a grid into channels `first..` of the target.
    #[allow(clippy::too_many_arguments)] // As `Source::read`.
    fn read(
        &self,
        isa: Isa,
        grid: [usize; 3],
        z: usize,
        rows: Range<usize>,
        first: usize,
        target: &mut Target<'_>,
        aux: &mut [Block],
    ) {
        let channels = self.channels();
        match self {
            Part::Stored(stored) => {
                for c in 0..channels {
                    stored.read(isa, grid, z, c, rows.clone(), first + c, target);
                }
            }
            Part::Upsampled(up) => up.read(isa, z, rows, first, &up.grids, target, aux),
            Part::Resampled(resample) => resample.read(isa, z, rows, first, target, aux),
            Part::Spread(low, by) => {
                for c in 0..channels {
                    for r in 0..rows.len() {
                        target.row(first + c, r, grid[2]).fill(0.0);
                    }
                }
                if z.is_multiple_of(by[0]) {
                    spread(isa, low, *by, z / by[0], rows, first, target, aux);
                }
            }
        }
    }

    fn channels(&self) -> usize {
        match self {
            Part::Stored(s) => s.channels,
            Part::Upsampled(u) => u.channels(),
            Part::Spread(low, _) => low.channels(),
            Part::Resampled(r) => r.channels(),
        }
    }

    fn aux_blocks(&self, rows: usize) -> usize {
        match self {
            Part::Stored(_) => 0,
            Part::Upsampled(u) => u.aux_blocks(rows),
            Part::Spread(low, _) => super::blocks::<f32>(low.channels() * low.grid[2]) + low.aux_blocks(1),
            Part::Resampled(r) => r.aux_blocks(rows),
        }
    }
}
