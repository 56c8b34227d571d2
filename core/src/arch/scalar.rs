//! Plain Rust in lanes of four: the reference, and what runs where nothing better is known.

use super::simd::Simd;
use half::f16;

#[derive(Clone, Copy)]
pub(super) struct Scalar;

const N: usize = 4;

#[inline(always)]
fn each<T: Copy, R>(a: [T; N], f: impl Fn(T) -> R) -> [R; N] {
    a.map(f)
}

#[inline(always)]
fn both<T: Copy, R>(a: [T; N], b: [T; N], f: impl Fn(T, T) -> R) -> [R; N] {
    core::array::from_fn(|i| f(a[i], b[i]))
}

// SAFETY: vectors are arrays of LANES numbers; loads and stores touch LANES elements from `p` on, without alignment.
unsafe impl Simd for Scalar {
    const LANES: usize = N;
    const ROWS: usize = 4;
    const VECS: usize = 2;
    const VECS_INT: usize = 2;
    const GROUP: usize = 4;
    type F = [f32; N];
    type I = [i32; N];
    type D = [f64; N];

    #[inline(always)]
    unsafe fn splat(v: f32) -> [f32; N] {
        [v; N]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; N] {
        // SAFETY: the caller promises LANES elements at `p`.
        unsafe { p.cast::<[f32; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; N]) {
        // SAFETY: the caller promises LANES elements at `p`.
        unsafe { p.cast::<[f32; N]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: [f32; N], b: [f32; N]) -> [f32; N] {
        both(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; N], b: [f32; N]) -> [f32; N] {
        both(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: [f32; N], b: [f32; N]) -> [f32; N] {
        both(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
        core::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn max(a: [f32; N], b: [f32; N]) -> [f32; N] {
        both(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: [f32; N], b: [f32; N]) -> [f32; N] {
        both(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn if_negative(x: [f32; N], y: [f32; N]) -> [f32; N] {
        both(x, y, |x, y| if x < 0.0 { y } else { x })
    }
    #[inline(always)]
    unsafe fn any_beyond(v: [f32; N], limit: f32) -> bool {
        v.iter().any(|v| v.abs() > limit)
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> [f32; N] {
        // SAFETY: the caller promises LANES elements at `p`.
        let bits = unsafe { p.cast::<[u16; N]>().read_unaligned() };
        bits.map(|b| f16::from_bits(b).to_f32())
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, v: [f32; N]) {
        let bits = v.map(|v| f16::from_f32(v).to_bits());
        // SAFETY: the caller promises LANES elements at `p`.
        unsafe { p.cast::<[u16; N]>().write_unaligned(bits) }
    }
    #[inline(always)]
    unsafe fn splat_i(v: i32) -> [i32; N] {
        [v; N]
    }
    #[inline(always)]
    unsafe fn load_i(p: *const i32) -> [i32; N] {
        // SAFETY: the caller promises LANES elements at `p`.
        unsafe { p.cast::<[i32; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_i(p: *mut i32, v: [i32; N]) {
        // SAFETY: the caller promises LANES elements at `p`.
        unsafe { p.cast::<[i32; N]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add_i(a: [i32; N], b: [i32; N]) -> [i32; N] {
        both(a, b, |a, b| a.wrapping_add(b))
    }
    #[inline(always)]
    unsafe fn square_i(v: [i32; N]) -> [i32; N] {
        each(v, |v| v * v)
    }
    #[inline(always)]
    unsafe fn or_i(a: [i32; N], b: [i32; N]) -> [i32; N] {
        both(a, b, |a, b| a | b)
    }
    #[inline(always)]
    unsafe fn shl8(v: [i32; N]) -> [i32; N] {
        each(v, |v| v << 8)
    }
    #[inline(always)]
    unsafe fn shl16(v: [i32; N]) -> [i32; N] {
        each(v, |v| v << 16)
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> [i32; N] {
        // SAFETY: the caller promises LANES elements at `p`.
        let bytes = unsafe { p.cast::<[u8; N]>().read_unaligned() };
        bytes.map(i32::from)
    }
    #[inline(always)]
    unsafe fn store_u8(p: *mut u8, v: [i32; N]) {
        // SAFETY: the caller promises LANES elements at `p`.
        unsafe { p.cast::<[u8; N]>().write_unaligned(v.map(|v| v as u8)) }
    }
    #[inline(always)]
    unsafe fn to_f(v: [i32; N]) -> [f32; N] {
        each(v, |v| v as f32)
    }
    #[inline(always)]
    unsafe fn to_i(v: [f32; N]) -> [i32; N] {
        each(v, |v| libm::rintf(v) as i32)
    }
    #[inline(always)]
    unsafe fn dot(acc: [i32; N], x: [i32; N], w: [i32; N]) -> [i32; N] {
        core::array::from_fn(|i| {
            let (x, w) = (x[i].to_le_bytes(), w[i].to_le_bytes());
            let mut sum = acc[i];
            for k in 0..4 {
                sum = sum.wrapping_add(i32::from(x[k]) * i32::from(w[k] as i8));
            }
            sum
        })
    }
    #[inline(always)]
    unsafe fn zero_d() -> [f64; N] {
        [0.0; N]
    }
    #[inline(always)]
    unsafe fn moments(sum: [f64; N], squares: [f64; N], v: [f32; N]) -> ([f64; N], [f64; N]) {
        let v = v.map(f64::from);
        (both(sum, v, |s, v| s + v), both(squares, v, |s, v| s + v * v))
    }
    #[inline(always)]
    unsafe fn total(v: [f64; N]) -> f64 {
        v.iter().sum()
    }
    #[inline(always)]
    unsafe fn unzip(a: [f32; N], b: [f32; N]) -> ([f32; N], [f32; N]) {
        ([a[0], a[2], b[0], b[2]], [a[1], a[3], b[1], b[3]])
    }
    #[inline(always)]
    unsafe fn zip(even: [f32; N], odd: [f32; N]) -> ([f32; N], [f32; N]) {
        ([even[0], odd[0], even[1], odd[1]], [even[2], odd[2], even[3], odd[3]])
    }
}
