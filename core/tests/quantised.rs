//! Quantised and half-precision models: every form a file can have, against ONNX Runtime's outputs.
#![cfg(feature = "tract")]
#![allow(missing_docs)]

use std::path::{Path, PathBuf};

use scanside_core::engine::Engine;
use scanside_core::executor::Serial;
use scanside_core::manifest::Manifest;
use scanside_core::network::Isa;
use scanside_core::network::{ConvSpec, Kind};
use scanside_core::onnx::{OnnxEngine, OnnxModel, Settings};
use scanside_core::patch::{Patch, PatchMut, PatchNumber, PatchPrecision};
use scanside_core::workspace::Block;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/quant")
}

#[derive(Clone)]
struct Case {
    model: OnnxModel,
    manifest: Manifest,
    input: Vec<f32>,
    expected: Vec<f32>,
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
}

fn case(name: &str) -> Case {
    let path = folder().join(name).with_extension("onnx");
    let model = OnnxModel::from_bytes(&std::fs::read(&path).unwrap()).unwrap();
    let manifest = model.neutral_manifest().unwrap();
    let values = floats(&path.with_extension("f32"));
    let voxels: usize = manifest.grid.patch_zyx.iter().product();
    let (input, expected) = values.split_at(manifest.channels.len() * voxels);
    Case { model, manifest, input: input.to_vec(), expected: expected.to_vec() }
}

fn run(engine: &OnnxEngine, case: &Case) -> Vec<f32> {
    let mut out = vec![f32::NAN; case.expected.len()];
    let mut blocks = vec![Block::ZERO; engine.footprint(1).workspace_blocks];
    engine.infer(0, Patch::F32(&case.input), PatchMut::F32(&mut out), &mut blocks, &Serial).unwrap();
    out
}

/// Largest difference, and the root of the mean square.
fn difference(got: &[f32], expected: &[f32]) -> (f32, f32) {
    assert!(got.iter().all(|v| v.is_finite()));
    let d = |f: &dyn Fn(f32) -> f32| got.iter().zip(expected).map(|(g, e)| f(g - e)).collect::<Vec<_>>();
    let most = d(&f32::abs).into_iter().fold(0.0, f32::max);
    (most, (d(&|v| v * v).iter().sum::<f32>() / got.len() as f32).sqrt())
}

fn names(prefix: &str) -> Vec<String> {
    let mut all: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
        .map(|p| p.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|n| n.starts_with(prefix))
        .collect();
    all.sort();
    assert!(!all.is_empty(), "no models {prefix}* in {}", folder().display());
    all
}

fn integer_convolutions(engine: &OnnxEngine) -> (usize, usize) {
    let steps = &engine.native().unwrap().networks()[0].graph().steps;
    let convs: Vec<_> =
        steps.iter().filter_map(|s| if let Kind::Conv(_, c) = &s.kind { Some(c) } else { None }).collect();
    (convs.iter().filter(|c| matches!(c, ConvSpec::Int { .. })).count(), convs.len())
}

/// Integer convolutions of all, and the largest difference in single precision.
///
/// The examples keep every value away from ties of rounding, so a whole network of integers comes out as ONNX Runtime's;
/// `resenc-u8` has ties by its nature (the mean of eight bytes), where the order of a sum decides.
fn bar(name: &str) -> (f32, f32) {
    match name {
        "resenc-u8" => (0.25, 0.03),
        // Sums beyond 2^24, which ONNX Runtime rounds on the way and we do not.
        "conv-extreme-0" | "conv-extreme-128" => (2e-4, 2e-5),
        _ => (2e-5, 4e-6),
    }
}

#[test]
fn networks_come_out_as_in_onnx_runtime() {
    for name in names("") {
        let case = case(&name);
        let mut first: Option<Vec<f32>> = None;
        for isa in Isa::available() {
            let settings = Settings { isa, half: Some(false) };
            let engine = OnnxEngine::new(case.model.clone(), &case.manifest, settings).unwrap();
            assert!(engine.native().is_some(), "{name}: {:?}", engine.not_lowered());
            let got = run(&engine, &case);
            let (most, rms) = difference(&got, &case.expected);
            let (most_bar, rms_bar) = bar(&name);
            assert!(most <= most_bar && rms <= rms_bar, "{name} {isa:?}: {most} {rms}");
            let (int, all) = integer_convolutions(&engine);
            assert_eq!(all, engine.summary().operators["Conv"], "{name}");
            let wanted = match name.as_str() {
                "conv-weights-u8" => 0,
                n if n.ends_with("half") || n.ends_with("w16") => 0,
                // Our own form leaves the first convolution and the head in floats.
                n if n.contains("own") => all - 2,
                _ => all,
            };
            assert_eq!(int, wanted, "{name}: {:?}", engine.float_convolutions());
            // A single convolution on one instruction set gives the bits of another.
            if name.starts_with("conv-") && wanted == 1 {
                let first = first.get_or_insert_with(|| got.clone());
                let apart = difference(&got, first).0;
                assert!(apart <= 2e-6 * first.iter().fold(1.0, |m, v| v.abs().max(m)), "{name} {isa:?}: {apart}");
            }
        }
    }
}

#[test]
fn integers_are_those_of_the_reference() {
    for name in names("conv-") {
        let case = case(&name);
        let bytes = std::fs::read(folder().join(&name).with_extension("i32")).unwrap();
        let sums: Vec<i32> = bytes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        if matches!(name.as_str(), "conv-closed-u8" | "conv-weights-u8") {
            // The one's output is quantised once more, the other computes in floats.
            continue;
        }
        for isa in Isa::available() {
            let engine = OnnxEngine::new(case.model.clone(), &case.manifest, Settings { isa, half: None }).unwrap();
            let networks = engine.native().unwrap().networks();
            let step = &networks[0].graph().steps[0];
            let Kind::Conv(g, ConvSpec::Int { .. }) = &step.kind else { panic!("{name} is no integer convolution") };
            let voxels: usize = g.output.iter().product();
            let (scale, bias) = networks[0].int_scale_and_bias(0).unwrap();
            for (i, (&got, &sum)) in run(&engine, &case).iter().zip(&sums).enumerate() {
                let c = i / voxels;
                let want = sum as f32 * scale[c] + bias[c];
                let close = (got - want).abs() <= 2.0 * f32::EPSILON * want.abs().max((sum as f32 * scale[c]).abs());
                assert!(close, "{name} {isa:?} voxel {i}: {got} for {want}, integer sum {sum}");
            }
        }
    }
}

/// Half precision rounds what is stored, 11 bits of each number; in a quantised network that flips a few bytes, whose
/// step is what the logits then differ by.
#[test]
fn half_precision_is_as_close_as_its_rounding() {
    for name in names("") {
        let case = case(&name);
        let settings = Settings { half: Some(true), ..Settings::default() };
        let engine = OnnxEngine::new(case.model.clone(), &case.manifest, settings).unwrap();
        let wide =
            OnnxEngine::new(case.model.clone(), &case.manifest, Settings { half: Some(false), ..settings }).unwrap();
        let (_, rms) = difference(&run(&engine, &case), &case.expected);
        let spread = (case.expected.iter().map(|v| v * v).sum::<f32>() / case.expected.len() as f32).sqrt();
        let quantised = integer_convolutions(&engine).0 > 0;
        let bar = if quantised { 0.05 } else { 1e-3 };
        assert!(rms <= bar * spread, "{name}: {rms} of {spread}");
        // Tensors are never larger; weights are widened layer by layer, which shows where patches are as small as here.
        let most = wide.footprint(1).workspace_blocks + wide.footprint(1).shared_bytes / size_of::<Block>();
        assert!(engine.footprint(1).workspace_blocks <= most, "{name}");
    }
}

/// In half precision the patch is in half precision as well, and that rounds its numbers once, nothing else; integers keep
/// single precision, for they are exact.
#[test]
fn patches_have_the_precision_of_the_network() {
    for name in names("") {
        let case = case(&name);
        for half in [false, true] {
            let settings = Settings { half: Some(half), ..Settings::default() };
            let engine = OnnxEngine::new(case.model.clone(), &case.manifest, settings).unwrap();
            let footprint = engine.footprint(1);
            let wanted =
                if half && integer_convolutions(&engine).0 == 0 { PatchPrecision::F16 } else { PatchPrecision::F32 };
            assert_eq!(footprint.patch, wanted, "{name}");
            if wanted == PatchPrecision::F32 {
                continue;
            }
            let input: Vec<u16> = case.input.iter().map(|&v| PatchNumber::narrow(v)).collect();
            let mut out = vec![u16::MAX; case.expected.len()];
            let mut blocks = vec![Block::ZERO; footprint.workspace_blocks];
            engine.infer(0, Patch::F16(&input), PatchMut::F16(&mut out), &mut blocks, &Serial).unwrap();
            let rounded = Case { input: input.iter().map(|v| v.widen()).collect(), ..case.clone() };
            let single: Vec<u16> = run(&engine, &rounded).iter().map(|&v| PatchNumber::narrow(v)).collect();
            assert_eq!(out, single, "{name}");
        }
    }
}
