//! How teacher predictions are obtained.

use super::soft_labels::SoftLabelFolder;
use super::teachers::Teachers;

/// How teacher predictions are obtained.
#[derive(Debug)]
pub enum TeacherSignal {
    /// The teachers run on every patch, as the students see it.
    PerPatch(Teachers),
    /// The teachers have run on whole cases once; patches are cut from the stored probabilities.
    Cached(SoftLabelFolder),
}

impl TeacherSignal {
    /// How many batches the teachers have run on.
    pub(super) fn passes(&self) -> u64 {
        match self {
            TeacherSignal::PerPatch(teachers) => teachers.passes(),
            TeacherSignal::Cached(_) => 0,
        }
    }
}
