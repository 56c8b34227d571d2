//! `scanside-train teacher`: a network trained as nnU-Net trains it.

use super::judge::judge;
use super::say;
use super::schedule::{ScheduleArgs, decay};
use crate::distill::family::imbalance;
use crate::exit::Exit;
use crate::plan::TrainingPlan;
use crate::report::log::EpochRecord;
use crate::report::progress::human_duration;
use crate::report::run::RunFacts;
use crate::training::settings::{Member, Start};
use crate::training::step::StepValue;
use crate::training::teacher::{self, Progress};
use crate::work::Work;
use clap::Args;
use scanside_app::Error;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::time::Instant;

/// Train a network on a prepared work folder, by nnU-Net's recipe.
#[derive(Args, Debug)]
pub struct TeacherArgs {
    /// Work folder that `scanside-train plan` made.
    #[arg(value_name = "WORK")]
    pub work: PathBuf,
    /// Name of the run [default: teacher_fold_N].
    #[arg(long)]
    pub name: Option<String>,
    /// Average the weights over steps; what one step keeps of the average, for example 0.999. The average is what is
    /// watched, validated and exported.
    #[arg(long, value_name = "DECAY", value_parser = decay)]
    pub ema: Option<f64>,
    /// Begin with the weights of an nnU-Net model folder of the same plan.
    #[arg(long, value_name = "NNUNET_FOLDER")]
    pub init: Option<PathBuf>,
    /// How long, on what, and from which random numbers.
    #[command(flatten)]
    pub schedule: ScheduleArgs,
}

/// Runs the command.
///
/// # Errors
/// As [`teacher::train`], and a device that is not there.
pub fn run(args: &TeacherArgs) -> Result<Exit, Error> {
    let settings = args.schedule.settings(args.ema)?;
    let work = Work::new(&args.work);
    let plan = TrainingPlan::read(&work)?;
    let member = Member {
        name: args.name.clone().unwrap_or_else(|| format!("teacher_fold_{}", settings.fold)),
        unet: plan.unet.clone(),
        start: args.init.clone().map_or(Start::Fresh, |folder| Start::Folder(folder, settings.fold)),
        lifts: Vec::new(),
        notes: BTreeMap::from([("loss".to_string(), "Dice + cross entropy, deep supervision".to_string())]),
    };
    let run = teacher::train(&work, &plan, &settings, &member, args.schedule.resume, &mut Lines::default())?;
    let exit = match args.schedule.no_validation {
        true => Exit::Done,
        false => judge(&work, std::slice::from_ref(&run), args.schedule.threads)?,
    };
    say(&run.page().display().to_string());
    Ok(exit)
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
