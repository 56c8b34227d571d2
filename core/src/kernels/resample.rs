//! Linear and nearest interpolation onto another grid, computed as it is read.
//!
//! Each axis is interpolated by itself, z first, so a row is a blend of rows of the small tensor. The full-size result is
//! never stored: the layer that reads it computes the rows it needs.

use super::source::{Read, Rows, Source, Target};
use super::{blocks, split};
use crate::arch::{Block, Isa};
use core::ops::Range;
use serde::{Deserialize, Serialize};

/// Where a voxel of the new grid lies on the old one, along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Between {
    /// The voxel before it, or the one it takes its value from.
    pub index: usize,
    /// Share of the voxel after that one, in `[0, 1)`; where it is 0 there need not be one.
    pub weight: f32,
}

impl Between {
    /// One past the last voxel that is read.
    pub fn end(self) -> usize {
        self.index + 1 + usize::from(self.weight > 0.0)
    }
}

/// What is read and where its voxels go.
pub struct Resample<'a> {
    /// The tensor on the old grid.
    pub low: Source<'a>,
    /// The new grid's voxels along `z, y, x`; their places do not decrease.
    pub axes: [&'a [Between]; 3],
}

/// Rows of the old grid that some rows of the new one read. Their places do not decrease: the first row reads first.
fn reach(axis: &[Between]) -> Range<usize> {
    match axis {
        [first, .., last] => first.index..last.end(),
        [only] => only.index..only.end(),
        [] => 0..0,
    }
}

fn blend(to: &mut [f32], from: &[f32], weight: f32) {
    to.iter_mut().zip(from).for_each(|(to, &v)| *to = *to * (1.0 - weight) + v * weight);
}

impl Resample<'_> {
    /// The most rows of the old grid that `rows` neighbouring rows of the new one read.
    fn low_rows(&self, rows: usize) -> usize {
        let axis = self.axes[1];
        (0..axis.len()).map(|y| reach(&axis[y..axis.len().min(y + rows)]).len()).max().unwrap_or(0)
    }
}

impl Read for Resample<'_> {
    fn channels(&self) -> usize {
        self.low.channels()
    }

    fn aux_blocks(&self, rows: usize) -> usize {
        let (low, nx) = (self.low_rows(rows), self.low.grid[2]);
        2 * blocks::<f32>(self.low.channels() * low * nx) + blocks::<f32>(nx) + self.low.aux_blocks(low)
    }

    fn read(&self, isa: Isa, rows: &Rows, target: &mut Target<'_>, mut aux: &mut [Block]) {
        let [along_z, along_y, along_x] = self.axes;
        let nx = self.low.grid[2];
        let low = reach(&along_y[rows.y.clone()]);
        let channel = low.len() * nx;
        let plane: &mut [f32] = split(&mut aux, self.low.channels() * channel);
        let next: &mut [f32] = split(&mut aux, self.low.channels() * channel);
        let line: &mut [f32] = split(&mut aux, nx);
        let Between { index, weight } = along_z[rows.z];
        self.low.read(isa, index, low.clone(), &mut Target { data: &mut *plane, channel, pitch: nx }, aux);
        if weight > 0.0 {
            self.low.read(isa, index + 1, low.clone(), &mut Target { data: &mut *next, channel, pitch: nx }, aux);
            blend(plane, next, weight);
        }
        for c in 0..self.low.channels() {
            for (r, y) in along_y[rows.y.clone()].iter().enumerate() {
                let row = |y: usize| &plane[c * channel + (y - low.start) * nx..][..nx];
                let row = if y.weight > 0.0 {
                    line.copy_from_slice(row(y.index));
                    blend(line, row(y.index + 1), y.weight);
                    &*line
                } else {
                    row(y.index)
                };
                for (to, x) in target.row(c, r, along_x.len()).iter_mut().zip(along_x) {
                    *to = row[x.index];
                    if x.weight > 0.0 {
                        *to = *to * (1.0 - x.weight) + row[x.index + 1] * x.weight;
                    }
                }
            }
        }
    }
}
