//! Stored rows to f32, with a scale and shift and an activation that are pending on them.

use super::{Affine, Element, MOST, NO_QUANT, Quant, Row, over_row};
use crate::arch::Isa;
use crate::arch::block::Plain;
use crate::arch::simd::{Activation, Kernel, Simd};

/// `dst = activation(affine(src))`, for two rows of one length.
struct Read<'a, E> {
    src: &'a [E],
    quant: Quant,
    affine: Option<Affine>,
    activation: Activation,
    dst: &'a mut [f32],
}

impl<E: Element> Kernel for Read<'_, E> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (src, dst) = (self.src, self.dst);
        let q = self.quant;
        // SAFETY: both rows have one length (the condition of this kernel), so the pointers are valid for a vector; the
        // caller promises the instruction set.
        unsafe {
            let a = self.affine.unwrap_or(Affine { scale: 1.0, shift: 0.0 });
            let (scale, shift) = (S::splat(a.scale), S::splat(a.shift));
            match (self.affine.is_some(), self.activation) {
                (false, Activation::None) => over_row!(S, src, dst, |p, o| S::store(o, E::load::<S>(p, q))),
                (true, Activation::None) => {
                    over_row!(S, src, dst, |p, o| S::store(o, S::fma(E::load::<S>(p, q), scale, shift)))
                }
                (_, Activation::Relu) => {
                    let zero = S::splat(0.0);
                    // The bound comes first so that NaN passes.
                    over_row!(S, src, dst, |p, o| S::store(o, S::max(zero, S::fma(E::load::<S>(p, q), scale, shift))))
                }
                (_, Activation::Leaky(slope)) => {
                    let slope = S::splat(slope);
                    over_row!(S, src, dst, |p, o| {
                        let v = S::fma(E::load::<S>(p, q), scale, shift);
                        S::store(o, S::if_negative(v, S::mul(v, slope)))
                    })
                }
            }
        }
    }
}

/// [`Read`] in place.
struct Change<'a> {
    row: &'a mut [f32],
    affine: Option<Affine>,
    activation: Activation,
}

impl Kernel for Change<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut copy = [0f32; 64];
        for part in self.row.chunks_mut(copy.len()) {
            copy[..part.len()].copy_from_slice(part);
            let src = &copy[..part.len()];
            let (affine, activation) = (self.affine, self.activation);
            // SAFETY: both rows have the length of the part; the caller promises the instruction set.
            unsafe { Read { src, quant: NO_QUANT, affine, activation, dst: part }.run::<S>() }
        }
    }
}

impl Isa {
    /// `dst = activation(affine(src))`.
    ///
    /// # Panics
    /// If the rows differ in length.
    pub fn read_row(self, src: Row<'_>, affine: Option<Affine>, activation: Activation, dst: &mut [f32]) {
        assert_eq!(src.len(), dst.len());
        match src {
            // SAFETY: the rows have one length; so for the other two.
            Row::F32(src) => unsafe { self.run(Read { src, quant: NO_QUANT, affine, activation, dst }) },
            // SAFETY: as above.
            Row::F16(src) => unsafe { self.run(Read { src, quant: NO_QUANT, affine, activation, dst }) },
            // SAFETY: as above.
            Row::U8(src, quant) => unsafe { self.run(Read { src, quant, affine, activation, dst }) },
        }
    }

    /// `row = activation(affine(row))`.
    pub fn change_row(self, row: &mut [f32], affine: Option<Affine>, activation: Activation) {
        if affine.is_some() || activation != Activation::None {
            // SAFETY: any row will do.
            unsafe { self.run(Change { row, affine, activation }) }
        }
    }

    /// Asks for a row that will be read in a while; nothing happens where it is not inside `data`.
    pub fn prefetch<T: Plain>(self, data: &[T], start: usize, len: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Some(row) = start.checked_add(len).and_then(|end| data.get(start..end)) {
            for line in row.chunks((64 / size_of::<T>()).max(1)) {
                // SAFETY: the instruction is part of the architecture and reads nothing.
                unsafe {
                    core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T1 }>(line.as_ptr().cast())
                };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (data, start, len);
    }
}
