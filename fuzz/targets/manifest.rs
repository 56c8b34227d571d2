//! The text of a manifest, JSON where it starts with a brace and TOML elsewhere: beside a graph, and by itself with scans
//! of odd shapes. A manifest that breaks a rule is refused by all; none makes a layout panic or grow without bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scanside_core::manifest::Manifest;
use scanside_core::onnx::load;
use scanside_core::pipeline::{Layout, LayoutError, RunOptions};
use scanside_core::volume::Box3;
use scanside_fuzz::InputFile;
use std::hint::black_box;
use std::sync::{LazyLock, Mutex};

/// A graph without a manifest.
static GRAPH: LazyLock<InputFile> = LazyLock::new(|| {
    let mut file = InputFile::new(".onnx");
    file.replace(include_bytes!("../../tests/golden/faults/onnx/no_metadata.onnx"));
    file
});
static JSON: LazyLock<Mutex<InputFile>> = LazyLock::new(|| Mutex::new(InputFile::new(".json")));
static TOML: LazyLock<Mutex<InputFile>> = LazyLock::new(|| Mutex::new(InputFile::new(".toml")));

/// Scans that are laid out: extents, spacing in millimetres, and the step between tiles.
const SCANS: [([usize; 3], [f64; 3], f64); 9] = [
    ([8, 9, 10], [1.0, 1.0, 1.0], 0.5),
    ([1, 1, 1], [1.0, 1.0, 1.0], 1.0),
    ([1, 300, 2], [999.0, 0.5, 0.5], 0.5),
    ([3, 1 << 14, 1], [1e-3, 1e3, 1.0], 0.01),
    ([2, 2, 1 << 20], [1.0, 1.0, 1e-9], 1e-9),
    ([0, 5, 5], [1.0, 1.0, 1.0], 0.5),
    ([usize::MAX, usize::MAX, usize::MAX], [1.0, 1.0, 1.0], 0.5),
    ([5, 6, 7], [f64::NAN, 0.0, -1.0], 0.5),
    ([5, 6, 7], [f64::MIN_POSITIVE, f64::MAX, 1.0], f64::NAN),
];

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let json = text.trim_start().starts_with('{');
    let mut file = if json { &JSON } else { &TOML }.lock().expect("one thread");
    match load(GRAPH.path(), Some(file.replace(bytes))) {
        Ok(loaded) => loaded.manifest.check().expect("a manifest that fits a graph"),
        Err(e) => drop(black_box(e.to_string())),
    }
    match Manifest::from_json(text) {
        Ok(manifest) => manifest.check().expect("a manifest that was accepted"),
        Err(e) => drop(black_box(e.to_string())),
    }
    let parsed: Option<Manifest> = if json { serde_json::from_str(text).ok() } else { toml::from_str(text).ok() };
    let Some(manifest) = parsed else { return };
    let fault = manifest.check().err();
    black_box(fault.as_ref().map(ToString::to_string));
    for (shape, spacing, step) in SCANS {
        let whole = Box3(shape.map(|n| 0..n));
        let part = Box3(shape.map(|n| n / 2..n));
        for (bounds, mirror) in [(whole, true), (part, false)] {
            let layout = Layout::new(&manifest, shape, spacing, bounds, RunOptions { step, mirror });
            match (layout, &fault) {
                (Ok(layout), None) => {
                    drop(black_box((layout.tiling.tiles(), layout.mirrors.len(), layout.clip_axis())))
                }
                (Err(LayoutError::Manifest(said)), Some(fault)) => assert_eq!(said, *fault),
                (Err(LayoutError::Manifest(said)), None) => panic!("a sound manifest is refused: {said}"),
                (Err(e), None) => drop(black_box(e.to_string())),
                (_, Some(fault)) => panic!("a broken rule is not named: {fault}"),
            }
        }
    }
});
