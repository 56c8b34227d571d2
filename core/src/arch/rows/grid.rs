//! Values to the nearest of a grid of bytes.

use super::{MOST, Quant};
use crate::arch::Isa;
use crate::arch::simd::{Kernel, Simd};

/// How far from the middle between two bytes a product with the rounded reciprocal has to be to round as the quotient
/// does: products up to 256 are off by less than three units in the last place.
const SURE: f32 = 0.5 - 1e-4;

/// The byte of each value, as an integer: rounded half to even, as the quotient by the scale is.
///
/// # Safety
/// The CPU has the instruction set of `S`.
#[inline(always)]
pub(in crate::arch) unsafe fn quantised<S: Simd>(v: S::F, q: Quant) -> S::I {
    // SAFETY: the caller promises the instruction set.
    unsafe {
        // Bounds before rounding: they are whole numbers, so the result is the same, and nothing overflows. NaN, which
        // has no byte, becomes the lowest.
        let near = bounded::<S>(S::mul(v, S::splat(1.0 / q.scale)), q);
        let mut rounded = S::to_i(near);
        let off = S::fma(S::to_f(rounded), S::splat(-1.0), near);
        // A division takes as long as all the rest, and hardly any needs it.
        if S::any_beyond(off, SURE) {
            rounded = S::to_i(bounded::<S>(S::div(v, S::splat(q.scale)), q));
        }
        S::add_i(rounded, S::splat_i(i32::from(q.zero)))
    }
}

/// Between the lowest byte and the highest.
///
/// # Safety
/// The CPU has the instruction set of `S`.
#[inline(always)]
unsafe fn bounded<S: Simd>(v: S::F, q: Quant) -> S::F {
    let zero = f32::from(q.zero);
    // SAFETY: the caller promises the instruction set.
    unsafe { S::min(S::max(v, S::splat(-zero)), S::splat(255.0 - zero)) }
}

struct OntoGrid<'a> {
    row: &'a mut [f32],
    quant: Quant,
}

impl Kernel for OntoGrid<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let q = self.quant;
        let n = self.row.len();
        let whole = n - n % S::LANES;
        let p = self.row.as_mut_ptr();
        // SAFETY: `whole` is a multiple of LANES that the row has; the rest is changed in a padded copy. The caller
        // promises the instruction set.
        unsafe {
            let mut i = 0;
            while i < whole {
                snap::<S>(p.add(i), q);
                i += S::LANES;
            }
            if whole < n {
                let mut rest = [0f32; MOST];
                rest[..n - whole].copy_from_slice(&self.row[whole..]);
                snap::<S>(rest.as_mut_ptr(), q);
                self.row[whole..].copy_from_slice(&rest[..n - whole]);
            }
        }
    }
}

/// Puts one vector onto the grid.
///
/// # Safety
/// The CPU has the instruction set of `S`, and `p` is valid for a vector.
#[inline(always)]
unsafe fn snap<S: Simd>(p: *mut f32, q: Quant) {
    // SAFETY: the caller promises the instruction set and the vector at `p`.
    unsafe {
        let v = S::add(S::to_f(quantised::<S>(S::load(p), q)), S::splat(-f32::from(q.zero)));
        S::store(p, S::mul(v, S::splat(q.scale)));
    }
}

impl Isa {
    /// Each value to the nearest of the grid.
    pub fn onto_grid(self, row: &mut [f32], quant: Quant) {
        // SAFETY: any row will do.
        unsafe { self.run(OntoGrid { row, quant }) }
    }
}
