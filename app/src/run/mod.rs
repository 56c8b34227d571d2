//! One case: looked at, planned, run.

mod case;
mod envelope;
mod label_file;
mod label_like;
mod timed;

pub use case::{CaseOptions, Finished, Looked, PlannedCase, TooLarge, plan, result_key, run};
pub use envelope::FarOutside;
pub use label_file::Destination;
pub use label_like::LooksLikeLabels;
pub use timed::{PhaseSeconds, Timed, Timing};
