//! Every kernel on every instruction set of this CPU against its definition, through compiled networks of one layer.
#![allow(missing_docs)]

use proptest::prelude::*;
use scanside_core::network::{GraphBuilder, Network, ValueSpec};
use scanside_core::patch::{Patch, PatchMut};
use scanside_core::raw::*;
use scanside_testing::executors::Threads;
use scanside_testing::numbers::{bits, values};

/// Runs the network on every instruction set, with one worker and with three, from a workspace full of NaN. All runs on
/// one set must give the same bits.
fn outputs(
    input: &[f32],
    channels: usize,
    patch: [usize; 3],
    build: impl Fn(&mut GraphBuilder) -> ValueSpec,
) -> Vec<(Isa, Vec<f32>)> {
    outputs_stored(input, channels, patch, false, build)
}

fn outputs_stored(
    input: &[f32],
    channels: usize,
    patch: [usize; 3],
    half: bool,
    build: impl Fn(&mut GraphBuilder) -> ValueSpec,
) -> Vec<(Isa, Vec<f32>)> {
    let sets: Vec<Isa> = Isa::available().collect();
    assert!(sets.len() > 1 || !cfg!(all(target_arch = "aarch64", target_feature = "neon")), "only {sets:?}");
    #[cfg(target_arch = "x86_64")]
    assert!(sets.len() > 1 || !is_x86_feature_detected!("avx2"), "only {sets:?}");
    sets.into_iter()
        .map(|isa| {
            let run = |workers: usize| {
                let mut builder = GraphBuilder::new(channels, patch, half);
                let value = build(&mut builder);
                let mut out = vec![f32::NAN; value.channels() * value.grid.iter().product::<usize>()];
                // The output of a network has the grid of its input; other grids are brought there by one more layer.
                let (graph, weights) = builder.finish(value).unwrap();
                let network = Network::new(isa, graph, weights).unwrap();
                let mut blocks = vec![Block::ZERO; network.workspace_blocks(workers)];
                numbers_mut::<f32>(&mut blocks).fill(f32::NAN);
                network.run(Patch::F32(input), PatchMut::F32(&mut out), &mut blocks, &Threads(workers), &mut ());
                out
            };
            let one = run(1);
            assert_eq!(bits(&one), bits(&run(3)), "{isa:?}: three workers");
            (isa, one)
        })
        .collect()
}

#[derive(Debug, Clone)]
struct Problem {
    g: ConvGeometry,
    seed: usize,
}

impl Problem {
    fn weights(&self) -> Vec<f32> {
        values(self.g.cout * self.g.cin * self.g.taps(), self.seed)
    }
    fn bias(&self) -> Vec<f32> {
        values(self.g.cout, self.seed + 1)
    }
    fn input(&self) -> Vec<f32> {
        values(self.g.cin * self.g.input.iter().product::<usize>(), self.seed + 2)
    }

    /// `sum(x * w)` and `sum(|x * w|)` of every output voxel. `outside` is what the padding holds.
    fn naive(&self, x: &[f64], w: &[f64], outside: f64) -> Vec<(f64, f64)> {
        let g = &self.g;
        let [iz, iy, ix] = g.input;
        let at = |axis: usize, o: usize, k: usize| {
            (o * g.stride[axis] + k * g.dilation[axis]).checked_sub(g.pad[axis]).filter(|&i| i < g.input[axis])
        };
        let mut out = Vec::new();
        for o in 0..g.cout {
            for z in 0..g.output[0] {
                for y in 0..g.output[1] {
                    for x0 in 0..g.output[2] {
                        let (mut sum, mut size) = (0.0, 0.0);
                        let mut k = o * g.cin * g.taps();
                        for c in 0..g.cin {
                            for kz in 0..g.kernel[0] {
                                for ky in 0..g.kernel[1] {
                                    for kx in 0..g.kernel[2] {
                                        let v = match (at(0, z, kz), at(1, y, ky), at(2, x0, kx)) {
                                            (Some(z), Some(y), Some(x0)) => x[((c * iz + z) * iy + y) * ix + x0],
                                            _ => outside,
                                        };
                                        sum += v * w[k];
                                        size += (v * w[k]).abs();
                                        k += 1;
                                    }
                                }
                            }
                        }
                        out.push((sum, size));
                    }
                }
            }
        }
        out
    }
}

fn wide(v: &[f32]) -> Vec<f64> {
    v.iter().map(|&v| f64::from(v)).collect()
}

/// Same-sized convolutions: what a network can end with. Kernels, strides and dilations of any kind go through
/// [`strided`].
fn problem() -> impl Strategy<Value = Problem> {
    (
        (1usize..11, 1usize..20, 0usize..1000),
        [1usize..7, 1usize..14, 1usize..54],
        [0usize..2, 0usize..3, 0usize..3],
        [1usize..3, 1usize..3, 1usize..3],
    )
        .prop_map(|((cin, cout, seed), input, half, dilation)| {
            let kernel = half.map(|h| 2 * h + 1);
            let pad = core::array::from_fn(|a| half[a] * dilation[a]);
            let g = ConvGeometry { cin, cout, input, output: input, kernel, stride: [1; 3], dilation, pad };
            Problem { g, seed }
        })
}

/// Any convolution.
fn strided() -> impl Strategy<Value = Problem> {
    (
        (1usize..7, 1usize..12, 0usize..1000),
        [1usize..9, 1usize..14, 1usize..50],
        [1usize..4, 1usize..4, 1usize..5],
        [1usize..4, 1usize..4, 1usize..4],
        [1usize..4, 1usize..4, 1usize..4],
        [0usize..4, 0usize..4, 0usize..4],
        [0usize..3, 0usize..3, 0usize..3],
    )
        .prop_filter_map(
            "the kernel reaches over the input",
            |((cin, cout, seed), input, kernel, stride, dilation, pad, after)| {
                let mut output = [0; 3];
                for a in 0..3 {
                    let reach = (kernel[a] - 1) * dilation[a] + 1;
                    output[a] = (input[a] + pad[a] + after[a]).checked_sub(reach)? / stride[a] + 1;
                }
                Some(Problem { g: ConvGeometry { cin, cout, input, output, kernel, stride, dilation, pad }, seed })
            },
        )
}

/// The bound on a float sum of `n` products whose sizes add up to `size`.
fn bound(n: usize, size: f64) -> f64 {
    (n as f64 + 2.0) * f64::from(f32::EPSILON) * (size + 1.0)
}

/// A layer whose output is no patch: the network reads it through a kernel that picks voxel 0 of each row of the input's
/// grid, which would test nothing, so such layers are run by the builder's pieces alone.
fn run_layer(p: &Problem, isa: Isa, quant: Option<(Quant, &[i8])>, workers: usize, half: bool) -> Vec<f32> {
    let conv = Conv::new(isa, &p.g, quant.map_or(Precision::F32, |q| Precision::Int(q.0)));
    let input = p.input();
    let halves: Vec<u16> = input.iter().map(|&v| half::f16::from_f32(v).to_bits()).collect();
    let data = if half { Data::F16(&halves) } else { Data::F32(&input) };
    let stored = Stored { data, channels: p.g.cin, order: Order::Channels, gone: 0, ops: vec![] };
    let source = Source { parts: vec![Box::new(stored)], grid: p.g.input };
    let shape = [p.g.cout, p.g.output[0], p.g.output[1], p.g.output[2]];
    let mut out = vec![f32::NAN; shape.iter().product()];
    let mut scratch = vec![vec![Block::ZERO; conv.scratch_blocks(&source)]; workers];
    scratch.iter_mut().for_each(|s| numbers_mut::<f32>(s).fill(f32::NAN));
    let cuts = Cuts::whole(shape, Order::Channels, conv.tile_step()).unwrap();
    let mut sums = Statistics::new(cuts.count(), shape[0]);
    let target = Output::F32(Tiles::new(&mut out, cuts, sums.sums()));
    let mut scratch: Vec<_> = scratch.iter_mut().map(Vec::as_mut_slice).collect();
    let packed = p.g.pack(&p.weights());
    let mut bands = vec![0.0; conv.prepared_weights()];
    if !bands.is_empty() {
        conv.prepare_weights(isa, &packed, &mut bands);
    }
    let bias = p.bias();
    let ones = vec![1.0; p.g.cout];
    let zeros = vec![0.0; p.g.cout];
    let (words, totals);
    let weights = match quant {
        None => ConvWeights::F32(if bands.is_empty() { &packed } else { &bands }, &bias),
        Some((_, w)) => {
            let bytes = p.g.pack_int(w);
            words = match isa.int_group() {
                4 => bytes.chunks_exact(4).map(|b| i32::from_le_bytes([0, 1, 2, 3].map(|i| b[i] as u8))).collect(),
                _ => pairs(&bytes, p.g.taps() * 8, p.g.cin),
            };
            totals = w
                .chunks_exact(p.g.cin * p.g.taps())
                .map(|w| w.iter().map(|&v| i32::from(v)).sum())
                .collect::<Vec<i32>>();
            ConvWeights::Int { words: &words, totals: &totals, scale: &ones, bias: &zeros }
        }
    };
    let pass = Pass { isa, executor: &Threads(workers), scratch: &mut scratch };
    conv.run(pass, &source, weights, None, &target);
    out
}

/// Groups of four channels as two of two.
fn pairs(bytes: &[i8], per_group: usize, cin: usize) -> Vec<i32> {
    let fours = cin.div_ceil(4);
    let pair = |four: &[i8], k: usize| i32::from(four[2 * k]) & 0xffff | i32::from(four[2 * k + 1]) << 16;
    bytes
        .chunks_exact(fours * per_group * 4)
        .flat_map(|block| {
            (0..cin.div_ceil(2)).flat_map(move |p| {
                block[p / 2 * per_group * 4..][..per_group * 4].chunks_exact(4).map(move |four| pair(four, p % 2))
            })
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn convolution_equals_its_definition(p in strided()) {
        let n = p.g.cin * p.g.taps();
        let want = p.naive(&wide(&p.input()), &wide(&p.weights()), 0.0);
        let bias = p.bias();
        let voxels: usize = p.g.output.iter().product();
        for isa in Isa::available() {
            let got = run_layer(&p, isa, None, 1, false);
            for (i, (got, (sum, size))) in got.iter().zip(&want).enumerate() {
                let want = sum + f64::from(bias[i / voxels]);
                prop_assert!((f64::from(*got) - want).abs() <= bound(n, *size), "{isa:?}: {got} {want}");
            }
            let again = run_layer(&p, isa, None, 3, false);
            prop_assert!(got.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits()), "{isa:?}: three workers");
        }
    }

    #[test]
    fn integer_convolution_is_exact_on_every_set(p in strided(), zero in any::<u8>(), scale in 0.002f32..0.02) {
        let quant = Quant { scale, zero };
        let weights: Vec<i8> = (0..p.weights().len()).map(|i| match i % 7 {
            0 => -128,
            1 => 127,
            _ => (i * 37 + p.seed) as u8 as i8,
        }).collect();
        let x: Vec<f64> = p.input().iter().map(|&v| {
            let q = libm::rintf(v / scale).clamp(-f32::from(zero), 255.0 - f32::from(zero));
            f64::from(q)
        }).collect();
        let want = p.naive(&x, &weights.iter().map(|&w| f64::from(w)).collect::<Vec<_>>(), 0.0);
        for isa in Isa::available() {
            let got = run_layer(&p, isa, Some((quant, &weights)), 2, false);
            for (got, (sum, _)) in got.iter().zip(&want) {
                // The sum is exact; beyond 2^24 its float is the nearest.
                prop_assert_eq!(*got, *sum as i64 as f32, "{:?}", isa);
            }
        }
    }

    #[test]
    fn half_precision_reads_what_was_stored(p in strided()) {
        let stored: Vec<f32> = p.input().iter().map(|&v| half::f16::from_f32(v).to_f32()).collect();
        let want = p.naive(&wide(&stored), &wide(&p.weights()), 0.0);
        let voxels: usize = p.g.output.iter().product();
        for isa in Isa::available() {
            for (i, (got, (sum, size))) in run_layer(&p, isa, None, 1, true).iter().zip(&want).enumerate() {
                let want = sum + f64::from(p.bias()[i / voxels]);
                prop_assert!((f64::from(*got) - want).abs() <= bound(p.g.cin * p.g.taps(), *size));
            }
        }
    }

    #[test]
    fn norm_and_activation_ride_on_the_next_layer(p in problem(), slope in prop_oneof![Just(0.0f32), Just(0.01)], half in any::<bool>()) {
        let (cin, cout) = (p.g.cin, p.g.cout);
        let voxels: usize = p.g.output.iter().product();
        let sums = p.naive(&wide(&p.input()), &wide(&p.weights()), 0.0);
        let (scale, shift) = (values(cout, p.seed + 3), values(cout, p.seed + 4));
        let act = if slope == 0.0 { Activation::Relu } else { Activation::Leaky(slope) };
        let mut want = Vec::new();
        for c in 0..cout {
            let x: Vec<f64> = sums[c * voxels..][..voxels].iter().map(|s| s.0 + f64::from(p.bias()[c])).collect();
            let mean = x.iter().sum::<f64>() / voxels as f64;
            let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / voxels as f64;
            want.extend(x.iter().map(|v| {
                let y = (v - mean) / (var + 1e-2).sqrt() * f64::from(scale[c]) + f64::from(shift[c]);
                if y < 0.0 { y * f64::from(slope) } else { y }
            }));
        }
        let got = outputs_stored(&p.input(), cin, p.g.input, half, |b| {
            let v = b.input();
            let v = b.conv("c", v, &p.g, &p.weights(), &p.bias(), true);
            let v = b.norm("n", v, &scale, &shift, 1e-2);
            b.activation("a", v, act)
        });
        let bar = if half { 2e-2 } else { 1e-3 };
        for (isa, got) in got {
            for (got, want) in got.iter().zip(&want) {
                prop_assert!((f64::from(*got) - want).abs() <= bar, "{isa:?}: {got} {want}");
            }
        }
    }

    #[test]
    fn upsampled_channels_are_a_transposed_convolution(
        (cin, cout, skip) in (1usize..7, 1usize..7, 1usize..4),
        low in [1usize..4, 1usize..6, 1usize..21],
        kernel in [1usize..3, 1usize..4, 1usize..4],
        seed in 0usize..1000,
    ) {
        // The small tensor is the input, kept every `kernel` voxels of the patch by a strided copy.
        let patch: [usize; 3] = core::array::from_fn(|a| low[a] * kernel[a]);
        let x = values((cin + skip) * patch.iter().product::<usize>(), seed);
        let taps: usize = kernel.iter().product();
        let (w, bias) = (values(cin * cout * taps, seed + 1), values(cout, seed + 2));
        let pick = ConvGeometry { cin: cin + skip, cout: cin, input: patch, output: low, kernel: [1; 3], stride: kernel, dilation: [1; 3], pad: [0; 3] };
        let ident: Vec<f32> = (0..cin * (cin + skip)).map(|i| f32::from(u8::from(i / (cin + skip) == i % (cin + skip)))).collect();
        let same = ConvGeometry { cin: cout + cin + skip, cout: cout + cin + skip, input: patch, output: patch, kernel: [1; 3], stride: [1; 3], dilation: [1; 3], pad: [0; 3] };
        let n = cout + cin + skip;
        let ones: Vec<f32> = (0..n * n).map(|i| f32::from(u8::from(i / n == i % n))).collect();
        let got = outputs(&x, cin + skip, patch, |b| {
            let v = b.input();
            let small = b.conv("pick", v, &pick, &ident, &vec![0.0; cin], false);
            let up = b.upsample(small, cout, kernel, &w, &bias);
            let v = b.input();
            let all = b.concat(vec![up, v]);
            b.conv("same", all, &same, &ones, &vec![0.0; n], false)
        });
        let voxels: usize = patch.iter().product();
        let at = |c: usize, z: usize, y: usize, x0: usize| x[((c * patch[0] + z) * patch[1] + y) * patch[2] + x0];
        for (isa, got) in got {
            for (i, got) in got.iter().enumerate() {
                let (o, z, y, x0) = (i / voxels, i / (patch[1] * patch[2]) % patch[0], i / patch[2] % patch[1], i % patch[2]);
                let want = if o >= cout { f64::from(at(o - cout, z, y, x0)) } else {
                    let tap = ((z % kernel[0]) * kernel[1] + y % kernel[1]) * kernel[2] + x0 % kernel[2];
                    let from = [z / kernel[0] * kernel[0], y / kernel[1] * kernel[1], x0 / kernel[2] * kernel[2]];
                    (0..cin).map(|c| f64::from(w[(c * cout + o) * taps + tap]) * f64::from(at(c, from[0], from[1], from[2]))).sum::<f64>() + f64::from(bias[o])
                };
                prop_assert!((f64::from(*got) - want).abs() < 1e-5, "{isa:?} {i}: {got} {want}");
            }
        }
    }

    #[test]
    fn sums_and_pools_equal_their_definitions(
        channels in 1usize..5,
        grid in [1usize..5, 1usize..9, 1usize..37],
        max in any::<bool>(),
        count_padding in any::<bool>(),
        seed in 0usize..1000,
    ) {
        let x = values(channels * grid.iter().product::<usize>(), seed);
        let g = PoolGeometry { max, count_padding, kernel: [3; 3], stride: [1; 3], pad: [1; 3], channels, input: grid, output: grid };
        let got = outputs(&x, channels, grid, |b| {
            let v = b.input();
            let pooled = b.pool("p", v.clone(), &g);
            let twice = b.add("first", pooled, v.clone(), true);
            let act = b.activation("a", twice, Activation::Relu);
            b.add("second", act, v, true)
        });
        let voxels: usize = grid.iter().product();
        for (isa, got) in got {
            for (i, got) in got.iter().enumerate() {
                let (c, z, y, x0) = (i / voxels, i / (grid[1] * grid[2]) % grid[0], i / grid[2] % grid[1], i % grid[2]);
                let mut seen = Vec::new();
                for k in 0..27 {
                    let at = [z + k / 9, y + k / 3 % 3, x0 + k % 3];
                    if (0..3).all(|a| at[a] >= 1 && at[a] <= grid[a]) {
                        seen.push(x[((c * grid[0] + at[0] - 1) * grid[1] + at[1] - 1) * grid[2] + at[2] - 1]);
                    }
                }
                let pooled = if max {
                    seen.iter().copied().fold(f32::MIN, f32::max)
                } else {
                    seen.iter().sum::<f32>() / if count_padding { 27.0 } else { seen.len() as f32 }
                };
                let want = (pooled + x[i]).max(0.0) + x[i];
                prop_assert!((got - want).abs() < 1e-5, "{isa:?} {i}: {got} {want}");
            }
        }
    }
}

/// Layers that Winograd's method takes, at sizes around its bands of four rows and around vectors, with the bound of
/// direct convolution.
#[test]
fn winograd_equals_the_definition_of_convolution() {
    let mut transformed = 0;
    for (i, (rows, len)) in
        [(1, 5), (3, 16), (4, 17), (5, 33), (7, 15), (8, 40), (13, 64), (16, 70)].into_iter().enumerate()
    {
        for (cin, cout, kernel_z) in [(8, 8, 3), (9, 20, 1), (17, 9, 3)] {
            let (input, kernel) = ([3, rows, len], [kernel_z, 3, if i % 3 == 2 { 1 } else { 3 }]);
            let pad = kernel.map(|k: usize| k / 2);
            let g = ConvGeometry { cin, cout, input, output: input, kernel, stride: [1; 3], dilation: [1; 3], pad };
            let p = Problem { g, seed: i };
            let want = p.naive(&wide(&p.input()), &wide(&p.weights()), 0.0);
            for isa in Isa::available() {
                let conv = Conv::new(isa, &p.g, Precision::F32);
                transformed += usize::from(conv.prepared_weights() > 0);
                let got = run_layer(&p, isa, None, 2, false);
                for (i, (got, (sum, size))) in got.iter().zip(&want).enumerate() {
                    let want = sum + f64::from(p.bias()[i / (3 * rows * len)]);
                    let off = (f64::from(*got) - want).abs();
                    assert!(off <= bound(cin * p.g.taps(), *size), "{isa:?} {:?} voxel {i}: {got} for {want}", p.g);
                }
            }
        }
    }
    assert!(transformed >= 8 * Isa::available().count(), "only {transformed} layers were transformed");
}

/// A transposed convolution of any kernel and stride is a convolution, its weights reversed, over voxels with zeros
/// between them.
#[test]
fn a_convolution_over_spread_voxels_is_a_transposed_one() {
    let (cin, cout, kernel, stride, low) = (3, 5, [3usize, 2, 4], [2usize, 3, 2], [3usize, 4, 9]);
    // The small tensor is every `stride`th voxel of the patch.
    let patch: [usize; 3] = core::array::from_fn(|a| (low[a] - 1) * stride[a] + 1);
    let taps: usize = kernel.iter().product();
    let (x, w) = (values(cin * patch.iter().product::<usize>(), 1), values(cin * cout * taps, 2));
    let pick = ConvGeometry {
        cin,
        cout: cin,
        input: patch,
        output: low,
        kernel: [1; 3],
        stride,
        dilation: [1; 3],
        pad: [0; 3],
    };
    let ident: Vec<f32> = (0..cin * cin).map(|i| f32::from(u8::from(i / cin == i % cin))).collect();
    // Cropped to the patch: padding of the kernel's size less one before, and what is needed after.
    let pad = kernel.map(|k| k - 1);
    let g = ConvGeometry { cin, cout, input: patch, output: patch, kernel, stride: [1; 3], dilation: [1; 3], pad };
    let reversed: Vec<f32> = (0..cout * cin * taps)
        .map(|i| w[((i / taps % cin) * cout + i / taps / cin) * taps + taps - 1 - i % taps])
        .collect();
    let bias = values(cout, 3);
    let got = outputs(&x, cin, patch, |b| {
        let v = b.input();
        let small = b.conv("pick", v, &pick, &ident, &vec![0.0; cin], false);
        let wide = b.spread(small, stride, patch);
        b.conv("transposed", wide, &g, &reversed, &bias, false)
    });
    let [nz, ny, nx] = patch;
    let mut want: Vec<f64> = (0..cout * nz * ny * nx).map(|i| f64::from(bias[i / (nz * ny * nx)])).collect();
    for c in 0..cin {
        for i in 0..low.iter().product::<usize>() {
            let at = [i / (low[1] * low[2]) * stride[0], i / low[2] % low[1] * stride[1], i % low[2] * stride[2]];
            let v = f64::from(x[((c * nz + at[0]) * ny + at[1]) * nx + at[2]]);
            for (o, t) in (0..cout).flat_map(|o| (0..taps).map(move |t| (o, t))) {
                let to =
                    [at[0] + t / (kernel[1] * kernel[2]), at[1] + t / kernel[2] % kernel[1], at[2] + t % kernel[2]];
                if (0..3).all(|a| to[a] < patch[a]) {
                    want[((o * nz + to[0]) * ny + to[1]) * nx + to[2]] += v * f64::from(w[(c * cout + o) * taps + t]);
                }
            }
        }
    }
    for (isa, got) in got {
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{isa:?} {i}: {got} {want}");
        }
    }
}

/// Quantising multiplies with a reciprocal where that is sure to round alike: every value around every middle between two
/// bytes, against the quotient.
#[test]
fn quantising_rounds_as_the_quotient_does() {
    for (scale, zero) in [(0.1f32, 0u8), (0.007_843_138, 128), (1.0 / 3.0, 255), (3.7e-5, 17), (1.0, 90)] {
        let quant = Quant { scale, zero };
        let mut x = vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0];
        for half in -600..600i32 {
            let middle = half as f32 * 0.5 * scale;
            x.extend(
                (-3..=3i32).map(|k| f32::from_bits(middle.to_bits().wrapping_add_signed(k))).filter(|v| v.is_finite()),
            );
        }
        let want = |v: f32| {
            let q = libm::rintf(v / scale).clamp(-f32::from(zero), 255.0 - f32::from(zero)) + f32::from(zero);
            if v.is_nan() { 0 } else { q as u8 }
        };
        for isa in Isa::available() {
            let mut out = vec![0u8; x.len()];
            isa.write_row(&x, RowMut::U8(&mut out, quant));
            for (&v, &q) in x.iter().zip(&out) {
                assert_eq!(q, want(v), "{isa:?}: {v:e} on a grid of {scale} around {zero}");
            }
            // Integer sums, and the sums of their bytes.
            let acc: Vec<i32> = (0..12_345).map(|i| (i * 7919 % 4001) - 2000).collect();
            let affine = Affine { scale: scale * 0.25, shift: scale * 3.0 };
            let mut bytes = vec![0u8; acc.len()];
            let sums = isa.finish_bytes(&acc, affine, quant, &mut bytes);
            for (&a, &q) in acc.iter().zip(&bytes) {
                // Plain Rust rounds the product, the others only the sum.
                let fused = want(libm::fmaf(a as f32, affine.scale, affine.shift));
                let apart = want(a as f32 * affine.scale + affine.shift);
                assert!(q == if isa == Isa::SCALAR { apart } else { fused }, "{isa:?}: the sum {a}");
            }
            let all = bytes.iter().map(|&q| u64::from(q));
            assert_eq!(sums, (all.clone().sum(), all.map(|q| q * q).sum()), "{isa:?}");
            // Any table on any length.
            let table: [u8; 256] = core::array::from_fn(|i| (i * 77 + 5) as u8);
            for n in [0, 1, 63, 64, 65, 1000] {
                let mut mapped = vec![0u8; n];
                isa.map_bytes(&table, &bytes[..n], &mut mapped);
                assert!(bytes.iter().zip(&mapped).all(|(&b, &m)| m == table[usize::from(b)]), "{isa:?} {n}");
            }
        }
    }
}
