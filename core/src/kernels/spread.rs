//! Voxels of a small tensor with zeros between them, which turns a convolution into a transposed one.

use super::blocks;
use super::source::{Read, Rows, Source, Target};
use crate::arch::{Block, Isa, numbers_mut};

/// A tensor whose voxels lie apart, with `0` between them.
pub struct Spread<'a> {
    /// The small tensor.
    pub low: Source<'a>,
    /// Voxels from one to the next along `z, y, x`.
    pub by: [usize; 3],
}

impl Read for Spread<'_> {
    fn channels(&self) -> usize {
        self.low.channels()
    }

    fn aux_blocks(&self, _rows: usize) -> usize {
        blocks::<f32>(self.channels() * self.low.grid[2]) + self.low.aux_blocks(1)
    }

    fn read(&self, isa: Isa, rows: &Rows, target: &mut Target<'_>, aux: &mut [Block]) {
        let channels = self.channels();
        for c in 0..channels {
            for r in 0..rows.y.len() {
                target.row(c, r, rows.grid[2]).fill(0.0);
            }
        }
        let [by_z, by_y, by_x] = self.by;
        if !rows.z.is_multiple_of(by_z) {
            return;
        }
        let nx = self.low.grid[2];
        let (mine, rest) = aux.split_at_mut(blocks::<f32>(channels * nx));
        let mine: &mut [f32] = numbers_mut(mine);
        for (r, y) in rows.y.clone().enumerate().filter(|(_, y)| y.is_multiple_of(by_y)) {
            let y = y / by_y;
            self.low.read(isa, rows.z / by_z, y..y + 1, &mut Target { data: mine, channel: nx, pitch: nx }, rest);
            for c in 0..channels {
                let row = target.row(c, r, rows.grid[2]);
                for (to, from) in row.iter_mut().step_by(by_x).zip(&mine[c * nx..(c + 1) * nx]) {
                    *to = *from;
                }
            }
        }
    }
}
