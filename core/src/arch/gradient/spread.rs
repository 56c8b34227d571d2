//! Rows of gradients into the bands of Winograd's method.

use crate::arch::simd::{Kernel, Simd};
use crate::arch::winograd::Bands;
use crate::arch::{BAND_ROWS, Isa};

/// Four rows of each line to six bands; `src` and `dst` hold all of them, with a vector past the end of the last.
struct Spread<'a> {
    src: &'a [f32],
    dst: &'a mut [f32],
    bands: Bands,
    lines: usize,
}

impl Kernel for Spread<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Bands { pitch, band } = self.bands;
        for line in 0..self.lines {
            // SAFETY: there is room for whole vectors in all rows and bands of every line (the condition of this kernel);
            // the caller promises the instruction set. What is written past a line's end is overwritten by the next.
            unsafe {
                let src = self.src.as_ptr().add(line * BAND_ROWS * pitch);
                let dst = self.dst.as_mut_ptr().add(line * pitch);
                let (minus, half, quarter, eighth) = (S::splat(-1.0), S::splat(0.5), S::splat(0.25), S::splat(0.125));
                for x in (0..pitch).step_by(S::LANES) {
                    let d: [S::F; BAND_ROWS] = [
                        S::load(src.add(x)),
                        S::load(src.add(pitch + x)),
                        S::load(src.add(2 * pitch + x)),
                        S::load(src.add(3 * pitch + x)),
                    ];
                    let to = dst.add(x);
                    let (even, odd) = (S::add(d[0], d[2]), S::add(d[1], d[3]));
                    let (flat, steep) = (S::fma(quarter, d[2], d[0]), S::fma(eighth, d[3], S::mul(half, d[1])));
                    S::store(to, d[0]);
                    S::store(to.add(band), S::add(even, odd));
                    S::store(to.add(2 * band), S::fma(minus, odd, even));
                    S::store(to.add(3 * band), S::add(flat, steep));
                    S::store(to.add(4 * band), S::fma(minus, steep, flat));
                    S::store(to.add(5 * band), d[3]);
                }
            }
        }
    }
}

impl Isa {
    /// The transpose of [`Self::winograd_join`]: the four rows of gradients of each line to its six bands. Up to a vector
    /// past the end of a line is read and written.
    ///
    /// # Panics
    /// If the slices are too short for what is asked.
    pub fn winograd_spread(self, src: &[f32], dst: &mut [f32], bands: Bands, lines: usize) {
        if lines > 0 && bands.pitch > 0 {
            assert!(bands.fit_rows(lines, BAND_ROWS, self.lanes(), src.len()), "rows end before the last line does");
            assert!(bands.fit_bands(lines, self.lanes(), dst.len()), "bands end before the last line does");
            // SAFETY: rows and bands of all lines, with whole vectors, lie in their slices.
            unsafe { self.run(Spread { src, dst, bands, lines }) }
        }
    }
}
