//! The training run: steps, log, checkpoints, resuming.
//!
//! A run lives in `WORK/runs/NAME`. After every epoch its whole state is saved, and each patch follows from the seed and
//! its place alone, so a run that was stopped goes on as if it had not been: on one machine, to the same bytes.

mod checkpoint;
mod run;
mod settings;
mod step;

pub use checkpoint::State;
pub use run::{Progress, train};
pub use settings::{Start, TeacherSettings};
pub use step::{StepValue, Trainee};
