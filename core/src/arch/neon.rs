//! NEON of 64-bit Arm.

use super::simd::{Simd, on_memory, on_registers};
use core::arch::aarch64::*;
use core::arch::asm;

#[derive(Clone, Copy)]
pub(super) struct Neon;

// SAFETY: vectors have LANES lanes, at most sixteen; loads and stores touch LANES elements from `p` on, and are those
// that need no alignment; nothing else touches memory but local arrays.
unsafe impl Simd for Neon {
    const LANES: usize = 4;
    // 8 x 3 accumulators, 3 inputs and 1 weight of thirty-two registers.
    const ROWS: usize = 8;
    const VECS: usize = 3;
    const VECS_INT: usize = 2;
    const GROUP: usize = 2;
    type F = float32x4_t;
    type I = int32x4_t;
    type D = (float64x2_t, float64x2_t);

    on_registers! {
        fn splat(v: f32) -> float32x4_t = vdupq_n_f32(v);
        fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t = vaddq_f32(a, b);
        fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t = vmulq_f32(a, b);
        fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t = vdivq_f32(a, b);
        fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t = vfmaq_f32(c, a, b);
        fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t = vbslq_f32(vcgtq_f32(a, b), a, b);
        fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t = vbslq_f32(vcltq_f32(a, b), a, b);
        fn if_negative(x: float32x4_t, y: float32x4_t) -> float32x4_t = vbslq_f32(vcltzq_f32(x), y, x);
        fn any_beyond(v: float32x4_t, limit: f32) -> bool = vmaxvq_f32(vabsq_f32(v)) > limit;
        fn splat_i(v: i32) -> int32x4_t = vdupq_n_s32(v);
        fn add_i(a: int32x4_t, b: int32x4_t) -> int32x4_t = vaddq_s32(a, b);
        fn square_i(v: int32x4_t) -> int32x4_t = vmulq_s32(v, v);
        fn or_i(a: int32x4_t, b: int32x4_t) -> int32x4_t = vorrq_s32(a, b);
        fn shl8(v: int32x4_t) -> int32x4_t = vshlq_n_s32::<8>(v);
        fn shl16(v: int32x4_t) -> int32x4_t = vshlq_n_s32::<16>(v);
        fn to_f(v: int32x4_t) -> float32x4_t = vcvtq_f32_s32(v);
        fn to_i(v: float32x4_t) -> int32x4_t = vcvtnq_s32_f32(v);
        fn dot(acc: int32x4_t, x: int32x4_t, w: int32x4_t) -> int32x4_t = {
            let (x, w) = (vreinterpretq_s16_s32(x), vreinterpretq_s16_s32(w));
            let low = vmull_s16(vget_low_s16(x), vget_low_s16(w));
            let high = vmull_high_s16(x, w);
            vaddq_s32(acc, vpaddq_s32(low, high))
        };
        fn zero_d() -> Self::D = (vdupq_n_f64(0.0), vdupq_n_f64(0.0));
        fn moments(sum: Self::D, squares: Self::D, v: float32x4_t) -> (Self::D, Self::D) = {
            let (a, b) = (vcvt_f64_f32(vget_low_f32(v)), vcvt_high_f64_f32(v));
            ((vaddq_f64(sum.0, a), vaddq_f64(sum.1, b)), (vfmaq_f64(squares.0, a, a), vfmaq_f64(squares.1, b, b)))
        };
        fn total(v: Self::D) -> f64 = {
            let (a, b) = (vgetq_lane_f64::<0>(v.0) + vgetq_lane_f64::<1>(v.0), vgetq_lane_f64::<0>(v.1));
            a + b + vgetq_lane_f64::<1>(v.1)
        };
        fn unzip(a: float32x4_t, b: float32x4_t) -> (float32x4_t, float32x4_t) = (vuzp1q_f32(a, b), vuzp2q_f32(a, b));
        fn zip(even: float32x4_t, odd: float32x4_t) -> (float32x4_t, float32x4_t) =
            (vzip1q_f32(even, odd), vzip2q_f32(even, odd));
    }

    on_memory! {
        fn load(p: *const f32) -> float32x4_t = vld1q_f32(p);
        fn store(p: *mut f32, v: float32x4_t) = vst1q_f32(p, v);
        // The conversions are part of the base architecture; the intrinsics ask for the fp16 extension.
        fn load_f16(p: *const u16) -> float32x4_t = {
            let half = vld1_u16(p);
            let out: float32x4_t;
            asm!("fcvtl {o:v}.4s, {i:v}.4h", o = lateout(vreg) out, i = in(vreg) half, options(pure, nomem, nostack));
            out
        };
        fn store_f16(p: *mut u16, v: float32x4_t) = {
            let half: uint16x4_t;
            asm!("fcvtn {o:v}.4h, {i:v}.4s", o = lateout(vreg) half, i = in(vreg) v, options(pure, nomem, nostack));
            vst1_u16(p, half);
        };
        fn load_i(p: *const i32) -> int32x4_t = vld1q_s32(p);
        fn store_i(p: *mut i32, v: int32x4_t) = vst1q_s32(p, v);
        fn load_u8(p: *const u8) -> int32x4_t = {
            let four = vcreate_u8(u64::from(p.cast::<u32>().read_unaligned()));
            vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(four))))
        };
        fn store_u8(p: *mut u8, v: int32x4_t) = {
            let words = vmovn_u32(vreinterpretq_u32_s32(v));
            let bytes = vmovn_u16(vcombine_u16(words, words));
            p.cast::<u32>().write_unaligned(vget_lane_u32::<0>(vreinterpret_u32_u8(bytes)));
        };
    }
}
