//! The progress of a training, in lines on standard error.

use super::note;
use crate::distill::losses::imbalance;
use crate::report::log::EpochRecord;
use crate::report::progress::human_duration;
use crate::report::run::RunFacts;
use crate::training::observer::TrainingObserver;
use crate::training::step::StepValue;
use std::io::{IsTerminal, Write as _};
use std::time::Instant;

/// Prints a line per epoch and network and, on a terminal, one that is overwritten at every step.
#[derive(Default)]
pub(super) struct ProgressLines {
    /// When the training started, and after how many epochs.
    started: Option<(Instant, usize)>,
}

impl TrainingObserver for ProgressLines {
    fn run_started(&mut self, facts: &RunFacts, epochs_done: usize) {
        self.started.get_or_insert((Instant::now(), epochs_done));
        note!(
            "{}: {} parameters, {} training cases, {} validation cases, {} patches of {:?} per step, {} epochs of {} steps",
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
            note!("{}: continues after {epochs_done} epochs", facts.name);
        }
    }

    fn step_done(&mut self, facts: &RunFacts, epoch: usize, step: usize, value: &StepValue) {
        if std::io::stderr().is_terminal() {
            let terms: Vec<String> = value.terms.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
            let mut out = std::io::stderr();
            let _ = write!(
                out,
                "\r\x1b[K{}: epoch {} step {}/{}: loss {:.4}, {}, gradient norm {:.2}",
                facts.name,
                epoch + 1,
                step + 1,
                facts.steps_per_epoch,
                value.loss,
                terms.join(", "),
                value.gradient_norm
            );
            let _ = out.flush();
        }
    }

    fn epoch_done(&mut self, facts: &RunFacts, record: &EpochRecord) {
        let dice: Vec<String> =
            record.pseudo_dice.iter().map(|d| d.map_or("-".into(), |d| format!("{d:.4}"))).collect();
        let left = self.started.map_or(0.0, |(since, first)| {
            since.elapsed().as_secs_f64() / (record.epoch + 1 - first) as f64 * (facts.epochs - record.epoch - 1) as f64
        });
        let start = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
        note!(
            "{start}{}: epoch {}/{}: loss {:.4}, validation loss {}, pseudo-Dice {}, {:.2} samples/s, {:.1} % waiting for \
             patches, {} left",
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
        // Earlier, the ramp makes the terms small on purpose.
        if record.epoch * 2 > facts.epochs {
            for sentence in imbalance(&record.term_gradients) {
                note!("{}: {sentence}", facts.name);
            }
        }
    }
}
