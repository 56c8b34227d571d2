//! NEON of 64-bit Arm.

use super::simd::Simd;
use core::arch::aarch64::*;
use core::arch::asm;

#[derive(Clone, Copy)]
pub(super) struct Neon;

// SAFETY: NEON is part of the architecture, and pointers are valid for LANES elements by the trait's contract; every
// load and store here is one that needs no alignment.
impl Simd for Neon {
    const LANES: usize = 4;
    // 8 x 3 accumulators, 3 inputs and 1 weight of thirty-two registers.
    const ROWS: usize = 8;
    const VECS: usize = 3;
    const VECS_INT: usize = 2;
    const GROUP: usize = 2;
    type F = float32x4_t;
    type I = int32x4_t;
    type D = (float64x2_t, float64x2_t);

    #[inline(always)]
    unsafe fn splat(v: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(v) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: float32x4_t) {
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn if_negative(x: float32x4_t, y: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcltzq_f32(x), y, x) }
    }
    // The conversions are part of the base architecture; the intrinsics ask for the fp16 extension.
    #[inline(always)]
    unsafe fn any_beyond(v: float32x4_t, limit: f32) -> bool {
        unsafe { vmaxvq_f32(vabsq_f32(v)) > limit }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> float32x4_t {
        unsafe {
            let half = vld1_u16(p);
            let out: float32x4_t;
            asm!("fcvtl {o:v}.4s, {i:v}.4h", o = lateout(vreg) out, i = in(vreg) half, options(pure, nomem, nostack));
            out
        }
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, v: float32x4_t) {
        unsafe {
            let half: uint16x4_t;
            asm!("fcvtn {o:v}.4h, {i:v}.4s", o = lateout(vreg) half, i = in(vreg) v, options(pure, nomem, nostack));
            vst1_u16(p, half);
        }
    }
    #[inline(always)]
    unsafe fn splat_i(v: i32) -> int32x4_t {
        unsafe { vdupq_n_s32(v) }
    }
    #[inline(always)]
    unsafe fn load_i(p: *const i32) -> int32x4_t {
        unsafe { vld1q_s32(p) }
    }
    #[inline(always)]
    unsafe fn store_i(p: *mut i32, v: int32x4_t) {
        unsafe { vst1q_s32(p, v) }
    }
    #[inline(always)]
    unsafe fn add_i(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        unsafe { vaddq_s32(a, b) }
    }
    #[inline(always)]
    unsafe fn square_i(v: int32x4_t) -> int32x4_t {
        unsafe { vmulq_s32(v, v) }
    }
    #[inline(always)]
    unsafe fn or_i(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        unsafe { vorrq_s32(a, b) }
    }
    #[inline(always)]
    unsafe fn shl8(v: int32x4_t) -> int32x4_t {
        unsafe { vshlq_n_s32::<8>(v) }
    }
    #[inline(always)]
    unsafe fn shl16(v: int32x4_t) -> int32x4_t {
        unsafe { vshlq_n_s32::<16>(v) }
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> int32x4_t {
        unsafe {
            let four = vcreate_u8(u64::from(p.cast::<u32>().read_unaligned()));
            vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(four))))
        }
    }
    #[inline(always)]
    unsafe fn store_u8(p: *mut u8, v: int32x4_t) {
        unsafe {
            let words = vmovn_u32(vreinterpretq_u32_s32(v));
            let bytes = vmovn_u16(vcombine_u16(words, words));
            p.cast::<u32>().write_unaligned(vget_lane_u32::<0>(vreinterpret_u32_u8(bytes)));
        }
    }
    #[inline(always)]
    unsafe fn to_f(v: int32x4_t) -> float32x4_t {
        unsafe { vcvtq_f32_s32(v) }
    }
    #[inline(always)]
    unsafe fn to_i(v: float32x4_t) -> int32x4_t {
        unsafe { vcvtnq_s32_f32(v) }
    }
    #[inline(always)]
    unsafe fn dot(acc: int32x4_t, x: int32x4_t, w: int32x4_t) -> int32x4_t {
        unsafe {
            let (x, w) = (vreinterpretq_s16_s32(x), vreinterpretq_s16_s32(w));
            let low = vmull_s16(vget_low_s16(x), vget_low_s16(w));
            let high = vmull_high_s16(x, w);
            vaddq_s32(acc, vpaddq_s32(low, high))
        }
    }
    #[inline(always)]
    unsafe fn zero_d() -> Self::D {
        unsafe { (vdupq_n_f64(0.0), vdupq_n_f64(0.0)) }
    }
    #[inline(always)]
    unsafe fn moments(sum: Self::D, squares: Self::D, v: float32x4_t) -> (Self::D, Self::D) {
        unsafe {
            let (a, b) = (vcvt_f64_f32(vget_low_f32(v)), vcvt_high_f64_f32(v));
            ((vaddq_f64(sum.0, a), vaddq_f64(sum.1, b)), (vfmaq_f64(squares.0, a, a), vfmaq_f64(squares.1, b, b)))
        }
    }
    #[inline(always)]
    unsafe fn total(v: Self::D) -> f64 {
        unsafe {
            let (a, b) = (vgetq_lane_f64::<0>(v.0) + vgetq_lane_f64::<1>(v.0), vgetq_lane_f64::<0>(v.1));
            a + b + vgetq_lane_f64::<1>(v.1)
        }
    }
    #[inline(always)]
    unsafe fn unzip(a: float32x4_t, b: float32x4_t) -> (float32x4_t, float32x4_t) {
        unsafe { (vuzp1q_f32(a, b), vuzp2q_f32(a, b)) }
    }
    #[inline(always)]
    unsafe fn zip(even: float32x4_t, odd: float32x4_t) -> (float32x4_t, float32x4_t) {
        unsafe { (vzip1q_f32(even, odd), vzip2q_f32(even, odd)) }
    }
}
