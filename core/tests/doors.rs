//! The safe functions under the kernels, with arguments that nobody should give them: they may refuse and they may panic,
//! but they never touch memory outside their slices. Run these in release as well, where overflow wraps.
#![allow(missing_docs)]

use proptest::prelude::*;
use scanside_core::raw::*;
use scanside_testing::executors::Threads;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Zero, small and huge numbers, and those around which sums and products overflow.
fn wild() -> impl Strategy<Value = usize> {
    prop_oneof![
        5 => 0usize..6,
        3 => 0usize..70,
        1 => (0u32..usize::BITS).prop_map(|bit| 1 << bit),
        1 => (0u32..usize::BITS, 0usize..40).prop_map(|(bits, less)| (usize::MAX >> bits).saturating_sub(less)),
    ]
}

/// Numbers with others around them that must not change.
struct Fenced<T>(Vec<T>);

const FENCE: usize = 80;

impl<T: Copy + PartialEq + std::fmt::Debug> Fenced<T> {
    fn new(len: usize, fence: T, inside: T) -> Fenced<T> {
        let mut all = vec![fence; len + 2 * FENCE];
        all[FENCE..][..len].fill(inside);
        Fenced(all)
    }

    fn inside(&mut self) -> &mut [T] {
        let end = self.0.len() - FENCE;
        &mut self.0[FENCE..end]
    }

    fn check(&self, fence: T) {
        let (before, rest) = self.0.split_at(FENCE);
        let behind = &rest[rest.len() - FENCE..];
        assert!(before.iter().chain(behind).all(|v| *v == fence), "memory around a slice was written");
    }
}

/// Runs a safe function on memory with guard values around it; it may panic.
fn on_fenced(len: usize, door: impl FnOnce(&mut [f32])) {
    let mut memory = Fenced::new(len, -1e30f32, 0.5);
    let _ = catch_unwind(AssertUnwindSafe(|| door(memory.inside())));
    memory.check(-1e30);
}

#[test]
fn a_tensor_whose_size_overflows_is_refused() {
    // 2^64 elements, which wraps to those of an empty slice.
    let shape = [1 << (usize::BITS / 2 + 1), 1, 1 << (usize::BITS / 2 - 1), 1];
    assert!(Cuts::whole(shape, Order::Channels, [shape[0], 1, shape[2]]).is_none());
    // A box further than the last one would end beyond the largest number.
    let cuts = Cuts::whole([3, 2, 5, 1], Order::Planes, [usize::MAX, usize::MAX, 4]).unwrap();
    let mut data = [0u8; 30];
    let tiles = Tiles::new(&mut data, cuts, &mut []);
    let tile = tiles.take().unwrap();
    assert_eq!(*tile.bounds(), TileBox { c: 0..3, z: 0..2, y: 0..4 });
}

#[test]
fn a_strip_that_would_read_before_its_slice_is_refused() {
    let src = [0f32; 64];
    let strip = |channel: usize, first_tap: usize, pitch: usize, sums: &mut [f32]| {
        Strip::new(
            StripInput { data: &src, channel, channels: 2, taps: &[0] },
            StripWeights { data: &[0.0; 16], taps: 1, first_tap },
            Lines { len: 16, count: 1, step: 16 },
            StripSums { data: sums, pitch, rows: 2, start: Some([0.0; BLOCK_ROWS]) },
        )
        .is_some()
    };
    let mut sums = [0f32; 64];
    assert!(strip(32, 0, 32, &mut sums), "what fits is taken");
    // Two channels, the second of them 16 numbers before the first.
    assert!(!strip(usize::MAX - 15, 0, 32, &mut sums));
    assert!(!strip(32, usize::MAX, 32, &mut sums));
    assert!(!strip(32, 0, usize::MAX - 15, &mut sums));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 2048 }))]

    #[test]
    fn tiles_stay_in_their_tensor(
        shape in [wild(), wild(), wild(), wild()],
        step in [wild(), wild(), wild()],
        (start, end) in (wild(), wild()),
        (whole, planes_first, summed) in (any::<bool>(), any::<bool>(), any::<bool>()),
    ) {
        let order = if planes_first { Order::Planes } else { Order::Channels };
        let planes = if whole { 0..shape[1] } else { start..end };
        let Some(cuts) = Cuts::new(shape, order, step, planes.clone()) else { return Ok(()) };
        let right = shape[0].checked_mul(shape[2]).and_then(|n| n.checked_mul(shape[3])?.checked_mul(planes.len()));
        let len = right.filter(|&n| n <= 1 << 12).unwrap_or(7);
        let count = cuts.count().checked_mul(shape[0]).filter(|&n| summed && n <= 1 << 12).unwrap_or(0);
        let mut sums = Fenced::new(count, (-1.0, -1.0), (0.0, 0.0));
        on_fenced(len, |data| {
            data.fill(0.0);
            let tiles = Tiles::new(&mut *data, cuts, sums.inside());
            while let Some(mut tile) = tiles.take() {
                let bounds = tile.bounds().clone();
                for c in bounds.c {
                    for z in bounds.z.clone() {
                        tile.rows_mut(c, z, bounds.y.clone()).iter_mut().for_each(|v| *v += 1.0);
                        if tile.is_summed() {
                            tile.add(c, (1.0, 1.0));
                        }
                    }
                }
            }
            assert!(data.iter().all(|&v| v == 1.0), "every element belongs to one box");
        });
        sums.check((-1.0, -1.0));
    }

    #[test]
    fn rows_outside_a_box_are_refused(c in wild(), z in wild(), (start, end) in (wild(), wild())) {
        on_fenced(2 * 3 * 8 * 5, |data| {
            let cuts = Cuts::whole([2, 3, 8, 5], Order::Planes, [1, 2, 4]).unwrap();
            let tiles = Tiles::new(data, cuts, &mut []);
            let mut tile = tiles.take().unwrap();
            tile.rows_mut(c, z, start..end).fill(9.0);
            assert!(c == 0 && z < 2 && start <= end && end <= 4);
        });
    }

    #[test]
    fn strips_stay_in_their_slices(
        (channel, channels, taps) in (wild(), wild(), proptest::collection::vec(wild(), 0..4)),
        (weight_taps, first_tap) in (wild(), wild()),
        (len, count, step) in (wild(), wild(), wild()),
        (pitch, rows, biased) in (wild(), wild(), any::<bool>()),
        sizes in [0usize..600, 0usize..600, 0usize..600],
    ) {
        for isa in Isa::available() {
            let (src, weights) = (vec![0.5f32; sizes[0]], vec![0.5f32; sizes[1]]);
            on_fenced(sizes[2], |sums| {
                let strip = Strip::new(
                    StripInput { data: &src, channel, channels, taps: &taps },
                    StripWeights { data: &weights, taps: weight_taps, first_tap },
                    Lines { len, count, step },
                    StripSums { data: sums, pitch, rows, start: biased.then_some([0.0; BLOCK_ROWS]) },
                );
                strip.into_iter().for_each(|strip| isa.conv_f32(strip));
            });
            let (src, weights) = (vec![5i32; sizes[0]], vec![5i32; sizes[1]]);
            let mut sums = Fenced::new(sizes[2], -77i32, 1);
            let strip = Strip::new(
                StripInput { data: &src, channel, channels, taps: &taps },
                StripWeights { data: &weights, taps: weight_taps, first_tap },
                Lines { len, count, step },
                StripSums { data: sums.inside(), pitch, rows, start: biased.then_some([0; BLOCK_ROWS]) },
            );
            strip.into_iter().for_each(|strip| isa.conv_int(strip));
            sums.check(-77);
        }
    }

    #[test]
    fn winograd_stays_in_its_slices(
        (pitch, band, lines, len) in (wild(), wild(), wild(), wild()),
        (cin, kernel_z, kernel_x) in (wild(), wild(), wild()),
        sizes in [0usize..900, 0usize..900],
    ) {
        for isa in Isa::available() {
            let (src, bands) = (vec![0.5f32; sizes[0]], Bands { pitch, band });
            on_fenced(sizes[1], |dst| isa.winograd_split(&src, dst, bands, lines));
            on_fenced(sizes[1], |dst| isa.winograd_join(&src, dst, bands, len, 0.5));
            on_fenced(2 * sizes[0], |dst| isa.winograd_weights(&src, dst, cin, [kernel_z, 3, kernel_x]));
        }
    }

    #[test]
    fn rows_of_any_lengths_stay_in_their_slices(
        (a, b, c) in (0usize..70, 0usize..70, 0usize..70),
        (start, len) in (wild(), wild()),
        zero in any::<u8>(),
        scale in prop_oneof![Just(0f32), Just(f32::NAN), Just(f32::MIN_POSITIVE), Just(f32::INFINITY), Just(0.1)],
    ) {
        let quant = Quant { scale, zero };
        let affine = Affine { scale, shift: 1.0 };
        let (floats, halves, bytes, ints) = (vec![0.5f32; a], vec![0x3800u16; a], vec![7u8; a], vec![9i32; a]);
        for isa in Isa::available() {
            for row in [Row::F32(&floats), Row::F16(&halves), Row::U8(&bytes, quant)] {
                on_fenced(b, |dst| isa.read_row(row, Some(affine), Activation::Leaky(0.1), dst));
            }
            on_fenced(b, |dst| isa.change_row(dst, Some(affine), Activation::Relu));
            on_fenced(b, |dst| isa.onto_grid(dst, quant));
            on_fenced(b, |dst| isa.from_int(&ints, affine, dst));
            on_fenced(b, |dst| isa.add_row(dst, &floats));
            on_fenced(b, |dst| isa.zip(&floats, &vec![0.5; c], dst));
            on_fenced(b, |even| on_fenced(c, |odd| isa.unzip(&floats, even, odd)));
            isa.prefetch(&floats, start, len);
            let mut out = Fenced::new(b, 0xabu8, 0);
            for _ in 0..2 {
                let _ = catch_unwind(AssertUnwindSafe(|| isa.write_row(&floats, RowMut::U8(out.inside(), quant))));
                let _ = catch_unwind(AssertUnwindSafe(|| isa.finish_bytes(&ints, affine, quant, out.inside())));
                let _ = catch_unwind(AssertUnwindSafe(|| isa.map_bytes(&[3; 256], &bytes, out.inside())));
            }
            out.check(0xab);
            let mut out = Fenced::new(b, 0xabcdu16, 0);
            let _ = catch_unwind(AssertUnwindSafe(|| isa.write_row(&floats, RowMut::F16(out.inside()))));
            out.check(0xabcd);
            let mut out = Fenced::new(b, -77i32, 0);
            let others = vec![1u8; c];
            let rows = [&bytes[..], &bytes, &others, &bytes];
            let _ = catch_unwind(AssertUnwindSafe(|| isa.pack_bytes(rows, out.inside())));
            out.check(-77);
        }
    }
}

/// Extents of which a few are impossible.
fn extent() -> impl Strategy<Value = usize> {
    prop_oneof![12 => 1usize..7, 1 => wild()]
}

fn three() -> impl Strategy<Value = [usize; 3]> {
    [extent(), extent(), extent()]
}

/// Scratch that a layer asks for, where it is of a size that a test can give.
fn scratch(blocks: impl FnOnce() -> usize) -> Option<Vec<Block>> {
    let blocks = catch_unwind(AssertUnwindSafe(blocks)).ok()?;
    (blocks <= if cfg!(miri) { 1 << 8 } else { 1 << 14 }).then(|| vec![Block::ZERO; blocks])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 1024 }))]

    #[test]
    fn impossible_convolutions_panic_at_worst(
        (cin, cout, input, output) in (extent(), extent(), three(), three()),
        (kernel, stride, dilation, pad) in (three(), three(), three(), three()),
        (channels, grid, cut, lens) in (extent(), three(), three(), [0usize..3000, 0usize..600]),
        whole in any::<bool>(),
        int in any::<bool>(),
    ) {
        let g = ConvGeometry { cin, cout, input, output, kernel, stride, dilation, pad };
        let quant = Quant { scale: 0.1, zero: 3 };
        let precision = if int { Precision::Int(quant) } else { Precision::F32 };
        // As the geometry says, or something else.
        let grid = if whole { input } else { grid };
        let channels = if whole { cin } else { channels };
        for isa in Isa::available() {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let conv = Conv::new(isa, &g, precision);
                let data = vec![0.5f32; lens[0]];
                let stored = Stored { data: Data::F32(&data), channels, order: Order::Channels, gone: 0, ops: vec![] };
                let source = Source { parts: vec![Box::new(stored)], grid };
                let Some(mut blocks) = scratch(|| conv.scratch_blocks(&source)) else { return };
                let mut out = Fenced::new(lens[1], -1e30f32, 0.0);
                let step = if whole { conv.tile_step() } else { cut };
                let shape = [cout, output[0], output[1], output[2]];
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    let cuts = Cuts::whole(shape, Order::Channels, step).unwrap();
                    let target = Output::F32(Tiles::new(out.inside(), cuts, &mut []));
                    let (w, bias) = (vec![0.5f32; g.weight_elements().min(1 << 16)], vec![0.5f32; cout.min(64)]);
                    let (words, totals) = (vec![1i32; w.len()], vec![1i32; bias.len()]);
                    let weights = match int {
                        true => ConvWeights::Int { words: &words, totals: &totals, scale: &bias, bias: &bias },
                        false => ConvWeights::F32(&w, &bias),
                    };
                    let pass = Pass { isa, executor: &Threads(1), scratch: &mut [&mut blocks] };
                    conv.run(pass, &source, weights, None, &target);
                }));
                out.check(-1e30);
            }));
        }
    }

    #[test]
    fn impossible_pools_panic_at_worst(
        (channels, input, output) in (extent(), three(), three()),
        (kernel, stride, pad, max) in (three(), three(), three(), any::<bool>()),
        lens in [0usize..3000, 0usize..600],
    ) {
        let g = PoolGeometry { max, count_padding: !max, kernel, stride, pad, channels, input, output };
        let data = vec![0.5f32; lens[0]];
        let stored = Stored { data: Data::F32(&data), channels, order: Order::Planes, gone: 0, ops: vec![] };
        let source = Source { parts: vec![Box::new(stored)], grid: input };
        let Some(mut blocks) = scratch(|| Pool::scratch_blocks(&g, &source)) else { return Ok(()) };
        on_fenced(lens[1], |out| {
            let shape = [channels, output[0], output[1], output[2]];
            let cuts = Cuts::whole(shape, Order::Planes, Pool::tile_step(&g)).unwrap();
            let target = Output::F32(Tiles::new(out, cuts, &mut []));
            let pass = Pass { isa: Isa::detect(), executor: &Threads(1), scratch: &mut [&mut blocks] };
            Pool::run(pass, &g, &source, &target);
        });
    }

    #[test]
    fn impossible_sources_panic_at_worst(
        (channels, grid, cout, kernel) in (extent(), three(), extent(), three()),
        (low, by, lens) in (three(), three(), [0usize..3000, 0usize..600]),
        (z, start, end, first) in (extent(), extent(), extent(), extent()),
        (channel, pitch, which) in (wild(), wild(), 0usize..3),
    ) {
        let data = vec![0.5f32; lens[0]];
        let stored = Stored { data: Data::F32(&data), channels, order: Order::Planes, gone: first, ops: vec![] };
        let low = Source { parts: vec![Box::new(stored)], grid: low };
        let axis: Vec<Between> = (0..9usize).map(|i| Between { index: i.wrapping_mul(first) % 7, weight: 0.5 }).collect();
        let (weights, bias) = (vec![0.5f32; 600], vec![0.5f32; cout.min(64)]);
        let part: Box<dyn Read> = match which {
            0 => Box::new(Spread { low, by }),
            1 => Box::new(Upsample {
                low,
                cout,
                kernel,
                weights: UpsampleWeights { weights: &weights, bias: &bias },
                activation: Activation::Relu,
                grids: vec![Quant { scale: 0.1, zero: 3 }],
            }),
            _ => Box::new(Resample { low, axes: [&axis, &axis, &axis] }),
        };
        let source = Source { parts: vec![part], grid };
        let rows = start.min(9)..end.min(9);
        let Some(mut blocks) = scratch(|| source.aux_blocks(rows.len())) else { return Ok(()) };
        for isa in Isa::available() {
            on_fenced(lens[1], |data| {
                source.read(isa, z, rows.clone(), &mut Target { data, channel, pitch }, &mut blocks);
            });
        }
    }
}

#[cfg(feature = "train")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 1024 }))]

    #[test]
    fn primitives_of_gradients_stay_in_their_slices(
        (pitch, band, lines) in (wild(), wild(), wild()),
        (count, len, offsets) in (wild(), wild(), proptest::collection::vec(wild(), 0..5)),
        sizes in [0usize..900, 0usize..900, 0usize..70],
    ) {
        let (rows, shifted) = (vec![0.5f32; sizes[0]], vec![0.5f32; sizes[1]]);
        let (normed, slope) = (Affine { scale: 2.0, shift: 1.0 }, 0.1);
        let row = NormedRow { raw: &rows[..sizes[2].min(sizes[0])], normed, slope };
        for isa in Isa::available() {
            on_fenced(sizes[1], |dst| isa.winograd_spread(&rows, dst, Bands { pitch, band }, lines));
            on_fenced(sizes[2], |gradient| {
                isa.norm_gradient_sums(row, gradient, normed);
                isa.norm_gradient(row, gradient, 0.5, normed);
            });
            for len in [len, 16 * (len % 4)] {
                on_fenced(sizes[2], |sums| {
                    let rows = CorrelationRows { data: &rows, pitch, count, len };
                    let products = Correlation::new(rows, &shifted, &offsets, sums);
                    products.into_iter().for_each(|products| isa.correlate(products));
                });
            }
        }
    }

    #[test]
    fn impossible_gradients_panic_at_worst(
        (cin, cout, input, output) in (extent(), extent(), three(), three()),
        (kernel, stride, pad, channels) in (three(), three(), three(), extent()),
        lens in [0usize..3000, 0usize..3000, 0usize..600],
        whole in any::<bool>(),
    ) {
        let g = ConvGeometry { cin, cout, input, output, kernel, stride, dilation: [1; 3], pad };
        let (data, other) = (vec![0.5f32; lens[0]], vec![0.5f32; lens[1]]);
        let stored = |data, channels| {
            Stored { data: Data::F32(data), channels, order: Order::Channels, gone: 0, ops: vec![] }
        };
        let (cin, cout) = if whole { (cin, cout) } else { (channels, channels) };
        for isa in Isa::available() {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let gradient = WeightGradient::new(isa, &g, 1);
                let Some(mut blocks) = scratch(|| gradient.scratch_blocks()) else { return };
                let len = if whole { g.cout * g.cin * g.taps() } else { lens[2] };
                on_fenced(len.min(1 << 16), |out| {
                    let pass = Pass { isa, executor: &Threads(1), scratch: &mut [&mut blocks] };
                    gradient.run(pass, &[stored(&data, cin)], &stored(&other, cout), out);
                });
            }));
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let gradient = DataGradient::new(isa, &g);
                let source = Source { parts: vec![Box::new(stored(&other, cout))], grid: output };
                let Some(mut blocks) = scratch(|| gradient.scratch_blocks(&source)) else { return };
                for update in [Update::Replace, Update::Add] {
                    let Some(mut shared) = scratch(|| gradient.shared_blocks(update)) else { return };
                    let weights = vec![0.5f32; gradient.weight_elements().min(1 << 16)];
                    on_fenced(lens[2], |out| {
                        let pass = Pass { isa, executor: &Threads(1), scratch: &mut [&mut blocks] };
                        gradient.run(pass, &source, &weights, GradientTarget { gradient: out, update, shared: &mut shared });
                    });
                }
            }));
        }
    }
}
