//! One tensor written by several threads, each its own boxes.
//!
//! A box of a `[channels, z, y, x]` tensor is no slice, so the borrow checker cannot see that two boxes are apart. Here
//! the boxes are fixed by one grid of cuts, which makes them disjoint by construction, and each is handed out once.

use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A box of rows: full rows along x.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileBox {
    /// Channels.
    pub c: Range<usize>,
    /// Planes.
    pub z: Range<usize>,
    /// Rows.
    pub y: Range<usize>,
}

/// A tensor `[c, z, y, x]` cut into boxes that are handed out one after the other, each once.
pub struct Tiles<'a, T> {
    data: *mut T,
    shape: [usize; 4],
    /// Channels, planes and rows of a box.
    step: [usize; 3],
    next: AtomicUsize,
    whole: PhantomData<&'a mut [T]>,
}

// SAFETY: a Tiles gives out exclusive, disjoint parts of what it borrows exclusively, as chunks_mut does.
unsafe impl<T: Send> Sync for Tiles<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Tiles<'_, T> {}

impl<'a, T> Tiles<'a, T> {
    /// Cuts `data` of `shape` (`c, z, y, x`) every `step` channels, planes and rows.
    ///
    /// # Panics
    /// If the shape is not that of the data, or a step is zero.
    pub fn new(data: &'a mut [T], shape: [usize; 4], step: [usize; 3]) -> Tiles<'a, T> {
        assert_eq!(data.len(), shape.iter().product::<usize>(), "a tensor of {shape:?}");
        assert!(step.iter().all(|&s| s > 0), "a step of {step:?}");
        Tiles { data: data.as_mut_ptr(), shape, step, next: AtomicUsize::new(0), whole: PhantomData }
    }

    /// Boxes in all.
    pub fn count(&self) -> usize {
        (0..3).map(|i| self.shape[i].div_ceil(self.step[i])).product()
    }

    /// The next box with its number, until there is none left.
    pub fn take(&self) -> Option<(usize, TileMut<'_, T>)> {
        let i = self.next.fetch_add(1, Ordering::Relaxed);
        if i >= self.count() {
            // Stay near the end: a counter that ran on could wrap round.
            self.next.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let [_, nz, ny] = core::array::from_fn(|a| self.shape[a].div_ceil(self.step[a]));
        let range = |axis: usize, k: usize| {
            let start = k * self.step[axis];
            start..(start + self.step[axis]).min(self.shape[axis])
        };
        let tile = TileBox { c: range(0, i / (nz * ny)), z: range(1, i / ny % nz), y: range(2, i % ny) };
        Some((i, TileMut { data: self.data, shape: self.shape, tile, part: PhantomData }))
    }
}

/// One box, to be written by its owner alone.
pub struct TileMut<'a, T> {
    data: *mut T,
    shape: [usize; 4],
    tile: TileBox,
    part: PhantomData<&'a mut [T]>,
}

impl<T> TileMut<'_, T> {
    /// Where the box lies.
    pub fn bounds(&self) -> &TileBox {
        &self.tile
    }

    /// Rows `y` of plane `z` of a channel, one after the other; indices are those of the tensor.
    ///
    /// # Panics
    /// If a row is not in the box.
    pub fn rows_mut(&mut self, c: usize, z: usize, y: Range<usize>) -> &mut [T] {
        let rows = y.start <= y.end && self.tile.y.start <= y.start && y.end <= self.tile.y.end;
        let inside = rows && self.tile.c.contains(&c) && self.tile.z.contains(&z);
        assert!(inside, "rows {c}, {z}, {y:?} are outside {:?}", self.tile);
        let [_, nz, ny, nx] = self.shape;
        // SAFETY: the rows lie in the tensor, whose length was checked, and in this box, which nobody else has.
        unsafe { core::slice::from_raw_parts_mut(self.data.add(((c * nz + z) * ny + y.start) * nx), y.len() * nx) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_cover_everything_once() {
        let shape = [5, 4, 7, 3];
        let mut data = [0u8; 5 * 4 * 7 * 3];
        let tiles = Tiles::new(&mut data, shape, [2, 3, 4]);
        let mut seen = 0;
        while let Some((i, mut tile)) = tiles.take() {
            assert_eq!(i, seen);
            seen += 1;
            let b = tile.bounds().clone();
            for c in b.c {
                for z in b.z.clone() {
                    for y in b.y.clone() {
                        tile.rows_mut(c, z, y..y + 1).iter_mut().for_each(|v| *v += 1);
                    }
                }
            }
        }
        assert_eq!(seen, tiles.count());
        assert!(tiles.take().is_none() && tiles.take().is_none());
        assert!(data.iter().all(|&v| v == 1));
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn rows_of_another_box_are_refused() {
        let mut data = [0u8; 16];
        let tiles = Tiles::new(&mut data, [1, 2, 4, 2], [1, 1, 2]);
        if let Some((_, mut tile)) = tiles.take() {
            tile.rows_mut(0, 0, 1..3)[0] = 1;
        }
    }
}
