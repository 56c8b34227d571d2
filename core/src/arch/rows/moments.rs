//! Sums of a row and of its squares.

use super::MOST;
use crate::arch::Isa;
use crate::arch::simd::{Kernel, Simd};

struct Moments<'a>(&'a [f32]);

impl Kernel for Moments<'_> {
    type Out = (f64, f64);
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> (f64, f64) {
        let row = self.0;
        let whole = row.len() - row.len() % S::LANES;
        // SAFETY: `whole` is a multiple of LANES that the row has; the rest is read from a padded copy, whose zeros add
        // nothing. The caller promises the instruction set.
        unsafe {
            let (mut sum, mut squares) = (S::zero_d(), S::zero_d());
            let mut i = 0;
            while i < whole {
                (sum, squares) = S::moments(sum, squares, S::load(row.as_ptr().add(i)));
                i += S::LANES;
            }
            if whole < row.len() {
                let mut rest = [0f32; MOST];
                rest[..row.len() - whole].copy_from_slice(&row[whole..]);
                (sum, squares) = S::moments(sum, squares, S::load(rest.as_ptr()));
            }
            (S::total(sum), S::total(squares))
        }
    }
}

impl Isa {
    /// Sum and sum of squares in double precision, lanes added in their order.
    pub fn moments(self, row: &[f32]) -> (f64, f64) {
        // SAFETY: any row will do.
        unsafe { self.run(Moments(row)) }
    }
}
