//! `scanside inspect`: what a model is.

use crate::args::InspectArgs;
use crate::exit::{Exit, Failure, OrExit};
use crate::model::{self, How, Opened};
use crate::progress::human_bytes;
use crate::relatives;
use scanside_core::engine::Engine;
use scanside_core::manifest::{Labels, Manifest};
use scanside_core::onnx::OnnxEngine;

pub(crate) fn run(args: &InspectArgs) -> Result<Exit, Failure> {
    if !args.model.exists() {
        return Err(Failure::says(Exit::BadModel, format!("{} does not exist", args.model.display())));
    }
    let how = How { manifest: args.manifest.as_deref(), ..How::default() };
    let Opened { manifest, engine, .. } = model::open(&args.model, &how)?;
    if args.json {
        let summary = engine.summary();
        let document = serde_json::json!({
            "format": 1,
            "manifest": manifest,
            "operators": summary.operators,
            "parameters": summary.parameters,
            "precision": summary.precision,
            "macs_per_patch": engine.macs_per_patch(),
            "native": engine.native().is_some(),
            "not_native_because": engine.not_lowered(),
            "float_convolutions": engine.float_convolutions(),
            "weights_bytes": engine.weights_bytes(),
            "workspace_bytes": engine.footprint(1).call_bytes(engine.footprint(1).workspace_blocks),
        });
        say!("{}", serde_json::to_string_pretty(&document).or_exit(Exit::CouldNotWrite)?);
    } else {
        print(&manifest, &engine);
    }
    Ok(Exit::Done)
}

fn print(manifest: &Manifest, engine: &OnnxEngine) {
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
    let footprint = engine.footprint(1);
    let (weights, precision) = (human_bytes(engine.weights_bytes()), summary.precision);
    say!("  weights     {} parameters, {weights}, mostly {precision}", summary.parameters);
    if let Some(macs) = engine.macs_per_patch() {
        say!("  work        {:.2} GMAC per patch and fold", macs as f64 / 1e9);
    }
    say!("  workspace   {}", human_bytes(footprint.call_bytes(footprint.workspace_blocks).unwrap_or(usize::MAX)));
    match (engine.native(), engine.not_lowered()) {
        (Some(native), _) => say!("  engine      native, {:?} on this CPU", native.networks()[0].isa()),
        (None, why) => say!("  engine      tract, because of {}", why.unwrap_or_default()),
    }
    for why in engine.float_convolutions() {
        say!("  in floats   quantised convolution {why}");
    }
    for (key, value) in &manifest.provenance {
        say!("  {key}: {value}");
    }
    for (key, value) in &manifest.accuracy {
        say!("  {key}: {value}");
    }
    for m in &manifest.measured {
        say!(
            "  measured    {:.1} ms a patch, peak {}, {} on {} thread(s), {} of {}",
            1e3 * m.seconds_per_window,
            memory(m.peak_rss_bytes),
            m.precision,
            m.threads,
            m.instructions,
            m.machine
        );
    }
    for member in &manifest.family {
        let this = if relatives::is(manifest, member) { ", this model" } else { "" };
        say!("  family      {}{this}", relatives::line(member));
    }
}

fn memory(bytes: u64) -> String {
    human_bytes(usize::try_from(bytes).unwrap_or(usize::MAX))
}
