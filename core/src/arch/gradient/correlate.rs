//! Products of rows with shifted rows: what the gradient of a convolution's weights is made of.
//!
//! Output gradients and inputs lie in scratch with the same distance from line to line, so that a tap of the kernel is an
//! offset, and its gradient one long dot product. A block of [`Simd::ROWS`] rows by three offsets stays in registers;
//! the three are taps along x as a rule, which read the same cache lines.

use crate::arch::simd::{Kernel, Simd};
use crate::arch::{Isa, RUN_PAD, span};

/// Offsets that a block takes.
const OFFSETS: usize = 3;

/// Rows that start at equal distances.
#[derive(Clone, Copy, Debug)]
pub struct CorrelationRows<'a> {
    /// `[rows][pitch]`.
    pub data: &'a [f32],
    /// Elements from row to row.
    pub pitch: usize,
    /// Rows wanted.
    pub count: usize,
    /// Elements of every row, a multiple of [`RUN_PAD`].
    pub len: usize,
}

/// Dot products of some rows with a row from each of some offsets, all of which lie in their slices.
#[derive(Debug)]
pub struct Correlation<'a> {
    rows: CorrelationRows<'a>,
    shifted: &'a [f32],
    offsets: &'a [usize],
    sums: &'a mut [f32],
}

impl<'a> Correlation<'a> {
    /// Products of `rows` with rows of `shifted` that start at `offsets`; they are added to `sums`, `[count][offsets]`.
    /// None where a slice is too short for what is asked, nothing is asked, or rows are no whole vectors.
    pub fn new(
        rows: CorrelationRows<'a>,
        shifted: &'a [f32],
        offsets: &'a [usize],
        sums: &'a mut [f32],
    ) -> Option<Self> {
        let rows_end = span(rows.count, rows.pitch, rows.len)?;
        let shifted_end = offsets.iter().copied().max()?.checked_add(rows.len)?;
        let fits = rows_end <= rows.data.len()
            && shifted_end <= shifted.len()
            && rows.count.checked_mul(offsets.len())? <= sums.len();
        (fits && rows.len.is_multiple_of(RUN_PAD)).then_some(Correlation { rows, shifted, offsets, sums })
    }
}

impl Kernel for Correlation<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        for row in (0..self.rows.count).step_by(S::ROWS) {
            let rows = (self.rows.count - row).min(S::ROWS);
            for first in (0..self.offsets.len()).step_by(OFFSETS) {
                let offsets = (self.offsets.len() - first).min(OFFSETS);
                macro_rules! rows {
                    ($n:literal) => {
                        // SAFETY: `rows` more rows and `offsets` more offsets are wanted, and `Correlation::new` saw that
                        // all rows, and a sum for each pair, lie in their slices.
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
/// The CPU has the instruction set of `S`. `M` rows from `row` and `N` from offset `first` lie in their slices, and their sums too.
#[inline(always)]
unsafe fn block<S: Simd, const M: usize, const N: usize>(c: &mut Correlation<'_>, row: usize, first: usize) {
    // SAFETY: the caller promises that rows, offsets and sums lie in their slices, and the instruction set.
    unsafe {
        let rows = c.rows.data.as_ptr().add(row * c.rows.pitch);
        let mut shifted = [c.shifted.as_ptr(); N];
        for (j, p) in shifted.iter_mut().enumerate() {
            *p = p.add(*c.offsets.get_unchecked(first + j));
        }
        let mut acc = [[S::splat(0.0); N]; M];
        S::correlate(&mut acc, rows, c.rows.pitch, shifted, c.rows.len);
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
    pub fn correlate(self, c: Correlation<'_>) {
        // SAFETY: `Correlation::new` saw to the conditions.
        unsafe { self.run(c) }
    }
}
