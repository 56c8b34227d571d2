//! Winograd's minimal filtering F(4, 3) along one axis: four outputs of a kernel of three from six products instead of
//! twelve (A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016).
//!
//! Six rows of input become six bands, weights become six weights, each band is multiplied with its weight alone, and six
//! sums become four rows of output. The points are 0, 1, -1, 1/2, -1/2 and infinity, whose transforms lose less
//! precision than those of 2 and -2.

use super::simd::{BLOCK_ROWS, Kernel, Simd};
use super::{Isa, span};

/// Products for one group of outputs.
pub const BANDS: usize = 6;
/// Rows of output from them.
pub const BAND_ROWS: usize = 4;
/// Rows of input that they reach.
pub const BAND_REACH: usize = 6;

/// Six rows of each line to six bands; `src` and `dst` hold all of them, with a vector past the end of the last.
struct Split<'a> {
    src: &'a [f32],
    dst: &'a mut [f32],
    bands: Bands,
    lines: usize,
}

impl Kernel for Split<'_> {
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
                for x in (0..pitch).step_by(S::LANES) {
                    let d: [S::F; BAND_REACH] = [
                        S::load(src.add(x)),
                        S::load(src.add(pitch + x)),
                        S::load(src.add(2 * pitch + x)),
                        S::load(src.add(3 * pitch + x)),
                        S::load(src.add(4 * pitch + x)),
                        S::load(src.add(5 * pitch + x)),
                    ];
                    let to = dst.add(x);
                    let (half, minus) = (S::splat(0.5), S::splat(-1.0));
                    let (quarter, five) = (S::splat(0.25), S::splat(-1.25));
                    // Points 1 and -1, then 1/2 and -1/2: the part that is even in the point, plus and minus the odd one.
                    let (a, b) = (S::fma(S::splat(-0.25), d[2], d[4]), S::fma(S::splat(-0.25), d[1], d[3]));
                    let (c, e) = (S::fma(minus, d[2], d[4]), S::fma(minus, d[1], d[3]));
                    S::store(to.add(band), S::add(a, b));
                    S::store(to.add(2 * band), S::fma(minus, b, a));
                    S::store(to.add(3 * band), S::fma(half, e, c));
                    S::store(to.add(4 * band), S::fma(S::splat(-0.5), e, c));
                    // Points 0 and infinity.
                    S::store(to, S::fma(quarter, d[0], S::fma(five, d[2], d[4])));
                    S::store(to.add(5 * band), S::fma(quarter, d[1], S::fma(five, d[3], d[5])));
                }
            }
        }
    }
}

/// Six bands to four rows; `sums` and `dst` hold all of them, with whole vectors.
struct Join<'a> {
    sums: &'a [f32],
    dst: &'a mut [f32],
    bands: Bands,
    len: usize,
    bias: f32,
}

impl Kernel for Join<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Bands { pitch, band } = self.bands;
        // SAFETY: there is room for whole vectors in all bands and rows (the condition of this kernel); the caller promises
        // the instruction set.
        unsafe {
            let (minus, half, quarter, eighth) = (S::splat(-1.0), S::splat(0.5), S::splat(0.25), S::splat(0.125));
            let bias = S::splat(self.bias);
            for x in (0..self.len).step_by(S::LANES) {
                let p = self.sums.as_ptr().add(x);
                let m: [S::F; BANDS] = [
                    S::load(p),
                    S::load(p.add(band)),
                    S::load(p.add(2 * band)),
                    S::load(p.add(3 * band)),
                    S::load(p.add(4 * band)),
                    S::load(p.add(5 * band)),
                ];
                let (s, d) = (S::add(m[1], m[2]), S::fma(minus, m[2], m[1]));
                let (t, e) = (S::add(m[3], m[4]), S::fma(minus, m[4], m[3]));
                let to = self.dst.as_mut_ptr().add(x);
                S::store(to, S::add(S::add(S::add(m[0], s), t), bias));
                S::store(to.add(pitch), S::add(S::fma(half, e, d), bias));
                S::store(to.add(2 * pitch), S::add(S::fma(quarter, t, s), bias));
                S::store(to.add(3 * pitch), S::add(S::add(S::fma(eighth, e, d), m[5]), bias));
            }
        }
    }
}

struct Weights<'a> {
    src: &'a [f32],
    dst: &'a mut [f32],
    cin: usize,
    kernel: [usize; 3],
}

impl Kernel for Weights<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let [kz, ky, kx] = self.kernel;
        let (block_in, band) = (self.cin * kz * ky * kx * BLOCK_ROWS, self.cin * kz * kx * BLOCK_ROWS);
        for (from, to) in self.src.chunks_exact(block_in).zip(self.dst.chunks_exact_mut(BANDS * band)) {
            for cz in 0..self.cin * kz {
                for x in 0..kx {
                    let at = (cz * ky * kx + x) * BLOCK_ROWS;
                    let (a, b) = (&from[at..][..BLOCK_ROWS], &from[at + kx * BLOCK_ROWS..][..BLOCK_ROWS]);
                    let c = &from[at + 2 * kx * BLOCK_ROWS..][..BLOCK_ROWS];
                    let mut all = [[0f32; BLOCK_ROWS]; BANDS];
                    for r in 0..BLOCK_ROWS {
                        let [a, b, c] = [a[r], b[r], c[r]];
                        // Values of the polynomial a + b p + c p^2 at each point p, over what is left out of the bands.
                        let (even, steep) = ((a + c) * (2.0 / 3.0), (a + 0.25 * c) * (8.0 / 3.0));
                        all[0][r] = 4.0 * a;
                        all[1][r] = even + b * (2.0 / 3.0);
                        all[2][r] = even - b * (2.0 / 3.0);
                        all[3][r] = -(steep + b * (4.0 / 3.0));
                        all[4][r] = -(steep - b * (4.0 / 3.0));
                        all[5][r] = c;
                    }
                    for (k, band_rows) in all.iter().enumerate() {
                        to[k * band + (cz * kx + x) * BLOCK_ROWS..][..BLOCK_ROWS].copy_from_slice(band_rows);
                    }
                }
            }
        }
    }
}

/// How far apart rows and bands lie.
#[derive(Clone, Copy, Debug)]
pub struct Bands {
    /// Elements from row to row, and from line to line in a band.
    pub pitch: usize,
    /// Elements from band to band.
    pub band: usize,
}

impl Bands {
    /// Whether `most` elements hold the rows of `lines` lines, each line [`BAND_ROWS`] rows after the last and `reach` rows
    /// high, with up to a vector past the end of the last row.
    pub(super) fn fit_rows(self, lines: usize, reach: usize, lanes: usize, most: usize) -> bool {
        let whole = self.pitch.checked_next_multiple_of(lanes);
        let rows = span(lines, BAND_ROWS, reach);
        let end = rows.zip(whole).and_then(|(rows, whole)| span(rows, self.pitch, whole));
        end.is_some_and(|end| end <= most)
    }

    /// Whether `most` elements hold the six bands of `lines` lines, with up to a vector past the end of the last line.
    pub(super) fn fit_bands(self, lines: usize, lanes: usize, most: usize) -> bool {
        let whole = self.pitch.checked_next_multiple_of(lanes);
        let lines = whole.and_then(|whole| span(lines, self.pitch, whole));
        lines.and_then(|lines| span(BANDS, self.band, lines)).is_some_and(|end| end <= most)
    }
}

impl Isa {
    /// The six rows of input of each line to its six bands; the rows of the next line start [`BAND_ROWS`] rows further, its
    /// bands one. Up to a vector past the end of a line is read and written.
    ///
    /// # Panics
    /// If the slices are too short for what is asked.
    pub fn winograd_split(self, src: &[f32], dst: &mut [f32], bands: Bands, lines: usize) {
        if lines > 0 && bands.pitch > 0 {
            assert!(bands.fit_rows(lines, BAND_REACH, self.lanes(), src.len()), "rows end before the last line does");
            assert!(bands.fit_bands(lines, self.lanes(), dst.len()), "bands end before the last line does");
            // SAFETY: rows and bands of all lines, with whole vectors, lie in their slices.
            unsafe { self.run(Split { src, dst, bands, lines }) }
        }
    }

    /// Six bands of `len` sums to four rows of output, and the bias added. Up to a vector past `len` is read and written.
    ///
    /// # Panics
    /// If the slices are too short for what is asked.
    pub fn winograd_join(self, sums: &[f32], dst: &mut [f32], bands: Bands, len: usize, bias: f32) {
        let whole = len.checked_next_multiple_of(self.lanes());
        let fits = |count, step, most| whole.and_then(|len| span(count, step, len)).is_some_and(|n| n <= most);
        assert!(fits(BANDS, bands.band, sums.len()), "bands end before the sums do");
        assert!(fits(BAND_ROWS, bands.pitch, dst.len()), "rows end before the sums do");
        // SAFETY: all bands and rows, with whole vectors, lie in their slices.
        unsafe { self.run(Join { sums, dst, bands, len, bias }) }
    }

    /// Packed weights `[block][cin][kz][3][kx][BLOCK_ROWS]` to `[block][BANDS][cin][kz][kx][BLOCK_ROWS]`.
    ///
    /// # Panics
    /// If the kernel is not three along y, or the slices differ from what is asked.
    pub fn winograd_weights(self, src: &[f32], dst: &mut [f32], cin: usize, kernel: [usize; 3]) {
        let product = |factors: &[usize]| factors.iter().try_fold(1usize, |n, &f| n.checked_mul(f));
        let block = product(&[cin, kernel[0], kernel[1], kernel[2], BLOCK_ROWS]).filter(|&n| n > 0);
        assert!(kernel[1] == 3 && block.is_some(), "weights of {cin} channels and a kernel of {kernel:?}");
        // No slice of f32 is so long that these products overflow.
        assert_eq!(3 * dst.len(), BANDS * src.len(), "elements of transforms and of weights");
        // SAFETY: the kernel has no conditions; it checks every index.
        unsafe { self.run(Weights { src, dst, cin, kernel }) }
    }
}
