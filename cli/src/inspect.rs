//! `scanside inspect`: what a model is.

use crate::args::InspectArgs;
use crate::exit::{Exit, Failure, OrExit};
use crate::model;
use crate::progress::human_bytes;
use scanside_core::engine::Engine;
use scanside_core::manifest::{Labels, Manifest};
use scanside_core::onnx::TractEngine;

pub(crate) fn run(args: &InspectArgs) -> Result<Exit, Failure> {
    if !args.model.exists() {
        return Err(Failure::says(Exit::BadModel, format!("{} does not exist", args.model.display())));
    }
    let (manifest, proto) = model::read(&args.model, args.manifest.as_deref(), &[], model::DEFAULT_CHECKPOINT)?;
    let engine = TractEngine::new(&proto, &manifest)
        .or_exit_with(Exit::BadModel, || format!("{} cannot be run", args.model.display()))?;
    if args.json {
        let summary = engine.summary();
        let document = serde_json::json!({
            "format": 1,
            "manifest": manifest,
            "operators": summary.operators,
            "parameters": summary.parameters,
            "macs_per_patch": summary.macs_per_patch,
            "native": engine.is_lowered(),
            "not_native_because": engine.not_lowered(),
            "weights_bytes": engine.footprint().shared_bytes,
            "scratch_bytes_per_thread": engine.footprint().worker_bytes,
        });
        say!("{}", serde_json::to_string_pretty(&document).or_exit(Exit::CouldNotWrite)?);
    } else {
        print(&manifest, &engine);
    }
    Ok(Exit::Done)
}

fn print(manifest: &Manifest, engine: &TractEngine) {
    let grid = &manifest.grid;
    let summary = engine.summary();
    say!("{}", if manifest.name.is_empty() { "unnamed model" } else { &manifest.name });
    let spacing: Vec<String> =
        grid.spacing_mm.iter().map(|s| s.map_or("as scanned".into(), |mm| format!("{mm}"))).collect();
    say!("  patch       {:?} voxels{}", grid.patch_zyx, if grid.two_dimensional { ", slice by slice" } else { "" });
    say!("  grid        {} mm, axes {:?} of the file (z, y, x)", spacing.join(" x "), grid.transpose_forward);
    for channel in &manifest.channels {
        say!("  channel     {}: {:?}", channel.name, channel.normalization);
    }
    let kind = match manifest.labels {
        Labels::Exclusive { .. } => "label ",
        Labels::Regions { .. } => "region",
    };
    for label in manifest.labels.heads() {
        say!("  {kind}      {:>5} {}", label.value, label.name);
    }
    say!("  mirroring   {:?}, folds {}", manifest.mirror_axes, manifest.folds);
    say!("  resampling  scan {:?}, logits {:?}", manifest.resample_data, manifest.resample_logits);
    say!("  weights     {} parameters, {}", summary.parameters, human_bytes(engine.footprint().shared_bytes));
    if let Some(macs) = summary.macs_per_patch {
        say!("  work        {:.2} GMAC per patch and fold", macs as f64 / 1e9);
    }
    say!("  scratch     {} per thread", human_bytes(engine.footprint().worker_bytes));
    match engine.not_lowered() {
        None => say!("  engine      native"),
        Some(why) => say!("  engine      tract, because of {why}"),
    }
    for (key, value) in &manifest.provenance {
        say!("  {key}: {value}");
    }
    for (key, value) in &manifest.accuracy {
        say!("  {key}: {value}");
    }
}
