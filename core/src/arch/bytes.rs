//! Primitives on rows of bytes: through a table, into the lanes of the integer dot product, and from its sums.

use super::Isa;
use super::rows::{Affine, MOST, Quant, quantised};
use super::simd::{Kernel, Simd};

/// A byte for every byte.
pub type ByteTable = [u8; 256];

/// Rows of bytes, all of the length of `dst`, side by side in the lanes of the integer dot product: four bytes, or two halves of 16 bits.
struct Pack<'a> {
    rows: [&'a [u8]; 4],
    dst: &'a mut [i32],
}

/// One vector of packed lanes.
///
/// # Safety
/// The CPU has the instruction set of `S`, and the pointers, of which the last two are not used where two values make a
/// lane, are valid for a vector of bytes.
#[inline(always)]
unsafe fn lanes<S: Simd>([a, b, c, d]: [*const u8; 4]) -> S::I {
    // SAFETY: the caller promises the instruction set, and vectors at the pointers.
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
        // SAFETY: all rows have the length of `dst` (the condition of this kernel), and `whole` is a multiple of LANES that
        // they have; the rest goes through padded copies. The caller promises the instruction set.
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

/// Integer sums to the bytes of a grid, and the sum and sum of squares of these, for two rows of one length.
struct Finish<'a> {
    acc: &'a [i32],
    affine: Affine,
    quant: Quant,
    dst: &'a mut [u8],
}

/// Vectors whose squares a lane of 32 bits can hold.
const BEFORE_OVERFLOW: usize = i32::MAX as usize / (255 * 255);

/// The bytes of one vector of sums.
///
/// # Safety
/// The CPU has the instruction set of `S`, and `acc` is valid for a vector.
#[inline(always)]
unsafe fn byte<S: Simd>(acc: *const i32, affine: Affine, quant: Quant) -> S::I {
    // SAFETY: the caller promises the instruction set, and the vector at `acc`.
    unsafe { quantised::<S>(S::fma(S::to_f(S::load_i(acc)), S::splat(affine.scale), S::splat(affine.shift)), quant) }
}

impl Kernel for Finish<'_> {
    type Out = (u64, u64);
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> (u64, u64) {
        let n = self.acc.len();
        let (mut sum, mut squares) = (0u64, 0u64);
        // SAFETY: both rows have one length (the condition of this kernel), and `whole` is a multiple of LANES that they
        // have; the rest goes through padded copies. The caller promises the instruction set.
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
/// The CPU has the instruction set of `S`.
#[inline(always)]
unsafe fn total<S: Simd>(v: S::I) -> u64 {
    let mut lanes = [0i32; MOST];
    // SAFETY: no vector is longer than the array; the caller promises the instruction set.
    unsafe { S::store_i(lanes.as_mut_ptr(), v) };
    lanes.iter().map(|&v| v as u64).sum()
}

impl Isa {
    /// `dst = table[src]`.
    ///
    /// # Panics
    /// If the rows differ in length.
    pub fn map_bytes(self, table: &ByteTable, src: &[u8], dst: &mut [u8]) {
        assert_eq!(src.len(), dst.len());
        #[cfg(target_arch = "x86_64")]
        if self.permutes_bytes() {
            // SAFETY: the CPU was seen to have the instructions, and the rows have one length.
            unsafe { super::avx512::map_bytes(table, src, dst) };
            return;
        }
        for (d, &s) in dst.iter_mut().zip(src) {
            *d = table[usize::from(s)];
        }
    }

    /// Puts [`Self::int_group`] rows into the lanes of the integer dot product; the others of the four are not read.
    ///
    /// # Panics
    /// If a row has another length than `dst`.
    pub fn pack_bytes(self, rows: [&[u8]; 4], dst: &mut [i32]) {
        assert!(rows.iter().all(|r| r.len() == dst.len()));
        // SAFETY: all rows have the length of `dst`.
        unsafe { self.run(Pack { rows, dst }) }
    }

    /// The bytes nearest to `acc * scale + shift` on a grid; gives the sum and the sum of squares of the bytes.
    ///
    /// # Panics
    /// If the rows differ in length.
    pub fn finish_bytes(self, acc: &[i32], affine: Affine, quant: Quant, dst: &mut [u8]) -> (u64, u64) {
        assert_eq!(acc.len(), dst.len());
        // SAFETY: the rows have one length.
        unsafe { self.run(Finish { acc, affine, quant, dst }) }
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
