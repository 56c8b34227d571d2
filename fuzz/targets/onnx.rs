//! An ONNX file, up to the network that is made of it.
//!
//! The graph library panics on some hostile graphs; that is caught where it is called, and is an error like another. A
//! panic of our own code ends the run all the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scanside_core::engine::Engine;
use scanside_core::onnx::{OnnxEngine, OnnxModel, Settings};
use std::backtrace::Backtrace;
use std::hint::black_box;
use std::panic::PanicHookInfo;

fuzz_target!(init: std::panic::set_hook(Box::new(panicked)), |bytes: &[u8]| {
    let model = match OnnxModel::from_bytes(bytes) {
        Ok(model) => model,
        Err(e) => return drop(black_box(e.to_string())),
    };
    // Changed bytes seldom have the right hash, so a manifest is made up for them.
    let manifest = match model.manifest() {
        Ok(Some(manifest)) => manifest,
        Ok(None) | Err(_) => match model.neutral_manifest() {
            Ok(manifest) => manifest,
            Err(e) => return drop(black_box(e.to_string())),
        },
    };
    match OnnxEngine::new(model, &manifest, Settings::default()) {
        Ok(engine) => {
            black_box((engine.summary().clone(), engine.footprint(2), engine.macs_per_patch()));
            assert_eq!(engine.native().is_some(), engine.not_lowered().is_none());
        }
        Err(e) => drop(black_box(e.to_string())),
    }
});

/// Stops at a panic of this workspace's own code; those of libraries unwind, silently unless `RUST_BACKTRACE` is set. One
/// that nobody catches ends the run as well.
fn panicked(info: &PanicHookInfo<'_>) {
    let file = info.location().map_or("", |at| at.file());
    let ours = !file.contains("/registry/") && !file.contains("/rustc/");
    if ours || std::env::var_os("RUST_BACKTRACE").is_some() {
        eprintln!("{info}\n{}", Backtrace::force_capture());
    }
    if ours {
        std::process::abort();
    }
}
