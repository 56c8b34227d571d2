//! `scanside-train teacher`: a network trained as nnU-Net trains it.

use super::say;
use crate::distill::family::imbalance;
use crate::plan::TrainingPlan;
use crate::report::log::EpochRecord;
use crate::report::progress::human_duration;
use crate::report::run::{RunFacts, RunFolder};
use crate::training::settings::{Member, RunSettings, Start};
use crate::training::step::StepValue;
use crate::training::teacher::{self, Progress};
use crate::work::Work;
use clap::{Args, ValueEnum};
use scanside::exit::{Exit, Failure};
use scanside_core::nnunet::FoldName;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::time::Instant;
use tch::{Cuda, Device};

/// Train a network on a prepared work folder, by nnU-Net's recipe.
#[derive(Args, Debug)]
pub struct TeacherArgs {
    /// Work folder that `scanside-train plan` made.
    #[arg(value_name = "WORK")]
    pub work: PathBuf,
    /// Fold to train: a number, or all.
    #[arg(long, default_value = "0")]
    pub fold: FoldName,
    /// Name of the run [default: teacher_fold_N].
    #[arg(long)]
    pub name: Option<String>,
    /// Epochs of the whole run; the learning rate falls to zero over them.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub epochs: u32,
    /// Steps an epoch.
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub iterations_per_epoch: u32,
    /// Batches of validation patches after each epoch.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub validation_iterations: u32,
    /// Patches a step [default: the plan's].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub batch_size: Option<u16>,
    /// Learning rate of the first epoch.
    #[arg(long, value_name = "RATE", default_value_t = 0.01, value_parser = rate)]
    pub learning_rate: f64,
    /// Average the weights over steps; what one step keeps of the average, for example 0.999. The average is what is
    /// watched, validated and exported.
    #[arg(long, value_name = "DECAY", value_parser = decay)]
    pub ema: Option<f64>,
    /// Begin with the weights of an nnU-Net model folder of the same plan.
    #[arg(long, value_name = "NNUNET_FOLDER")]
    pub init: Option<PathBuf>,
    /// What computes.
    #[arg(long, value_enum, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// Threads [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Where the random numbers start.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Go on with a run that was stopped; the other options as before.
    #[arg(long)]
    pub resume: bool,
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DeviceChoice {
    /// A GPU if libtorch has one, otherwise the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first GPU.
    Cuda,
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("give a number above 0".into()),
    }
}

pub(super) fn decay(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(decay) if decay > 0.0 && decay < 1.0 => Ok(decay),
        _ => Err("give a number between 0 and 1".into()),
    }
}

pub(super) fn device(choice: DeviceChoice) -> Result<Device, Failure> {
    match (choice, Cuda::is_available()) {
        (DeviceChoice::Cpu, _) | (DeviceChoice::Auto, false) => Ok(Device::Cpu),
        (_, true) => Ok(Device::Cuda(0)),
        (DeviceChoice::Cuda, false) => Err(Failure::says(
            Exit::Usage,
            "this libtorch has no GPU; build with LIBTORCH set to one that has, or use --device cpu",
        )),
    }
}

/// Runs the command.
///
/// # Errors
/// As [`teacher::train`], and a device that is not there.
pub fn run(args: &TeacherArgs) -> Result<Exit, Failure> {
    let threads = args.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let settings = RunSettings {
        fold: args.fold,
        epochs: args.epochs as usize,
        steps_per_epoch: args.iterations_per_epoch as usize,
        validation_steps: args.validation_iterations as usize,
        batch_size: args.batch_size.map(usize::from),
        initial_lr: args.learning_rate,
        average: args.ema,
        seed: args.seed,
        device: device(args.device)?,
        threads,
    };
    tch::set_num_threads(threads as i32);
    let work = Work::new(&args.work);
    let plan = TrainingPlan::read(&work)?;
    let member = Member {
        name: args.name.clone().unwrap_or_else(|| format!("teacher_fold_{}", args.fold)),
        unet: plan.unet.clone(),
        start: args.init.clone().map_or(Start::Fresh, |folder| Start::Folder(folder, args.fold)),
        notes: BTreeMap::from([("loss".to_string(), "Dice + cross entropy, deep supervision".to_string())]),
    };
    let run = teacher::train(&work, &plan, &settings, &member, args.resume, &mut Lines::default())?;
    say(&finished(&work, &[run]));
    Ok(Exit::Done)
}

/// Where finished runs lie, and what comes next.
pub(super) fn finished(work: &Work, runs: &[RunFolder]) -> String {
    let mut text = String::new();
    for run in runs {
        let name = run.path().file_name().unwrap_or_default().to_string_lossy();
        let work = work.root().display();
        text += &format!("{}\n", run.page().display());
        text += &format!("  measure it: scanside-train validate {work} --model {name}\n");
    }
    text
}

/// Progress in lines: one that is overwritten on a terminal, one an epoch and network everywhere.
#[derive(Default)]
pub(super) struct Lines {
    began: Option<(Instant, usize)>,
}

impl Progress for Lines {
    fn begins(&mut self, facts: &RunFacts, epochs_done: usize) {
        self.began.get_or_insert((Instant::now(), epochs_done));
        eprintln!(
            "{}: {} parameters, {} cases to train on and {} to watch, {} patches of {:?} a step, {} epochs of {} steps",
            facts.name,
            facts.parameters,
            facts.training_cases.len(),
            facts.validation_cases.len(),
            facts.batch_size,
            facts.patch_zyx,
            facts.epochs,
            facts.steps_per_epoch,
        );
        if epochs_done > 0 {
            eprintln!("{}: goes on after {epochs_done} epochs", facts.name);
        }
    }

    fn step(&mut self, facts: &RunFacts, epoch: usize, step: usize, value: &StepValue) {
        if std::io::stderr().is_terminal() {
            let terms: Vec<String> = value.terms.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
            eprint!(
                "\r\x1b[K{}: epoch {} step {}/{}: loss {:.4}, {}, gradients {:.2}",
                facts.name,
                epoch + 1,
                step + 1,
                facts.steps_per_epoch,
                value.loss,
                terms.join(", "),
                value.gradient_norm
            );
            let _ = std::io::stderr().flush();
        }
    }

    fn epoch(&mut self, facts: &RunFacts, record: &EpochRecord) {
        let dice: Vec<String> =
            record.pseudo_dice.iter().map(|d| d.map_or("-".into(), |d| format!("{d:.4}"))).collect();
        let left = self.began.map_or(0.0, |(since, first)| {
            since.elapsed().as_secs_f64() / (record.epoch + 1 - first) as f64 * (facts.epochs - record.epoch - 1) as f64
        });
        let start = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
        eprintln!(
            "{start}{}: epoch {}/{}: loss {:.4}, watched {}, pseudo-Dice {}, {:.2} samples/s, {:.1} % waiting, {} left",
            facts.name,
            record.epoch + 1,
            facts.epochs,
            record.loss,
            record.val_loss.map_or("-".into(), |loss| format!("{loss:.4}")),
            dice.join(" "),
            record.samples as f64 / record.seconds.max(1e-9),
            100.0 * record.wait_seconds / record.seconds.max(1e-9),
            human_duration(left)
        );
        // Early on terms are meant to be small.
        if record.epoch * 2 > facts.epochs {
            for sentence in imbalance(&record.pulls) {
                eprintln!("{}: {sentence}", facts.name);
            }
        }
    }
}
