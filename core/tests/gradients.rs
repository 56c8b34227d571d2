//! Gradients on every instruction set of this CPU against their definitions.
#![allow(missing_docs)]

use proptest::prelude::*;
use scanside_core::raw::{
    Activation, Affine, Block, ConvGeometry, Correlation, CorrelationRows, Data, DataGradient, GradientTarget, Isa,
    NormedRow, Op, Order, Pass, Source, Stored, Update, WeightGradient, numbers_mut,
};
use scanside_testing::executors::Threads;
use scanside_testing::numbers::{bits, values};

/// The bound on a float sum of `n` products whose sizes add up to `size`; Winograd's method takes them times a few.
fn bound(n: usize, size: f64) -> f64 {
    4.0 * (n as f64 + 8.0).sqrt() * f64::from(f32::EPSILON) * (size + 1.0)
}

#[derive(Debug, Clone)]
struct Problem {
    g: ConvGeometry,
    seed: usize,
}

impl Problem {
    fn input(&self) -> Vec<f32> {
        values(self.g.cin * self.g.input.iter().product::<usize>(), self.seed)
    }
    fn output(&self) -> Vec<f32> {
        values(self.g.cout * self.g.output.iter().product::<usize>(), self.seed + 1)
    }
    fn weights(&self) -> Vec<f32> {
        values(self.g.cout * self.g.cin * self.g.taps(), self.seed + 2)
    }

    /// Calls `f(output voxel, input voxel, tap)` for all that meet, voxels in one channel.
    fn meetings(&self, mut f: impl FnMut(usize, usize, usize)) {
        let g = &self.g;
        let at = |a: usize, o: usize, k: usize| {
            (o * g.stride[a] + k * g.dilation[a]).checked_sub(g.pad[a]).filter(|&i| i < g.input[a])
        };
        for o in 0..g.output.iter().product() {
            let p = [o / (g.output[1] * g.output[2]), o / g.output[2] % g.output[1], o % g.output[2]];
            for t in 0..g.taps() {
                let k = [t / (g.kernel[1] * g.kernel[2]), t / g.kernel[2] % g.kernel[1], t % g.kernel[2]];
                if let (Some(z), Some(y), Some(x)) = (at(0, p[0], k[0]), at(1, p[1], k[1]), at(2, p[2], k[2])) {
                    f(o, (z * g.input[1] + y) * g.input[2] + x, t);
                }
            }
        }
    }

    /// Sums and sums of sizes of the weights' gradients.
    fn weight_gradient(&self, input: &[f32], output: &[f32]) -> Vec<(f64, f64)> {
        let g = &self.g;
        let (ni, no) = (g.input.iter().product::<usize>(), g.output.iter().product::<usize>());
        let mut sums = vec![(0.0, 0.0); g.cout * g.cin * g.taps()];
        self.meetings(|o, i, t| {
            for k in 0..g.cout * g.cin {
                let product = f64::from(output[k / g.cin * no + o]) * f64::from(input[k % g.cin * ni + i]);
                let sum = &mut sums[k * g.taps() + t];
                *sum = (sum.0 + product, sum.1 + product.abs());
            }
        });
        sums
    }

    fn data_gradient(&self, weights: &[f32], output: &[f32]) -> Vec<(f64, f64)> {
        let g = &self.g;
        let (ni, no) = (g.input.iter().product::<usize>(), g.output.iter().product::<usize>());
        let mut sums = vec![(0.0, 0.0); g.cin * ni];
        self.meetings(|o, i, t| {
            for k in 0..g.cout * g.cin {
                let product = f64::from(output[k / g.cin * no + o]) * f64::from(weights[k * g.taps() + t]);
                let sum = &mut sums[k % g.cin * ni + i];
                *sum = (sum.0 + product, sum.1 + product.abs());
            }
        });
        sums
    }
}

fn any_convolution(most_dilation: usize) -> impl Strategy<Value = Problem> {
    (
        (1usize..12, 1usize..14, 0usize..1000),
        [1usize..9, 1usize..14, 1usize..50],
        [1usize..4, 1usize..4, 1usize..5],
        [1usize..4, 1usize..4, 1usize..4],
        [1..=most_dilation, 1..=most_dilation, 1..=most_dilation],
        [0usize..3, 0usize..3, 0usize..3],
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
                let g = ConvGeometry { cin, cout, input, output, kernel, stride, dilation, pad };
                Some(Problem { g, seed })
            },
        )
}

/// Convolutions of a U-Net: of the same size, kernels of 1 or 3, and enough channels for Winograd's method.
fn unit() -> impl Strategy<Value = Problem> {
    (
        (1usize..20, 1usize..20, 0usize..1000),
        [1usize..5, 1usize..22, 1usize..44],
        (prop_oneof![Just(1usize), Just(3)], prop_oneof![Just(1usize), Just(3)]),
    )
        .prop_map(|((cin, cout, seed), input, (kernel_z, kernel_x))| {
            let kernel = [kernel_z, 3, kernel_x];
            let g = ConvGeometry {
                cin,
                cout,
                input,
                output: input,
                kernel,
                stride: [1; 3],
                dilation: [1; 3],
                pad: kernel.map(|k| k / 2),
            };
            Problem { g, seed }
        })
}

fn filled(blocks: usize) -> Vec<Block> {
    let mut blocks = vec![Block::ZERO; blocks];
    numbers_mut::<f32>(&mut blocks).fill(f32::NAN);
    blocks
}

/// The input comes in two parts, the second with a norm and an activation pending on it.
fn weight_gradient(p: &Problem, isa: Isa, workers: usize, start: f32) -> Vec<f32> {
    let (input, output) = (p.input(), p.output());
    let voxels: usize = p.g.input.iter().product();
    let some = p.g.cin / 2;
    let (scale, shift) = pending(p);
    let stored = |data, channels, ops| Stored { data: Data::F32(data), channels, order: Order::Channels, gone: 0, ops };
    let parts = [
        stored(&input[..some * voxels], some, vec![]),
        stored(
            &input[some * voxels..],
            p.g.cin - some,
            vec![Op::Affine(&scale, &shift), Op::Act(Activation::Leaky(0.01))],
        ),
    ];
    let gradient = WeightGradient::new(isa, &p.g, workers);
    let mut scratch = vec![filled(gradient.scratch_blocks()); workers];
    let mut out = vec![start; p.g.cout * p.g.cin * p.g.taps()];
    let mut scratch: Vec<_> = scratch.iter_mut().map(Vec::as_mut_slice).collect();
    let pass = Pass { isa, executor: &Threads(workers), scratch: &mut scratch };
    gradient.run(pass, &parts, &stored(&output, p.g.cout, vec![]), &mut out);
    out
}

fn pending(p: &Problem) -> (Vec<f32>, Vec<f32>) {
    let channels = p.g.cin - p.g.cin / 2;
    (values(channels, p.seed + 7), values(channels, p.seed + 8))
}

fn settled(p: &Problem) -> Vec<f32> {
    let mut input = p.input();
    let voxels: usize = p.g.input.iter().product();
    let some = p.g.cin / 2;
    let (scale, shift) = pending(p);
    for (c, channel) in input[some * voxels..].chunks_exact_mut(voxels).enumerate() {
        for v in channel {
            *v = scale[c] * *v + shift[c];
            *v = if *v < 0.0 { 0.01 * *v } else { *v };
        }
    }
    input
}

fn check_weight_gradient(p: &Problem) -> Result<(), TestCaseError> {
    let want = p.weight_gradient(&settled(p), &p.output());
    let n: usize = p.g.output.iter().product();
    for isa in Isa::available() {
        let got = weight_gradient(p, isa, 1, 0.5);
        for (i, (got, (sum, size))) in got.iter().zip(&want).enumerate() {
            let off = (f64::from(*got) - 0.5 - sum).abs();
            prop_assert!(off <= bound(n, *size), "{isa:?} {i}: {got} for {} ({size})", sum + 0.5);
        }
        prop_assert!(bits(&got) == bits(&weight_gradient(p, isa, 3, 0.5)), "{isa:?}: three workers");
    }
    Ok(())
}

fn check_data_gradient(p: &Problem) -> Result<(), TestCaseError> {
    let want = p.data_gradient(&p.weights(), &p.output());
    let output = p.output();
    for isa in Isa::available() {
        let gradient = DataGradient::new(isa, &p.g);
        let stored =
            Stored { data: Data::F32(&output), channels: p.g.cout, order: Order::Channels, gone: 0, ops: vec![] };
        let source = Source { parts: vec![Box::new(stored)], grid: p.g.output };
        let mut weights = vec![f32::NAN; gradient.weight_elements()];
        gradient.prepare_weights(isa, &p.weights(), &mut weights, &mut vec![f32::NAN; 7]);
        let run = |update: Update, workers: usize, start: f32| {
            let mut out = vec![start; p.g.cin * p.g.input.iter().product::<usize>()];
            let mut scratch = vec![filled(gradient.scratch_blocks(&source)); workers];
            let mut scratch: Vec<_> = scratch.iter_mut().map(Vec::as_mut_slice).collect();
            let mut shared = filled(gradient.shared_blocks(update));
            let pass = Pass { isa, executor: &Threads(workers), scratch: &mut scratch };
            let target = GradientTarget { gradient: &mut out, update, shared: &mut shared };
            gradient.run(pass, &source, &weights, target);
            out
        };
        let (placed, added) = (run(Update::Replace, 1, f32::NAN), run(Update::Add, 1, 0.5));
        for (i, (sum, size)) in want.iter().enumerate() {
            let bound = bound(p.g.cout * p.g.taps(), *size);
            prop_assert!((f64::from(placed[i]) - sum).abs() <= bound, "{isa:?} {i}: {} for {sum}", placed[i]);
            prop_assert!((f64::from(added[i]) - 0.5 - sum).abs() <= bound, "{isa:?} {i}: {} added", added[i]);
        }
        prop_assert!(bits(&placed) == bits(&run(Update::Replace, 3, f32::NAN)), "{isa:?}: three workers");
        prop_assert!(bits(&added) == bits(&run(Update::Add, 3, 0.5)), "{isa:?}: three workers");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn weight_gradients_of_any_convolution(p in any_convolution(3)) {
        check_weight_gradient(&p)?;
    }

    #[test]
    fn weight_gradients_of_units(p in unit()) {
        check_weight_gradient(&p)?;
    }

    #[test]
    fn data_gradients_of_any_convolution(p in any_convolution(1)) {
        check_data_gradient(&p)?;
    }

    #[test]
    fn data_gradients_of_units(p in unit()) {
        check_data_gradient(&p)?;
    }

    #[test]
    fn correlations_are_dot_products(
        count in 1usize..19, offsets in proptest::collection::vec(0usize..60, 1..9), sixteens in 1usize..9, seed in 0usize..99
    ) {
        let len = 16 * sixteens;
        let (rows, shifted) = (values(count * (len + 3), seed), values(len + 60, seed + 1));
        for isa in Isa::available() {
            let mut sums = vec![0.25f32; count * offsets.len()];
            let rows = CorrelationRows { data: &rows, pitch: len + 3, count, len };
            isa.correlate(Correlation::new(rows, &shifted, &offsets, &mut sums).unwrap());
            for (i, got) in sums.iter().enumerate() {
                let row = &rows.data[i / offsets.len() * (len + 3)..][..len];
                let other = &shifted[offsets[i % offsets.len()]..][..len];
                let products = || row.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b));
                let (sum, size) = (0.25 + products().sum::<f64>(), products().map(f64::abs).sum());
                prop_assert!((f64::from(*got) - sum).abs() <= bound(len, size), "{isa:?}: {got} for {sum}");
            }
        }
    }

    #[test]
    fn gradients_pass_back_through_norm_and_activation(n in 1usize..1500, seed in 0usize..99, slope in prop_oneof![Just(0f32), Just(0.01), Just(1.0)]) {
        let (raw, gradient) = (values(n, seed), values(n, seed + 1));
        let (normed, centred) = (Affine { scale: 1.5, shift: 0.25 }, Affine { scale: 0.75, shift: -0.5 });
        let (factor, linear) = (0.7f32, Affine { scale: -0.3, shift: 0.1 });
        let back: Vec<f64> = raw.iter().zip(&gradient)
            .map(|(y, g)| f64::from(*g) * if 1.5 * y + 0.25 > 0.0 { 1.0 } else { f64::from(slope) }).collect();
        let products = || raw.iter().zip(&back).map(|(y, g)| g * (0.75 * f64::from(*y) - 0.5));
        for isa in Isa::available() {
            let row = NormedRow { raw: &raw, normed, slope };
            let (sum, product) = isa.norm_gradient_sums(row, &gradient, centred);
            let sizes = (back.iter().map(|g| g.abs()).sum(), products().map(f64::abs).sum());
            prop_assert!((sum - back.iter().sum::<f64>()).abs() <= bound(n, sizes.0), "{isa:?}: {sum}");
            prop_assert!((product - products().sum::<f64>()).abs() <= bound(n, sizes.1), "{isa:?}: {product}");
            let mut out = gradient.clone();
            isa.norm_gradient(row, &mut out, factor, linear);
            for (i, out) in out.iter().enumerate() {
                let want = 0.7 * back[i] - 0.3 * f64::from(raw[i]) + 0.1;
                prop_assert!((f64::from(*out) - want).abs() < 1e-6, "{isa:?} {i}: {out} for {want}");
            }
        }
    }
}
