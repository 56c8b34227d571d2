//! The distillation losses of a training, as terms in addition to the loss on the labels.

use super::boundary::BoundarySettings;
use super::feature;
use super::jacobian;
use super::logit::LogitSettings;
use super::ramp::Ramp;
use super::teacher_batch::{TeacherBatch, labelled_part};
use crate::targets::Heads;
use crate::training::step::Outputs;
use crate::training::terms::{CROSS_ENTROPY, DICE, LossTerm};
use std::collections::BTreeMap;
use tch::TchError;

/// Name of the logit term in logs.
pub const LOGIT: &str = "logit";
/// Name of the boundary term in logs.
pub const BOUNDARY: &str = "boundary";
/// Name of the feature term in logs.
pub const FEATURE: &str = "feature";
/// Name of the Jacobian term in logs.
pub const JACOBIAN: &str = "jacobian";

/// A term whose gradient is smaller than this, in units of the labels' gradient, has no effect.
const INEFFECTIVE: f64 = 0.02;
/// A term whose gradient is larger than this, in units of the labels' gradient, determines the training.
const DOMINANT: f64 = 5.0;

/// The distillation losses of a training and their weights.
#[derive(Clone, Debug, PartialEq)]
pub struct DistillLosses {
    /// Divergence from the teachers' probabilities.
    pub logit: Option<(LogitSettings, f64)>,
    /// Difference of the probabilities' spatial gradients.
    pub boundary: Option<(BoundarySettings, f64)>,
    /// Difference of features. Needs one teacher whose layers are known.
    pub feature: Option<f64>,
    /// Difference of the logits' gradients with respect to the image. Needs
    /// [`RunSettings::autograd`](crate::training::settings::RunSettings::autograd) and one teacher whose layers are known;
    /// cannot be combined with features.
    pub jacobian: Option<f64>,
    /// The weights' ramp over the training.
    pub ramp: Ramp,
}

impl DistillLosses {
    /// The terms of one student. `labelled` is the number of labelled patches, which come first in the batch; `ramp` is the
    /// ramp's value at this step.
    ///
    /// # Errors
    /// libtorch fails.
    pub(super) fn terms(
        &self,
        heads: &Heads,
        outputs: &Outputs<'_>,
        teacher: &TeacherBatch,
        labelled: i64,
        ramp: f64,
    ) -> Result<Vec<LossTerm>, TchError> {
        let (logits, mut terms) = (outputs.logits, Vec::new());
        if let Some((settings, weight)) = &self.logit {
            let value = settings.deep(heads, logits, &teacher.logits)?;
            terms.push(LossTerm { name: LOGIT, weight: weight * ramp, value });
        }
        if let (Some((settings, weight)), Some(edges)) = (&self.boundary, &teacher.edges) {
            let value = settings.loss(heads, &logits[0], edges)?;
            terms.push(LossTerm { name: BOUNDARY, weight: weight * ramp, value });
        }
        if let Some(weight) = self.feature {
            let value = feature::loss(&teacher.features, &labelled_part(&outputs.projected, labelled)?)?;
            terms.push(LossTerm { name: FEATURE, weight: weight * ramp, value });
        }
        if let (Some(weight), Some(target)) = (self.jacobian, &teacher.jacobian) {
            let student = jacobian::image_gradient(&teacher.images, &logits[0], &target.direction, true)?;
            let value = jacobian::loss(&student, &target.gradient)?;
            terms.push(LossTerm { name: JACOBIAN, weight: weight * ramp, value });
        }
        Ok(terms)
    }
}

/// Sentences on terms whose gradients are far smaller or larger than those of the labels. `term_gradients` are the norms of
/// the gradients by term, measured after the end of the ramp.
pub fn imbalance(term_gradients: &BTreeMap<String, f64>) -> Vec<String> {
    let of = |name: &str| term_gradients.get(name).copied().unwrap_or(0.0);
    let labels = (of(DICE).powi(2) + of(CROSS_ENTROPY).powi(2)).sqrt();
    let sentence = |name: &str| {
        let ratio = term_gradients.get(name)? / labels;
        if ratio < INEFFECTIVE {
            return Some(format!("the {name} term has no effect: its gradient is {ratio:.3} times that of the labels"));
        }
        (ratio > DOMINANT)
            .then(|| format!("the {name} term dominates: its gradient is {ratio:.1} times that of the labels"))
    };
    [LOGIT, BOUNDARY, FEATURE, JACOBIAN].into_iter().filter_map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unbalanced_terms_are_named() {
        let gradients = |logit: f64, boundary: f64| {
            BTreeMap::from([
                (DICE.to_string(), 3.0),
                (CROSS_ENTROPY.to_string(), 4.0),
                (LOGIT.to_string(), logit),
                (BOUNDARY.to_string(), boundary),
            ])
        };
        assert!(imbalance(&gradients(2.0, 0.5)).is_empty());
        let sentences = imbalance(&gradients(50.0, 0.01));
        let [logit, boundary] = &sentences[..] else { panic!("{sentences:?}") };
        assert!(logit.contains("logit term dominates") && boundary.contains("boundary term has no effect"));
    }
}
