//! Stored tensors with what is pending on them: scales and shifts, activations, grids.

use super::source::{ByteTarget, Read, Rows, Target};
use crate::arch::{Activation, Affine, Block, ByteTable, Isa, Order, Quant, Row, RowMut};
use alloc::vec::Vec;

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
    /// Numbers of the tensor that come before the first of `data`: they were overwritten, and are not read.
    pub gone: usize,
    /// Pending.
    pub ops: Vec<Op<'a>>,
}

/// Rows shorter than this are read several at a time and then put in place: a call costs as much as some vectors.
const SHORT: usize = 64;

impl Stored<'_> {
    /// Reads rows of channel `c` into channel 0 of the target.
    pub(super) fn read_channel(&self, isa: Isa, rows: &Rows, c: usize, target: &mut Target<'_>) {
        let nx = rows.grid[2];
        let (first, ahead) = self.place(rows, c);
        if target.pitch == nx {
            let len = rows.elements();
            return self.run(isa, c, first, ahead, &mut target.data[..len]);
        }
        if nx >= SHORT {
            for r in 0..rows.y.len() {
                self.run(isa, c, first + r * nx, ahead, target.row(0, r, nx));
            }
            return;
        }
        let mut some = [0f32; 16 * SHORT];
        let most = some.len() / nx;
        for r0 in (0..rows.y.len()).step_by(most) {
            let some = &mut some[..most.min(rows.y.len() - r0) * nx];
            self.run(isa, c, first + r0 * nx, ahead, some);
            for (r, row) in some.chunks_exact(nx).enumerate() {
                target.row(0, r0 + r, nx).copy_from_slice(row);
            }
        }
    }

    /// Where rows of channel `c` start in the data, and how far it is from there to those of the next plane.
    fn place(&self, rows: &Rows, c: usize) -> (usize, usize) {
        let [nz, ny, nx] = rows.grid;
        let [channel, plane] = self.order.strides([self.channels, nz, ny, nx]);
        ((c * channel + rows.z * plane + rows.y.start) * nx - self.gone, plane * nx)
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

impl Read for Stored<'_> {
    fn channels(&self) -> usize {
        self.channels
    }

    fn aux_blocks(&self, _rows: usize) -> usize {
        0
    }

    fn read(&self, isa: Isa, rows: &Rows, target: &mut Target<'_>, _aux: &mut [Block]) {
        for c in 0..self.channels {
            self.read_channel(isa, rows, c, &mut target.channels_from(c));
        }
    }

    fn byte_tables(&self, isa: Isa, quant: Quant, tables: &mut [ByteTable]) {
        if let Data::U8(_, from) = self.data {
            let every: ByteTable = core::array::from_fn(|i| i as u8);
            let mut values = [0f32; 256];
            for (c, table) in tables.iter_mut().enumerate() {
                settle(isa, Row::U8(&every, from), &self.ops, c, &mut values);
                isa.write_row(&values, RowMut::U8(table, quant));
            }
        }
    }

    fn byte_aux_blocks(&self, _rows: usize, _nx: usize) -> usize {
        0
    }

    fn read_bytes(&self, isa: Isa, rows: &Rows, target: &mut ByteTarget<'_>, _aux: &mut [Block]) {
        let n = rows.elements();
        for c in 0..self.channels {
            let (at, ahead) = self.place(rows, c);
            if let Data::U8(bytes, _) = self.data {
                isa.prefetch(bytes, at + ahead, n);
                let table = &target.tables[c];
                isa.map_bytes(table, &bytes[at..at + n], target.run(c, n));
                continue;
            }
            let (mut some, quant) = ([0f32; 16 * SHORT], target.quant);
            for (i, out) in target.run(c, n).chunks_mut(some.len()).enumerate() {
                let some = &mut some[..out.len()];
                self.run(isa, c, at + i * 16 * SHORT, ahead, some);
                isa.write_row(some, RowMut::U8(out, quant));
            }
        }
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
