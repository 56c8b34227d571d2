//! What the distillation losses need from the teachers for one batch.

use super::boundary::Edges;
use super::feature::FeatureTarget;
use super::jacobian::JacobianTarget;
use super::logit::LogitTarget;
use tch::{TchError, Tensor};

/// What the distillation losses need from the teachers for one batch.
pub(super) struct TeacherBatch {
    /// The labelled patches, then those without labels.
    pub(super) images: Tensor,
    /// Targets of the logit term by resolution.
    pub(super) logits: Vec<Option<LogitTarget>>,
    /// Target of the boundary term.
    pub(super) edges: Option<Edges>,
    /// Targets of the feature term, for the labelled patches.
    pub(super) features: Vec<FeatureTarget>,
    /// Target of the Jacobian term.
    pub(super) jacobian: Option<JacobianTarget>,
}

impl TeacherBatch {
    /// The same tensors, for another thread.
    pub(super) fn shallow_clone(&self) -> TeacherBatch {
        TeacherBatch {
            images: self.images.shallow_clone(),
            logits: self.logits.iter().map(|target| target.as_ref().map(LogitTarget::shallow_clone)).collect(),
            edges: self.edges.as_ref().map(Edges::shallow_clone),
            features: self.features.iter().map(FeatureTarget::shallow_clone).collect(),
            jacobian: self.jacobian.as_ref().map(JacobianTarget::shallow_clone),
        }
    }
}

/// The labelled patches of tensors `[n, ...]`: the first `labelled` ones.
pub(super) fn labelled_part(tensors: &[Tensor], labelled: i64) -> Result<Vec<Tensor>, TchError> {
    tensors.iter().map(|tensor| tensor.f_narrow(0, 0, labelled)).collect()
}
