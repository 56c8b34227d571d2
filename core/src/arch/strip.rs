//! The inner loops of convolution: a block of output channels over some lines of positions along x.
//!
//! Input rows lie in scratch so that a tap of the kernel is an offset. A strip of [`Simd::ROWS`] output channels by one
//! vector of [`Simd::VECS`] neighbouring lines stays in registers while all input channels and taps pass by; each input
//! vector serves all rows of the strip, each weight all its vectors. Where lines start at addresses divisible by a
//! vector, a third of the loads are aligned; anything else was seen to cost up to a third of the speed. Sums of one
//! position are made in one order, whatever the strip.

use super::Isa;
use super::simd::{Kernel, Simd};

/// Output channels of a block of packed weights.
pub const BLOCK_ROWS: usize = 8;
/// Elements past the end of a line that may be read from scratch and written to sums: one of the widest vectors.
pub const RUN_PAD: usize = 16;

/// One block of output channels in f32.
#[derive(Debug)]
pub struct StripF32<'a> {
    /// Scratch with the input rows.
    pub src: &'a [f32],
    /// Elements of `src` from one input channel to the next.
    pub channel: usize,
    /// Input channels.
    pub cin: usize,
    /// Offsets of the taps in a channel of `src`.
    pub taps: &'a [usize],
    /// `[cin][weight_taps][BLOCK_ROWS]`.
    pub weights: &'a [f32],
    /// The first tap's place in `weights`.
    pub first_tap: usize,
    /// Taps per channel of `weights`.
    pub weight_taps: usize,
    /// Starting value of each row; where there is none, the sums go on from what they are.
    pub bias: Option<[f32; BLOCK_ROWS]>,
    /// Rows wanted, at most [`BLOCK_ROWS`].
    pub rows: usize,
    /// Positions wanted in a line.
    pub len: usize,
    /// Lines wanted.
    pub lines: usize,
    /// Positions from line to line, at least `len`.
    pub line: usize,
    /// `[rows][pitch]`, positions as in `src`; a row has room for [`RUN_PAD`] positions past the last.
    pub sums: &'a mut [f32],
    /// Elements of `sums` from row to row.
    pub pitch: usize,
}

/// One block of output channels in integers; lanes hold [`Isa::int_group`] input channels.
#[derive(Debug)]
pub struct StripInt<'a> {
    /// Scratch with the packed input rows.
    pub src: &'a [i32],
    /// Elements of `src` from one channel group to the next.
    pub channel: usize,
    /// Channel groups.
    pub groups: usize,
    /// Offsets of the taps in a channel group of `src`.
    pub taps: &'a [usize],
    /// `[groups][taps][BLOCK_ROWS]`, each a group of signed weights.
    pub weights: &'a [i32],
    /// Starting value of each row; where there is none, the sums go on from what they are.
    pub bias: Option<[i32; BLOCK_ROWS]>,
    /// Rows wanted, at most [`BLOCK_ROWS`].
    pub rows: usize,
    /// Positions wanted in a line.
    pub len: usize,
    /// Lines wanted.
    pub lines: usize,
    /// Positions from line to line, at least `len`.
    pub line: usize,
    /// `[rows][pitch]`, as for f32.
    pub sums: &'a mut [i32],
    /// Elements of `sums` from row to row.
    pub pitch: usize,
}

impl Isa {
    /// Runs one block.
    ///
    /// # Panics
    /// If the slices are too short for what is asked.
    pub fn conv_f32(self, s: StripF32<'_>) {
        check(s.src.len(), s.channel, s.cin, s.taps, (s.lines - 1) * s.line + s.len, s.rows, s.sums.len(), s.pitch);
        assert!(s.first_tap + s.taps.len() <= s.weight_taps && s.weights.len() >= s.cin * s.weight_taps * BLOCK_ROWS);
        self.run(s);
    }

    /// Runs one block.
    ///
    /// # Panics
    /// If the slices are too short for what is asked.
    pub fn conv_int(self, s: StripInt<'_>) {
        check(s.src.len(), s.channel, s.groups, s.taps, (s.lines - 1) * s.line + s.len, s.rows, s.sums.len(), s.pitch);
        assert!(s.weights.len() >= s.groups * s.taps.len() * BLOCK_ROWS);
        self.run(s);
    }
}

#[allow(clippy::too_many_arguments)] // The fields that both kinds of strip share.
fn check(src: usize, channel: usize, cin: usize, taps: &[usize], len: usize, rows: usize, sums: usize, pitch: usize) {
    let reach = len + RUN_PAD;
    assert!(cin >= 1 && (1..=BLOCK_ROWS).contains(&rows));
    let far = taps.iter().copied().max().unwrap_or(0);
    assert!((cin - 1) * channel + far + reach <= src, "the scratch ends before the last tap does");
    assert!((rows - 1) * pitch + reach <= sums, "the sums end before the last strip does");
}

impl Kernel for StripF32<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        // Lines inside: the input rows that neighbouring lines share are still in the first-level cache.
        for x in (0..self.len).step_by(S::LANES) {
            let mut line = 0;
            while line < self.lines {
                let vecs = (self.lines - line).min(S::VECS);
                let n = line * self.line + x;
                let mut row = 0;
                while row < self.rows {
                    let rows = (self.rows - row).min(S::ROWS);
                    // SAFETY: `check` saw that every tap of every channel has RUN_PAD elements past the last line, and
                    // so has every row of sums; a vector is no longer.
                    unsafe {
                        macro_rules! rows {
                            ($v:literal) => {
                                match rows {
                                    1 => strip_f32::<S, 1, $v>(&mut self, row, n),
                                    2 => strip_f32::<S, 2, $v>(&mut self, row, n),
                                    3 => strip_f32::<S, 3, $v>(&mut self, row, n),
                                    4 => strip_f32::<S, 4, $v>(&mut self, row, n),
                                    5 if S::ROWS > 4 => strip_f32::<S, 5, $v>(&mut self, row, n),
                                    6 if S::ROWS > 4 => strip_f32::<S, 6, $v>(&mut self, row, n),
                                    7 if S::ROWS > 4 => strip_f32::<S, 7, $v>(&mut self, row, n),
                                    _ if S::ROWS > 4 => strip_f32::<S, 8, $v>(&mut self, row, n),
                                    _ => {}
                                }
                            };
                        }
                        match vecs {
                            1 => rows!(1),
                            2 => rows!(2),
                            _ if S::VECS > 2 => rows!(3),
                            _ => {}
                        }
                    }
                    row += rows;
                }
                line += vecs;
            }
        }
    }
}

/// # Safety
/// As for [`StripF32::run`].
#[inline(always)]
unsafe fn strip_f32<S: Simd, const M: usize, const N: usize>(s: &mut StripF32<'_>, row: usize, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[S::splat(0.0); N]; M];
        for (i, acc) in acc.iter_mut().enumerate() {
            match s.bias {
                Some(bias) => *acc = [S::splat(bias[row + i]); N],
                None => {
                    let sums = s.sums.as_ptr().add((row + i) * s.pitch + n);
                    for (j, acc) in acc.iter_mut().enumerate() {
                        *acc = S::load(sums.add(j * s.line));
                    }
                }
            }
        }
        for c in 0..s.cin {
            let src = s.src.as_ptr().add(c * s.channel + n);
            let w = s.weights.as_ptr().add((c * s.weight_taps + s.first_tap) * BLOCK_ROWS + row);
            S::channel(&mut acc, src, s.line, w, s.taps);
        }
        for (i, acc) in acc.iter().enumerate() {
            let out = s.sums.as_mut_ptr().add((row + i) * s.pitch + n);
            for (j, &v) in acc.iter().enumerate() {
                S::store(out.add(j * s.line), v);
            }
        }
    }
}

impl Kernel for StripInt<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        // Lines inside: the input rows that neighbouring lines share are still in the first-level cache.
        for x in (0..self.len).step_by(S::LANES) {
            let mut line = 0;
            while line < self.lines {
                let vecs = (self.lines - line).min(S::VECS_INT);
                let n = line * self.line + x;
                let mut row = 0;
                while row < self.rows {
                    let rows = (self.rows - row).min(S::ROWS);
                    // SAFETY: `check` saw that every tap of every channel has RUN_PAD elements past the last line, and
                    // so has every row of sums; a vector is no longer.
                    unsafe {
                        macro_rules! rows {
                            ($v:literal) => {
                                match rows {
                                    1 => strip_int::<S, 1, $v>(&mut self, row, n),
                                    2 => strip_int::<S, 2, $v>(&mut self, row, n),
                                    3 => strip_int::<S, 3, $v>(&mut self, row, n),
                                    4 => strip_int::<S, 4, $v>(&mut self, row, n),
                                    5 if S::ROWS > 4 => strip_int::<S, 5, $v>(&mut self, row, n),
                                    6 if S::ROWS > 4 => strip_int::<S, 6, $v>(&mut self, row, n),
                                    7 if S::ROWS > 4 => strip_int::<S, 7, $v>(&mut self, row, n),
                                    _ if S::ROWS > 4 => strip_int::<S, 8, $v>(&mut self, row, n),
                                    _ => {}
                                }
                            };
                        }
                        match vecs {
                            1 => rows!(1),
                            2 => rows!(2),
                            _ if S::VECS_INT > 2 => rows!(3),
                            _ => {}
                        }
                    }
                    row += rows;
                }
                line += vecs;
            }
        }
    }
}

/// # Safety
/// As for [`StripInt::run`].
#[inline(always)]
unsafe fn strip_int<S: Simd, const M: usize, const N: usize>(s: &mut StripInt<'_>, row: usize, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut acc = [[S::splat_i(0); N]; M];
        for (i, acc) in acc.iter_mut().enumerate() {
            match s.bias {
                Some(bias) => *acc = [S::splat_i(bias[row + i]); N],
                None => {
                    let sums = s.sums.as_ptr().add((row + i) * s.pitch + n);
                    for (j, acc) in acc.iter_mut().enumerate() {
                        *acc = S::load_i(sums.add(j * s.line));
                    }
                }
            }
        }
        for g in 0..s.groups {
            let src = s.src.as_ptr().add(g * s.channel + n);
            let w = s.weights.as_ptr().add(g * s.taps.len() * BLOCK_ROWS + row);
            S::group(&mut acc, src, s.line, w, s.taps);
        }
        for (i, acc) in acc.iter().enumerate() {
            let out = s.sums.as_mut_ptr().add((row + i) * s.pitch + n);
            for (j, &v) in acc.iter().enumerate() {
                S::store_i(out.add(j * s.line), v);
            }
        }
    }
}
