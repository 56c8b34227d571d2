//! One tensor written by several threads, each its own boxes.
//!
//! A box of a tensor is no slice, so the borrow checker cannot see that two boxes are apart. Here the boxes are fixed by
//! one grid of cuts, which makes them disjoint by construction, and each is handed out once, with the sums that belong to
//! it.

use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Sum and sum of squares.
pub type Moments = (f64, f64);

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

/// In which order the planes of a tensor's channels follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `[c, z, y, x]`: what callers hand in and take.
    Channels,
    /// `[z, c, y, x]`: some planes of all channels are one piece of memory.
    Planes,
}

impl Order {
    /// Rows from channel to channel and from plane to plane of a tensor `c, z, y, x`.
    pub fn strides(self, [nc, nz, ny, _]: [usize; 4]) -> [usize; 2] {
        match self {
            Order::Channels => [nz * ny, ny],
            Order::Planes => [ny, nc * ny],
        }
    }
}

/// How a tensor is cut.
#[derive(Clone, Debug)]
pub struct Cuts {
    /// `c, z, y, x`.
    pub shape: [usize; 4],
    /// Its order in memory.
    pub order: Order,
    /// Channels, planes and rows of a box.
    pub step: [usize; 3],
    /// Planes that are written now; in [`Order::Channels`] all of them.
    pub planes: Range<usize>,
}

impl Cuts {
    /// Boxes of the whole tensor.
    pub fn count(&self) -> usize {
        (0..3).map(|i| self.shape[i].div_ceil(self.step[i])).product()
    }
}

/// A tensor, or a band of its planes, cut into boxes that are handed out one after the other, each once.
pub struct Tiles<'a, T> {
    data: *mut T,
    sums: *mut Moments,
    /// Sums of each box: one a channel of the tensor, or none.
    summed: usize,
    cuts: Cuts,
    next: AtomicUsize,
    whole: PhantomData<(&'a mut [T], &'a mut [Moments])>,
}

// SAFETY: a Tiles gives out exclusive, disjoint parts of what it borrows exclusively, as chunks_mut does.
unsafe impl<T: Send> Sync for Tiles<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Tiles<'_, T> {}

impl<'a, T> Tiles<'a, T> {
    /// Cuts `data`, the planes of the tensor that are written now. `sums` has one entry a channel for each box of the
    /// whole tensor, or is empty.
    ///
    /// # Panics
    /// If the cuts do not fit the data or the sums, or a step is zero.
    pub fn new(data: &'a mut [T], cuts: Cuts, sums: &'a mut [Moments]) -> Tiles<'a, T> {
        let [nc, nz, ny, nx] = cuts.shape;
        let Range { start, end } = cuts.planes;
        assert!(start < end && end <= nz, "planes {start}..{end} of {nz}");
        assert!(cuts.order == Order::Planes || (start, end) == (0, nz), "some planes of a tensor by channels");
        assert_eq!(data.len(), nc * (end - start) * ny * nx, "a tensor of {:?}", cuts.shape);
        assert!(cuts.step.iter().all(|&s| s > 0), "a step of {:?}", cuts.step);
        let summed = if sums.is_empty() { 0 } else { nc };
        assert_eq!(sums.len(), summed * cuts.count(), "sums of {} boxes of {nc} channels", cuts.count());
        let (data, sums) = (data.as_mut_ptr(), sums.as_mut_ptr());
        Tiles { data, sums, summed, cuts, next: AtomicUsize::new(0), whole: PhantomData }
    }

    /// The next box, until there is none left. One that reaches beyond the planes that are written now is cut to them.
    pub fn take(&self) -> Option<TileMut<'_, T>> {
        let Cuts { shape, step, planes, .. } = &self.cuts;
        let layers = planes.start / step[1]..planes.end.div_ceil(step[1]);
        let [blocks, all_layers, rows] = core::array::from_fn(|a| shape[a].div_ceil(step[a]));
        let i = self.next.fetch_add(1, Ordering::Relaxed);
        if i >= blocks * layers.len() * rows {
            // Stay near the end: a counter that ran on could wrap round.
            self.next.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let at = [i / (layers.len() * rows), layers.start + i / rows % layers.len(), i % rows];
        let [c, z, y] = core::array::from_fn(|a| at[a] * step[a]..((at[a] + 1) * step[a]).min(shape[a]));
        let tile = TileBox { c, z: z.start.max(planes.start)..z.end.min(planes.end), y };
        let number = (at[0] * all_layers + at[1]) * rows + at[2];
        // SAFETY: `new` saw that there are sums for every number, and each box is handed out once.
        let sums = unsafe { core::slice::from_raw_parts_mut(self.sums.add(number * self.summed), self.summed) };
        Some(TileMut { data: self.data, sums, cuts: &self.cuts, tile, part: PhantomData })
    }
}

/// One box, to be written by its owner alone.
pub struct TileMut<'a, T> {
    data: *mut T,
    sums: &'a mut [Moments],
    cuts: &'a Cuts,
    tile: TileBox,
    part: PhantomData<&'a mut [T]>,
}

impl<T> TileMut<'_, T> {
    /// Where the box lies.
    pub fn bounds(&self) -> &TileBox {
        &self.tile
    }

    /// Whether sums are kept.
    pub fn is_summed(&self) -> bool {
        !self.sums.is_empty()
    }

    /// Adds to the sums of a channel.
    pub fn add(&mut self, c: usize, (sum, squares): Moments) {
        let s = &mut self.sums[c];
        *s = (s.0 + sum, s.1 + squares);
    }

    /// Rows `y` of plane `z` of a channel, one after the other; indices are those of the tensor.
    ///
    /// # Panics
    /// If a row is not in the box.
    pub fn rows_mut(&mut self, c: usize, z: usize, y: Range<usize>) -> &mut [T] {
        let rows = y.start <= y.end && self.tile.y.start <= y.start && y.end <= self.tile.y.end;
        let inside = rows && self.tile.c.contains(&c) && self.tile.z.contains(&z);
        assert!(inside, "rows {c}, {z}, {y:?} are outside {:?}", self.tile);
        let nx = self.cuts.shape[3];
        let [channel, plane] = self.cuts.order.strides(self.cuts.shape);
        let row = c * channel + (z - self.cuts.planes.start) * plane + y.start;
        // SAFETY: the rows lie in the planes whose length was checked, and in this box, which nobody else has.
        unsafe { core::slice::from_raw_parts_mut(self.data.add(row * nx), y.len() * nx) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_cover_everything_once() {
        let shape = [5, 4, 7, 3];
        // Where bands of planes end.
        for (order, ends) in [(Order::Channels, vec![4]), (Order::Planes, vec![4]), (Order::Planes, vec![1, 4])] {
            let mut data = [0u8; 5 * 4 * 7 * 3];
            let mut sums = [(0.0, 0.0); 5 * 3 * 2 * 2];
            let mut start = 0;
            for end in ends {
                let planes = std::mem::replace(&mut start, end)..end;
                let cuts = Cuts { shape, order, step: [2, 3, 4], planes: planes.clone() };
                let band = &mut data[5 * 7 * 3 * planes.start..5 * 7 * 3 * planes.end];
                let tiles = Tiles::new(band, cuts, &mut sums);
                while let Some(mut tile) = tiles.take() {
                    let b = tile.bounds().clone();
                    for c in b.c {
                        for z in b.z.clone() {
                            for y in b.y.clone() {
                                tile.rows_mut(c, z, y..y + 1).iter_mut().for_each(|v| *v += 1);
                                tile.add(c, (1.0, 2.0));
                            }
                        }
                    }
                }
                assert!(tiles.take().is_none() && tiles.take().is_none());
            }
            assert!(data.iter().all(|&v| v == 1));
            // The first box of two channels, three planes and four rows.
            assert_eq!(sums[..5], [(12.0, 24.0), (12.0, 24.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)]);
            assert_eq!(sums.iter().map(|s| s.0).sum::<f64>(), 5.0 * 4.0 * 7.0);
        }
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn rows_of_another_box_are_refused() {
        let mut data = [0u8; 16];
        let cuts = Cuts { shape: [1, 2, 4, 2], order: Order::Planes, step: [1, 1, 2], planes: 0..2 };
        let tiles = Tiles::new(&mut data, cuts, &mut []);
        if let Some(mut tile) = tiles.take() {
            tile.rows_mut(0, 0, 1..3)[0] = 1;
        }
    }
}
