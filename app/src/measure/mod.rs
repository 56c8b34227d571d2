//! Seconds and memory per patch, on this machine.

mod layers;
mod limits;
mod measured;
mod scan_size;

pub use layers::Layer;
pub use measured::{Measured, header};
pub use scan_size::{ScanSize, WholeScan};

use crate::error::{Error, ErrorKind, OrError};
use crate::machine::{self, Threads, all_cores, noise};
use crate::model::{self, ModelOptions, Opened};
use scanside_core::engine::Engine;
use scanside_core::onnx::OnnxEngine;
use scanside_core::patch::{PatchNumber, PatchPrecision};
use scanside_core::workspace::Block;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;

/// How to measure a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasureOptions {
    /// Threads; all cores where no number is given.
    pub threads: Option<u16>,
    /// Timed runs, after one that is not timed.
    pub runs: u32,
    /// How the model is opened.
    pub model: ModelOptions,
    /// Run in low-memory mode, as a small memory limit makes it.
    pub least_memory: bool,
    /// Time each step of the network.
    pub layers: bool,
    /// Count and time the windows of a scan of this size.
    pub volume: Option<ScanSize>,
}

impl Default for MeasureOptions {
    /// Five runs on all cores.
    fn default() -> Self {
        MeasureOptions {
            threads: None,
            runs: 5,
            model: ModelOptions::default(),
            least_memory: false,
            layers: false,
            volume: None,
        }
    }
}

/// Measures a model in this process, whose memory is part of what is measured.
///
/// # Errors
/// The model cannot be read or run; a scan's size was given and the model has no manifest.
pub fn measure(path: &Path, options: &MeasureOptions) -> Result<Measured, Error> {
    let start = Instant::now();
    let (Opened { manifest, engine, graph_sha256, .. }, described) = model::open_undescribed(path, &options.model)?;
    if options.volume.is_some() && !described {
        let sentence = "has no manifest, so the distance of its voxels and the windows of a scan are not known";
        return Err(Error::new(ErrorKind::Usage, format_args!("{} {sentence}", path.display())).about(path));
    }
    let measured = match engine.footprint(1).patch {
        PatchPrecision::F32 => measure_in::<f32>(path, options, &engine, start),
        PatchPrecision::F16 => measure_in::<u16>(path, options, &engine, start),
    };
    let measured = measured?;
    let whole_scan = options.volume.map(|volume| volume.run(&manifest, measured.median_seconds)).transpose()?;
    Ok(Measured { graph_sha256, whole_scan, ..measured })
}

/// Measures with patches of one precision: all that needs no more than the engine.
fn measure_in<T: PatchNumber>(
    path: &Path,
    options: &MeasureOptions,
    engine: &OnnxEngine,
    start: Instant,
) -> Result<Measured, Error> {
    // Reading a model takes several times its weights for a moment.
    let loading_bytes = machine::resident_bytes().map_or(0, |b| b.1);
    machine::give_back();
    let held = || machine::TYPICAL_PROCESS_BYTES + engine.weights_bytes();
    let loaded_bytes = machine::resident_bytes().map_or_else(held, |b| b.0);
    let load_seconds = start.elapsed().as_secs_f64();
    let threads = all_cores(options.threads);
    let executor = Threads::new(threads)?;
    let footprint = engine.footprint(threads);
    let shape = engine.shape();
    let input: Vec<T> = noise(shape.input_len());
    let mut output = vec![T::default(); shape.output_len()];
    let workspace_blocks =
        if options.least_memory { footprint.least_workspace_blocks } else { footprint.workspace_blocks };
    let mut workspace = vec![Block::ZERO; workspace_blocks];
    let mut seconds = Vec::new();
    for run in 0..=options.runs {
        let start = Instant::now();
        let (input, output) = (T::patch(&input), T::patch_mut(&mut output));
        engine.infer(0, input, output, &mut workspace, &executor).or_error(ErrorKind::Model)?;
        if run > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    seconds.sort_by(f64::total_cmp);
    let buffers = footprint.patch.bytes() * (input.len() + output.len());
    let announced = footprint.call_bytes(workspace_blocks).and_then(|b| b.checked_add(loaded_bytes + buffers));
    let peak_rss_bytes = machine::resident_bytes().map(|b| b.1);
    let layers = if options.layers {
        let timed = layers::layers(engine, &input, &mut output, &mut workspace, &executor, options.runs);
        timed.or_error(ErrorKind::Model)?
    } else {
        Vec::new()
    };
    Ok(Measured {
        model: path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
        graph_sha256: String::new(),
        machine: machine::cpu_name(),
        engine: engine.name().to_owned(),
        instructions: engine.native().map_or("tract's".into(), |n| n.networks()[0].isa().name().to_owned()),
        precision: model::precision_name(options.model.precision, engine).to_owned(),
        patch: shape.patch_zyx,
        threads,
        runs: seconds.len(),
        load_seconds,
        median_seconds: seconds[seconds.len() / 2],
        least_seconds: seconds[0],
        most_seconds: seconds[seconds.len() - 1],
        gmac: engine.macs_per_patch().map(|m| m as f64 / 1e9),
        announced_bytes: announced.unwrap_or(usize::MAX).max(loading_bytes),
        peak_rss_bytes,
        whole_scan: None,
        layers,
    })
}
