//! Notifications about the progress of a training.

use super::step::StepValue;
use crate::report::log::EpochRecord;
use crate::report::run::RunFacts;

/// Is notified about the progress of a training.
pub trait TrainingObserver {
    /// A run starts, or continues after `epochs_done` epochs.
    fn run_started(&mut self, _facts: &RunFacts, _epochs_done: usize) {}

    /// A step is done.
    fn step_done(&mut self, _facts: &RunFacts, _epoch: usize, _step: usize, _value: &StepValue) {}

    /// An epoch is done and saved.
    fn epoch_done(&mut self, _facts: &RunFacts, _record: &EpochRecord) {}
}

/// Ignores all notifications.
impl TrainingObserver for () {}
