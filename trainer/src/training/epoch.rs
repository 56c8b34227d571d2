//! The numbers of an epoch while it runs.

use super::step::StepValue;
use crate::loss::HardCounts;
use crate::targets::Targets;
use std::collections::BTreeMap;

/// Time and teacher passes of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EpochCost {
    /// Seconds from its beginning to its end, validation patches included.
    pub seconds: f64,
    /// Seconds of these spent waiting for patches.
    pub wait_seconds: f64,
    /// Batches for which the teachers were run.
    pub teacher_passes: u64,
}

/// Sums over an epoch.
#[derive(Debug)]
pub(super) struct EpochSums {
    pub(super) steps: usize,
    loss: f64,
    terms: BTreeMap<&'static str, f64>,
    /// Sum and number of measurements.
    term_gradients: BTreeMap<&'static str, (f64, usize)>,
    validation_batches: usize,
    validation_loss: f64,
    /// Hard decisions on the validation patches.
    pub(super) counts: HardCounts,
}

impl EpochSums {
    pub(super) fn new(targets: &Targets) -> EpochSums {
        EpochSums {
            steps: 0,
            loss: 0.0,
            terms: BTreeMap::new(),
            term_gradients: BTreeMap::new(),
            validation_batches: 0,
            validation_loss: 0.0,
            counts: HardCounts::new(targets),
        }
    }

    /// Adds a training step.
    pub(super) fn add_step(&mut self, value: &StepValue) {
        self.steps += 1;
        self.loss += value.loss;
        for (name, term) in &value.terms {
            *self.terms.entry(name).or_default() += term;
        }
        for (name, norm) in &value.term_gradients {
            let sum = self.term_gradients.entry(name).or_default();
            *sum = (sum.0 + norm, sum.1 + 1);
        }
    }

    /// Adds the loss of a batch of validation patches.
    pub(super) fn add_validation(&mut self, loss: f64) {
        self.validation_loss += loss;
        self.validation_batches += 1;
    }

    /// Mean loss of the steps.
    pub(super) fn loss(&self) -> f64 {
        self.loss / self.divisor()
    }

    /// Mean of every term of the loss, without its weight.
    pub(super) fn terms(&self) -> BTreeMap<String, f64> {
        self.terms.iter().map(|(name, sum)| (name.to_string(), sum / self.divisor())).collect()
    }

    /// Mean norm of every term's gradient, where it was measured.
    pub(super) fn term_gradients(&self) -> BTreeMap<String, f64> {
        self.term_gradients.iter().map(|(name, (sum, count))| (name.to_string(), sum / *count as f64)).collect()
    }

    /// Mean loss of the validation patches; `None` where there were none.
    pub(super) fn validation_loss(&self) -> Option<f64> {
        (self.validation_batches > 0).then(|| self.validation_loss / self.validation_batches as f64)
    }

    /// Dice per class on the validation patches; empty where there were none.
    pub(super) fn pseudo_dice(&self) -> Vec<Option<f64>> {
        if self.validation_batches > 0 { self.counts.dice() } else { Vec::new() }
    }

    fn divisor(&self) -> f64 {
        self.steps.max(1) as f64
    }
}
