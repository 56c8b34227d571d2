//! The inner loops of convolution: a block of output channels over some lines of positions along x.
//!
//! Input rows lie in scratch so that a tap of the kernel is an offset. A strip of [`Simd::ROWS`] output channels by one
//! vector of [`Simd::VECS`] neighbouring lines stays in registers while all input channels and taps pass by; each input
//! vector serves all rows of the strip, each weight all its vectors. Where lines start at addresses divisible by a
//! vector, a third of the loads are aligned; anything else was seen to cost up to a third of the speed. Sums of one
//! position are made in one order, whatever the strip.

use super::simd::{BLOCK_ROWS, Kernel, Simd};
use super::{Isa, span};

/// Elements past the end of a line that may be read from scratch and written to sums: one of the widest vectors.
pub const RUN_PAD: usize = 16;

/// Taps along x as a rule, which lie in the same cache lines: one of them is asked for.
const AHEAD: usize = 3;

/// Input rows in scratch: f32, or i32 whose lanes hold [`Isa::int_group`] input channels each.
#[derive(Clone, Copy, Debug)]
pub struct StripInput<'a, T> {
    /// Scratch with the input rows.
    pub data: &'a [T],
    /// Elements from one input channel, or group of them, to the next.
    pub channel: usize,
    /// Input channels or groups.
    pub channels: usize,
    /// Offsets of the taps in a channel.
    pub taps: &'a [usize],
}

/// Weights of one block of output channels.
#[derive(Clone, Copy, Debug)]
pub struct StripWeights<'a, T> {
    /// `[channels][taps][BLOCK_ROWS]`.
    pub data: &'a [T],
    /// Taps of an input channel.
    pub taps: usize,
    /// The place among them of the first tap of the input.
    pub first_tap: usize,
}

/// Positions that are computed.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    /// Positions of a line.
    pub len: usize,
    /// Lines.
    pub count: usize,
    /// Positions from line to line, at least `len`.
    pub step: usize,
}

/// Where sums are made.
#[derive(Debug)]
pub struct StripSums<'a, T> {
    /// `[rows][pitch]`, positions as in the input; a row has room for [`RUN_PAD`] positions past the last.
    pub data: &'a mut [T],
    /// Elements from row to row.
    pub pitch: usize,
    /// Rows wanted, one an output channel, at most [`BLOCK_ROWS`].
    pub rows: usize,
    /// Starting value of each row; where there is none, the sums go on from what they are.
    pub start: Option<[T; BLOCK_ROWS]>,
}

/// One block of output channels over some lines, every access of which lies in its slices.
#[derive(Debug)]
pub struct Strip<'a, T> {
    input: StripInput<'a, T>,
    weights: StripWeights<'a, T>,
    lines: Lines,
    sums: StripSums<'a, T>,
}

impl<'a, T> Strip<'a, T> {
    /// One block. None where a slice is too short for what is asked, or nothing is asked.
    pub fn new(
        input: StripInput<'a, T>,
        weights: StripWeights<'a, T>,
        lines: Lines,
        sums: StripSums<'a, T>,
    ) -> Option<Self> {
        let reach = span(lines.count, lines.step, lines.len.checked_add(RUN_PAD)?)?;
        let far = input.taps.iter().copied().max().unwrap_or(0).checked_add(reach)?;
        let input_end = span(input.channels, input.channel, far)?;
        let last_tap = weights.first_tap.checked_add(input.taps.len())?;
        let weights_end = input.channels.checked_mul(weights.taps)?.checked_mul(BLOCK_ROWS)?;
        let sums_end = span(sums.rows, sums.pitch, reach)?;
        let fits = input_end <= input.data.len()
            && last_tap <= weights.taps
            && weights_end <= weights.data.len()
            && sums_end <= sums.data.len();
        let apart = lines.count == 1 || lines.step >= lines.len;
        (fits && apart && weights.taps > 0 && sums.rows <= BLOCK_ROWS).then_some(Strip { input, weights, lines, sums })
    }
}

/// What a strip computes with.
trait Number: Copy {
    type Vector<S: Simd>: Copy;
    /// Vectors of a strip.
    fn vectors<S: Simd>() -> usize;
    /// # Safety
    /// As the method of [`Simd`] for this number; so for the others.
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
        impl Number for $t {
            type Vector<S: Simd> = S::$vector;
            #[inline(always)]
            fn vectors<S: Simd>() -> usize {
                S::$vectors
            }
            #[inline(always)]
            unsafe fn splat<S: Simd>(self) -> S::$vector {
                // SAFETY: the caller promises the instruction set.
                unsafe { S::$splat(self) }
            }
            #[inline(always)]
            unsafe fn load<S: Simd>(p: *const $t) -> S::$vector {
                // SAFETY: the caller promises the instruction set, and a vector at `p`.
                unsafe { S::$load(p) }
            }
            #[inline(always)]
            unsafe fn store<S: Simd>(p: *mut $t, v: S::$vector) {
                // SAFETY: as for `load`.
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
                // SAFETY: the caller makes the same promise.
                unsafe { S::$channel(acc, src, line, w, taps) }
            }
        }
    };
}
number!(f32, F, VECS, splat, load, store, channel);
number!(i32, I, VECS_INT, splat_i, load_i, store_i, group);

impl Isa {
    /// Runs one block in f32.
    pub fn conv_f32(self, s: Strip<'_, f32>) {
        // SAFETY: `Strip::new` saw to the conditions.
        unsafe { self.run(s) }
    }

    /// Runs one block in integers.
    pub fn conv_int(self, s: Strip<'_, i32>) {
        // SAFETY: `Strip::new` saw to the conditions.
        unsafe { self.run(s) }
    }
}

impl<T: Number> Kernel for Strip<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        // Lines inside: the input rows that neighbouring lines share are still in the first-level cache.
        for x in (0..self.lines.len).step_by(S::LANES) {
            let mut line = 0;
            while line < self.lines.count {
                let vecs = (self.lines.count - line).min(T::vectors::<S>());
                let n = line * self.lines.step + x;
                let mut row = 0;
                while row < self.sums.rows {
                    let rows = (self.sums.rows - row).min(S::ROWS);
                    // SAFETY: `x < len`, and `Strip::new` saw that every tap of every channel has RUN_PAD elements past
                    // the last line, and so has every row of sums; a vector is no longer. `rows` more rows and `vecs`
                    // more lines are wanted.
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
/// The CPU has the instruction set of `S`. From row `row`, `M` rows are wanted; `n` is the place of `x` in a line, where `x`
/// is less than the length of a line, and from that line `N` lines are wanted.
#[inline(always)]
unsafe fn strip<S: Simd, T: Number, const M: usize, const N: usize>(s: &mut Strip<'_, T>, row: usize, n: usize) {
    let Strip { input, weights, lines, sums } = s;
    // SAFETY: `Strip::new` saw that all rows of sums and all channels of input reach RUN_PAD elements past the last line,
    // which a vector that starts before the end of a line does not; and that there are weights for all taps of all
    // channels.
    unsafe {
        let to = sums.data.as_mut_ptr().add(row * sums.pitch + n);
        // What the array holds until then does not matter.
        let mut acc = [[T::load::<S>(to); N]; M];
        for (i, acc) in acc.iter_mut().enumerate() {
            match sums.start {
                Some(start) => *acc = [start[row + i].splat::<S>(); N],
                None => {
                    for (j, acc) in acc.iter_mut().enumerate() {
                        *acc = T::load::<S>(to.add(i * sums.pitch + j * lines.step));
                    }
                }
            }
        }
        for c in 0..input.channels {
            let src = input.data.as_ptr().add(c * input.channel + n);
            // Where a channel has no taps, this may lie behind the weights, and is not read.
            let w = weights.data.as_ptr().wrapping_add((c * weights.taps + weights.first_tap) * BLOCK_ROWS + row);
            // The next channel's rows are far away, a few vectors in each: no CPU prefetches them by itself.
            if c + 1 < input.channels {
                for &tap in input.taps.iter().step_by(AHEAD) {
                    for j in 0..N {
                        S::prefetch(src.add(input.channel + tap + j * lines.step));
                    }
                }
            }
            T::channel::<S, M, N>(&mut acc, src, lines.step, w, input.taps);
        }
        for (i, acc) in acc.iter().enumerate() {
            for (j, &v) in acc.iter().enumerate() {
                T::store::<S>(to.add(i * sums.pitch + j * lines.step), v);
            }
        }
    }
}
