//! Networks of one kernel each, for measurements: 32 channels on a patch of 32^3 voxels.

use scanside_core::network::{Activation, ConvGeometry, Graph, GraphBuilder, PoolGeometry, Quant, ValueSpec, Weights};
use scanside_testing::numbers::values;

/// Voxels of the patch, `z, y, x`.
pub const PATCH: [usize; 3] = [32; 3];
/// Channels of input and output.
pub const CHANNELS: usize = 32;

/// A kernel, and the network that runs it.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// What is measured.
    pub name: &'static str,
    /// Builds the network.
    pub build: fn() -> (Graph, Weights<'static>),
}

/// Every kernel that inference spends time in.
pub const KERNELS: [Measured; 9] = [
    Measured { name: "convolution 1x1x1 f32", build: || convolution(1, false) },
    Measured { name: "convolution 1x1x1 f16", build: || convolution(1, true) },
    Measured { name: "convolution 1x1x1 int8", build: || integers(1) },
    Measured { name: "convolution 3x3x3 f32", build: || convolution(3, false) },
    Measured { name: "convolution 3x3x3 f16", build: || convolution(3, true) },
    Measured { name: "convolution 3x3x3 int8", build: || integers(3) },
    Measured { name: "instance norm, leaky ReLU", build: norm },
    Measured { name: "maximum over 2x2x2, stride 2", build: pooling },
    Measured { name: "transposed convolution 2x2x2 after that maximum", build: upsampling },
];

fn same_size(kernel: usize) -> ConvGeometry {
    ConvGeometry {
        cin: CHANNELS,
        cout: CHANNELS,
        input: PATCH,
        output: PATCH,
        kernel: [kernel; 3],
        stride: [1; 3],
        dilation: [1; 3],
        pad: [kernel / 2; 3],
    }
}

fn finish(builder: GraphBuilder, value: ValueSpec) -> (Graph, Weights<'static>) {
    builder.finish(value).expect("a complete network")
}

/// `half`: weights and tensors are stored in half precision.
fn convolution(kernel: usize, half: bool) -> (Graph, Weights<'static>) {
    let mut builder = GraphBuilder::new(CHANNELS, PATCH, half);
    let g = same_size(kernel);
    let input = builder.input();
    let weights = values(CHANNELS * CHANNELS * g.taps(), 1);
    let value = builder.conv("convolution", input, &g, &weights, &values(CHANNELS, 2), false);
    finish(builder, value)
}

fn integers(kernel: usize) -> (Graph, Weights<'static>) {
    let mut builder = GraphBuilder::new(CHANNELS, PATCH, false);
    let g = same_size(kernel);
    let quant = Quant { scale: 1.0 / 128.0, zero: 128 };
    let input = builder.input();
    let input = builder.on_grid("grid", input, quant, false);
    let weights: Vec<i8> = values(CHANNELS * CHANNELS * g.taps(), 1).iter().map(|w| (w * 127.0) as i8).collect();
    let value = builder
        .conv_int("convolution", input, &g, &weights, &[0.01; CHANNELS], &values(CHANNELS, 2), quant)
        .expect("an input on a grid");
    finish(builder, value)
}

fn norm() -> (Graph, Weights<'static>) {
    let mut builder = GraphBuilder::new(CHANNELS, PATCH, false);
    let input = builder.input();
    let value = builder.norm("norm", input, &values(CHANNELS, 3), &values(CHANNELS, 4), 1e-5);
    let value = builder.activation("activation", value, Activation::Leaky(0.01));
    finish(builder, value)
}

fn maximum(builder: &mut GraphBuilder) -> ValueSpec {
    let g = PoolGeometry {
        max: true,
        count_padding: false,
        kernel: [2; 3],
        stride: [2; 3],
        pad: [0; 3],
        channels: CHANNELS,
        input: PATCH,
        output: PATCH.map(|n| n / 2),
    };
    let input = builder.input();
    builder.pool("maximum", input, &g)
}

fn pooling() -> (Graph, Weights<'static>) {
    let mut builder = GraphBuilder::new(CHANNELS, PATCH, false);
    let low = maximum(&mut builder);
    let value = builder.spread(low, [2; 3], PATCH);
    finish(builder, value)
}

fn upsampling() -> (Graph, Weights<'static>) {
    let mut builder = GraphBuilder::new(CHANNELS, PATCH, false);
    let low = maximum(&mut builder);
    let value = builder.upsample(low, CHANNELS, [2; 3], &values(CHANNELS * CHANNELS * 8, 5), &values(CHANNELS, 6));
    finish(builder, value)
}
