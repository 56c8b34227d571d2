//! Rows of f32 to what is stored, integer sums to f32, and sums of rows.

use super::{Affine, Element, MOST, NO_QUANT, Quant, RowMut, over_row};
use crate::arch::Isa;
use crate::arch::simd::{Kernel, Simd};

/// `src` as it is stored, for two rows of one length.
struct Write<'a, E> {
    src: &'a [f32],
    dst: &'a mut [E],
    quant: Quant,
}

impl<E: Element> Kernel for Write<'_, E> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: both rows have one length (the condition of this kernel), so the pointers are valid for a vector; the
        // caller promises the instruction set.
        unsafe { over_row!(S, self.src, self.dst, |p, o| E::store::<S>(o, S::load(p), self.quant)) }
    }
}

/// `acc * scale + shift` of integer sums, for two rows of one length.
struct FromInt<'a> {
    acc: &'a [i32],
    affine: Affine,
    dst: &'a mut [f32],
}

impl Kernel for FromInt<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: as for `Write`.
        unsafe {
            let (scale, shift) = (S::splat(self.affine.scale), S::splat(self.affine.shift));
            over_row!(S, self.acc, self.dst, |p, o| S::store(o, S::fma(S::to_f(S::load_i(p)), scale, shift)))
        }
    }
}

/// `dst + src`, for two rows of one length.
struct Add<'a> {
    dst: &'a mut [f32],
    src: &'a [f32],
}

impl Kernel for Add<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: as for `Write`.
        unsafe { over_row!(S, self.src, self.dst, |p, o| S::store(o, S::add(S::load(o), S::load(p)))) }
    }
}

impl Isa {
    /// Stores `src`.
    ///
    /// # Panics
    /// If the rows differ in length.
    pub fn write_row(self, src: &[f32], dst: RowMut<'_>) {
        match dst {
            RowMut::F32(dst) => dst.copy_from_slice(src),
            RowMut::F16(dst) => {
                assert_eq!(src.len(), dst.len());
                // SAFETY: the rows have one length.
                unsafe { self.run(Write { src, dst, quant: NO_QUANT }) }
            }
            RowMut::U8(dst, quant) => {
                assert_eq!(src.len(), dst.len());
                // SAFETY: the rows have one length.
                unsafe { self.run(Write { src, dst, quant }) }
            }
        }
    }

    /// `dst = acc * scale + shift`.
    ///
    /// # Panics
    /// If the rows differ in length.
    pub fn from_int(self, acc: &[i32], affine: Affine, dst: &mut [f32]) {
        assert_eq!(acc.len(), dst.len());
        // SAFETY: the rows have one length.
        unsafe { self.run(FromInt { acc, affine, dst }) }
    }

    /// `dst += src`.
    ///
    /// # Panics
    /// If the rows differ in length.
    pub fn add_row(self, dst: &mut [f32], src: &[f32]) {
        assert_eq!(src.len(), dst.len());
        // SAFETY: the rows have one length.
        unsafe { self.run(Add { dst, src }) }
    }
}
