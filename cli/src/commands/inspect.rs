//! `scanside inspect`: what a model is.

use crate::args::InspectArgs;
use crate::exit::Exit;
use crate::print::{self, say};
use scanside_app::Error;
use scanside_app::choose::relatives;
use scanside_app::model::{Model, ModelOptions};
use scanside_app::units::human_bytes;
use scanside_core::engine::Engine;
use scanside_core::manifest::{Labels, Manifest};

pub(crate) fn run(args: &InspectArgs) -> Result<Exit, Error> {
    let options = ModelOptions { manifest: args.manifest.clone(), ..args.parts.options() };
    let model = Model::open(&args.model, &options)?;
    print::folds(&args.model, model.folds());
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
    let [z, y, x] = grid.patch_zyx;
    say!("  patch       {z} x {y} x {x} voxels{}", if grid.two_dimensional { ", slice by slice" } else { "" })?;
    let axes = grid.transpose_forward.map(|axis| ["z", "y", "x"][axis]);
    say!("  grid        {} mm along {} of the file", spacing.join(" x "), axes.join(", "))?;
    for channel in &manifest.channels {
        say!("  channel     {}: {}", channel.name, channel.normalization)?;
    }
    let kind = match manifest.labels {
        Labels::Exclusive { .. } => "label ",
        Labels::Regions { .. } => "region",
    };
    for label in manifest.labels.heads() {
        let code = label.snomed.as_ref().map_or(String::new(), |code| format!(", SNOMED CT {code}"));
        let colour = label.rgb.map_or(String::new(), |[r, g, b]| format!(", colour #{r:02x}{g:02x}{b:02x}"));
        say!("  {kind}      {:>5} {}{code}{colour}", label.value, label.name)?;
    }
    let axes: Vec<String> = manifest.mirror_axes.iter().map(ToString::to_string).collect();
    let mirroring = if axes.is_empty() { "none".into() } else { format!("network axes {}", axes.join(", ")) };
    say!("  mirroring   {mirroring}; {} fold(s)", manifest.folds)?;
    say!("  resampling  of the scan: {}", manifest.resample_data)?;
    say!("              of logits: {}", manifest.resample_logits)?;
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
        (None, why) => say!("  engine      tract, reason: {}", why.unwrap_or_default())?,
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
    print_card(manifest)?;
    for member in &manifest.family {
        let this = if relatives::is(manifest, member) { ", this model" } else { "" };
        say!("  family      {}{this}", relatives::line(member))?;
    }
    Ok(())
}

/// What a person has to know before using the model, and the ranges that it was trained on.
fn print_card(manifest: &Manifest) -> Result<(), Error> {
    if let Some(card) = &manifest.card {
        let texts = [
            ("intended use", &card.intended_use),
            ("limits", &card.limits),
            ("data", &card.data),
            ("licence", &card.licence),
        ];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            say!("  {name}: {text}")?;
        }
    }
    let Some(envelope) = &manifest.envelope else { return Ok(()) };
    let range = |[low, high]: [f64; 2]| {
        let number = |value: f64| format!("{:.2}", value).trim_end_matches('0').trim_end_matches('.').to_owned();
        if low == high { number(low) } else { format!("{} to {}", number(low), number(high)) }
    };
    let axes = |ranges: [[f64; 2]; 3]| ranges.map(range).join(" x ");
    say!("  trained on  (smallest to largest)")?;
    if let Some(voxels) = envelope.voxels_zyx {
        say!("    scans of  {} voxels (z, y, x)", axes(voxels.map(|pair| pair.map(|n| n as f64))))?;
    }
    if let Some(spacing) = envelope.spacing_mm_zyx {
        say!("    voxels    {} mm (z, y, x)", axes(spacing))?;
    }
    for (ranges, what) in
        [(&envelope.intensities, "intensities"), (&envelope.foreground_intensities, "intensities of structures")]
    {
        for (channel, &pair) in manifest.channels.iter().zip(ranges) {
            say!("    {what} of {}: {}", channel.name, range(pair))?;
        }
    }
    for label in &envelope.label_volumes {
        let head = manifest.labels.heads().iter().find(|head| head.value == label.value);
        say!("    {}: {} ml", head.map_or("?", |head| &head.name), range(label.ml))?;
    }
    Ok(())
}
