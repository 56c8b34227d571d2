//! Rows of gradients back through an activation and an instance norm.

use crate::arch::Isa;
use crate::arch::rows::{Affine, MOST};
use crate::arch::simd::{Kernel, Simd};

/// Vectors whose sums are made in single precision before they go to double.
const RUN: usize = 64;

/// A row that went through an instance norm and an activation.
#[derive(Clone, Copy, Debug)]
pub struct NormedRow<'a> {
    /// As the convolution wrote it.
    pub raw: &'a [f32],
    /// What the norm makes of it.
    pub normed: Affine,
    /// The factor of gradients where that is not positive, from 0 to 1.
    pub slope: f32,
}

/// Takes positive numbers to 1 and more, but for the very smallest.
const STEEP: f32 = 1e38;

/// The gradient before the activation.
///
/// # Safety
/// The CPU has the instruction set of `S`.
#[inline(always)]
unsafe fn through<S: Simd>(gradient: S::F, raw: S::F, scale: S::F, shift: S::F, slope: S::F) -> S::F {
    // SAFETY: works on registers; the caller promises the instruction set.
    unsafe {
        let v = S::fma(raw, scale, shift);
        // 1 above zero, the slope elsewhere.
        let factor = S::max(S::min(S::mul(v, S::splat(STEEP)), S::splat(1.0)), slope);
        S::mul(gradient, factor)
    }
}

/// Sums over two rows of one length.
struct Sums<'a> {
    row: NormedRow<'a>,
    gradient: &'a [f32],
    centred: Affine,
}

impl Kernel for Sums<'_> {
    type Out = (f64, f64);
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> (f64, f64) {
        let (raw, gradient) = (self.row.raw, self.gradient);
        let n = raw.len();
        let whole = n - n % S::LANES;
        // SAFETY: both rows have one length (the condition of this kernel), and `whole` is a multiple of LANES that they
        // have; the rest is read from padded copies, whose zero gradients add nothing. The caller promises the
        // instruction set.
        unsafe {
            let (scale, shift) = (S::splat(self.row.normed.scale), S::splat(self.row.normed.shift));
            let (factor, summand) = (S::splat(self.centred.scale), S::splat(self.centred.shift));
            let slope = S::splat(self.row.slope);
            let (mut sum, mut product) = (S::zero_d(), S::zero_d());
            let mut i = 0;
            while i < whole {
                let end = (i + RUN * S::LANES).min(whole);
                let (mut a, mut b) = (S::splat(0.0), S::splat(0.0));
                while i < end {
                    let y = S::load(raw.as_ptr().add(i));
                    let g = through::<S>(S::load(gradient.as_ptr().add(i)), y, scale, shift, slope);
                    a = S::add(a, g);
                    b = S::fma(g, S::fma(y, factor, summand), b);
                    i += S::LANES;
                }
                sum = S::moments(sum, S::zero_d(), a).0;
                product = S::moments(product, S::zero_d(), b).0;
            }
            if whole < n {
                let (mut y, mut g) = ([0f32; MOST], [0f32; MOST]);
                y[..n - whole].copy_from_slice(&raw[whole..]);
                g[..n - whole].copy_from_slice(&gradient[whole..]);
                let y = S::load(y.as_ptr());
                let g = through::<S>(S::load(g.as_ptr()), y, scale, shift, slope);
                sum = S::moments(sum, S::zero_d(), g).0;
                product = S::moments(product, S::zero_d(), S::mul(g, S::fma(y, factor, summand))).0;
            }
            (S::total(sum), S::total(product))
        }
    }
}

/// The gradient of what the convolution wrote, for two rows of one length.
struct Raw<'a> {
    row: NormedRow<'a>,
    gradient: &'a mut [f32],
    factor: f32,
    linear: Affine,
}

impl Kernel for Raw<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (raw, gradient) = (self.row.raw, self.gradient);
        let n = raw.len();
        let whole = n - n % S::LANES;
        // SAFETY: as for `Sums`, with the rest changed in a padded copy.
        unsafe {
            let (scale, shift) = (S::splat(self.row.normed.scale), S::splat(self.row.normed.shift));
            let (slope, factor) = (S::splat(self.row.slope), S::splat(self.factor));
            let (linear, constant) = (S::splat(self.linear.scale), S::splat(self.linear.shift));
            let mut i = 0;
            while i < whole {
                let (y, g) = (S::load(raw.as_ptr().add(i)), gradient.as_mut_ptr().add(i));
                let back = through::<S>(S::load(g), y, scale, shift, slope);
                S::store(g, S::fma(back, factor, S::fma(y, linear, constant)));
                i += S::LANES;
            }
            if whole < n {
                let (mut y, mut g) = ([0f32; MOST], [0f32; MOST]);
                y[..n - whole].copy_from_slice(&raw[whole..]);
                g[..n - whole].copy_from_slice(&gradient[whole..]);
                let y = S::load(y.as_ptr());
                let back = through::<S>(S::load(g.as_ptr()), y, scale, shift, slope);
                S::store(g.as_mut_ptr(), S::fma(back, factor, S::fma(y, linear, constant)));
                gradient[whole..].copy_from_slice(&g[..n - whole]);
            }
        }
    }
}

impl Isa {
    /// With `g` the gradient before the activation: the sum of `g`, and that of its products with `centred(raw)`.
    ///
    /// # Panics
    /// If the rows differ in length.
    pub fn norm_gradient_sums(self, row: NormedRow<'_>, gradient: &[f32], centred: Affine) -> (f64, f64) {
        assert_eq!(row.raw.len(), gradient.len());
        // SAFETY: the rows have one length.
        unsafe { self.run(Sums { row, gradient, centred }) }
    }

    /// With `g` as for [`Self::norm_gradient_sums`]: `gradient = g * factor + linear(raw)`.
    ///
    /// # Panics
    /// If the rows differ in length.
    pub fn norm_gradient(self, row: NormedRow<'_>, gradient: &mut [f32], factor: f32, linear: Affine) {
        assert_eq!(row.raw.len(), gradient.len());
        // SAFETY: the rows have one length.
        unsafe { self.run(Raw { row, gradient, factor, linear }) }
    }
}
