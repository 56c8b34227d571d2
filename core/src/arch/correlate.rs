//! Products of rows with shifted rows: what the gradient of a convolution's weights is made of.
//!
//! Output gradients and inputs lie in scratch with the same distance from line to line, so that a tap of the kernel is an
//! offset, and its gradient one long dot product. A block of [`Simd::ROWS`] rows by three offsets stays in registers;
//! the three are taps along x as a rule, which read the same cache lines.

use super::Isa;
use super::simd::{Kernel, Simd};

/// Offsets that a block takes.
const OFFSETS: usize = 3;

/// Dot products of some rows with a row from each of some offsets.
#[derive(Debug)]
pub struct Correlation<'a> {
    /// `[rows][pitch]`.
    pub rows: &'a [f32],
    /// Elements from row to row.
    pub pitch: usize,
    /// Rows wanted.
    pub count: usize,
    /// What they are multiplied with.
    pub shifted: &'a [f32],
    /// Where rows of it start.
    pub offsets: &'a [usize],
    /// Elements of every row, a multiple of the widest vector.
    pub len: usize,
    /// `[count][offsets]`: the products are added to it.
    pub sums: &'a mut [f32],
}

impl Kernel for Correlation<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        for row in (0..self.count).step_by(S::ROWS) {
            let rows = (self.count - row).min(S::ROWS);
            for first in (0..self.offsets.len()).step_by(OFFSETS) {
                let offsets = (self.offsets.len() - first).min(OFFSETS);
                macro_rules! rows {
                    ($n:literal) => {
                        // SAFETY: the caller below saw that all rows lie in their slices.
                        unsafe {
                            match rows {
                                1 => block::<S, 1, $n>(&mut self, row, first),
                                2 => block::<S, 2, $n>(&mut self, row, first),
                                3 => block::<S, 3, $n>(&mut self, row, first),
                                4 => block::<S, 4, $n>(&mut self, row, first),
                                5 if S::ROWS > 4 => block::<S, 5, $n>(&mut self, row, first),
                                6 if S::ROWS > 4 => block::<S, 6, $n>(&mut self, row, first),
                                7 if S::ROWS > 4 => block::<S, 7, $n>(&mut self, row, first),
                                _ if S::ROWS > 4 => block::<S, 8, $n>(&mut self, row, first),
                                _ => {}
                            }
                        }
                    };
                }
                match offsets {
                    1 => rows!(1),
                    2 => rows!(2),
                    _ => rows!(3),
                }
            }
        }
    }
}

/// # Safety
/// `M` rows from `row` and `N` from offset `first` lie in their slices, and their sums too.
#[inline(always)]
unsafe fn block<S: Simd, const M: usize, const N: usize>(c: &mut Correlation<'_>, row: usize, first: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let rows = c.rows.as_ptr().add(row * c.pitch);
        let mut shifted = [c.shifted.as_ptr(); N];
        for (j, p) in shifted.iter_mut().enumerate() {
            *p = p.add(*c.offsets.get_unchecked(first + j));
        }
        let mut acc = [[S::splat(0.0); N]; M];
        S::correlate(&mut acc, rows, c.pitch, shifted, c.len);
        for j in 0..N {
            for four in (0..M).step_by(4) {
                let mut v = [S::splat(0.0); 4];
                for (v, acc) in v.iter_mut().zip(&acc[four..]) {
                    *v = acc[j];
                }
                let totals = S::totals(v);
                for (i, total) in totals.into_iter().enumerate().take(M - four) {
                    *c.sums.get_unchecked_mut((row + four + i) * c.offsets.len() + first + j) += total;
                }
            }
        }
    }
}

impl Isa {
    /// Adds dot products to sums, the same bits whatever is asked for beside them.
    ///
    /// # Panics
    /// If the slices are too short for what is asked.
    pub fn correlate(self, c: Correlation<'_>) {
        assert!(c.len.is_multiple_of(self.lanes()), "rows of {} elements", c.len);
        if c.count > 0 && !c.offsets.is_empty() {
            let far = c.offsets.iter().copied().max().unwrap_or(0);
            assert!((c.count - 1) * c.pitch + c.len <= c.rows.len() && far + c.len <= c.shifted.len());
            assert!(c.count * c.offsets.len() <= c.sums.len());
            self.run(c);
        }
    }
}
