//! `scanside inspect`: what a model is.

use crate::args::InspectArgs;
use crate::exit::Exit;
use crate::print::{self, say};
use scanside_app::Error;
use scanside_app::choose::relatives;
use scanside_app::model::{Model, ModelOptions};
use scanside_app::units::human_bytes;
use scanside_core::engine::Engine;
use scanside_core::manifest::Labels;

pub(crate) fn run(args: &InspectArgs) -> Result<Exit, Error> {
    let options = ModelOptions { manifest: args.manifest.clone(), ..Default::default() };
    let model = Model::open(&args.model, &options)?;
    let (manifest, engine) = (model.manifest(), model.engine());
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
        print::json(&document)?;
    } else {
        print(&model)?;
    }
    Ok(Exit::Done)
}

fn print(model: &Model) -> Result<(), Error> {
    let (manifest, engine) = (model.manifest(), model.engine());
    let grid = &manifest.grid;
    let summary = engine.summary();
    say!("{}", if manifest.name.is_empty() { "unnamed model" } else { &manifest.name })?;
    let spacing: Vec<String> =
        grid.spacing_mm.iter().map(|s| s.map_or("as in the scan".into(), |mm| format!("{mm}"))).collect();
    say!("  patch       {:?} voxels{}", grid.patch_zyx, if grid.two_dimensional { ", slice by slice" } else { "" })?;
    say!("  grid        {} mm, axes {:?} of the file (z, y, x)", spacing.join(" x "), grid.transpose_forward)?;
    for channel in &manifest.channels {
        say!("  channel     {}: {:?}", channel.name, channel.normalization)?;
    }
    let kind = match manifest.labels {
        Labels::Exclusive { .. } => "label ",
        Labels::Regions { .. } => "region",
    };
    for label in manifest.labels.heads() {
        say!("  {kind}      {:>5} {}", label.value, label.name)?;
    }
    say!("  mirroring   {:?}, folds {}", manifest.mirror_axes, manifest.folds)?;
    say!("  resampling  scan {:?}, logits {:?}", manifest.resample_data, manifest.resample_logits)?;
    let footprint = engine.footprint(1);
    let (weights, precision) = (human_bytes(engine.weights_bytes() as u64), summary.precision);
    say!("  weights     {} parameters, {weights}, mostly {precision}", summary.parameters)?;
    if let Some(macs) = engine.macs_per_patch() {
        say!("  work        {:.2} GMAC per patch and fold", macs as f64 / 1e9)?;
    }
    say!(
        "  workspace   {}",
        human_bytes(footprint.call_bytes(footprint.workspace_blocks).unwrap_or(usize::MAX) as u64)
    )?;
    match (engine.native(), engine.not_lowered()) {
        (Some(native), _) => say!("  engine      native, {:?} on this CPU", native.networks()[0].isa())?,
        (None, why) => say!("  engine      tract, because of {}", why.unwrap_or_default())?,
    }
    for why in engine.float_convolutions() {
        say!("  in float    quantised convolution {why}")?;
    }
    for (key, value) in &manifest.provenance {
        say!("  {key}: {value}")?;
    }
    for (key, value) in &manifest.accuracy {
        say!("  {key}: {value}")?;
    }
    for m in &manifest.measured {
        say!(
            "  measured    {:.1} ms per patch, peak {}, {} on {} thread(s), {} of {}",
            1e3 * m.seconds_per_window,
            human_bytes(m.peak_rss_bytes),
            m.precision,
            m.threads,
            m.instructions,
            m.machine
        )?;
    }
    for member in &manifest.family {
        let this = if relatives::is(manifest, member) { ", this model" } else { "" };
        say!("  family      {}{this}", relatives::line(member))?;
    }
    Ok(())
}
