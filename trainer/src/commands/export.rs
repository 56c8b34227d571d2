//! `scanside-train export`: writes a trained network as files for other programs.

use super::runs::{self, Trained, WhichWeights};
use super::{note, print, speed};
use crate::exit::Exit;
use crate::export::onnx::{self, Precision};
use crate::export::reference::on_libtorch;
use crate::export::{ModelFacts, TrainedNetwork, nnunet, tensors};
use crate::report::run::RunFolder;
use crate::validate::Validation;
use clap::Args;
use scanside_app::error::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// Options of `export`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("target").required(true).multiple(true))]
pub struct ExportArgs {
    /// Folder of the run.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Write a self-describing ONNX file. It is verified against the trained network.
    #[arg(short, long, value_name = "MODEL.onnx", group = "target")]
    pub output: Option<PathBuf>,
    /// Write a model folder for nnU-Net's programs, or add a fold to a model folder of the same plans.
    #[arg(long, value_name = "FOLDER", group = "target")]
    pub nnunet: Option<PathBuf>,
    /// Write the weights alone, with nnU-Net's names.
    #[arg(long, value_name = "FILE", group = "target")]
    pub safetensors: Option<PathBuf>,
    /// Number format of the convolutions' weights in the ONNX file. f16 halves the file, and the memory of the model.
    #[arg(long, value_enum, default_value_t)]
    pub precision: Precision,
    /// Which of the checkpoint's weights to export.
    #[arg(long, value_enum, default_value_t)]
    pub weights: WhichWeights,
    /// Replace existing files.
    #[arg(long)]
    pub overwrite: bool,
}

/// Exports.
///
/// # Errors
/// The run has no usable checkpoint, a file exists or cannot be written, or the logits of the written model differ from those
/// of the trained network.
pub fn run(args: &ExportArgs) -> Result<Exit, Error> {
    for path in [&args.output, &args.safetensors].into_iter().flatten() {
        if path.exists() && !args.overwrite {
            let sentence = format!("{} already exists; --overwrite replaces it", path.display());
            return Err(Error::new(ErrorKind::Output, sentence).about(path));
        }
    }
    let run = RunFolder::new(&args.run);
    let Trained { network, mut facts, checkpoint, .. } = runs::read(&run, args.weights)?;
    if checkpoint != run.last() {
        note!("the run is not finished; exporting its checkpoint {}", checkpoint.display());
    }
    if let Some(folder) = &args.nnunet {
        nnunet::write(folder, &network, &facts)?;
        print(&format!(
            "{}: run it with nnUNetv2_predict_from_modelfolder -m {} -f {}",
            folder.display(),
            folder.display(),
            facts.fold
        ))?;
    }
    if let Some(path) = &args.safetensors {
        tensors::write(path, &network, &facts)?;
        print(&written(path))?;
    }
    if let Some(path) = &args.output {
        add_measurements(&run, &network, &mut facts, args.precision)?;
        let mut reference = on_libtorch(&network, &facts)?;
        let deviation = onnx::write(path, &network, &facts, args.precision, &mut *reference)?;
        print(&format!(
            "{}; logits differ from the trained network's by at most {:.1e} of their standard deviation, {:.1e} on average",
            written(path),
            deviation.largest,
            deviation.rms
        ))?;
    }
    Ok(Exit::Done)
}

fn written(path: &Path) -> String {
    let bytes = std::fs::metadata(path).map_or(0, |m| m.len());
    format!("{}: {}", path.display(), scanside_app::units::human_bytes(bytes))
}

/// Adds the run's accuracy, its speed and the Pareto-optimal runs of its work folder, as far as they were measured with this
/// graph.
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
