//! What a layer reads: tensors joined along channels, each of which brings its rows into scratch in its own way.

use super::blocks;
use crate::arch::{Block, ByteTable, Isa, Quant, RowMut, numbers_mut};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

/// Some rows of a plane of a grid.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The grid, `z, y, x`.
    pub grid: [usize; 3],
    /// The plane.
    pub z: usize,
    /// The rows.
    pub y: Range<usize>,
}

impl Rows {
    /// Elements of the rows of one channel.
    pub(super) fn elements(&self) -> usize {
        self.y.len() * self.grid[2]
    }
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

    /// Where the rows of channel `c` and of those after it go.
    pub(super) fn channels_from(&mut self, c: usize) -> Target<'_> {
        let data = self.data.get_mut(c * self.channel..).unwrap_or_default();
        Target { data, channel: self.channel, pitch: self.pitch }
    }
}

/// Where rows of bytes go: channel `c` starts at `c * channel`, its rows follow one another.
pub struct ByteTarget<'a> {
    /// Scratch.
    pub data: &'a mut [u8],
    /// Elements from channel to channel.
    pub channel: usize,
    /// The grid that values are put onto.
    pub quant: Quant,
    /// What [`Source::byte_tables`] made for this grid, a table for each channel.
    pub tables: &'a [ByteTable],
}

impl ByteTarget<'_> {
    /// The first `len` elements of a channel.
    pub(super) fn run(&mut self, c: usize, len: usize) -> &mut [u8] {
        &mut self.data[c * self.channel..][..len]
    }

    /// Where channel `c` and those after it go.
    fn channels_from(&mut self, c: usize) -> ByteTarget<'_> {
        let data = self.data.get_mut(c * self.channel..).unwrap_or_default();
        let tables = self.tables.get(c..).unwrap_or_default();
        ByteTarget { data, channel: self.channel, quant: self.quant, tables }
    }
}

/// Some channels that can be read, row by row, whether they are stored or computed on the way.
pub trait Read: Sync {
    /// Channels.
    fn channels(&self) -> usize;

    /// Blocks of `aux` that [`Self::read`] needs for `rows` rows.
    fn aux_blocks(&self, rows: usize) -> usize;

    /// Reads rows of all channels; row `rows.y.start` becomes row 0 of the target.
    ///
    /// # Panics
    /// If there are no such rows, or the tensors, the target or `aux` are too small; so for the others.
    fn read(&self, isa: Isa, rows: &Rows, target: &mut Target<'_>, aux: &mut [Block]);

    /// As [`Self::read`], for values that go to the nearest of `quant` afterwards: what does just that may be left out.
    fn read_for_grid(&self, isa: Isa, rows: &Rows, _quant: Quant, target: &mut Target<'_>, aux: &mut [Block]) {
        self.read(isa, rows, target, aux);
    }

    /// What becomes of each stored byte on the way to grid `quant`, a table for each channel; nothing where no bytes are
    /// stored.
    fn byte_tables(&self, _isa: Isa, _quant: Quant, _tables: &mut [ByteTable]) {}

    /// Blocks of `aux` that [`Self::read_bytes`] needs for `rows` rows of `nx` voxels.
    fn byte_aux_blocks(&self, rows: usize, nx: usize) -> usize {
        blocks::<f32>(self.channels() * rows * nx) + self.aux_blocks(rows)
    }

    /// Reads as [`Self::read`] does, onto the grid of the target.
    fn read_bytes(&self, isa: Isa, rows: &Rows, target: &mut ByteTarget<'_>, aux: &mut [Block]) {
        let (channels, n) = (self.channels(), rows.elements());
        let (mine, rest) = aux.split_at_mut(blocks::<f32>(channels * n));
        let mut floats = Target { data: numbers_mut(mine), channel: n, pitch: rows.grid[2] };
        self.read_for_grid(isa, rows, target.quant, &mut floats, rest);
        for c in 0..channels {
            let quant = target.quant;
            isa.write_row(floats.row(c, 0, n), RowMut::U8(target.run(c, n), quant));
        }
    }
}

/// A tensor to be read.
pub struct Source<'a> {
    /// Its channels.
    pub parts: Vec<Box<dyn Read + 'a>>,
    /// `z, y, x`.
    pub grid: [usize; 3],
}

impl Source<'_> {
    /// Channels of all parts.
    pub fn channels(&self) -> usize {
        self.parts.iter().map(|part| part.channels()).sum()
    }

    /// # Panics
    /// If the grid has no such rows.
    fn rows(&self, z: usize, y: Range<usize>) -> Rows {
        let [nz, ny, nx] = self.grid;
        assert!(z < nz && y.start < y.end && y.end <= ny && nx > 0, "rows {y:?} of plane {z} of {:?}", self.grid);
        Rows { grid: self.grid, z, y }
    }

    /// Reads rows `y` of plane `z`, all channels; row `y.start` becomes row 0 of the target.
    ///
    /// `aux` has [`Self::aux_blocks`] for as many rows.
    ///
    /// # Panics
    /// If the grid has no such rows, or the tensors, the target or `aux` are too small; so for the others.
    pub fn read(&self, isa: Isa, z: usize, y: Range<usize>, target: &mut Target<'_>, aux: &mut [Block]) {
        let rows = self.rows(z, y);
        let mut first = 0;
        for part in &self.parts {
            part.read(isa, &rows, &mut target.channels_from(first), aux);
            first += part.channels();
        }
    }

    /// What becomes of each stored byte on the way to grid `quant`, a table for each channel: whatever is pending, there
    /// are but 256 numbers. Channels that are not stored as bytes leave theirs as it was.
    pub fn byte_tables(&self, isa: Isa, quant: Quant, tables: &mut [ByteTable]) {
        let mut rest = tables;
        for part in &self.parts {
            let (mine, others) = rest.split_at_mut(part.channels());
            part.byte_tables(isa, quant, mine);
            rest = others;
        }
    }

    /// Reads as [`Self::read`] does, onto the grid of the target. `aux` has [`Self::byte_aux_blocks`].
    pub fn read_bytes(&self, isa: Isa, z: usize, y: Range<usize>, target: &mut ByteTarget<'_>, aux: &mut [Block]) {
        let rows = self.rows(z, y);
        let mut first = 0;
        for part in &self.parts {
            part.read_bytes(isa, &rows, &mut target.channels_from(first), aux);
            first += part.channels();
        }
    }

    /// Blocks that [`Self::read_bytes`] needs for `rows` rows.
    pub fn byte_aux_blocks(&self, rows: usize) -> usize {
        self.parts.iter().map(|part| part.byte_aux_blocks(rows, self.grid[2])).max().unwrap_or(0)
    }

    /// Blocks that [`Self::read`] needs for `rows` rows.
    pub fn aux_blocks(&self, rows: usize) -> usize {
        self.parts.iter().map(|part| part.aux_blocks(rows)).max().unwrap_or(0)
    }
}
