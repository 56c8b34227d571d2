//! The vector operations that kernels are written in, and the ways to run them.

use serde::{Deserialize, Serialize};

/// Output channels of a block of packed weights.
pub const BLOCK_ROWS: usize = 8;

/// What follows the scale and shift of a value as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Activation {
    /// Nothing.
    None,
    /// `max(x, 0)`.
    Relu,
    /// `x` where positive, `slope * x` elsewhere.
    Leaky(f32),
}

/// One instruction set: lanes of f32, i32 and f64, and the operations on them.
///
/// # Safety
/// An implementation promises that
/// - its vectors `F` and `I` hold [`Self::LANES`] lanes, at most sixteen, and `D` as many; [`Self::ROWS`] is 4 or 8,
///   [`Self::VECS`] and [`Self::VECS_INT`] are 2 or 3, [`Self::GROUP`] is 2 or 4;
/// - a method that loads or stores touches exactly [`Self::LANES`] elements from its pointer on, at any alignment;
///   [`Self::channel`], [`Self::group`] and [`Self::correlate`] read what their default reads; no other method touches
///   memory;
/// - [`Self::square_i`] is exact for numbers from 0 to 255.
///
/// A caller promises that the CPU has the instruction set, and that pointers are valid for what a method touches.
/// [`super::Isa::run`] alone starts a kernel, after the CPU was seen to have the instructions; kernels are generic over the
/// instruction set and pass the promise on.
pub(super) unsafe trait Simd: Copy {
    /// f32 and i32 lanes of a vector.
    const LANES: usize;
    /// Output channels that a strip of the convolution holds in registers, at most 8.
    const ROWS: usize;
    /// Lines of such a strip, a vector each, f32.
    const VECS: usize;
    /// Lines of such a strip, integers.
    const VECS_INT: usize;
    /// Input channels that one lane of the integer dot product takes: 4 (bytes) or 2 (16-bit halves).
    const GROUP: usize;
    type F: Copy;
    type I: Copy;
    /// As many f64 as there are f32 lanes.
    type D: Copy;

    unsafe fn splat(v: f32) -> Self::F;
    unsafe fn load(p: *const f32) -> Self::F;
    unsafe fn store(p: *mut f32, v: Self::F);
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger; `b` where either is NaN.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; `b` where either is NaN.
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// `x` where it is not negative, `y` elsewhere.
    unsafe fn if_negative(x: Self::F, y: Self::F) -> Self::F;
    /// Whether some lane is above `limit` or below `-limit`.
    unsafe fn any_beyond(v: Self::F, limit: f32) -> bool;
    /// Widens f16.
    unsafe fn load_f16(p: *const u16) -> Self::F;
    /// Rounds to nearest even; what is too large becomes infinite.
    unsafe fn store_f16(p: *mut u16, v: Self::F);

    /// Asks for what will be read soon; any address will do.
    #[inline(always)]
    unsafe fn prefetch<T>(_p: *const T) {}

    unsafe fn splat_i(v: i32) -> Self::I;
    unsafe fn load_i(p: *const i32) -> Self::I;
    unsafe fn store_i(p: *mut i32, v: Self::I);
    unsafe fn add_i(a: Self::I, b: Self::I) -> Self::I;
    /// The square of numbers from 0 to 255.
    unsafe fn square_i(v: Self::I) -> Self::I;
    unsafe fn or_i(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn shl8(v: Self::I) -> Self::I;
    unsafe fn shl16(v: Self::I) -> Self::I;
    unsafe fn load_u8(p: *const u8) -> Self::I;
    /// The low byte of each lane.
    unsafe fn store_u8(p: *mut u8, v: Self::I);
    unsafe fn to_f(v: Self::I) -> Self::F;
    /// Rounds half to even.
    unsafe fn to_i(v: Self::F) -> Self::I;
    /// Adds to each lane of `acc` the dot product of its [`Self::GROUP`] unsigned values in `x` with the signed in `w`.
    unsafe fn dot(acc: Self::I, x: Self::I, w: Self::I) -> Self::I;

    /// One input channel of a strip: for every tap `acc[i][j] += w[i] * src[tap + j * line..]`, where `w` moves on by a block's
    /// rows from tap to tap.
    #[inline(always)]
    unsafe fn channel<const M: usize, const N: usize>(
        acc: &mut [[Self::F; N]; M],
        src: *const f32,
        line: usize,
        w: *const f32,
        taps: &[usize],
    ) {
        // SAFETY: the caller makes the same promise.
        unsafe { channel::<Self, M, N>(acc, src, line, w, taps) }
    }

    /// One channel group of an integer strip, as [`Self::channel`].
    #[inline(always)]
    unsafe fn group<const M: usize, const N: usize>(
        acc: &mut [[Self::I; N]; M],
        src: *const i32,
        line: usize,
        w: *const i32,
        taps: &[usize],
    ) {
        // SAFETY: the caller makes the same promise.
        unsafe { group::<Self, M, N>(acc, src, line, w, taps) }
    }

    /// Adds to `acc[i][j]`, lane by lane, the products of `rows[i * pitch..]` with `shifted[j]`.
    #[cfg(feature = "train")]
    #[inline(always)]
    unsafe fn correlate<const M: usize, const N: usize>(
        acc: &mut [[Self::F; N]; M],
        rows: *const f32,
        pitch: usize,
        shifted: [*const f32; N],
        len: usize,
    ) {
        // SAFETY: the caller makes the same promise.
        unsafe { correlate::<Self, M, N>(acc, rows, pitch, shifted, len) }
    }

    /// The sum over the lanes of each vector.
    #[cfg(feature = "train")]
    #[inline(always)]
    unsafe fn totals(v: [Self::F; 4]) -> [f32; 4] {
        let mut lanes = [0f32; 16];
        let mut totals = [0f32; 4];
        for (v, total) in v.into_iter().zip(&mut totals) {
            // SAFETY: no vector is longer than the array, by the contract of the trait.
            unsafe { Self::store(lanes.as_mut_ptr(), v) };
            *total = lanes[..Self::LANES].iter().sum();
        }
        totals
    }

    unsafe fn zero_d() -> Self::D;
    /// `(sum + v, squares + v * v)` in double precision.
    unsafe fn moments(sum: Self::D, squares: Self::D, v: Self::F) -> (Self::D, Self::D);
    /// Sum over lanes in their order.
    unsafe fn total(v: Self::D) -> f64;

    /// Lanes at even and at odd places of two neighbouring vectors.
    unsafe fn unzip(a: Self::F, b: Self::F) -> (Self::F, Self::F);
    /// The inverse of [`Self::unzip`].
    unsafe fn zip(even: Self::F, odd: Self::F) -> (Self::F, Self::F);
}

/// Methods of an instruction set that are one expression on registers.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
macro_rules! on_registers {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty = $body:expr;)*) => {$(
        #[inline(always)]
        unsafe fn $name($($arg: $type),*) -> $out {
            // SAFETY: computes on registers alone; the caller promises that the CPU has the instructions.
            unsafe { $body }
        }
    )*};
}

/// Methods of an instruction set that load or store one vector.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
macro_rules! on_memory {
    ($(fn $name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)? = $body:expr;)*) => {$(
        #[inline(always)]
        unsafe fn $name($($arg: $type),*) $(-> $out)? {
            // SAFETY: touches LANES elements at `p`, at any alignment; the caller promises that they are there, and that the
            // CPU has the instructions.
            unsafe { $body }
        }
    )*};
}
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_feature = "neon")))]
pub(super) use {on_memory, on_registers};

/// Work that is compiled once for every instruction set. What its fields must hold is said where it is defined.
pub(super) trait Kernel {
    type Out;
    /// # Safety
    /// The CPU has the instruction set of `S`, and the conditions of the kernel hold.
    unsafe fn run<S: Simd>(self) -> Self::Out;
}

/// [`Simd::channel`] as the compiler makes it.
///
/// # Safety
/// The CPU has the instruction set of `S`; `N` vectors, `line` apart, can be read from `src` at each tap, and `M` numbers
/// from `w` at each tap's weights, which lie [`BLOCK_ROWS`] apart.
#[inline(always)]
pub(super) unsafe fn channel<S: Simd, const M: usize, const N: usize>(
    acc: &mut [[S::F; N]; M],
    src: *const f32,
    line: usize,
    mut w: *const f32,
    taps: &[usize],
) {
    for &tap in taps {
        // SAFETY: the caller promises the instruction set, `N` vectors at each tap, and `M` weights.
        unsafe {
            let p = src.add(tap);
            let mut x = [S::splat(0.0); N];
            for (j, x) in x.iter_mut().enumerate() {
                *x = S::load(p.add(j * line));
            }
            for (i, acc) in acc.iter_mut().enumerate() {
                let w = S::splat(*w.add(i));
                for j in 0..N {
                    acc[j] = S::fma(w, x[j], acc[j]);
                }
            }
            // After the last tap this may lie behind the weights, and is not read.
            w = w.wrapping_add(BLOCK_ROWS);
        }
    }
}

/// [`Simd::group`] as the compiler makes it.
///
/// # Safety
/// As for [`channel`].
#[inline(always)]
pub(super) unsafe fn group<S: Simd, const M: usize, const N: usize>(
    acc: &mut [[S::I; N]; M],
    src: *const i32,
    line: usize,
    mut w: *const i32,
    taps: &[usize],
) {
    for &tap in taps {
        // SAFETY: the caller promises the instruction set, `N` vectors at each tap, and `M` weights.
        unsafe {
            let p = src.add(tap);
            let mut x = [S::splat_i(0); N];
            for (j, x) in x.iter_mut().enumerate() {
                *x = S::load_i(p.add(j * line));
            }
            for (i, acc) in acc.iter_mut().enumerate() {
                let w = S::splat_i(*w.add(i));
                for j in 0..N {
                    acc[j] = S::dot(acc[j], x[j], w);
                }
            }
            // After the last tap this may lie behind the weights, and is not read.
            w = w.wrapping_add(BLOCK_ROWS);
        }
    }
}

/// [`Simd::correlate`] as the compiler makes it.
///
/// # Safety
/// The CPU has the instruction set of `S`; `len` numbers, a multiple of [`Simd::LANES`], can be read in each of `M` rows,
/// `pitch` apart, and from each start.
#[cfg(feature = "train")]
#[inline(always)]
pub(super) unsafe fn correlate<S: Simd, const M: usize, const N: usize>(
    acc: &mut [[S::F; N]; M],
    rows: *const f32,
    pitch: usize,
    shifted: [*const f32; N],
    len: usize,
) {
    let mut sums = *acc;
    let mut n = 0;
    while n < len {
        // SAFETY: the caller promises the instruction set, and `len` numbers, whole vectors, in each row.
        unsafe {
            let mut x = [S::splat(0.0); N];
            for (x, p) in x.iter_mut().zip(shifted) {
                *x = S::load(p.add(n));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let v = S::load(rows.add(i * pitch + n));
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = S::fma(v, x, *sum);
                }
            }
        }
        n += S::LANES;
    }
    *acc = sums;
}
