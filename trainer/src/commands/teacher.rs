//! `scanside-train teacher`: trains a network as nnU-Net trains it.

use super::evaluate::evaluate;
use super::print;
use super::progress_lines::ProgressLines;
use super::training_args::{TrainingArgs, decay};
use crate::exit::Exit;
use crate::plan::TrainingPlan;
use crate::training::settings::{InitialWeights, RunSpec, TrainingContext};
use crate::training::supervised;
use crate::work::Work;
use clap::Args;
use scanside_app::Error;
use scanside_app::interrupt::Stop;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Train a network on a prepared work folder with nnU-Net's recipe.
#[derive(Args, Debug)]
pub struct TeacherArgs {
    /// Options of the training.
    #[command(flatten)]
    pub training: TrainingArgs,
    /// Name of the run [default: teacher_fold_N].
    #[arg(long)]
    pub name: Option<String>,
    /// Average the weights over the steps with this decay, for example 0.999. Validation and export use the average.
    #[arg(long, value_name = "DECAY", value_parser = decay)]
    pub ema: Option<f64>,
    /// Start with the weights of an nnU-Net model folder of the same plan instead of random ones.
    #[arg(long, value_name = "NNUNET_FOLDER")]
    pub init: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// As [`supervised::train`], and a device that does not exist.
pub fn run(args: &TeacherArgs, stop: &Stop) -> Result<Exit, Error> {
    let settings = args.training.settings(args.ema)?;
    let work = Work::new(&args.training.work);
    let plan = TrainingPlan::read(&work)?;
    let initial_weights = match &args.init {
        Some(folder) => InitialWeights::NnUnetFolder(folder.clone(), settings.fold),
        None => InitialWeights::Random,
    };
    let spec = RunSpec {
        name: args.name.clone().unwrap_or_else(|| format!("teacher_fold_{}", settings.fold)),
        unet: plan.unet.clone(),
        initial_weights,
        projections: Vec::new(),
        notes: BTreeMap::from([("loss".to_string(), "Dice + cross entropy, deep supervision".to_string())]),
    };
    let context = TrainingContext { work: &work, plan: &plan, settings: &settings, resume: args.training.resume, stop };
    let run = supervised::train(&context, &spec, &mut ProgressLines::default())?;
    let exit = match args.training.no_validation {
        true => Exit::Done,
        false => evaluate(&work, std::slice::from_ref(&run), args.training.threads, stop)?,
    };
    print(&run.page().display().to_string())?;
    Ok(exit)
}
