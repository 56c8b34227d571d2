//! Rows of gradients: back through an activation and an instance norm, and into the bands of Winograd's method.

use super::rows::{Affine, MOST};
use super::simd::{Kernel, Simd};
use super::winograd::Bands;
use super::{BAND_ROWS, Isa};

/// Vectors whose sums are made in single precision before they go to double.
const RUN: usize = 64;

/// A row that went through a norm and an activation, and the gradient that came back to it.
#[derive(Clone, Copy)]
struct Back<'a> {
    /// As the convolution wrote it.
    raw: &'a [f32],
    /// What the norm made of it.
    normed: Affine,
    /// The factor of gradients where that is not positive, from 0 to 1.
    slope: f32,
}

/// Takes positive numbers to 1 and more, but for the very smallest.
const STEEP: f32 = 1e38;

/// # Safety
/// As [`Simd`].
#[inline(always)]
unsafe fn through<S: Simd>(gradient: S::F, raw: S::F, scale: S::F, shift: S::F, slope: S::F) -> S::F {
    // SAFETY: the caller's promise.
    unsafe {
        let v = S::fma(raw, scale, shift);
        // 1 above zero, the slope elsewhere.
        let factor = S::max(S::min(S::mul(v, S::splat(STEEP)), S::splat(1.0)), slope);
        S::mul(gradient, factor)
    }
}

struct Sums<'a> {
    back: Back<'a>,
    gradient: &'a [f32],
    centred: Affine,
}

impl Kernel for Sums<'_> {
    type Out = (f64, f64);
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> (f64, f64) {
        let (raw, gradient) = (self.back.raw, self.gradient);
        let n = raw.len();
        let whole = n - n % S::LANES;
        // SAFETY: both rows have the same length (checked by the caller below); the rest is read from padded copies,
        // whose zero gradients add nothing.
        unsafe {
            let (scale, shift) = (S::splat(self.back.normed.scale), S::splat(self.back.normed.shift));
            let (factor, summand) = (S::splat(self.centred.scale), S::splat(self.centred.shift));
            let slope = S::splat(self.back.slope);
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

struct Raw<'a> {
    back: Back<'a>,
    gradient: &'a mut [f32],
    factor: f32,
    linear: Affine,
}

impl Kernel for Raw<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (raw, gradient) = (self.back.raw, self.gradient);
        let n = raw.len();
        let whole = n - n % S::LANES;
        // SAFETY: as for Sums.
        unsafe {
            let (scale, shift) = (S::splat(self.back.normed.scale), S::splat(self.back.normed.shift));
            let (slope, factor) = (S::splat(self.back.slope), S::splat(self.factor));
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

struct Spread<'a> {
    src: &'a [f32],
    pitch: usize,
    dst: &'a mut [f32],
    band: usize,
    lines: usize,
}

impl Kernel for Spread<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for line in 0..self.lines {
            // SAFETY: the caller below saw room for whole vectors in all rows and bands of every line. What is written
            // past a line's end is overwritten by the next line.
            unsafe {
                let src = self.src.as_ptr().add(line * BAND_ROWS * self.pitch);
                let dst = self.dst.as_mut_ptr().add(line * self.pitch);
                let (minus, half, quarter, eighth) = (S::splat(-1.0), S::splat(0.5), S::splat(0.25), S::splat(0.125));
                for x in (0..self.pitch).step_by(S::LANES) {
                    let d: [S::F; BAND_ROWS] = [
                        S::load(src.add(x)),
                        S::load(src.add(self.pitch + x)),
                        S::load(src.add(2 * self.pitch + x)),
                        S::load(src.add(3 * self.pitch + x)),
                    ];
                    let to = dst.add(x);
                    let (even, odd) = (S::add(d[0], d[2]), S::add(d[1], d[3]));
                    let (flat, steep) = (S::fma(quarter, d[2], d[0]), S::fma(eighth, d[3], S::mul(half, d[1])));
                    S::store(to, d[0]);
                    S::store(to.add(self.band), S::add(even, odd));
                    S::store(to.add(2 * self.band), S::fma(minus, odd, even));
                    S::store(to.add(3 * self.band), S::add(flat, steep));
                    S::store(to.add(4 * self.band), S::fma(minus, steep, flat));
                    S::store(to.add(5 * self.band), d[3]);
                }
            }
        }
    }
}

impl Isa {
    /// With `g` the gradient before the activation: the sum of `g`, and that of its products with `centred(raw)`.
    ///
    /// `normed(raw)` is what the activation saw, and multiplied with `slope`, which is from 0 to 1, where it was not positive.
    ///
    /// # Panics
    /// If the rows differ in length; so for the next.
    pub fn norm_gradient_sums(
        self,
        raw: &[f32],
        normed: Affine,
        slope: f32,
        gradient: &[f32],
        centred: Affine,
    ) -> (f64, f64) {
        assert_eq!(raw.len(), gradient.len());
        self.run(Sums { back: Back { raw, normed, slope }, gradient, centred })
    }

    /// With `g` as above: `gradient = g * factor + linear(raw)`.
    pub fn norm_gradient(
        self,
        raw: &[f32],
        normed: Affine,
        slope: f32,
        gradient: &mut [f32],
        factor: f32,
        linear: Affine,
    ) {
        assert_eq!(raw.len(), gradient.len());
        self.run(Raw { back: Back { raw, normed, slope }, gradient, factor, linear });
    }

    /// The transpose of [`Self::winograd_join`]: for each of some lines, four rows of gradients, `pitch` apart, to six
    /// bands, `band` apart. Up to a vector past the end of a line is read and written.
    ///
    /// # Panics
    /// If the slices are too short for what is asked.
    pub fn winograd_spread(self, src: &[f32], pitch: usize, dst: &mut [f32], band: usize, lines: usize) {
        let bands = Bands { pitch, band, lines };
        if lines > 0 && pitch > 0 {
            assert!(bands.fits_rows(src.len(), BAND_ROWS, self.lanes()), "rows end before the last line does");
            assert!(bands.fits_bands(dst.len(), self.lanes()), "bands end before the last line does");
            self.run(Spread { src, pitch, dst, band, lines });
        }
    }
}
