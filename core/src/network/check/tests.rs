//! Each thing that a graph must not ask is refused, and the sentence says what it is.

use super::scratch;
use crate::arch::{Activation, Isa, Quant};
use crate::kernels::{Between, ConvGeometry, MOST_INT_PRODUCTS, PoolGeometry, Squash};
use crate::network::prepare::prepare;
use crate::network::spec::{ConvSpec, Graph, Kind, OpSpec, PartSpec, Place, Span, Step, ValueSpec};
use crate::network::{GraphBuilder, Network, Weights};
use proptest::prelude::*;

const PATCH: [usize; 3] = [4, 6, 8];

fn geometry(cin: usize, cout: usize, input: [usize; 3], kernel: usize, stride: usize) -> ConvGeometry {
    ConvGeometry {
        cin,
        cout,
        input,
        output: input.map(|n| n.div_ceil(stride)),
        kernel: [kernel; 3],
        stride: [stride; 3],
        dilation: [1; 3],
        pad: [kernel / 2; 3],
    }
}

/// Two convolutions with norms, the second in integers, an upsampling, an interpolation, pooling and a sum.
fn network() -> (Graph, Weights<'static>) {
    let mut b = GraphBuilder::new(1, PATCH, false);
    let (quant, ones) = (Quant { scale: 0.05, zero: 7 }, vec![1.0; 8]);
    let g = geometry(1, 3, PATCH, 3, 1);
    let v = b.conv("first", b.input(), &g, &[0.1; 81], &[0.0; 3], true);
    let v = b.norm("norm", v, &ones[..3], &ones[..3], 1e-5);
    let skip = b.activation("leaky", v, Activation::Leaky(0.01));
    let v = b.on_grid("grid", skip.clone(), quant, false);
    let g = geometry(3, 5, PATCH, 3, 2);
    let v = b.conv_int("second", v, &g, &[3; 405], &ones[..5], &[0.0; 5], quant).unwrap();
    let low = b.norm("norm", v, &ones[..5], &ones[..5], 1e-5);
    let up = b.upsample(low.clone(), 3, [2; 3], &[0.2; 120], &[0.0; 3]);
    let places = |n: usize| (0..n).map(|i| Between { index: i / 2, weight: 0.0 }).collect();
    let wide = b.resample(low, PATCH.map(places));
    let v = b.concat(vec![up, skip, wide]);
    let g = geometry(11, 3, PATCH, 1, 1);
    let v = b.conv("third", v, &g, &[0.3; 33], &[0.0; 3], false);
    let window = PoolGeometry {
        max: true,
        count_padding: false,
        kernel: [3; 3],
        stride: [1; 3],
        pad: [1; 3],
        channels: 3,
        input: PATCH,
        output: PATCH,
    };
    let pooled = b.pool("pool", v.clone(), &window);
    let v = b.add("sum", v, pooled, false);
    let v = b.squash("softmax", v, Squash::Softmax);
    b.finish(v).unwrap()
}

/// The sentence about a graph after a change.
fn refusal(change: impl Fn(&mut Graph)) -> String {
    let (mut graph, weights) = network();
    change(&mut graph);
    graph.check(weights.bytes().len()).expect_err("the change was not refused").to_string()
}

fn conv(step: &mut Step) -> &mut ConvGeometry {
    let Kind::Conv(g, _) = &mut step.kind else { panic!("no convolution") };
    g
}

fn stored(place: Place, channels: usize, ops: Vec<OpSpec>) -> ValueSpec {
    ValueSpec { parts: vec![PartSpec::Stored { place, channels, ops }], grid: PATCH }
}

#[test]
fn counts_are_bounded_by_the_steps() {
    let (graph, weights) = network();
    graph.check(weights.bytes().len()).unwrap();
    assert!(refusal(|g| g.buffers = 65_536).contains("65536 buffers and 2 tables are more than its"));
    assert!(refusal(|g| g.tables = vec![3; 50]).contains("50 tables"));
    assert!(refusal(|g| g.tables.push(3)).contains("no step writes table 2"));
    let first = |g: &mut Graph| g.steps = vec![g.steps[0].clone(); 5000];
    assert!(refusal(first).contains("5000 steps are more than"));
}

#[test]
fn sizes_are_bounded_in_bytes() {
    assert!(refusal(|g| g.patch = [1 << 11, 1 << 10, 1 << 10]).contains("exceeds"));
    assert!(refusal(|g| g.channels = usize::MAX).contains("exceeds"));
    assert!(refusal(|g| g.heads = 0).contains("is empty"));
    assert!(refusal(|g| g.steps[0].grid = [usize::MAX; 3]).contains("exceeds"));
    let two = |a, b| ValueSpec {
        parts: [a, b].map(|channels| PartSpec::Stored { place: Place::Input, channels, ops: vec![] }).into(),
        grid: PATCH,
    };
    let spread = |g: &mut Graph| {
        let low = Box::new(two(usize::MAX, 2));
        g.steps[1].inputs = vec![ValueSpec { parts: vec![PartSpec::Spread { low, by: [1; 3] }], grid: PATCH }];
    };
    assert!(refusal(spread).contains("are stored"));
}

#[test]
fn tables_are_read_after_they_are_written() {
    // The step that writes the table reads it.
    let own = |g: &mut Graph| g.steps[0].inputs = vec![stored(Place::Input, 3, vec![OpSpec::Table(0)])];
    let wide = |g: &mut Graph| {
        own(g);
        g.channels = 3;
        conv(&mut g.steps[0]).cin = 3;
    };
    assert!(refusal(wide).contains("it reads table 0, which no step before it has written"));
    // A step that comes before reads it.
    let early = |g: &mut Graph| {
        let norm = g.steps[0].norm.take();
        g.steps.last_mut().unwrap().norm = norm;
    };
    assert!(refusal(early).contains("it reads table 0, which no step before it has written"));
    let twice = |g: &mut Graph| {
        let norm = g.steps[0].norm.clone();
        g.steps.iter_mut().filter(|s| s.name == "third").for_each(|s| s.norm = norm.clone());
    };
    assert!(refusal(twice).contains("table 0 was written before"));
}

#[test]
fn tensors_are_read_after_they_are_written() {
    assert!(refusal(|g| g.steps[0].inputs[0] = stored(Place::Buffer(1), 1, vec![])).contains("reads Buffer(1)"));
    assert!(refusal(|g| g.steps[0].inputs[0] = stored(Place::Output, 1, vec![])).contains("reads Output"));
    assert!(refusal(|g| g.steps[1].place = Place::Buffer(0)).contains("reads the tensor that it writes"));
    assert!(refusal(|g| g.steps[0].place = Place::Buffer(77)).contains("writes buffer 77 of"));
    assert!(refusal(|g| g.steps[1].place = Place::Input).contains("writes the network's input"));
}

#[test]
fn windows_stay_near_their_input() {
    assert!(refusal(|g| conv(&mut g.steps[0]).dilation = [1, 1025, 1]).contains("a dilation of [1, 1025, 1]"));
    assert!(refusal(|g| conv(&mut g.steps[0]).stride = [0, 1, 1]).contains("a stride of [0, 1, 1]"));
    assert!(refusal(|g| conv(&mut g.steps[0]).pad = [1, 1, 1 << 40]).contains("a padding of"));
    assert!(
        refusal(|g| conv(&mut g.steps[0]).dilation = [1, 1024, 1]).contains("along axis 1 the last window ends at")
    );
    assert!(refusal(|g| conv(&mut g.steps[0]).kernel = [1 << 63, 2, 1]).contains("a kernel of"));
}

#[test]
fn weights_lie_in_their_section() {
    let spans = |offset, len| {
        refusal(move |g| {
            if let Kind::Conv(_, ConvSpec::Float { bias, .. }) = &mut g.steps[0].kind {
                *bias = Span { offset, len };
            }
        })
    };
    assert!(spans(0, 4).contains("weight span 0x0 has 4 numbers where 3 are needed"));
    assert!(spans(3, 3).contains("weight span 0x3 does not start at a multiple of 64"));
    assert!(spans(1 << 20, 3).contains("weight span 0x100000+3 x 4 bytes exceeds the weight section ("));
    assert!(spans(usize::MAX - 63, 3).contains("exceeds the weight section"));
    let shared = |g: &mut Graph| {
        let first = g.steps[0].clone();
        for i in 0..40 {
            let place = Place::Buffer(g.buffers);
            g.steps.push(Step { name: format!("copy {i}"), place, norm: None, ..first.clone() });
            g.buffers += 1;
        }
    };
    assert!(refusal(shared).contains("bytes of kernels, the weight section has"));
}

#[test]
fn interpolation_goes_forwards() {
    let back = |g: &mut Graph| {
        let parts = g.steps.iter_mut().flat_map(|s| &mut s.inputs).flat_map(|v| &mut v.parts);
        for part in parts {
            if let PartSpec::Resampled { axes, .. } = part {
                axes[1].swap(0, 5);
            }
        }
    };
    assert!(refusal(back).contains("an interpolation goes backwards after voxel"));
}

#[test]
fn integer_sums_are_exact_or_refused() {
    let g = ConvGeometry { kernel: [7; 3], ..geometry(320, 1, PATCH, 7, 1) };
    assert!(!g.int_sums_fit());
    let most = ConvGeometry { kernel: [1; 3], cin: MOST_INT_PRODUCTS, ..g.clone() };
    assert!(most.int_sums_fit() && !ConvGeometry { cin: MOST_INT_PRODUCTS + 1, ..most.clone() }.int_sums_fit());
    let quant = Quant { scale: 1.0, zero: 0 };
    let mut b = GraphBuilder::new(320, PATCH, false);
    let v = b.on_grid("grid", b.input(), quant, false);
    let refused = b.conv_int("large", v, &g, &vec![127; 320 * 343], &[1.0], &[0.0], quant).expect_err("sums that wrap");
    assert!(refused.to_string().contains("32 bits"), "{refused}");
    // A file that holds such a convolution anyway.
    let (mut graph, weights) = network();
    let step = graph.steps.iter_mut().find(|s| s.name == "second").unwrap();
    conv(step).kernel = [30; 3];
    let refused = graph.check(weights.bytes().len()).expect_err("sums that wrap").to_string();
    assert!(refused.contains("3 x 27000 products can exceed 32 bits"), "{refused}");
}

#[test]
fn totals_are_the_sums_of_integer_weights() {
    let (graph, weights) = network();
    let Weights::Owned(blocks) = weights else { panic!() };
    let spans = graph.steps.iter().find_map(|s| match &s.kind {
        Kind::Conv(_, ConvSpec::Int { weights, totals, .. }) => Some((*weights, *totals)),
        _ => None,
    });
    let (packed, totals) = spans.unwrap();
    let open = |at: usize| {
        let mut blocks = blocks.clone();
        crate::arch::numbers_mut::<u8>(&mut blocks)[at] ^= 1;
        Network::new(Isa::SCALAR, graph.clone(), Weights::Owned(blocks)).err().map(|e| e.to_string())
    };
    assert!(open(totals.offset).unwrap().contains("a total of integer weights is 242, their sum is 243"));
    // Three input channels: the fourth of a group is none.
    assert!(open(packed.offset + 3).unwrap().contains("weights beyond its 3 input channels are not zero"));
}

proptest! {
    /// The bound of scratch holds for every kernel on every instruction set.
    #[test]
    fn scratch_is_within_its_bound(
        cin in 1usize..40,
        cout in 1usize..40,
        input in prop::array::uniform3(prop_oneof![1usize..40, 40usize..2000]),
        kernel in prop::array::uniform3(1usize..8),
        stride in prop::array::uniform3(1usize..5),
        dilation in prop::array::uniform3(1usize..5),
        pad in prop::array::uniform3(0usize..9),
        source in 0..4,
        int in any::<bool>(),
    ) {
        let reach = |a: usize| (kernel[a] - 1) * dilation[a] + 1;
        let output: [usize; 3] = core::array::from_fn(|a| (input[a] + 2 * pad[a]).saturating_sub(reach(a)) / stride[a] + 1);
        let g = ConvGeometry { cin, cout, input, output, kernel, stride, dilation, pad };
        prop_assume!(g.is_possible());
        let none = Span { offset: 0, len: 0 };
        let weights = Weights::Owned(vec![]);
        let low = |grid| Box::new(ValueSpec { parts: vec![PartSpec::Stored { place: Place::Input, channels: cin, ops: vec![] }], grid });
        let part = match source {
            0 => PartSpec::Stored { place: Place::Input, channels: cin, ops: vec![] },
            1 => PartSpec::Spread { low: low(core::array::from_fn(|a| input[a].div_ceil(kernel[a]))), by: kernel },
            2 => PartSpec::Resampled {
                low: low(input),
                axes: input.map(|n| (0..n).map(|index| Between { index, weight: 0.0 }).collect()),
            },
            _ => PartSpec::Upsampled {
                low: low(core::array::from_fn(|a| input[a].div_ceil(stride[a]))),
                cout: cin,
                kernel: stride,
                weights: none,
                form: crate::network::Form::F32,
                bias: none,
                activation: Activation::None,
                grids: vec![],
            },
        };
        let value = ValueSpec { parts: vec![part], grid: input };
        let spec = if int {
            let quant = Quant { scale: 1.0, zero: 3 };
            ConvSpec::Int { weights: none, totals: none, scale: none, bias: none, quant }
        } else {
            ConvSpec::Float { weights: none, form: crate::network::Form::F32, bias: none }
        };
        let pooling = PoolGeometry {
            max: true, count_padding: false, kernel, stride, pad, channels: cin, input, output,
        };
        let step = |kind, channels, grid| Step {
            name: String::new(),
            kind,
            inputs: vec![value.clone()],
            place: Place::Output,
            storage: crate::network::Storage::F32,
            channels,
            grid,
            on_grid: None,
            norm: None,
        };
        for step in [
            step(Kind::Conv(g, spec), cout, output),
            step(Kind::Pool(pooling), cin, output),
            step(Kind::Squash(Squash::Softmax), cin, input),
            step(Kind::Sum { in_place: None }, cin, input),
        ] {
            let bound = scratch::most_bytes(&step);
            for isa in Isa::available() {
                let needed = (64 * prepare(isa, &step, &weights).scratch_blocks) as f64;
                prop_assert!(needed <= bound, "{isa:?} {needed} of {bound}: {step:?}");
            }
        }
    }
}
