//! Integer convolutions whose sums could exceed 32 bits.

use super::super::{OnnxEngine, OnnxModel, Settings};
use crate::engine::Engine;
use crate::executor::Serial;
use crate::manifest::{Channel, Label, Labels, Manifest, NetworkGrid, Normalization};
use crate::patch::{Patch, PatchMut};
use crate::workspace::Block;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension::Value as Dim};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

const KERNEL: usize = 7;

fn tensor(name: &str, data_type: DataType, dims: &[usize], raw_data: Vec<u8>) -> TensorProto {
    let dims = dims.iter().map(|&n| n as i64).collect();
    TensorProto { name: name.into(), data_type: data_type as i32, dims, raw_data, ..Default::default() }
}

fn value(name: &str, channels: usize, extent: usize) -> ValueInfoProto {
    let dim = [1, channels, extent, extent, extent]
        .map(|n| Dimension { value: Some(Dim::DimValue(n as i64)), ..Default::default() });
    let shape = Some(TensorShapeProto { dim: dim.into() });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() });
    ValueInfoProto { name: name.into(), r#type, ..Default::default() }
}

/// One quantised convolution of `channels` channels with a kernel of 7 x 7 x 7 and padding on a patch of that size. All
/// inputs are the byte 255 and all weights the byte 127, with scales of 1.
fn model(channels: usize) -> (OnnxModel, Manifest) {
    let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
        name: output.into(),
        op_type: op.into(),
        input: inputs.iter().map(|&i| i.into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    };
    let weights = vec![127u8; channels * KERNEL.pow(3)];
    let ints = vec![KERNEL as i64 / 2; 6];
    let pads = AttributeProto { name: "pads".into(), r#type: AttributeType::Ints as i32, ints, ..Default::default() };
    let conv = NodeProto { attribute: vec![pads], ..node("Conv", &["on grid", "weights"], "y") };
    let graph = GraphProto {
        name: "one convolution".into(),
        node: vec![
            node("QuantizeLinear", &["x", "one", "zero_u8"], "bytes"),
            node("DequantizeLinear", &["bytes", "one", "zero_u8"], "on grid"),
            node("DequantizeLinear", &["w", "one", "zero_s8"], "weights"),
            conv,
        ],
        initializer: vec![
            tensor("one", DataType::Float, &[], 1f32.to_le_bytes().into()),
            tensor("zero_u8", DataType::Uint8, &[], vec![0]),
            tensor("zero_s8", DataType::Int8, &[], vec![0]),
            tensor("w", DataType::Int8, &[1, channels, KERNEL, KERNEL, KERNEL], weights),
        ],
        input: vec![value("x", channels, KERNEL)],
        output: vec![value("y", 1, KERNEL)],
        ..Default::default()
    };
    let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
    let proto = ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..Default::default() };
    let channels = (0..channels).map(|c| Channel::new(format!("{c}"), Normalization::None)).collect();
    let labels = Labels::Exclusive { heads: vec![Label::new("only", 0)] };
    let grid = NetworkGrid::new([KERNEL; 3], [Some(1.0); 3]);
    (OnnxModel { proto }, Manifest::new(grid, channels, labels))
}

/// The logits, and the convolutions that run in floats although the file quantises them.
fn run(channels: usize) -> (Vec<f32>, Vec<String>) {
    let (model, manifest) = model(channels);
    let engine = OnnxEngine::new(model, &manifest, Settings::default()).expect("a model");
    assert!(engine.native().is_some(), "{:?}", engine.not_lowered());
    let voxels = KERNEL.pow(3);
    let mut out = vec![f32::NAN; voxels];
    let mut workspace = vec![Block::ZERO; engine.footprint(1).workspace_blocks];
    let input = vec![255.0; channels * voxels];
    engine.infer(0, Patch::F32(&input), PatchMut::F32(&mut out), &mut workspace, &Serial).expect("a run");
    (out, engine.float_convolutions().to_vec())
}

/// The sums as 64-bit integers: products of the taps that lie inside the patch.
fn sums(channels: usize) -> Vec<i64> {
    let inside = |at: usize| (KERNEL - at.abs_diff(KERNEL / 2)) as i64;
    let voxel = |i: usize| [i / (KERNEL * KERNEL), i / KERNEL % KERNEL, i % KERNEL];
    (0..KERNEL.pow(3)).map(|i| voxel(i).map(inside).iter().product::<i64>() * channels as i64 * 255 * 127).collect()
}

#[test]
fn sums_beyond_32_bits_are_computed_in_floats() {
    let (got, floats) = run(320);
    let expected = sums(320);
    assert_eq!(expected[KERNEL.pow(3) / 2], 3_554_577_600);
    // Each of the additions in single precision rounds by 2^-24 of the sum at most.
    let bound = (320 * KERNEL.pow(3)) as f64 / f64::from(1 << 24);
    for (g, e) in got.iter().zip(&expected) {
        assert!((f64::from(*g) - *e as f64).abs() <= bound * *e as f64, "{g} for {e}");
    }
    let [why] = floats.as_slice() else { panic!("{floats:?}") };
    assert_eq!(why, "\"y\": its sums of 320 x 343 integer products can exceed 32 bits; the most is 65793");
}

#[test]
fn sums_within_32_bits_are_exact() {
    // As many channels as fit.
    let (got, floats) = run(191);
    assert!(floats.is_empty(), "{floats:?}");
    let expected: Vec<f32> = sums(191).into_iter().map(|e| e as f32).collect();
    assert_eq!(got, expected);
}
