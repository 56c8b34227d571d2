//! Primitives on rows: read a stored row as f32 with what is pending on it, write one, sum one, quantise one.
//!
//! Whole vectors are taken from the rows themselves, and the rest of a row from a padded copy, so that no access leaves a
//! row. Slices of different lengths are a bug in the caller, which is a panic; model or scan data cannot cause it.

mod grid;
mod moments;
mod read;
mod write;
mod zip;

pub(super) use grid::quantised;

use super::simd::Simd;
use serde::{Deserialize, Serialize};

/// A scale and a zero point on the grid of unsigned bytes: `x = (q - zero) * scale`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quant {
    /// Step of the grid.
    pub scale: f32,
    /// The byte that stands for 0.
    pub zero: u8,
}

/// `x * scale + shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Factor.
    pub scale: f32,
    /// Summand.
    pub shift: f32,
}

/// A row as it is stored.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Bits of half precision.
    F16(&'a [u16]),
    /// Bytes on a grid.
    U8(&'a [u8], Quant),
}

/// A row to be stored.
#[derive(Debug)]
pub enum RowMut<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// Bits of half precision; what is too large becomes the largest finite value.
    F16(&'a mut [u16]),
    /// Bytes on a grid, rounded half to even.
    U8(&'a mut [u8], Quant),
}

impl Row<'_> {
    /// Elements.
    pub fn len(&self) -> usize {
        match self {
            Row::F32(r) => r.len(),
            Row::F16(r) => r.len(),
            Row::U8(r, _) => r.len(),
        }
    }

    /// No elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Largest finite half.
const F16_MAX: f32 = 65504.0;
/// Lanes of the widest vector.
pub(super) const MOST: usize = 16;
/// The grid of numbers that are on none.
const NO_QUANT: Quant = Quant { scale: 1.0, zero: 0 };

/// A stored number: how a vector of them becomes f32.
pub(super) trait Element: Copy + Default {
    /// # Safety
    /// As [`Simd`]: `p` is valid for [`Simd::LANES`] elements; so for the other.
    unsafe fn load<S: Simd>(p: *const Self, q: Quant) -> S::F;
    /// # Safety
    /// As for [`Self::load`].
    unsafe fn store<S: Simd>(p: *mut Self, v: S::F, q: Quant);
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const f32, _: Quant) -> S::F {
        // SAFETY: the caller promises the instruction set, and LANES elements at `p`.
        unsafe { S::load(p) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut f32, v: S::F, _: Quant) {
        // SAFETY: the caller promises the instruction set, and LANES elements at `p`.
        unsafe { S::store(p, v) }
    }
}

impl Element for u16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u16, _: Quant) -> S::F {
        // SAFETY: the caller promises the instruction set, and LANES elements at `p`.
        unsafe { S::load_f16(p) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut u16, v: S::F, _: Quant) {
        // NaN stays NaN: both bounds give back their second operand.
        // SAFETY: the caller promises the instruction set, and LANES elements at `p`.
        unsafe { S::store_f16(p, S::min(S::splat(F16_MAX), S::max(S::splat(-F16_MAX), v))) }
    }
}

impl Element for u8 {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8, q: Quant) -> S::F {
        // SAFETY: the caller promises the instruction set, and LANES elements at `p`.
        unsafe {
            let v = S::add(S::to_f(S::load_u8(p)), S::splat(-f32::from(q.zero)));
            S::mul(v, S::splat(q.scale))
        }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut u8, v: S::F, q: Quant) {
        // SAFETY: the caller promises the instruction set, and LANES elements at `p`.
        unsafe { S::store_u8(p, quantised::<S>(v, q)) }
    }
}

/// Runs `body` over whole vectors and once more over a padded copy of the rest.
///
/// Both rows must have one length: then the pointers that `body` gets are valid for a vector.
macro_rules! over_row {
    ($s:ty, $src:expr, $dst:expr, |$from:ident, $to:ident| $body:expr) => {{
        let (src, dst) = ($src, $dst);
        let n = src.len();
        let whole = n - n % <$s>::LANES;
        let mut i = 0;
        while i < whole {
            let ($from, $to) = (src.as_ptr().add(i), dst.as_mut_ptr().add(i));
            $body;
            i += <$s>::LANES;
        }
        if whole < n {
            let mut a = [Default::default(); MOST];
            let mut b = [Default::default(); MOST];
            a[..n - whole].copy_from_slice(&src[whole..]);
            b[..n - whole].copy_from_slice(&dst[whole..]);
            let ($from, $to) = (a.as_ptr(), b.as_mut_ptr());
            $body;
            dst[whole..].copy_from_slice(&b[..n - whole]);
        }
    }};
}
use over_row;
