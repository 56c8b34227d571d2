//! The planes of the network grid that tiles are cut out of.

use crate::patch::{PatchMut, PatchNumber};
use crate::tiling::Tiling;
use crate::volume::Index3;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

/// Planes of the network grid that the current row of tiles covers, stored as patches are.
pub(super) struct InputWindow<T> {
    planes: VecDeque<Vec<T>>,
    free: Vec<Vec<T>>,
    /// A plane in single precision, where planes are stored in half.
    single: Vec<f32>,
    first: usize,
    channels: usize,
    plane_len: usize,
}

impl<T: PatchNumber> InputWindow<T> {
    /// No planes yet; each will hold `plane_len` numbers of `channels`.
    pub(super) fn new(channels: usize, plane_len: usize) -> Self {
        let (planes, free, single) = (VecDeque::new(), Vec::new(), Vec::new());
        InputWindow { planes, free, single, first: 0, channels, plane_len }
    }

    /// Lets go of planes below `first`.
    pub(super) fn drop_below(&mut self, first: usize) {
        while self.first < first {
            self.free.extend(self.planes.pop_front());
            self.first += 1;
        }
    }

    /// The plane that comes next.
    pub(super) fn end(&self) -> usize {
        self.first + self.planes.len()
    }

    /// Adds the next plane, which `read` fills, `[channels, y, x]`.
    pub(super) fn push<E>(&mut self, read: impl FnOnce(&mut [f32]) -> Result<(), E>) -> Result<(), E> {
        let mut plane = self.free.pop().unwrap_or_else(|| vec![T::default(); self.plane_len]);
        match T::patch_mut(&mut plane) {
            PatchMut::F32(plane) => read(plane)?,
            PatchMut::F16(plane) => {
                self.single.resize(self.plane_len, 0.0);
                read(&mut self.single)?;
                plane.iter_mut().zip(&self.single).for_each(|(to, &v)| *to = PatchNumber::narrow(v));
            }
        }
        self.planes.push_back(plane);
        Ok(())
    }

    /// Cuts out the tile at `start` of the padded grid, zeros outside the scan.
    pub(super) fn cut(&self, tiling: &Tiling, start: Index3, out: &mut [T]) {
        let [p0, p1, p2] = tiling.patch;
        let [n0, n1, n2] = tiling.shape;
        let [b0, b1, b2] = tiling.pad_below;
        out.fill(T::default());
        // Voxels of the row that lie inside the scan.
        let x_from = b2.saturating_sub(start[2]);
        let x_to = (n2 + b2).saturating_sub(start[2]).min(p2);
        if x_from >= x_to {
            return;
        }
        for z in 0..p0 {
            let Some(plane) = (start[0] + z).checked_sub(b0).filter(|&k| k < n0) else { continue };
            let values = &self.planes[plane - self.first];
            for c in 0..self.channels {
                for y in 0..p1 {
                    let Some(row) = (start[1] + y).checked_sub(b1).filter(|&k| k < n1) else { continue };
                    let source = (c * n1 + row) * n2 + start[2] + x_from - b2;
                    let target = ((c * p0 + z) * p1 + y) * p2;
                    out[target + x_from..target + x_to].copy_from_slice(&values[source..source + x_to - x_from]);
                }
            }
        }
    }
}
