//! AVX2 with FMA and F16C, and its successor with byte dot products (AVX-VNNI).

use super::simd::{Simd, channel, correlate, group};
use core::arch::asm;
use core::arch::x86_64::*;

/// `VNNI`: the CPU has `vpdpbusd` on 256 bits.
#[derive(Clone, Copy)]
pub(super) struct Avx2<const VNNI: bool>;

// SAFETY: the CPU has the instructions and pointers are valid for LANES elements, both by the trait's contract; every
// load and store here is one that needs no alignment.
impl<const VNNI: bool> Simd for Avx2<VNNI> {
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

    #[inline(always)]
    unsafe fn splat(v: f32) -> __m256 {
        unsafe { _mm256_set1_ps(v) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m256) {
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn if_negative(x: __m256, y: __m256) -> __m256 {
        unsafe { _mm256_blendv_ps(x, y, _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_setzero_ps())) }
    }
    #[inline(always)]
    unsafe fn any_beyond(v: __m256, limit: f32) -> bool {
        unsafe {
            let size = _mm256_andnot_ps(_mm256_set1_ps(-0.0), v);
            _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(size, _mm256_set1_ps(limit))) != 0
        }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> __m256 {
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, v: __m256) {
        unsafe { _mm_storeu_si128(p.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v)) }
    }
    #[inline(always)]
    unsafe fn prefetch<T>(p: *const T) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn splat_i(v: i32) -> __m256i {
        unsafe { _mm256_set1_epi32(v) }
    }
    #[inline(always)]
    unsafe fn load_i(p: *const i32) -> __m256i {
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store_i(p: *mut i32, v: __m256i) {
        unsafe { _mm256_storeu_si256(p.cast(), v) }
    }
    #[inline(always)]
    unsafe fn add_i(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn square_i(v: __m256i) -> __m256i {
        // The upper halves are 0.
        unsafe { _mm256_madd_epi16(v, v) }
    }
    #[inline(always)]
    unsafe fn or_i(a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_or_si256(a, b) }
    }
    #[inline(always)]
    unsafe fn shl8(v: __m256i) -> __m256i {
        unsafe { _mm256_slli_epi32::<8>(v) }
    }
    #[inline(always)]
    unsafe fn shl16(v: __m256i) -> __m256i {
        unsafe { _mm256_slli_epi32::<16>(v) }
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> __m256i {
        unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())) }
    }
    #[inline(always)]
    unsafe fn store_u8(p: *mut u8, v: __m256i) {
        unsafe {
            let low = _mm256_and_si256(v, _mm256_set1_epi32(255));
            let (a, b) = (_mm256_castsi256_si128(low), _mm256_extracti128_si256::<1>(low));
            let words = _mm_packus_epi32(a, b);
            _mm_storel_epi64(p.cast(), _mm_packus_epi16(words, words));
        }
    }
    #[inline(always)]
    unsafe fn to_f(v: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(v) }
    }
    #[inline(always)]
    unsafe fn to_i(v: __m256) -> __m256i {
        // The mode of the control register is to nearest even; programs that change it break every float library.
        unsafe { _mm256_cvtps_epi32(v) }
    }
    #[inline(always)]
    unsafe fn dot(acc: __m256i, x: __m256i, w: __m256i) -> __m256i {
        unsafe {
            if VNNI {
                _mm256_dpbusd_avx_epi32(acc, x, w)
            } else {
                // Exact: 255 * 128 * 2 fits. The instruction on bytes (vpmaddubsw) saturates and is not.
                _mm256_add_epi32(acc, _mm256_madd_epi16(x, w))
            }
        }
    }
    #[inline(always)]
    unsafe fn channel<const M: usize, const N: usize>(
        acc: &mut [[__m256; N]; M],
        src: *const f32,
        line: usize,
        w: *const f32,
        taps: &[usize],
    ) {
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
        unsafe {
            if !VNNI && M == 4 && N == 2 && !taps.is_empty() {
                group_4x2(&mut *acc.as_mut_ptr().cast(), src, line, w, taps);
            } else {
                group::<Self, M, N>(acc, src, line, w, taps);
            }
        }
    }
    #[inline(always)]
    unsafe fn correlate<const M: usize, const N: usize>(
        acc: &mut [[__m256; N]; M],
        rows: *const f32,
        pitch: usize,
        shifted: [*const f32; N],
        len: usize,
    ) {
        unsafe {
            if M == 4 && N == 3 && len > 0 {
                correlate_4x3(&mut *acc.as_mut_ptr().cast(), rows, pitch, &*shifted.as_ptr().cast(), len);
            } else {
                correlate::<Self, M, N>(acc, rows, pitch, shifted, len);
            }
        }
    }
    #[inline(always)]
    unsafe fn totals(v: [__m256; 4]) -> [f32; 4] {
        let mut totals = [0f32; 4];
        unsafe {
            let pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
            let sums = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
            _mm_storeu_ps(totals.as_mut_ptr(), sums);
        }
        totals
    }
    #[inline(always)]
    unsafe fn zero_d() -> Self::D {
        unsafe { (_mm256_setzero_pd(), _mm256_setzero_pd()) }
    }
    #[inline(always)]
    unsafe fn moments(sum: Self::D, squares: Self::D, v: __m256) -> (Self::D, Self::D) {
        unsafe {
            let a = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
            let b = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(v));
            (
                (_mm256_add_pd(sum.0, a), _mm256_add_pd(sum.1, b)),
                (_mm256_fmadd_pd(a, a, squares.0), _mm256_fmadd_pd(b, b, squares.1)),
            )
        }
    }
    #[inline(always)]
    unsafe fn total(v: Self::D) -> f64 {
        let mut lanes = [0f64; 8];
        unsafe {
            _mm256_storeu_pd(lanes.as_mut_ptr(), v.0);
            _mm256_storeu_pd(lanes.as_mut_ptr().add(4), v.1);
        }
        lanes.iter().sum()
    }
    #[inline(always)]
    unsafe fn unzip(a: __m256, b: __m256) -> (__m256, __m256) {
        unsafe {
            let order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
            let (a, b) = (_mm256_permutevar8x32_ps(a, order), _mm256_permutevar8x32_ps(b, order));
            (_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
        }
    }
    #[inline(always)]
    unsafe fn zip(even: __m256, odd: __m256) -> (__m256, __m256) {
        unsafe {
            let (low, high) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
            (_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high))
        }
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

/// As [`channel_4x3`]: four rows by three others take all sixteen registers.
///
/// # Safety
/// As for [`Simd::correlate`]; `len` is a multiple of the vector, and not 0.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn correlate_4x3(
    a: &mut [[__m256; 3]; 4],
    rows: *const f32,
    pitch: usize,
    shifted: &[*const f32; 3],
    len: usize,
) {
    // SAFETY: reads `len` numbers of each row, which the caller promised.
    unsafe {
        let ends = rows.add(len);
        asm!(
            "2:",
            "vmovups {x0}, ymmword ptr [{p0} + {n}]",
            "vmovups {x1}, ymmword ptr [{p1} + {n}]",
            "vmovups {x2}, ymmword ptr [{p2} + {n}]",
            "vmovups {v}, ymmword ptr [{r0} + {n}]",
            "vfmadd231ps {a00}, {v}, {x0}",
            "vfmadd231ps {a01}, {v}, {x1}",
            "vfmadd231ps {a02}, {v}, {x2}",
            "vmovups {v}, ymmword ptr [{r1} + {n}]",
            "vfmadd231ps {a10}, {v}, {x0}",
            "vfmadd231ps {a11}, {v}, {x1}",
            "vfmadd231ps {a12}, {v}, {x2}",
            "vmovups {v}, ymmword ptr [{r2} + {n}]",
            "vfmadd231ps {a20}, {v}, {x0}",
            "vfmadd231ps {a21}, {v}, {x1}",
            "vfmadd231ps {a22}, {v}, {x2}",
            "vmovups {v}, ymmword ptr [{r3} + {n}]",
            "vfmadd231ps {a30}, {v}, {x0}",
            "vfmadd231ps {a31}, {v}, {x1}",
            "vfmadd231ps {a32}, {v}, {x2}",
            "add {n}, 32",
            "jne 2b",
            r0 = in(reg) ends,
            r1 = in(reg) ends.wrapping_add(pitch),
            r2 = in(reg) ends.wrapping_add(2 * pitch),
            r3 = in(reg) ends.wrapping_add(3 * pitch),
            p0 = in(reg) shifted[0].add(len),
            p1 = in(reg) shifted[1].add(len),
            p2 = in(reg) shifted[2].add(len),
            n = inout(reg) (len as isize).wrapping_mul(-4) => _,
            x0 = out(ymm_reg) _,
            x1 = out(ymm_reg) _,
            x2 = out(ymm_reg) _,
            v = out(ymm_reg) _,
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
