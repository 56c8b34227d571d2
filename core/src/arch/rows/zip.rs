//! Rows split into their elements at even and at odd places, and joined from them.

use crate::arch::Isa;
use crate::arch::simd::{Kernel, Simd};

/// `even` has half the elements of `src`, rounded up, and `odd` half of them, rounded down.
struct Unzip<'a> {
    src: &'a [f32],
    even: &'a mut [f32],
    odd: &'a mut [f32],
}

impl Kernel for Unzip<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let pairs = self.odd.len();
        let whole = pairs - pairs % S::LANES;
        let mut i = 0;
        while i < whole {
            // SAFETY: `src` has 2 * `whole` elements and each half has `whole` (the condition of this kernel). The caller
            // promises the instruction set.
            unsafe {
                let p = self.src.as_ptr().add(2 * i);
                let (even, odd) = S::unzip(S::load(p), S::load(p.add(S::LANES)));
                S::store(self.even.as_mut_ptr().add(i), even);
                S::store(self.odd.as_mut_ptr().add(i), odd);
            }
            i += S::LANES;
        }
        for i in whole..self.even.len() {
            self.even[i] = self.src[2 * i];
            if i < pairs {
                self.odd[i] = self.src[2 * i + 1];
            }
        }
    }
}

/// `even` and `odd` have one length, and `dst` twice that.
struct Zip<'a> {
    even: &'a [f32],
    odd: &'a [f32],
    dst: &'a mut [f32],
}

impl Kernel for Zip<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let pairs = self.even.len();
        let whole = pairs - pairs % S::LANES;
        let mut i = 0;
        while i < whole {
            // SAFETY: each half has `whole` elements and `dst` has 2 * `whole` (the condition of this kernel). The caller
            // promises the instruction set.
            unsafe {
                let (a, b) = S::zip(S::load(self.even.as_ptr().add(i)), S::load(self.odd.as_ptr().add(i)));
                let p = self.dst.as_mut_ptr().add(2 * i);
                S::store(p, a);
                S::store(p.add(S::LANES), b);
            }
            i += S::LANES;
        }
        for i in whole..pairs {
            self.dst[2 * i] = self.even[i];
            self.dst[2 * i + 1] = self.odd[i];
        }
    }
}

impl Isa {
    /// Splits a row into its elements at even and at odd places.
    ///
    /// # Panics
    /// If the halves have other lengths than the row says.
    pub fn unzip(self, src: &[f32], even: &mut [f32], odd: &mut [f32]) {
        assert!(even.len() == src.len().div_ceil(2) && odd.len() == src.len() / 2);
        // SAFETY: the halves have as many elements as the row has at even and at odd places.
        unsafe { self.run(Unzip { src, even, odd }) }
    }

    /// The inverse of [`Self::unzip`] for rows of even length.
    ///
    /// # Panics
    /// If the halves have other lengths than the row says.
    pub fn zip(self, even: &[f32], odd: &[f32], dst: &mut [f32]) {
        assert!(even.len() == odd.len() && dst.len() == 2 * odd.len());
        // SAFETY: the halves have one length, and `dst` has both.
        unsafe { self.run(Zip { even, odd, dst }) }
    }
}
