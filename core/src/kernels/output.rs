//! Where a layer writes: a tensor in one of the stored forms, tile by tile.

use crate::arch::{Isa, Moments, Quant, Row, RowMut, TileBox, TileMut, Tiles};
use core::ops::Range;

/// A tensor to be written, cut into tiles.
pub enum Output<'a> {
    /// Single precision.
    F32(Tiles<'a, f32>),
    /// Half precision.
    F16(Tiles<'a, u16>),
    /// Bytes on a grid.
    U8(Tiles<'a, u8>, Quant),
}

/// One tile of an [`Output`].
pub enum OutTile<'a> {
    /// Single precision.
    F32(TileMut<'a, f32>),
    /// Half precision.
    F16(TileMut<'a, u16>),
    /// Bytes on a grid.
    U8(TileMut<'a, u8>, Quant),
}

impl Output<'_> {
    /// The next tile.
    pub fn take(&self) -> Option<OutTile<'_>> {
        match self {
            Output::F32(t) => t.take().map(OutTile::F32),
            Output::F16(t) => t.take().map(OutTile::F16),
            Output::U8(t, q) => t.take().map(|t| OutTile::U8(t, *q)),
        }
    }
}

impl OutTile<'_> {
    /// Where the tile lies.
    pub fn bounds(&self) -> &TileBox {
        match self {
            OutTile::F32(t) => t.bounds(),
            OutTile::F16(t) => t.bounds(),
            OutTile::U8(t, _) => t.bounds(),
        }
    }

    /// Whether sums of what is written are wanted.
    pub fn is_summed(&self) -> bool {
        match self {
            OutTile::F32(t) => t.is_summed(),
            OutTile::F16(t) => t.is_summed(),
            OutTile::U8(t, _) => t.is_summed(),
        }
    }

    /// Adds to the sums of a channel.
    pub fn add(&mut self, c: usize, moments: Moments) {
        match self {
            OutTile::F32(t) => t.add(c, moments),
            OutTile::F16(t) => t.add(c, moments),
            OutTile::U8(t, _) => t.add(c, moments),
        }
    }

    /// Rows `y` as they are stored now.
    pub fn rows(&mut self, c: usize, z: usize, y: Range<usize>) -> Row<'_> {
        match self {
            OutTile::F32(t) => Row::F32(t.rows_mut(c, z, y)),
            OutTile::F16(t) => Row::F16(t.rows_mut(c, z, y)),
            OutTile::U8(t, q) => Row::U8(t.rows_mut(c, z, y), *q),
        }
    }

    /// Stores rows `y`, which follow one another in `rows`.
    pub fn write(&mut self, isa: Isa, c: usize, z: usize, y: Range<usize>, rows: &[f32]) {
        let out = match self {
            OutTile::F32(t) => RowMut::F32(t.rows_mut(c, z, y)),
            OutTile::F16(t) => RowMut::F16(t.rows_mut(c, z, y)),
            OutTile::U8(t, q) => RowMut::U8(t.rows_mut(c, z, y), *q),
        };
        isa.write_row(rows, out);
    }
}
