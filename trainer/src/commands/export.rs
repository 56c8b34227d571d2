//! `scanside-train export`: a trained network as files that other programs take.

use super::runs::{self, Trained, WhichWeights};
use super::{say, speed};
use crate::exit::Exit;
use crate::export::onnx::{self, Precision};
use crate::export::reference::on_libtorch;
use crate::export::{ModelFacts, TrainedNetwork, nnunet, tensors};
use crate::report::run::RunFolder;
use crate::validate::Validation;
use clap::Args;
use scanside_app::error::{Error, ErrorKind, OrError};
use std::path::{Path, PathBuf};

/// What to export, and where to.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("target").required(true).multiple(true))]
pub struct ExportArgs {
    /// The run: its folder.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// A self-describing ONNX file, checked against the trained network after it was written.
    #[arg(short, long, value_name = "MODEL.onnx", group = "target")]
    pub output: Option<PathBuf>,
    /// A model folder for nnU-Net's own programs. A folder of the same plans takes a further fold.
    #[arg(long, value_name = "FOLDER", group = "target")]
    pub nnunet: Option<PathBuf>,
    /// The weights alone, under nnU-Net's names.
    #[arg(long, value_name = "FILE", group = "target")]
    pub safetensors: Option<PathBuf>,
    /// How the ONNX file stores the kernels of convolutions.
    #[arg(long, value_enum, default_value_t)]
    pub precision: Precision,
    /// Which of the checkpoint's weights.
    #[arg(long, value_enum, default_value_t)]
    pub weights: WhichWeights,
    /// Replace files that are there.
    #[arg(long)]
    pub overwrite: bool,
}

/// Exports.
///
/// # Errors
/// The run has no usable checkpoint, a file is there already or cannot be written, or the written model answers
/// otherwise than the trained network.
pub fn run(args: &ExportArgs) -> Result<Exit, Error> {
    for path in [&args.output, &args.safetensors].into_iter().flatten() {
        if path.exists() && !args.overwrite {
            return Err(Error::new(
                ErrorKind::Output,
                format!("{} is there already; --overwrite replaces it", path.display()),
            ));
        }
    }
    let run = RunFolder::new(&args.run);
    let Trained { network, mut facts, checkpoint, .. } = runs::read(&run, args.weights)?;
    if checkpoint != run.last() {
        eprintln!("the run is not finished; exporting its state in {}", checkpoint.display());
    }
    if let Some(folder) = &args.nnunet {
        nnunet::write(folder, &network, &facts)?;
        say(&format!(
            "{}: run it with nnUNetv2_predict_from_modelfolder -m {} -f {}",
            folder.display(),
            folder.display(),
            facts.fold
        ));
    }
    if let Some(path) = &args.safetensors {
        tensors::write(path, &network, &facts)?;
        say(&written(path));
    }
    if let Some(path) = &args.output {
        add_measurements(&run, &network, &mut facts, args.precision)?;
        let mut reference = on_libtorch(&network, &facts).or_error(ErrorKind::Model)?;
        let deviation = onnx::write(path, &network, &facts, args.precision, &mut *reference)?;
        say(&format!(
            "{}; logits differ from the trained network's by {:.1e} of their standard deviation at most, {:.1e} in the mean",
            written(path),
            deviation.largest,
            deviation.rms
        ));
    }
    Ok(Exit::Done)
}

fn written(path: &Path) -> String {
    let bytes = std::fs::metadata(path).map_or(0, |m| m.len());
    format!("{}: {}", path.display(), scanside_app::units::human_bytes(bytes))
}

/// What was measured of the run, if it was this very graph: how accurate it is, how fast, and which runs beside it are
/// worth having.
fn add_measurements(
    run: &RunFolder,
    network: &TrainedNetwork,
    facts: &mut ModelFacts,
    precision: Precision,
) -> Result<(), Error> {
    let (_, graph) = onnx::model(network, facts, precision)?;
    let graph_sha256 = graph.graph_sha256();
    drop(graph);
    if let Ok(validation) = Validation::read(&run.validation())
        && validation.graph_sha256 == graph_sha256
    {
        facts.accuracy.extend(validation.mean_dice().map(|dice| ("mean_dice".to_owned(), dice)));
    }
    let Some(speed) = speed::read(run)?.filter(|speed| speed.graph_sha256 == graph_sha256) else { return Ok(()) };
    facts.measured.extend(speed::measurement(&speed));
    facts.family = speed::family(run, &speed);
    Ok(())
}
