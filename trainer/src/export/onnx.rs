//! One self-describing ONNX file, verified after it was written.

use super::plans::Described;
use super::{ByLastName, ModelFacts, TrainedNetwork};
use clap::ValueEnum;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::machine::Threads;
use scanside_app::output::PendingFile;
use scanside_core::engine::Engine;
use scanside_core::executor::Executor;
use scanside_core::manifest::Manifest;
use scanside_core::nnunet;
use scanside_core::nnunet::to_onnx::ModelBuilder;
use scanside_core::onnx::{self, OnnxEngine, OnnxModel, Settings};
use scanside_core::patch::{Patch, PatchMut};
use scanside_core::workspace::Block;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Number format of the weights of convolutions in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Half precision: half the size of the file, and the inference core stores activations in half precision, too.
    F16,
}

/// Largest finite value in half precision.
const LARGEST_HALF: f32 = 65_504.0;

/// The trained network on a patch, not computed by the inference core: normalised voxels `[channels, z, y, x]` in, logits
/// `[heads, z, y, x]` out.
pub type Reference<'a> = dyn FnMut(&[f32]) -> Result<Vec<f32>, Error> + 'a;

/// The result of verifying a written file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviation {
    /// Largest difference of a logit, as a fraction of the reference logits' standard deviation.
    pub largest: f64,
    /// Root of the mean squared difference, likewise.
    pub rms: f64,
}

impl Precision {
    /// The largest deviation that rounding explains.
    fn tolerance(self) -> f64 {
        match self {
            Precision::F32 => 1e-3,
            Precision::F16 => 3e-2,
        }
    }
}

/// The graph and its manifest: the same as importing the written nnU-Net folder gives, but for provenance and
/// what was measured.
///
/// # Errors
/// The network is not what the plans describe, or its weights do not fit into half precision.
pub fn model(
    network: &TrainedNetwork,
    facts: &ModelFacts,
    precision: Precision,
) -> Result<(Manifest, OnnxModel), Error> {
    let (_, Described { plans, dataset, configuration, unet }) = Described::of(network, facts)?;
    let builder = ModelBuilder::new(&unet, &configuration.patch);
    let mut builder = match precision {
        Precision::F32 => builder,
        Precision::F16 => {
            check_range(network)?;
            builder.half_kernels()
        }
    };
    builder.add_fold(&mut ByLastName::new(network)).or_error(ErrorKind::Model)?;
    // A 2d network's two axes are the last of the manifest's three.
    let missing = 3 - unet.axes();
    let mut manifest = nnunet::manifest(dataset, &plans, configuration);
    manifest.mirror_axes = facts.mirror_axes.iter().map(|axis| axis + missing).collect();
    manifest.provenance = facts.provenance.clone();
    manifest.accuracy = facts.accuracy.clone();
    manifest.measured = facts.measured.clone();
    manifest.family = facts.family.clone();
    let model = builder.finish(&manifest.name);
    Ok((manifest, model))
}

fn check_range(network: &TrainedNetwork) -> Result<(), Error> {
    for (name, (_, values)) in network.weights() {
        if let Some(value) = values.iter().find(|value| value.abs() > LARGEST_HALF) {
            return Err(Error::new(
                ErrorKind::Model,
                format!(
                    "`{name}` has the value {value}, but half precision ends at {LARGEST_HALF}; export in single precision"
                ),
            ));
        }
    }
    Ok(())
}

/// Writes the file, loads it again and runs it in the inference core beside `reference`. It appears only if the two
/// agree.
///
/// # Errors
/// As [`model`]; the file cannot be written; the logits differ by more than rounding explains.
pub fn write(
    path: &Path,
    network: &TrainedNetwork,
    facts: &ModelFacts,
    precision: Precision,
    reference: &mut Reference<'_>,
) -> Result<Deviation, Error> {
    let file = pending(path, network, facts, precision)?;
    let deviation = check(file.partial_path(), reference)?;
    if deviation.largest.is_nan() || deviation.largest > precision.tolerance() {
        return Err(Error::new(
            ErrorKind::Model,
            format!(
                "{} was not written: the inference core's logits differ from the trained network's by up to {:.2e} of \
                 their standard deviation, more than the {:.0e} that rounding explains",
                path.display(),
                deviation.largest,
                precision.tolerance()
            ),
        ));
    }
    file.publish()?;
    Ok(deviation)
}

/// Writes the file without verifying it, for temporary files that are measured.
///
/// # Errors
/// As [`model`]; the file cannot be written.
pub fn write_unchecked(
    path: &Path,
    network: &TrainedNetwork,
    facts: &ModelFacts,
    precision: Precision,
) -> Result<(), Error> {
    pending(path, network, facts, precision)?.publish()
}

/// The whole file under a temporary name beside its path.
fn pending(
    path: &Path,
    network: &TrainedNetwork,
    facts: &ModelFacts,
    precision: Precision,
) -> Result<PendingFile, Error> {
    let (manifest, mut model) = model(network, facts, precision)?;
    model.set_manifest(&manifest).or_error(ErrorKind::Model)?;
    let unwritable = || format!("{} cannot be written", path.display());
    let mut file = BufWriter::with_capacity(1 << 20, PendingFile::create(path)?);
    model.write(&mut file).and_then(|()| file.flush()).or_error_with(ErrorKind::Output, unwritable)?;
    file.into_inner().map_err(|e| e.into_error()).or_error_with(ErrorKind::Output, unwritable)
}

/// Runs a written file and the reference on one patch of noise.
fn check(path: &Path, reference: &mut Reference<'_>) -> Result<Deviation, Error> {
    let loaded = onnx::load(path, None).or_error_with(ErrorKind::Model, || "the written file cannot be read back")?;
    // Tensors in single precision, however the file stores its weights: these are what is checked.
    let settings = Settings { half: Some(false), ..Settings::default() };
    let engine = OnnxEngine::new(loaded.model, &loaded.manifest, settings)
        .or_error_with(ErrorKind::Model, || "the written file cannot be run")?;
    let shape = engine.shape();
    let input = noise(shape.input_len());
    let expected = reference(&input).or_error_with(ErrorKind::Model, || "the trained network cannot be run")?;
    let mut logits = vec![0.0; shape.output_len()];
    if expected.len() != logits.len() {
        return Err(Error::new(
            ErrorKind::Model,
            format!("the trained network gives {} logits, the written file {}", expected.len(), logits.len()),
        ));
    }
    let threads = Threads::new(std::thread::available_parallelism().map_or(1, usize::from))?;
    let footprint = engine.footprint(threads.workers());
    let mut workspace = vec![Block::ZERO; footprint.workspace_blocks];
    engine
        .infer(0, Patch::F32(&input), PatchMut::F32(&mut logits), &mut workspace, &threads)
        .or_error_with(ErrorKind::Model, || "the written file cannot be run")?;
    Ok(compare(&logits, &expected))
}

/// Normally distributed voxels, as normalisation leaves them; the same for every check.
fn noise(len: usize) -> Vec<f32> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(0);
    let mut values = Vec::with_capacity(len + 1);
    while values.len() < len {
        // Box and Muller.
        let radius = (-2.0 * (1.0 - random.random::<f32>()).ln()).sqrt();
        let (sin, cos) = (std::f32::consts::TAU * random.random::<f32>()).sin_cos();
        values.extend([radius * cos, radius * sin]);
    }
    values.truncate(len);
    values
}

fn compare(logits: &[f32], expected: &[f32]) -> Deviation {
    let count = expected.len().max(1) as f64;
    let mean = expected.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = expected.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    let differences = || logits.iter().zip(expected).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
    // `f64::max` would drop a difference that is no number.
    let largest = differences().fold(0.0, |most: f64, d| if d.is_nan() || d > most { d } else { most });
    let squared = differences().map(|d| d * d).sum::<f64>() / count;
    let spread = variance.sqrt().max(f64::from(f32::MIN_POSITIVE));
    Deviation { largest: largest / spread, rms: squared.sqrt() / spread }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_in_standard_deviations() {
        let found = compare(&[1.0, -1.0, 1.0, -0.8], &[1.0, -1.0, 1.0, -1.0]);
        assert!((found.largest - 0.2).abs() < 1e-7 && (found.rms - 0.1).abs() < 1e-7, "{found:?}");
        assert!(compare(&[f32::NAN, 5.0], &[0.0, 1.0]).largest.is_nan());
        assert!(compare(&[5.0, f32::NAN], &[0.0, 1.0]).largest.is_nan());
    }

    #[test]
    fn noise_is_normal() {
        let values = noise(10_001);
        let mean = values.iter().sum::<f32>() / 10_001.0;
        let square = values.iter().map(|v| v * v).sum::<f32>() / 10_001.0;
        assert!(mean.abs() < 0.05 && (square - 1.0).abs() < 0.05, "{mean} {square}");
    }
}
