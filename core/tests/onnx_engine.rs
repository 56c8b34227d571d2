//! The ONNX engine against PyTorch's outputs, its own second way, and the heap it announced.
#![cfg(feature = "tract")]
// SAFETY of the allocator below: it adds counters around the system's own allocator and changes nothing else.
#![allow(unsafe_code, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use scanside_core::engine::Engine;
use scanside_core::executor::{Executor, Serial};
use scanside_core::manifest::{Manifest, Normalization};
use scanside_core::network::Isa;
use scanside_core::onnx::{OnnxEngine, OnnxModel, Settings, load};
use scanside_core::patch::{Patch, PatchMut};
use scanside_core::workspace::Block;
use scanside_testing::executors::Threads;

struct Counting;
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grown(bytes: usize) {
    PEAK.fetch_max(LIVE.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every call is passed on unchanged to the system allocator, which upholds the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
/// The counters belong to one test at a time.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/onnx").join(name)
}

struct Case {
    model: OnnxModel,
    manifest: Manifest,
    input: Vec<f32>,
    expected: Vec<Vec<f32>>,
}

/// A model of `make_onnx.py` with its input and outputs.
fn case(path: &Path) -> Case {
    let model = OnnxModel::from_bytes(&std::fs::read(path).unwrap()).unwrap();
    let mut manifest = model.neutral_manifest().unwrap();
    let voxels: usize = manifest.grid.patch_zyx.iter().product();
    let bytes = std::fs::read(path.with_extension("f32")).unwrap();
    let values: Vec<f32> = bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
    let (input, rest) = values.split_at(manifest.channels.len() * voxels);
    let outputs = rest.chunks_exact(manifest.labels.heads().len() * voxels);
    let expected: Vec<Vec<f32>> = outputs.map(<[f32]>::to_vec).collect();
    manifest.folds = expected.len();
    Case { model, manifest, input: input.to_vec(), expected }
}

/// An error and all that it came from.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Largest and mean difference, relative to the spread of the expected values.
fn difference(got: &[f32], expected: &[f32]) -> (f64, f64) {
    let n = expected.len() as f64;
    let mean = expected.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let std = (expected.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt();
    let (mut most, mut sum) = (0f64, 0f64);
    for (g, e) in got.iter().zip(expected) {
        let d = f64::from((g - e).abs());
        assert!(d.is_finite());
        most = most.max(d);
        sum += d;
    }
    (most / std, sum / n / std)
}

/// What a workspace holds before a run must not show.
fn workspace(engine: &OnnxEngine, workers: usize) -> Vec<Block> {
    let mut blocks = vec![Block::ZERO; engine.footprint(workers).workspace_blocks];
    scanside_core::workspace::numbers_mut::<f32>(&mut blocks).fill(f32::NAN);
    blocks
}

fn run_on<X: Executor>(engine: &OnnxEngine, case: &Case, fold: usize, executor: &X) -> Vec<f32> {
    let mut out = vec![f32::NAN; engine.shape().output_len()];
    let mut blocks = workspace(engine, executor.workers());
    engine.infer(fold, Patch::F32(&case.input), PatchMut::F32(&mut out), &mut blocks, executor).unwrap();
    out
}

fn run(engine: &OnnxEngine, case: &Case, fold: usize) -> Vec<f32> {
    run_on(engine, case, fold, &Serial)
}

fn native(case: &Case) -> OnnxEngine {
    OnnxEngine::new(case.model.clone(), &case.manifest, Settings::default()).unwrap()
}

#[test]
fn logits_agree_with_pytorch_and_stay_inside_the_announced_heap() {
    let _turn = turn();
    for (name, lowered, tolerance) in [
        ("plain3d", true, 2e-5),
        ("resenc3d", true, 2e-5),
        ("plain2d", true, 2e-5),
        ("dilated", true, 2e-5),
        ("two-folds", true, 2e-5),
        ("half", true, 5e-2),
        ("skips", true, 2e-5),
        ("odd", false, 2e-5),
    ] {
        let case = case(&golden(&format!("{name}.onnx")));
        let before = LIVE.load(Relaxed);
        let engine = native(&case);
        let shared = LIVE.load(Relaxed) - before;
        assert_eq!(engine.native().is_some(), lowered, "{name}: {:?}", engine.not_lowered());
        assert_eq!(engine.shape().folds, case.expected.len(), "{name}");
        let own = OnnxEngine::tract(case.model.clone(), &case.manifest).unwrap();
        for (k, expected) in case.expected.iter().enumerate() {
            let mut got = vec![f32::NAN; expected.len()];
            let mut blocks = workspace(&engine, 1);
            let live = LIVE.load(Relaxed);
            PEAK.store(live, Relaxed);
            engine.infer(k, Patch::F32(&case.input), PatchMut::F32(&mut got), &mut blocks, &Serial).unwrap();
            let used = PEAK.load(Relaxed) - live;
            let said = engine.footprint(1);
            assert!(used <= said.worker_bytes, "{name}: {used} of {} bytes", said.worker_bytes);
            assert!(shared <= said.shared_bytes, "{name}: {shared} of {} bytes", said.shared_bytes);
            let (most, mean) = difference(&got, expected);
            assert!(most < tolerance, "{name} fold {k}: {most} {mean}");
            assert_eq!(got, run(&engine, &case, k), "{name}: a second run differs");
            let (most, _) = difference(&run(&own, &case, k), &got);
            let apart = if name == "half" { 2e-2 } else { 2e-5 };
            assert!(most < apart, "{name} fold {k}: {most} from tract's own executor");
        }
    }
}

/// Every mode that PyTorch exports, and the other ways of rounding, in every form that a file can state them in.
#[test]
fn resizing_agrees_with_onnx_runtime() {
    let _turn = turn();
    let folder = golden("../resize");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().into_string().unwrap().strip_suffix(".onnx").map(String::from))
        .collect();
    names.sort();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        let case = case(&folder.join(format!("{name}.onnx")));
        for isa in Isa::available() {
            let engine = OnnxEngine::new(case.model.clone(), &case.manifest, Settings { isa, half: None }).unwrap();
            assert!(engine.native().is_some(), "{name}: {:?}", engine.not_lowered());
            let got = run(&engine, &case, 0);
            let (most, _) = difference(&got, &case.expected[0]);
            assert!(most < 2e-5, "{name} {isa:?}: {most}");
            assert_eq!(run_on(&engine, &case, 0, &Threads(3)), got, "{name} {isa:?}: on three threads");
        }
        let half = Settings { half: Some(true), ..Settings::default() };
        let (_, mean) = difference(
            &run(&OnnxEngine::new(case.model.clone(), &case.manifest, half).unwrap(), &case, 0),
            &case.expected[0],
        );
        assert!(mean < 2e-3, "{name} in half precision: {mean}");
        // tract takes an odd factor's corners for those of a grid of as odd a size.
        if name != "linear-align_corners-odd-13" && name != "nearest-align_corners-round_prefer_ceil-odd-13" {
            let own = OnnxEngine::tract(case.model.clone(), &case.manifest).unwrap();
            let (most, _) = difference(&run(&own, &case, 0), &case.expected[0]);
            assert!(most < 2e-5, "{name} in tract: {most}");
        }
    }
}

#[test]
fn threads_change_nothing() {
    let _turn = turn();
    let case = case(&golden("resenc3d.onnx"));
    let engine = native(&case);
    let alone = run(&engine, &case, 0);
    for workers in 1..5 {
        assert_eq!(run_on(&engine, &case, 0, &Threads(workers)), alone, "{workers} workers");
    }
    let mut blocks = workspace(&engine, 1);
    let mut out = alone.clone();
    assert!(engine.infer(0, Patch::F32(&case.input[1..]), PatchMut::F32(&mut out), &mut blocks, &Serial).is_err());
    assert!(engine.infer(1, Patch::F32(&case.input), PatchMut::F32(&mut out), &mut blocks, &Serial).is_err());
    assert!(engine.infer(0, Patch::F32(&case.input), PatchMut::F32(&mut out), &mut blocks[1..], &Serial).is_err());
}

#[test]
fn side_cars_may_leave_out_what_the_graph_tells() {
    let _turn = turn();
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("m.onnx");
    std::fs::copy(golden("plain3d.onnx"), &model).unwrap();
    let why = sentence(&load(&model, None).unwrap_err());
    for word in ["8 x 12 x 20", "1 input channel", "3 heads", "spacing", "normalisation", "labels", "m.scanside.json"] {
        assert!(why.contains(word), "{word}: {why}");
    }
    // The example in the error is a manifest that works.
    let example = &why[why.find("{\"").unwrap()..];
    std::fs::write(dir.path().join("m.scanside.json"), example).unwrap();
    assert_eq!(load(&model, None).unwrap().manifest.grid.patch_zyx, [8, 12, 20]);

    let toml = dir.path().join("partial.toml");
    std::fs::write(&toml, "[grid]\nspacing_mm = [1.0, 1.0, 1.0]\n[[channels]]\nname = \"CT\"\n").unwrap();
    let why = sentence(&load(&model, Some(&toml)).unwrap_err());
    assert!(why.contains("normalisation of channel 0 \"CT\"") && why.contains("labels"), "{why}");
    assert!(!why.contains("does not state the patch"), "{why}");
}

#[test]
fn manifests_that_disagree_are_refused_with_every_reason() {
    let _turn = turn();
    let Case { model, manifest: mut m, .. } = case(&golden("plain3d.onnx"));
    m.grid.patch_zyx = [8, 12, 24];
    m.grid.spacing_mm[1] = Some(0.0);
    m.grid.transpose_forward = [0, 0, 1];
    m.mirror_axes = vec![1, 1];
    m.folds = 2;
    m.channels[0].normalization = Normalization::PercentileTo01 { lower_percent: 99.0, upper_percent: 1.0 };
    let why = sentence(&OnnxEngine::new(model, &m, Settings::default()).err().unwrap());
    for word in ["patch", "spacing", "transpose_forward", "mirror_axes", "folds", "percentiles"] {
        assert!(why.contains(word), "{word}: {why}");
    }
}

/// Of a network that runs in tract, announced memory is neither exceeded nor far too large.
#[test]
fn the_memory_of_a_plan_of_tract_is_tight() {
    let _turn = turn();
    let path = golden("../sigmoid/model.onnx");
    let model = OnnxModel::read(&path).unwrap();
    let mut manifest = model.find_manifest(&path, None).unwrap().unwrap();
    // The graph's axes are free: a patch whose tensors are far larger than everything beside them.
    manifest.grid.patch_zyx = [64, 96, 96];
    let engine = OnnxEngine::tract(model, &manifest).unwrap();
    let input = vec![0.5f32; engine.shape().input_len()];
    let mut out = vec![0f32; engine.shape().output_len()];
    let live = LIVE.load(Relaxed);
    PEAK.store(live, Relaxed);
    engine.infer(0, Patch::F32(&input), PatchMut::F32(&mut out), &mut [], &Serial).unwrap();
    let (used, said) = (PEAK.load(Relaxed) - live, engine.footprint(1).worker_bytes);
    assert!(used <= said && 2 * said <= 3 * used + (16 << 20), "{used} of {said} bytes");
}
