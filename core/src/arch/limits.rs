//! Arithmetic on registers alone: what a core does with nothing in the way, for measuring how near a layer comes.

use super::Isa;
use super::simd::{Kernel, Simd};

/// Sums that are independent of one another: enough to hide the latency of a multiply-add.
const CHAINS: usize = 12;

struct MultiplyAdds(u64);

impl Kernel for MultiplyAdds {
    type Out = u64;
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> u64 {
        // SAFETY: works on registers and a local array that no vector is longer than; the caller promises the instruction set.
        unsafe {
            let mut acc = [S::splat(0.5); CHAINS];
            let (a, b) = (S::splat(core::hint::black_box(0.999)), S::splat(core::hint::black_box(0.001)));
            for _ in 0..self.0 {
                for acc in &mut acc {
                    *acc = S::fma(*acc, a, b);
                }
            }
            let mut out = [0f32; 16];
            for acc in acc {
                S::store(out.as_mut_ptr(), acc);
                core::hint::black_box(&out);
            }
        }
        self.0.saturating_mul((CHAINS * S::LANES) as u64)
    }
}

struct DotProducts(u64);

impl Kernel for DotProducts {
    type Out = u64;
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> u64 {
        // SAFETY: works on registers and a local array that no vector is longer than; the caller promises the instruction set.
        unsafe {
            let mut acc = [S::splat_i(0); CHAINS];
            let w = S::splat_i(core::hint::black_box(0x0101_0101));
            for _ in 0..self.0 {
                for acc in &mut acc {
                    // The sum is an operand of the product, so that nothing can be taken out of the loop.
                    *acc = S::dot(*acc, *acc, w);
                }
            }
            let mut out = [0i32; 16];
            for acc in acc {
                S::store_i(out.as_mut_ptr(), acc);
                core::hint::black_box(&out);
            }
        }
        self.0.saturating_mul((CHAINS * S::LANES * S::GROUP) as u64)
    }
}

impl Isa {
    /// Does multiply-adds in single precision, `n` times a dozen vectors; gives their number.
    pub fn spin_multiply_adds(self, n: u64) -> u64 {
        // SAFETY: the kernel has no conditions.
        unsafe { self.run(MultiplyAdds(n)) }
    }

    /// Does integer dot products, `n` times a dozen vectors; gives the number of their multiply-adds.
    pub fn spin_dot_products(self, n: u64) -> u64 {
        // SAFETY: the kernel has no conditions.
        unsafe { self.run(DotProducts(n)) }
    }
}
