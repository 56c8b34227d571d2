//! Primitives on rows: read a stored row as f32 with what is pending on it, write one, sum one, quantise one.

use super::Isa;
use super::block::Plain;
use super::simd::{Activation, Kernel, Simd};
use serde::{Deserialize, Serialize};

/// A scale and a zero point on the grid of unsigned bytes: `x = (q - zero) * scale`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quant {
    /// Step of the grid.
    pub scale: f32,
    /// The byte that stands for 0.
    pub zero: u8,
}

/// `x * scale + shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Factor.
    pub scale: f32,
    /// Summand.
    pub shift: f32,
}

/// A row as it is stored.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Bits of half precision.
    F16(&'a [u16]),
    /// Bytes on a grid.
    U8(&'a [u8], Quant),
}

/// A row to be stored.
#[derive(Debug)]
pub enum RowMut<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// Bits of half precision; what is too large becomes the largest finite value.
    F16(&'a mut [u16]),
    /// Bytes on a grid, rounded half to even.
    U8(&'a mut [u8], Quant),
}

impl Row<'_> {
    /// Elements.
    pub fn len(&self) -> usize {
        match self {
            Row::F32(r) => r.len(),
            Row::F16(r) => r.len(),
            Row::U8(r, _) => r.len(),
        }
    }

    /// No elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Largest finite half.
const F16_MAX: f32 = 65504.0;
/// Lanes of the widest vector.
pub(super) const MOST: usize = 16;

/// A stored number: how a vector of them becomes f32.
trait Element: Copy + Default {
    /// # Safety
    /// As [`Simd`].
    unsafe fn load<S: Simd>(p: *const Self, q: Quant) -> S::F;
    /// # Safety
    /// As [`Simd`].
    unsafe fn store<S: Simd>(p: *mut Self, v: S::F, q: Quant);
}

// SAFETY of the three: the caller's promises are passed on.
impl Element for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const f32, _: Quant) -> S::F {
        unsafe { S::load(p) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut f32, v: S::F, _: Quant) {
        unsafe { S::store(p, v) }
    }
}

impl Element for u16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u16, _: Quant) -> S::F {
        unsafe { S::load_f16(p) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut u16, v: S::F, _: Quant) {
        // NaN stays NaN: both bounds give back their second operand.
        unsafe { S::store_f16(p, S::min(S::splat(F16_MAX), S::max(S::splat(-F16_MAX), v))) }
    }
}

impl Element for u8 {
    #[inline(always)]
    unsafe fn load<S: Simd>(p: *const u8, q: Quant) -> S::F {
        unsafe {
            let v = S::add(S::to_f(S::load_u8(p)), S::splat(-f32::from(q.zero)));
            S::mul(v, S::splat(q.scale))
        }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(p: *mut u8, v: S::F, q: Quant) {
        unsafe { S::store_u8(p, quantised::<S>(v, q)) }
    }
}

/// How far from the middle between two bytes a product with the rounded reciprocal has to be to round as the quotient
/// does: products up to 256 are off by less than three units in the last place.
const SURE: f32 = 0.5 - 1e-4;

/// The byte of each value, as an integer: rounded half to even, as the quotient by the scale is.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
pub(super) unsafe fn quantised<S: Simd>(v: S::F, q: Quant) -> S::I {
    // SAFETY: the caller's promise.
    unsafe {
        // Bounds before rounding: they are whole numbers, so the result is the same, and nothing overflows. NaN, which
        // has no byte, becomes the lowest.
        let near = bounded::<S>(S::mul(v, S::splat(1.0 / q.scale)), q);
        let mut rounded = S::to_i(near);
        let off = S::fma(S::to_f(rounded), S::splat(-1.0), near);
        // A division takes as long as all the rest, and hardly any needs it.
        if S::any_beyond(off, SURE) {
            rounded = S::to_i(bounded::<S>(S::div(v, S::splat(q.scale)), q));
        }
        S::add_i(rounded, S::splat_i(i32::from(q.zero)))
    }
}

/// Between the lowest byte and the highest.
///
/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn bounded<S: Simd>(v: S::F, q: Quant) -> S::F {
    let zero = f32::from(q.zero);
    // SAFETY: the caller's promise.
    unsafe { S::min(S::max(v, S::splat(-zero)), S::splat(255.0 - zero)) }
}

/// Runs `body` over whole vectors and once more over a padded copy of the rest.
macro_rules! over_row {
    ($s:ty, $src:expr, $dst:expr, |$from:ident, $to:ident| $body:expr) => {{
        let (src, dst) = ($src, $dst);
        let n = src.len();
        let whole = n - n % <$s>::LANES;
        let mut i = 0;
        while i < whole {
            let ($from, $to) = (src.as_ptr().add(i), dst.as_mut_ptr().add(i));
            $body;
            i += <$s>::LANES;
        }
        if whole < n {
            let mut a = [Default::default(); MOST];
            let mut b = [Default::default(); MOST];
            a[..n - whole].copy_from_slice(&src[whole..]);
            b[..n - whole].copy_from_slice(&dst[whole..]);
            let ($from, $to) = (a.as_ptr(), b.as_mut_ptr());
            $body;
            dst[whole..].copy_from_slice(&b[..n - whole]);
        }
    }};
}

struct Read<'a, E> {
    src: &'a [E],
    quant: Quant,
    affine: Option<Affine>,
    activation: Activation,
    dst: &'a mut [f32],
}

impl<E: Element> Kernel for Read<'_, E> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (src, dst) = (self.src, self.dst);
        let q = self.quant;
        // SAFETY: both rows have the same length (checked by the caller below), the pointers stay inside them.
        unsafe {
            let a = self.affine.unwrap_or(Affine { scale: 1.0, shift: 0.0 });
            let (scale, shift) = (S::splat(a.scale), S::splat(a.shift));
            match (self.affine.is_some(), self.activation) {
                (false, Activation::None) => over_row!(S, src, dst, |p, o| S::store(o, E::load::<S>(p, q))),
                (true, Activation::None) => {
                    over_row!(S, src, dst, |p, o| S::store(o, S::fma(E::load::<S>(p, q), scale, shift)))
                }
                (_, Activation::Relu) => {
                    let zero = S::splat(0.0);
                    // The bound comes first so that NaN passes.
                    over_row!(S, src, dst, |p, o| S::store(o, S::max(zero, S::fma(E::load::<S>(p, q), scale, shift))))
                }
                (_, Activation::Leaky(slope)) => {
                    let slope = S::splat(slope);
                    over_row!(S, src, dst, |p, o| {
                        let v = S::fma(E::load::<S>(p, q), scale, shift);
                        S::store(o, S::if_negative(v, S::mul(v, slope)))
                    })
                }
            }
        }
    }
}

/// [`Read`] in place.
struct Change<'a> {
    row: &'a mut [f32],
    affine: Option<Affine>,
    activation: Activation,
}

impl Kernel for Change<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut copy = [0f32; 64];
        for part in self.row.chunks_mut(copy.len()) {
            copy[..part.len()].copy_from_slice(part);
            let src = &copy[..part.len()];
            let (affine, activation) = (self.affine, self.activation);
            // SAFETY: the caller's promise.
            unsafe { Read { src, quant: NO_QUANT, affine, activation, dst: part }.run::<S>() }
        }
    }
}

struct Write<'a, E> {
    src: &'a [f32],
    dst: &'a mut [E],
    quant: Quant,
}

impl<E: Element> Kernel for Write<'_, E> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: both rows have the same length (checked by the caller below).
        unsafe { over_row!(S, self.src, self.dst, |p, o| E::store::<S>(o, S::load(p), self.quant)) }
    }
}

struct Moments<'a>(&'a [f32]);

impl Kernel for Moments<'_> {
    type Out = (f64, f64);
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> (f64, f64) {
        let row = self.0;
        let whole = row.len() - row.len() % S::LANES;
        // SAFETY: the pointer stays inside the row; the rest is read from a padded copy, whose zeros add nothing.
        unsafe {
            let (mut sum, mut squares) = (S::zero_d(), S::zero_d());
            let mut i = 0;
            while i < whole {
                (sum, squares) = S::moments(sum, squares, S::load(row.as_ptr().add(i)));
                i += S::LANES;
            }
            if whole < row.len() {
                let mut rest = [0f32; MOST];
                rest[..row.len() - whole].copy_from_slice(&row[whole..]);
                (sum, squares) = S::moments(sum, squares, S::load(rest.as_ptr()));
            }
            (S::total(sum), S::total(squares))
        }
    }
}

struct OntoGrid<'a> {
    row: &'a mut [f32],
    quant: Quant,
}

impl Kernel for OntoGrid<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let q = self.quant;
        let n = self.row.len();
        let whole = n - n % S::LANES;
        let p = self.row.as_mut_ptr();
        // SAFETY: as for Moments.
        unsafe {
            let mut i = 0;
            while i < whole {
                snap::<S>(p.add(i), q);
                i += S::LANES;
            }
            if whole < n {
                let mut rest = [0f32; MOST];
                rest[..n - whole].copy_from_slice(&self.row[whole..]);
                snap::<S>(rest.as_mut_ptr(), q);
                self.row[whole..].copy_from_slice(&rest[..n - whole]);
            }
        }
    }
}

/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn snap<S: Simd>(p: *mut f32, q: Quant) {
    // SAFETY: the caller's promise.
    unsafe {
        let v = S::add(S::to_f(quantised::<S>(S::load(p), q)), S::splat(-f32::from(q.zero)));
        S::store(p, S::mul(v, S::splat(q.scale)));
    }
}

/// `acc * scale + bias` of integer sums, in place in the memory of the integers.
struct FromInt<'a> {
    acc: &'a [i32],
    affine: Affine,
    dst: &'a mut [f32],
}

impl Kernel for FromInt<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: both rows have the same length (checked by the caller below).
        unsafe {
            let (scale, shift) = (S::splat(self.affine.scale), S::splat(self.affine.shift));
            over_row!(S, self.acc, self.dst, |p, o| S::store(o, S::fma(S::to_f(S::load_i(p)), scale, shift)))
        }
    }
}

struct Unzip<'a> {
    src: &'a [f32],
    even: &'a mut [f32],
    odd: &'a mut [f32],
}

impl Kernel for Unzip<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let pairs = self.odd.len();
        let whole = pairs - pairs % S::LANES;
        let mut i = 0;
        while i < whole {
            // SAFETY: 2 * whole elements are in src and whole in each half (checked by the caller below).
            unsafe {
                let p = self.src.as_ptr().add(2 * i);
                let (even, odd) = S::unzip(S::load(p), S::load(p.add(S::LANES)));
                S::store(self.even.as_mut_ptr().add(i), even);
                S::store(self.odd.as_mut_ptr().add(i), odd);
            }
            i += S::LANES;
        }
        for i in whole..self.even.len() {
            self.even[i] = self.src[2 * i];
            if i < pairs {
                self.odd[i] = self.src[2 * i + 1];
            }
        }
    }
}

struct Zip<'a> {
    even: &'a [f32],
    odd: &'a [f32],
    dst: &'a mut [f32],
}

impl Kernel for Zip<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let pairs = self.even.len();
        let whole = pairs - pairs % S::LANES;
        let mut i = 0;
        while i < whole {
            // SAFETY: whole elements are in each half and 2 * whole in dst (checked by the caller below).
            unsafe {
                let (a, b) = S::zip(S::load(self.even.as_ptr().add(i)), S::load(self.odd.as_ptr().add(i)));
                let p = self.dst.as_mut_ptr().add(2 * i);
                S::store(p, a);
                S::store(p.add(S::LANES), b);
            }
            i += S::LANES;
        }
        for i in whole..pairs {
            self.dst[2 * i] = self.even[i];
            self.dst[2 * i + 1] = self.odd[i];
        }
    }
}

struct Add<'a> {
    dst: &'a mut [f32],
    src: &'a [f32],
}

impl Kernel for Add<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: both rows have the same length (checked by the caller below).
        unsafe { over_row!(S, self.src, self.dst, |p, o| S::store(o, S::add(S::load(o), S::load(p)))) }
    }
}

const NO_QUANT: Quant = Quant { scale: 1.0, zero: 0 };

/// Rows of different lengths are an error of the caller's, never of data.
impl Isa {
    /// `dst = activation(affine(src))`.
    ///
    /// # Panics
    /// If the rows differ in length; so for the others.
    pub fn read_row(self, src: Row<'_>, affine: Option<Affine>, activation: Activation, dst: &mut [f32]) {
        assert_eq!(src.len(), dst.len());
        match src {
            Row::F32(src) => self.run(Read { src, quant: NO_QUANT, affine, activation, dst }),
            Row::F16(src) => self.run(Read { src, quant: NO_QUANT, affine, activation, dst }),
            Row::U8(src, quant) => self.run(Read { src, quant, affine, activation, dst }),
        }
    }

    /// Asks for a row that will be read in a while; nothing happens where it is not inside `data`.
    pub fn prefetch<T: Plain>(self, data: &[T], start: usize, len: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Some(row) = start.checked_add(len).and_then(|end| data.get(start..end)) {
            for line in row.chunks((64 / size_of::<T>()).max(1)) {
                // SAFETY: the instruction is part of the architecture and reads nothing.
                unsafe {
                    core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T1 }>(line.as_ptr().cast())
                };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (data, start, len);
    }

    /// `row = activation(affine(row))`.
    pub fn change_row(self, row: &mut [f32], affine: Option<Affine>, activation: Activation) {
        if affine.is_some() || activation != Activation::None {
            self.run(Change { row, affine, activation });
        }
    }

    /// Stores `src`.
    pub fn write_row(self, src: &[f32], dst: RowMut<'_>) {
        match dst {
            RowMut::F32(dst) => dst.copy_from_slice(src),
            RowMut::F16(dst) => {
                assert_eq!(src.len(), dst.len());
                self.run(Write { src, dst, quant: NO_QUANT });
            }
            RowMut::U8(dst, quant) => {
                assert_eq!(src.len(), dst.len());
                self.run(Write { src, dst, quant });
            }
        }
    }

    /// Sum and sum of squares in double precision, lanes added in their order.
    pub fn moments(self, row: &[f32]) -> (f64, f64) {
        self.run(Moments(row))
    }

    /// Each value to the nearest of the grid.
    pub fn onto_grid(self, row: &mut [f32], quant: Quant) {
        self.run(OntoGrid { row, quant });
    }

    /// `dst = acc * scale + shift`.
    pub fn from_int(self, acc: &[i32], affine: Affine, dst: &mut [f32]) {
        assert_eq!(acc.len(), dst.len());
        self.run(FromInt { acc, affine, dst });
    }

    /// Splits a row into its elements at even and at odd places.
    pub fn unzip(self, src: &[f32], even: &mut [f32], odd: &mut [f32]) {
        assert!(even.len() == src.len().div_ceil(2) && odd.len() == src.len() / 2);
        self.run(Unzip { src, even, odd });
    }

    /// The inverse of [`Self::unzip`] for rows of even length.
    pub fn zip(self, even: &[f32], odd: &[f32], dst: &mut [f32]) {
        assert!(even.len() == odd.len() && dst.len() == 2 * odd.len());
        self.run(Zip { even, odd, dst });
    }

    /// `dst += src`.
    pub fn add_row(self, dst: &mut [f32], src: &[f32]) {
        assert_eq!(src.len(), dst.len());
        self.run(Add { dst, src });
    }
}
