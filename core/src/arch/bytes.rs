//! Primitives on rows of bytes: through a table, into the lanes of the integer dot product, and from its sums.

use super::Isa;
use super::rows::{Affine, MOST, Quant, quantised};
use super::simd::{Kernel, Simd};

/// A byte for every byte.
pub type ByteTable = [u8; 256];

/// Rows of bytes side by side in the lanes of the integer dot product: four bytes, or two halves of 16 bits.
struct Pack<'a> {
    rows: [&'a [u8]; 4],
    dst: &'a mut [i32],
}

/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn lanes<S: Simd>([a, b, c, d]: [*const u8; 4]) -> S::I {
    // SAFETY: the caller's promise.
    unsafe {
        if S::GROUP == 2 {
            return S::or_i(S::load_u8(a), S::shl16(S::load_u8(b)));
        }
        let low = S::or_i(S::load_u8(a), S::shl8(S::load_u8(b)));
        S::or_i(low, S::shl16(S::or_i(S::load_u8(c), S::shl8(S::load_u8(d)))))
    }
}

impl Kernel for Pack<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let n = self.dst.len();
        // SAFETY: all rows have the length of `dst` (checked by the caller below).
        unsafe {
            let whole = n - n % S::LANES;
            for i in (0..whole).step_by(S::LANES) {
                let [a, b, c, d] = self.rows;
                let at = [a.as_ptr().add(i), b.as_ptr().add(i), c.as_ptr().add(i), d.as_ptr().add(i)];
                S::store_i(self.dst.as_mut_ptr().add(i), lanes::<S>(at));
            }
            if whole < n {
                let mut rest = [[0u8; MOST]; 4];
                for (t, r) in rest.iter_mut().zip(self.rows) {
                    t[..n - whole].copy_from_slice(&r[whole..]);
                }
                let mut out = [0i32; MOST];
                let at = [rest[0].as_ptr(), rest[1].as_ptr(), rest[2].as_ptr(), rest[3].as_ptr()];
                S::store_i(out.as_mut_ptr(), lanes::<S>(at));
                self.dst[whole..].copy_from_slice(&out[..n - whole]);
            }
        }
    }
}

/// Integer sums to the bytes of a grid, and the sum and sum of squares of these.
struct Finish<'a> {
    acc: &'a [i32],
    affine: Affine,
    quant: Quant,
    dst: &'a mut [u8],
}

/// Vectors whose squares a lane of 32 bits can hold.
const BEFORE_OVERFLOW: usize = i32::MAX as usize / (255 * 255);

/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn byte<S: Simd>(acc: *const i32, affine: Affine, quant: Quant) -> S::I {
    // SAFETY: the caller's promise.
    unsafe { quantised::<S>(S::fma(S::to_f(S::load_i(acc)), S::splat(affine.scale), S::splat(affine.shift)), quant) }
}

impl Kernel for Finish<'_> {
    type Out = (u64, u64);
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> (u64, u64) {
        let n = self.acc.len();
        let (mut sum, mut squares) = (0u64, 0u64);
        // SAFETY: both rows have the same length (checked by the caller below).
        unsafe {
            let whole = n - n % S::LANES;
            for part in (0..whole).step_by(BEFORE_OVERFLOW * S::LANES) {
                let (mut s, mut t) = (S::splat_i(0), S::splat_i(0));
                for i in (part..whole.min(part + BEFORE_OVERFLOW * S::LANES)).step_by(S::LANES) {
                    let q = byte::<S>(self.acc.as_ptr().add(i), self.affine, self.quant);
                    S::store_u8(self.dst.as_mut_ptr().add(i), q);
                    (s, t) = (S::add_i(s, q), S::add_i(t, S::square_i(q)));
                }
                (sum, squares) = (sum + total::<S>(s), squares + total::<S>(t));
            }
            if whole < n {
                let mut rest = [0i32; MOST];
                rest[..n - whole].copy_from_slice(&self.acc[whole..]);
                let mut out = [0u8; MOST];
                S::store_u8(out.as_mut_ptr(), byte::<S>(rest.as_ptr(), self.affine, self.quant));
                self.dst[whole..].copy_from_slice(&out[..n - whole]);
                for q in out[..n - whole].iter().map(|&q| u64::from(q)) {
                    (sum, squares) = (sum + q, squares + q * q);
                }
            }
        }
        (sum, squares)
    }
}

/// Sum over lanes of whole numbers that are not negative.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn total<S: Simd>(v: S::I) -> u64 {
    let mut lanes = [0i32; MOST];
    // SAFETY: the caller's promise; no vector is longer.
    unsafe { S::store_i(lanes.as_mut_ptr(), v) };
    lanes.iter().map(|&v| v as u64).sum()
}

/// Rows of different lengths are an error of the caller's, never of data.
impl Isa {
    /// `dst = table[src]`.
    ///
    /// # Panics
    /// If the rows differ in length; so for the others.
    pub fn map_bytes(self, table: &ByteTable, src: &[u8], dst: &mut [u8]) {
        assert_eq!(src.len(), dst.len());
        #[cfg(target_arch = "x86_64")]
        if self.permutes_bytes() {
            // SAFETY: the CPU was seen to have the instructions.
            unsafe { super::avx512::map_bytes(table, src, dst) };
            return;
        }
        for (d, &s) in dst.iter_mut().zip(src) {
            *d = table[usize::from(s)];
        }
    }

    /// Puts [`Self::int_group`] rows into the lanes of the integer dot product; the others of the four are not read.
    pub fn pack_bytes(self, rows: [&[u8]; 4], dst: &mut [i32]) {
        assert!(rows.iter().all(|r| r.len() == dst.len()));
        self.run(Pack { rows, dst });
    }

    /// The bytes nearest to `acc * scale + shift` on a grid; gives the sum and the sum of squares of the bytes.
    pub fn finish_bytes(self, acc: &[i32], affine: Affine, quant: Quant, dst: &mut [u8]) -> (u64, u64) {
        assert_eq!(acc.len(), dst.len());
        self.run(Finish { acc, affine, quant, dst })
    }
}

impl Quant {
    /// Sum and sum of squares of `n` values from those of their bytes.
    pub fn moments(self, n: usize, (sum, squares): (u64, u64)) -> (f64, f64) {
        let (scale, zero) = (f64::from(self.scale), i64::from(self.zero));
        let (n, sum, squares) = (n as i64, sum as i64, squares as i64);
        ((sum - n * zero) as f64 * scale, (squares - 2 * zero * sum + n * zero * zero) as f64 * scale * scale)
    }
}
