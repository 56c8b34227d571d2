//! AVX2 with FMA and F16C, and its successor with byte dot products (AVX-VNNI).

use super::simd::{Simd, channel, group, on_memory, on_registers};
use core::arch::asm;
use core::arch::x86_64::*;

/// `VNNI`: the CPU has `vpdpbusd` on 256 bits.
#[derive(Clone, Copy)]
pub(super) struct Avx2<const VNNI: bool>;

// SAFETY: vectors have LANES lanes, at most sixteen; loads and stores touch LANES elements from `p` on, and are those
// that need no alignment; nothing else touches memory but local arrays.
unsafe impl<const VNNI: bool> Simd for Avx2<VNNI> {
    const LANES: usize = 8;
    // 4 x 3 accumulators, 3 inputs and 1 weight fill the sixteen registers.
    const ROWS: usize = 4;
    const VECS: usize = 3;
    // The 16-bit product needs a register more.
    const VECS_INT: usize = if VNNI { 3 } else { 2 };
    const GROUP: usize = if VNNI { 4 } else { 2 };
    type F = __m256;
    type I = __m256i;
    type D = (__m256d, __m256d);

    on_registers! {
        fn splat(v: f32) -> __m256 = _mm256_set1_ps(v);
        fn add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        fn mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        fn div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
        fn fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        fn max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
        fn min(a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b);
        fn if_negative(x: __m256, y: __m256) -> __m256 =
            _mm256_blendv_ps(x, y, _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_setzero_ps()));
        fn any_beyond(v: __m256, limit: f32) -> bool = {
            let size = _mm256_andnot_ps(_mm256_set1_ps(-0.0), v);
            _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(size, _mm256_set1_ps(limit))) != 0
        };
        fn splat_i(v: i32) -> __m256i = _mm256_set1_epi32(v);
        fn add_i(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32(a, b);
        // The upper halves are 0.
        fn square_i(v: __m256i) -> __m256i = _mm256_madd_epi16(v, v);
        fn or_i(a: __m256i, b: __m256i) -> __m256i = _mm256_or_si256(a, b);
        fn shl8(v: __m256i) -> __m256i = _mm256_slli_epi32::<8>(v);
        fn shl16(v: __m256i) -> __m256i = _mm256_slli_epi32::<16>(v);
        fn to_f(v: __m256i) -> __m256 = _mm256_cvtepi32_ps(v);
        // The mode of the control register is to nearest even; programs that change it break every float library.
        fn to_i(v: __m256) -> __m256i = _mm256_cvtps_epi32(v);
        fn dot(acc: __m256i, x: __m256i, w: __m256i) -> __m256i = {
            if VNNI {
                _mm256_dpbusd_avx_epi32(acc, x, w)
            } else {
                // Exact: 255 * 128 * 2 fits. The instruction on bytes (vpmaddubsw) saturates and is not.
                _mm256_add_epi32(acc, _mm256_madd_epi16(x, w))
            }
        };
        fn zero_d() -> Self::D = (_mm256_setzero_pd(), _mm256_setzero_pd());
        fn moments(sum: Self::D, squares: Self::D, v: __m256) -> (Self::D, Self::D) = {
            let a = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
            let b = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(v));
            (
                (_mm256_add_pd(sum.0, a), _mm256_add_pd(sum.1, b)),
                (_mm256_fmadd_pd(a, a, squares.0), _mm256_fmadd_pd(b, b, squares.1)),
            )
        };
        fn unzip(a: __m256, b: __m256) -> (__m256, __m256) = {
            let order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
            let (a, b) = (_mm256_permutevar8x32_ps(a, order), _mm256_permutevar8x32_ps(b, order));
            (_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
        };
        fn zip(even: __m256, odd: __m256) -> (__m256, __m256) = {
            let (low, high) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
            (_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high))
        };
    }

    on_memory! {
        fn load(p: *const f32) -> __m256 = _mm256_loadu_ps(p);
        fn store(p: *mut f32, v: __m256) = _mm256_storeu_ps(p, v);
        fn load_f16(p: *const u16) -> __m256 = _mm256_cvtph_ps(_mm_loadu_si128(p.cast()));
        fn store_f16(p: *mut u16, v: __m256) =
            _mm_storeu_si128(p.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
        fn load_i(p: *const i32) -> __m256i = _mm256_loadu_si256(p.cast());
        fn store_i(p: *mut i32, v: __m256i) = _mm256_storeu_si256(p.cast(), v);
        fn load_u8(p: *const u8) -> __m256i = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()));
        fn store_u8(p: *mut u8, v: __m256i) = {
            let low = _mm256_and_si256(v, _mm256_set1_epi32(255));
            let (a, b) = (_mm256_castsi256_si128(low), _mm256_extracti128_si256::<1>(low));
            let words = _mm_packus_epi32(a, b);
            _mm_storel_epi64(p.cast(), _mm_packus_epi16(words, words));
        };
    }

    #[inline(always)]
    unsafe fn prefetch<T>(p: *const T) {
        // SAFETY: asks the cache for a line, which changes nothing that a program sees, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn channel<const M: usize, const N: usize>(
        acc: &mut [[__m256; N]; M],
        src: *const f32,
        line: usize,
        w: *const f32,
        taps: &[usize],
    ) {
        // SAFETY: passes on the caller's promises; the cast is from an array to itself, since M is 4 and N is 3.
        unsafe {
            if M == 4 && N == 3 && !taps.is_empty() {
                channel_4x3(&mut *acc.as_mut_ptr().cast(), src, line, w, taps);
            } else {
                channel::<Self, M, N>(acc, src, line, w, taps);
            }
        }
    }

    #[inline(always)]
    unsafe fn group<const M: usize, const N: usize>(
        acc: &mut [[__m256i; N]; M],
        src: *const i32,
        line: usize,
        w: *const i32,
        taps: &[usize],
    ) {
        // SAFETY: passes on the caller's promises; the cast is from an array to itself, since M is 4 and N is 2.
        unsafe {
            if !VNNI && M == 4 && N == 2 && !taps.is_empty() {
                group_4x2(&mut *acc.as_mut_ptr().cast(), src, line, w, taps);
            } else {
                group::<Self, M, N>(acc, src, line, w, taps);
            }
        }
    }

    #[cfg(feature = "train")]
    #[inline(always)]
    unsafe fn correlate<const M: usize, const N: usize>(
        acc: &mut [[__m256; N]; M],
        rows: *const f32,
        pitch: usize,
        shifted: [*const f32; N],
        len: usize,
    ) {
        // SAFETY: passes on the caller's promises; the casts are from arrays to themselves, since M is 4 and N is 3.
        unsafe {
            if M == 4 && N == 3 && len > 0 {
                super::gradient::correlate_4x3(
                    &mut *acc.as_mut_ptr().cast(),
                    rows,
                    pitch,
                    &*shifted.as_ptr().cast(),
                    len,
                );
            } else {
                super::simd::correlate::<Self, M, N>(acc, rows, pitch, shifted, len);
            }
        }
    }

    #[cfg(feature = "train")]
    #[inline(always)]
    unsafe fn totals(v: [__m256; 4]) -> [f32; 4] {
        let mut totals = [0f32; 4];
        // SAFETY: adds registers, and stores one vector of four into an array of four.
        unsafe {
            let pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
            let sums = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
            _mm_storeu_ps(totals.as_mut_ptr(), sums);
        }
        totals
    }

    #[inline(always)]
    unsafe fn total(v: Self::D) -> f64 {
        let mut lanes = [0f64; 8];
        // SAFETY: stores the vectors of `v` side by side into an array that they fill.
        unsafe {
            _mm256_storeu_pd(lanes.as_mut_ptr(), v.0);
            _mm256_storeu_pd(lanes.as_mut_ptr().add(4), v.1);
        }
        lanes.iter().sum()
    }
}

/// Four rows of three vectors take all sixteen registers, which the compiler does not manage without moving them about.
///
/// # Safety
/// As for [`Simd::channel`]; there is at least one tap.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn channel_4x3(a: &mut [[__m256; 3]; 4], src: *const f32, line: usize, w: *const f32, taps: &[usize]) {
    let ends = taps.as_ptr_range();
    // SAFETY: reads three vectors at each tap and four numbers of each tap's weights, which the caller promised.
    unsafe {
        asm!(
            "2:",
            "mov {at}, qword ptr [{tap}]",
            "lea {at}, [{src} + 4*{at}]",
            "vmovups {x0}, ymmword ptr [{at}]",
            "vmovups {x1}, ymmword ptr [{at} + 4*{line}]",
            "vmovups {x2}, ymmword ptr [{at} + 8*{line}]",
            "vbroadcastss {w}, dword ptr [{wp} + 0]",
            "vfmadd231ps {a00}, {w}, {x0}",
            "vfmadd231ps {a01}, {w}, {x1}",
            "vfmadd231ps {a02}, {w}, {x2}",
            "vbroadcastss {w}, dword ptr [{wp} + 4]",
            "vfmadd231ps {a10}, {w}, {x0}",
            "vfmadd231ps {a11}, {w}, {x1}",
            "vfmadd231ps {a12}, {w}, {x2}",
            "vbroadcastss {w}, dword ptr [{wp} + 8]",
            "vfmadd231ps {a20}, {w}, {x0}",
            "vfmadd231ps {a21}, {w}, {x1}",
            "vfmadd231ps {a22}, {w}, {x2}",
            "vbroadcastss {w}, dword ptr [{wp} + 12]",
            "vfmadd231ps {a30}, {w}, {x0}",
            "vfmadd231ps {a31}, {w}, {x1}",
            "vfmadd231ps {a32}, {w}, {x2}",
            "add {wp}, 32",
            "add {tap}, 8",
            "cmp {tap}, {end}",
            "jne 2b",
            src = in(reg) src,
            line = in(reg) line,
            end = in(reg) ends.end,
            tap = inout(reg) ends.start => _,
            wp = inout(reg) w => _,
            at = out(reg) _,
            x0 = out(ymm_reg) _,
            x1 = out(ymm_reg) _,
            x2 = out(ymm_reg) _,
            w = out(ymm_reg) _,
            a00 = inout(ymm_reg) a[0][0],
            a01 = inout(ymm_reg) a[0][1],
            a02 = inout(ymm_reg) a[0][2],
            a10 = inout(ymm_reg) a[1][0],
            a11 = inout(ymm_reg) a[1][1],
            a12 = inout(ymm_reg) a[1][2],
            a20 = inout(ymm_reg) a[2][0],
            a21 = inout(ymm_reg) a[2][1],
            a22 = inout(ymm_reg) a[2][2],
            a30 = inout(ymm_reg) a[3][0],
            a31 = inout(ymm_reg) a[3][1],
            a32 = inout(ymm_reg) a[3][2],
            options(readonly, nostack)
        );
    }
}

/// As [`channel_4x3`], for pairs of 16 bits: exact, since 255 * 128 * 2 fits. (The instruction on bytes, vpmaddubsw,
/// saturates and is not.)
///
/// # Safety
/// As for [`Simd::group`]; there is at least one tap.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn group_4x2(a: &mut [[__m256i; 2]; 4], src: *const i32, line: usize, w: *const i32, taps: &[usize]) {
    let ends = taps.as_ptr_range();
    // SAFETY: reads two vectors at each tap and four numbers of each tap's weights, which the caller promised.
    unsafe {
        asm!(
            "2:",
            "mov {at}, qword ptr [{tap}]",
            "lea {at}, [{src} + 4*{at}]",
            "vmovdqu {x0}, ymmword ptr [{at}]",
            "vmovdqu {x1}, ymmword ptr [{at} + 4*{line}]",
            "vpbroadcastd {w}, dword ptr [{wp} + 0]",
            "vpmaddwd {t}, {w}, {x0}",
            "vpaddd {a00}, {a00}, {t}",
            "vpmaddwd {w}, {w}, {x1}",
            "vpaddd {a01}, {a01}, {w}",
            "vpbroadcastd {w}, dword ptr [{wp} + 4]",
            "vpmaddwd {t}, {w}, {x0}",
            "vpaddd {a10}, {a10}, {t}",
            "vpmaddwd {w}, {w}, {x1}",
            "vpaddd {a11}, {a11}, {w}",
            "vpbroadcastd {w}, dword ptr [{wp} + 8]",
            "vpmaddwd {t}, {w}, {x0}",
            "vpaddd {a20}, {a20}, {t}",
            "vpmaddwd {w}, {w}, {x1}",
            "vpaddd {a21}, {a21}, {w}",
            "vpbroadcastd {w}, dword ptr [{wp} + 12]",
            "vpmaddwd {t}, {w}, {x0}",
            "vpaddd {a30}, {a30}, {t}",
            "vpmaddwd {w}, {w}, {x1}",
            "vpaddd {a31}, {a31}, {w}",
            "add {wp}, 32",
            "add {tap}, 8",
            "cmp {tap}, {end}",
            "jne 2b",
            src = in(reg) src,
            line = in(reg) line,
            end = in(reg) ends.end,
            tap = inout(reg) ends.start => _,
            wp = inout(reg) w => _,
            at = out(reg) _,
            x0 = out(ymm_reg) _,
            x1 = out(ymm_reg) _,
            w = out(ymm_reg) _,
            t = out(ymm_reg) _,
            a00 = inout(ymm_reg) a[0][0],
            a01 = inout(ymm_reg) a[0][1],
            a10 = inout(ymm_reg) a[1][0],
            a11 = inout(ymm_reg) a[1][1],
            a20 = inout(ymm_reg) a[2][0],
            a21 = inout(ymm_reg) a[2][1],
            a30 = inout(ymm_reg) a[3][0],
            a31 = inout(ymm_reg) a[3][1],
            options(readonly, nostack)
        );
    }
}
