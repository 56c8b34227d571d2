//! One tensor written by several threads, each its own boxes.
//!
//! A box of a tensor is no slice, so the borrow checker cannot see that two boxes are apart. Here the boxes are fixed by
//! one grid of cuts, which makes them disjoint by construction, and each is handed out once, with the sums that belong to
//! it.

use super::block::Plain;
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
    /// `[c, z, y, x]`: the order of a patch and of a network's output.
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

/// How a tensor is cut into boxes: one regular grid of cuts, so that no two boxes share a row.
#[derive(Clone, Debug)]
pub struct Cuts {
    shape: [usize; 4],
    step: [usize; 3],
    planes: Range<usize>,
    /// Rows from channel to channel and from plane to plane.
    strides: [usize; 2],
    /// Boxes of the whole tensor along channels, planes and rows.
    boxes: [usize; 3],
}

impl Cuts {
    /// Cuts a tensor of `shape` (`c, z, y, x`), whose memory is in `order`, into boxes of `step` channels, planes and
    /// rows. `planes` are written now; in [`Order::Channels`] these are all planes.
    ///
    /// None where an extent or a step is zero, where the number of elements overflows, or where `planes` are not some
    /// planes of the tensor, or not all of one in [`Order::Channels`].
    pub fn new(shape: [usize; 4], order: Order, step: [usize; 3], planes: Range<usize>) -> Option<Cuts> {
        let elements = shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent))?;
        let inside = planes.start < planes.end && planes.end <= shape[1];
        let ordered = order == Order::Planes || planes == (0..shape[1]);
        if elements == 0 || step.contains(&0) || !inside || !ordered {
            return None;
        }
        // Neither product is larger than the number of elements, and no box is larger than the tensor.
        let step = core::array::from_fn(|a| step[a].min(shape[a]));
        let boxes = core::array::from_fn(|a| shape[a].div_ceil(step[a]));
        Some(Cuts { shape, step, planes, strides: order.strides(shape), boxes })
    }

    /// Cuts all planes of a tensor `c, z, y, x`, as [`Self::new`] does.
    pub fn whole(shape: [usize; 4], order: Order, step: [usize; 3]) -> Option<Cuts> {
        Self::new(shape, order, step, 0..shape[1])
    }

    /// Boxes of the whole tensor.
    pub fn count(&self) -> usize {
        self.boxes.iter().product()
    }

    /// Elements of the planes that are written now.
    fn elements(&self) -> usize {
        let [nc, _, ny, nx] = self.shape;
        nc * self.planes.len() * ny * nx
    }

    /// Boxes that hold planes which are written now, counted along z.
    fn layers(&self) -> Range<usize> {
        self.planes.start / self.step[1]..self.planes.end.div_ceil(self.step[1])
    }

    /// Where box `at` along an axis lies.
    fn extent(&self, axis: usize, at: usize) -> Range<usize> {
        let start = at * self.step[axis];
        start..self.shape[axis].min(start.saturating_add(self.step[axis]))
    }
}

/// A tensor, or a band of its planes, cut into boxes that are handed out one after the other, each once.
///
/// # Why this is sound
/// A `Tiles` borrows `data` and `sums` exclusively for its whole life. [`Self::take`] hands out each number below the
/// count of boxes at most once, whatever the threads do, so each box has at most one [`TileMut`]. Boxes are cells of one
/// grid over channels, planes and rows; [`Order::strides`] gives different rows of the tensor different rows of memory;
/// and [`TileMut::rows_mut`] hands out rows of its own box alone, for as long as it is borrowed itself. So no element is
/// ever reachable by two exclusive references.
pub struct Tiles<'a, T> {
    data: *mut T,
    sums: *mut Moments,
    /// Sums of each box: one a channel of the tensor, or none.
    summed: usize,
    cuts: Cuts,
    next: AtomicUsize,
    whole: PhantomData<(&'a mut [T], &'a mut [Moments])>,
}

// SAFETY: shared, a Tiles only gives out exclusive parts of what it borrows exclusively, each to one thread, as
// chunks_mut does; T may be sent to that thread.
unsafe impl<T: Send> Sync for Tiles<'_, T> {}
// SAFETY: a Tiles stands for two exclusive borrows, which may be sent where T may.
unsafe impl<T: Send> Send for Tiles<'_, T> {}

impl<'a, T: Plain> Tiles<'a, T> {
    /// Cuts `data`, the planes of the tensor that are written now. `sums` has one entry a channel for each box of the
    /// whole tensor, or is empty.
    ///
    /// # Panics
    /// If the cuts do not fit the data or the sums.
    pub fn new(data: &'a mut [T], cuts: Cuts, sums: &'a mut [Moments]) -> Tiles<'a, T> {
        assert_eq!(data.len(), cuts.elements(), "a tensor of {:?}", cuts.shape);
        let channels = cuts.shape[0];
        let summed = if sums.is_empty() { 0 } else { channels };
        let fits = cuts.count().checked_mul(summed) == Some(sums.len());
        assert!(fits, "{} sums of {} boxes of {channels} channels", sums.len(), cuts.count());
        let (data, sums) = (data.as_mut_ptr(), sums.as_mut_ptr());
        Tiles { data, sums, summed, cuts, next: AtomicUsize::new(0), whole: PhantomData }
    }

    /// The next box, until there is none left. One that reaches beyond the planes that are written now is cut to them.
    pub fn take(&self) -> Option<TileMut<'_, T>> {
        let (cuts, layers) = (&self.cuts, self.cuts.layers());
        let [blocks, all_layers, rows] = cuts.boxes;
        let i = self.next.fetch_add(1, Ordering::Relaxed);
        if i >= blocks * layers.len() * rows {
            // Each thread takes back its own step beyond the end, so the counter never falls below the end, and it is
            // above it by the number of threads at most: there are fewer boxes than bytes of memory, so it cannot wrap.
            self.next.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let at = [i / (layers.len() * rows), layers.start + i / rows % layers.len(), i % rows];
        let [c, z, y] = core::array::from_fn(|a| cuts.extent(a, at[a]));
        let tile = TileBox { c, z: z.start.max(cuts.planes.start)..z.end.min(cuts.planes.end), y };
        let number = (at[0] * all_layers + at[1]) * rows + at[2];
        // SAFETY: `number` is below `cuts.count()`, for which `new` saw `summed` sums each; the counter gave this number
        // to this call alone, so nobody else has these sums; and the sums are borrowed exclusively for longer than
        // `self` is borrowed here.
        let sums = unsafe { core::slice::from_raw_parts_mut(self.sums.add(number * self.summed), self.summed) };
        Some(TileMut { data: self.data, sums, cuts, tile, part: PhantomData })
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

impl<T: Plain> TileMut<'_, T> {
    /// Where the box lies.
    pub fn bounds(&self) -> &TileBox {
        &self.tile
    }

    /// Whether sums are kept.
    pub fn is_summed(&self) -> bool {
        !self.sums.is_empty()
    }

    /// Adds to the sums of a channel.
    ///
    /// # Panics
    /// If no sums are kept, or the tensor has no such channel.
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
        let [channel, plane] = self.cuts.strides;
        let row = c * channel + (z - self.cuts.planes.start) * plane + y.start;
        // SAFETY: the box lies inside the tensor and inside the planes that are written now, whose elements
        // `Tiles::new` counted in `data` without overflow, so the rows lie in `data`. They lie in this box, of which
        // there is one TileMut, and that is borrowed exclusively for as long as the rows are.
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
                let cuts = Cuts::new(shape, order, [2, 3, 4], planes.clone()).expect("cuts");
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
        let cuts = Cuts::whole([1, 2, 4, 2], Order::Planes, [1, 1, 2]).expect("cuts");
        let tiles = Tiles::new(&mut data, cuts, &mut []);
        if let Some(mut tile) = tiles.take() {
            tile.rows_mut(0, 0, 1..3)[0] = 1;
        }
    }
}
