//! AVX-512 (F, BW, DQ, VL), with or without byte dot products (VNNI).

use super::simd::{Simd, on_memory, on_registers};
use core::arch::x86_64::*;

/// `VNNI`: the CPU has `vpdpbusd`.
#[derive(Clone, Copy)]
pub(super) struct Avx512<const VNNI: bool>;

// SAFETY: vectors have LANES lanes, at most sixteen; loads and stores touch LANES elements from `p` on, and are those
// that need no alignment; nothing else touches memory but local arrays.
unsafe impl<const VNNI: bool> Simd for Avx512<VNNI> {
    const LANES: usize = 16;
    // 8 x 3 accumulators and 3 inputs; weights are broadcast from memory inside the multiply-add.
    const ROWS: usize = 8;
    const VECS: usize = 3;
    const VECS_INT: usize = if VNNI { 3 } else { 2 };
    const GROUP: usize = if VNNI { 4 } else { 2 };
    type F = __m512;
    type I = __m512i;
    type D = (__m512d, __m512d);

    on_registers! {
        fn splat(v: f32) -> __m512 = _mm512_set1_ps(v);
        fn add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        fn mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        fn div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        fn fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        fn max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
        fn min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
        fn if_negative(x: __m512, y: __m512) -> __m512 =
            _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps()), x, y);
        fn any_beyond(v: __m512, limit: f32) -> bool =
            _mm512_cmp_ps_mask::<_CMP_GT_OQ>(_mm512_abs_ps(v), _mm512_set1_ps(limit)) != 0;
        fn splat_i(v: i32) -> __m512i = _mm512_set1_epi32(v);
        fn add_i(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        // The upper halves are 0.
        fn square_i(v: __m512i) -> __m512i = _mm512_madd_epi16(v, v);
        fn or_i(a: __m512i, b: __m512i) -> __m512i = _mm512_or_si512(a, b);
        fn shl8(v: __m512i) -> __m512i = _mm512_slli_epi32::<8>(v);
        fn shl16(v: __m512i) -> __m512i = _mm512_slli_epi32::<16>(v);
        fn to_f(v: __m512i) -> __m512 = _mm512_cvtepi32_ps(v);
        // The mode of the control register is to nearest even; programs that change it break every float library.
        fn to_i(v: __m512) -> __m512i = _mm512_cvtps_epi32(v);
        fn dot(acc: __m512i, x: __m512i, w: __m512i) -> __m512i = {
            if VNNI {
                _mm512_dpbusd_epi32(acc, x, w)
            } else {
                // Exact: 255 * 128 * 2 fits. The instruction on bytes (vpmaddubsw) saturates and is not.
                _mm512_add_epi32(acc, _mm512_madd_epi16(x, w))
            }
        };
        fn zero_d() -> Self::D = (_mm512_setzero_pd(), _mm512_setzero_pd());
        fn moments(sum: Self::D, squares: Self::D, v: __m512) -> (Self::D, Self::D) = {
            let a = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
            let b = _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(v));
            (
                (_mm512_add_pd(sum.0, a), _mm512_add_pd(sum.1, b)),
                (_mm512_fmadd_pd(a, a, squares.0), _mm512_fmadd_pd(b, b, squares.1)),
            )
        };
        fn unzip(a: __m512, b: __m512) -> (__m512, __m512) = {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            (_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b))
        };
        fn zip(even: __m512, odd: __m512) -> (__m512, __m512) = {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            (_mm512_permutex2var_ps(even, low, odd), _mm512_permutex2var_ps(even, high, odd))
        };
    }

    on_memory! {
        fn load(p: *const f32) -> __m512 = _mm512_loadu_ps(p);
        fn store(p: *mut f32, v: __m512) = _mm512_storeu_ps(p, v);
        fn load_f16(p: *const u16) -> __m512 = _mm512_cvtph_ps(_mm256_loadu_si256(p.cast()));
        fn store_f16(p: *mut u16, v: __m512) =
            _mm256_storeu_si256(p.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
        fn load_i(p: *const i32) -> __m512i = _mm512_loadu_si512(p.cast());
        fn store_i(p: *mut i32, v: __m512i) = _mm512_storeu_si512(p.cast(), v);
        fn load_u8(p: *const u8) -> __m512i = _mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()));
        fn store_u8(p: *mut u8, v: __m512i) = _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(v));
    }

    #[cfg(feature = "train")]
    #[inline(always)]
    unsafe fn totals(v: [__m512; 4]) -> [f32; 4] {
        let mut totals = [0f32; 4];
        // SAFETY: adds registers, and stores one vector of four into an array of four.
        unsafe {
            let mut half = [_mm256_setzero_ps(); 4];
            for (half, v) in half.iter_mut().zip(v) {
                *half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
            }
            let pairs = _mm256_hadd_ps(_mm256_hadd_ps(half[0], half[1]), _mm256_hadd_ps(half[2], half[3]));
            let sums = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
            _mm_storeu_ps(totals.as_mut_ptr(), sums);
        }
        totals
    }

    #[inline(always)]
    unsafe fn total(v: Self::D) -> f64 {
        let mut lanes = [0f64; 16];
        // SAFETY: stores the vectors of `v` side by side into an array that they fill.
        unsafe {
            _mm512_storeu_pd(lanes.as_mut_ptr(), v.0);
            _mm512_storeu_pd(lanes.as_mut_ptr().add(8), v.1);
        }
        lanes.iter().sum()
    }
}

/// A table of 256 bytes lies in four registers: two lookups of 128, and the top bit chooses.
///
/// # Safety
/// The CPU has AVX-512 F, BW and VBMI; both rows have the same length.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) unsafe fn map_bytes(table: &[u8; 256], src: &[u8], dst: &mut [u8]) {
    // SAFETY: masked loads and stores touch only the bytes of the rows.
    unsafe {
        let quarter = |i: usize| _mm512_loadu_si512(table.as_ptr().add(64 * i).cast());
        let (a, b, c, d) = (quarter(0), quarter(1), quarter(2), quarter(3));
        let n = src.len();
        for i in (0..n).step_by(64) {
            let mask = if n - i >= 64 { u64::MAX } else { (1 << (n - i)) - 1 };
            let at = _mm512_maskz_loadu_epi8(mask, src.as_ptr().add(i).cast());
            let (low, high) = (_mm512_permutex2var_epi8(a, at, b), _mm512_permutex2var_epi8(c, at, d));
            let out = _mm512_mask_blend_epi8(_mm512_movepi8_mask(at), low, high);
            _mm512_mask_storeu_epi8(dst.as_mut_ptr().add(i).cast(), mask, out);
        }
    }
}
