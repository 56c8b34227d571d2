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

/// Taps along x as a rule, which lie in the same cache lines: one of them is asked for.
const AHEAD: usize = 3;

/// One block of output channels over some lines: f32, or i32 whose lanes hold [`Isa::int_group`] input channels each.
#[derive(Debug)]
pub struct Strip<'a, T> {
    /// Scratch with the input rows.
    pub src: &'a [T],
    /// Elements of `src` from one input channel, or group of them, to the next.
    pub channel: usize,
    /// Input channels or groups.
    pub channels: usize,
    /// Offsets of the taps in a channel of `src`.
    pub taps: &'a [usize],
    /// `[channels][weight_taps][BLOCK_ROWS]`.
    pub weights: &'a [T],
    /// The first tap's place in `weights`.
    pub first_tap: usize,
    /// Taps per channel of `weights`.
    pub weight_taps: usize,
    /// Starting value of each row; where there is none, the sums go on from what they are.
    pub bias: Option<[T; BLOCK_ROWS]>,
    /// Rows wanted, at most [`BLOCK_ROWS`].
    pub rows: usize,
    /// Positions wanted in a line.
    pub len: usize,
    /// Lines wanted.
    pub lines: usize,
    /// Positions from line to line, at least `len`.
    pub line: usize,
    /// `[rows][pitch]`, positions as in `src`; a row has room for [`RUN_PAD`] positions past the last.
    pub sums: &'a mut [T],
    /// Elements of `sums` from row to row.
    pub pitch: usize,
}

/// What a strip computes with.
trait Number: Copy {
    type Vector<S: Simd>: Copy;
    /// Vectors of a strip.
    fn vectors<S: Simd>() -> usize;
    /// # Safety
    /// As [`Simd`]; so for the others.
    unsafe fn splat<S: Simd>(self) -> Self::Vector<S>;
    unsafe fn load<S: Simd>(p: *const Self) -> Self::Vector<S>;
    unsafe fn store<S: Simd>(p: *mut Self, v: Self::Vector<S>);
    unsafe fn channel<S: Simd, const M: usize, const N: usize>(
        acc: &mut [[Self::Vector<S>; N]; M],
        src: *const Self,
        line: usize,
        w: *const Self,
        taps: &[usize],
    );
}

macro_rules! number {
    ($t:ty, $vector:ident, $vectors:ident, $splat:ident, $load:ident, $store:ident, $channel:ident) => {
        // SAFETY of all: the caller's promises are passed on.
        impl Number for $t {
            type Vector<S: Simd> = S::$vector;
            #[inline(always)]
            fn vectors<S: Simd>() -> usize {
                S::$vectors
            }
            #[inline(always)]
            unsafe fn splat<S: Simd>(self) -> S::$vector {
                unsafe { S::$splat(self) }
            }
            #[inline(always)]
            unsafe fn load<S: Simd>(p: *const $t) -> S::$vector {
                unsafe { S::$load(p) }
            }
            #[inline(always)]
            unsafe fn store<S: Simd>(p: *mut $t, v: S::$vector) {
                unsafe { S::$store(p, v) }
            }
            #[inline(always)]
            unsafe fn channel<S: Simd, const M: usize, const N: usize>(
                acc: &mut [[S::$vector; N]; M],
                src: *const $t,
                line: usize,
                w: *const $t,
                taps: &[usize],
            ) {
                unsafe { S::$channel(acc, src, line, w, taps) }
            }
        }
    };
}
number!(f32, F, VECS, splat, load, store, channel);
number!(i32, I, VECS_INT, splat_i, load_i, store_i, group);

impl Isa {
    /// Runs one block in f32.
    ///
    /// # Panics
    /// If the slices are too short for what is asked.
    pub fn conv_f32(self, s: Strip<'_, f32>) {
        s.check();
        self.run(s);
    }

    /// Runs one block in integers.
    ///
    /// # Panics
    /// If the slices are too short for what is asked.
    pub fn conv_int(self, s: Strip<'_, i32>) {
        s.check();
        self.run(s);
    }
}

impl<T> Strip<'_, T> {
    fn check(&self) {
        let reach = (self.lines - 1) * self.line + self.len + RUN_PAD;
        assert!(self.channels >= 1 && (1..=BLOCK_ROWS).contains(&self.rows));
        assert!(self.first_tap + self.taps.len() <= self.weight_taps);
        assert!(self.weights.len() >= self.channels * self.weight_taps * BLOCK_ROWS);
        let far = self.taps.iter().copied().max().unwrap_or(0);
        let last = (self.channels - 1) * self.channel + far + reach;
        assert!(last <= self.src.len(), "the scratch ends before the last tap does");
        assert!((self.rows - 1) * self.pitch + reach <= self.sums.len(), "the sums end before the last strip does");
    }
}

impl<T: Number> Kernel for Strip<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        // Lines inside: the input rows that neighbouring lines share are still in the first-level cache.
        for x in (0..self.len).step_by(S::LANES) {
            let mut line = 0;
            while line < self.lines {
                let vecs = (self.lines - line).min(T::vectors::<S>());
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
                                    1 => strip::<S, T, 1, $v>(&mut self, row, n),
                                    2 => strip::<S, T, 2, $v>(&mut self, row, n),
                                    3 => strip::<S, T, 3, $v>(&mut self, row, n),
                                    4 => strip::<S, T, 4, $v>(&mut self, row, n),
                                    5 if S::ROWS > 4 => strip::<S, T, 5, $v>(&mut self, row, n),
                                    6 if S::ROWS > 4 => strip::<S, T, 6, $v>(&mut self, row, n),
                                    7 if S::ROWS > 4 => strip::<S, T, 7, $v>(&mut self, row, n),
                                    _ if S::ROWS > 4 => strip::<S, T, 8, $v>(&mut self, row, n),
                                    _ => {}
                                }
                            };
                        }
                        match vecs {
                            1 => rows!(1),
                            2 => rows!(2),
                            _ if T::vectors::<S>() > 2 => rows!(3),
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
/// As for [`Strip::run`].
#[inline(always)]
unsafe fn strip<S: Simd, T: Number, const M: usize, const N: usize>(s: &mut Strip<'_, T>, row: usize, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let sums = s.sums.as_mut_ptr().add(row * s.pitch + n);
        // What the array holds until then does not matter.
        let mut acc = [[T::load::<S>(sums); N]; M];
        for (i, acc) in acc.iter_mut().enumerate() {
            match s.bias {
                Some(bias) => *acc = [bias[row + i].splat::<S>(); N],
                None => {
                    for (j, acc) in acc.iter_mut().enumerate() {
                        *acc = T::load::<S>(sums.add(i * s.pitch + j * s.line));
                    }
                }
            }
        }
        for c in 0..s.channels {
            let src = s.src.as_ptr().add(c * s.channel + n);
            let w = s.weights.as_ptr().add((c * s.weight_taps + s.first_tap) * BLOCK_ROWS + row);
            // The next channel's rows lie far away, a few vectors in each: no CPU foresees them.
            if c + 1 < s.channels {
                for &tap in s.taps.iter().step_by(AHEAD) {
                    for j in 0..N {
                        S::prefetch(src.add(s.channel + tap + j * s.line));
                    }
                }
            }
            T::channel::<S, M, N>(&mut acc, src, s.line, w, s.taps);
        }
        for (i, acc) in acc.iter().enumerate() {
            for (j, &v) in acc.iter().enumerate() {
                T::store::<S>(sums.add(i * s.pitch + j * s.line), v);
            }
        }
    }
}
