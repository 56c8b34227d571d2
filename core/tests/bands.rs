//! Layers that write over their input, band by band, give the bits of layers that have all the memory they want.
#![allow(missing_docs)]

use proptest::prelude::*;
use scanside_core::network::ConvGeometry;
use scanside_core::network::{Activation, Isa, Quant};
use scanside_core::network::{GraphBuilder, Network, ValueSpec};
use scanside_core::patch::{Patch, PatchMut};
use scanside_core::workspace::{Block, numbers_mut};
use scanside_testing::executors::Threads;
use scanside_testing::numbers::{bits, values};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Numbers {
    Single,
    Half,
    Bytes,
}

/// A layer of a small U-Net.
struct Layer {
    cout: usize,
    kernel: [usize; 3],
    stride: [usize; 3],
    dilation: usize,
}

fn convolve(b: &mut GraphBuilder, input: ValueSpec, layer: &Layer, numbers: Numbers) -> ValueSpec {
    let Layer { cout, kernel, stride, dilation } = *layer;
    let g = ConvGeometry {
        cin: input.channels(),
        cout,
        input: input.grid,
        output: core::array::from_fn(|a| input.grid[a].div_ceil(stride[a])),
        kernel,
        stride,
        dilation: [dilation; 3],
        pad: kernel.map(|k| k / 2 * dilation),
    };
    let n = g.cin * g.taps();
    let (w, bias) = (values(cout * n, n), values(cout, 3));
    let value = if numbers == Numbers::Bytes {
        let quant = Quant { scale: 0.025, zero: 100 };
        let on_grid = b.on_grid("grid", input, quant, false);
        let bytes: Vec<i8> = w.iter().map(|w| (w * 120.0) as i8).collect();
        b.conv_int("int", on_grid, &g, &bytes, &vec![0.0025; cout], &bias, quant).unwrap()
    } else {
        b.conv("conv", input, &g, &w, &bias, true)
    };
    let value = b.norm("norm", value, &values(cout, 5), &values(cout, 6), 1e-5);
    b.activation("leaky", value, Activation::Leaky(0.01))
}

/// Two layers, a level below of two more, and two that read it beside the skip.
fn unet(
    patch: [usize; 3],
    channels: usize,
    kernel: [usize; 3],
    stride: [usize; 3],
    dilation: usize,
    numbers: Numbers,
) -> GraphAndWeights {
    let mut b = GraphBuilder::new(1, patch, numbers == Numbers::Half);
    let layer = |cout, stride| Layer { cout, kernel, stride, dilation };
    let first = b.input();
    let first = convolve(
        &mut b,
        first,
        &layer(channels, [1; 3]),
        if numbers == Numbers::Bytes { Numbers::Single } else { numbers },
    );
    let skip = convolve(&mut b, first, &layer(channels, [1; 3]), numbers);
    let low = convolve(&mut b, skip.clone(), &Layer { dilation: 1, ..layer(channels + 3, stride) }, numbers);
    let low = convolve(&mut b, low, &layer(channels + 3, [1; 3]), numbers);
    let taps: usize = stride.iter().product();
    let up = b.upsample(low, channels, stride, &values((channels + 3) * channels * taps, 8), &values(channels, 9));
    let both = b.concat(vec![up, skip]);
    let value = convolve(&mut b, both, &layer(channels, [1; 3]), numbers);
    let value = convolve(&mut b, value, &layer(channels + 1, [1; 3]), numbers);
    let head = ConvGeometry {
        cin: channels + 1,
        cout: 2,
        input: patch,
        output: patch,
        kernel: [1; 3],
        stride: [1; 3],
        dilation: [1; 3],
        pad: [0; 3],
    };
    let value = b.conv("head", value, &head, &values(2 * (channels + 1), 10), &[0.1, -0.1], false);
    b.finish(value).unwrap()
}

type GraphAndWeights = (scanside_core::network::Graph, scanside_core::network::Weights<'static>);

fn run(network: &Network<'_>, blocks: usize, workers: usize, input: &[f32]) -> Vec<u32> {
    let mut out = vec![f32::NAN; 2 * input.len()];
    let mut workspace = vec![Block::ZERO; blocks];
    numbers_mut::<f32>(&mut workspace).fill(f32::NAN);
    network.run(Patch::F32(input), PatchMut::F32(&mut out), &mut workspace, &Threads(workers), &mut ());
    bits(&out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn bands_change_nothing_but_the_workspace(
        planes in 10usize..50, rows in 2usize..14, columns in 2usize..26, channels in 1usize..10, deep in any::<bool>(),
        strides in any::<bool>(), dilation in 1usize..3,
        numbers in prop_oneof![Just(Numbers::Single), Just(Numbers::Half), Just(Numbers::Bytes)],
    ) {
        let stride = [if strides { 2 } else { 1 }, 2, 2];
        let patch = [planes / 2 * 2, 2 * rows, 2 * columns];
        let kernel = [if deep { 3 } else { 1 }, 3, 3];
        let input = values(patch.iter().product(), 1);
        for isa in Isa::available() {
            let (graph, weights) = unet(patch, channels, kernel, stride, dilation, numbers);
            let network = Network::new(isa, graph, weights).unwrap();
            let best = run(&network, network.workspace_blocks(1), 1, &input);
            let least = network.least_workspace_blocks(1);
            prop_assert!(least <= network.workspace_blocks(1));
            prop_assert_eq!(&run(&network, least, 1, &input), &best, "{:?}", isa);
            prop_assert_eq!(&run(&network, network.least_workspace_blocks(3), 3, &input), &best, "{:?}, three threads", isa);
        }
    }
}

/// Of two full-size tensors one and a margin remain, where planes are not tiny beside a block and a kernel's reach. In half
/// precision, which is chosen to save memory, that is so without being asked for.
#[test]
fn bands_save_memory() {
    for isa in Isa::available() {
        for (kernel, stride) in [([3; 3], [2; 3]), ([1, 3, 3], [1, 2, 2])] {
            let blocks = |numbers| {
                let (graph, weights) = unet([64, 48, 64], 8, kernel, stride, 1, numbers);
                let network = Network::new(isa, graph, weights).unwrap();
                (network.least_workspace_blocks(1), network.workspace_blocks(1))
            };
            for numbers in [Numbers::Single, Numbers::Bytes] {
                let (least, most) = blocks(numbers);
                assert!(100 * least <= 85 * most, "{isa:?} {numbers:?} {kernel:?}: {least} of {most} blocks");
            }
            let ((least, half), (_, single)) = (blocks(Numbers::Half), blocks(Numbers::Single));
            assert!(
                least < half && 100 * half <= 50 * single,
                "{isa:?} {kernel:?}: {least}, {half} of {single} blocks"
            );
        }
    }
}
