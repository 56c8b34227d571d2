//! Runs the teachers, and computes what the distillation losses need.

use super::feature::FeatureTarget;
use super::jacobian::{self, JacobianTarget};
use super::levels::Levels;
use super::losses::DistillLosses;
use super::signal::TeacherSignal;
use super::teacher_batch::{TeacherBatch, labelled_part};
use crate::loss::SegmentationLoss;
use crate::targets::{Heads, Targets};
use crate::torch_error::OrTorchError;
use crate::training::batches::DeviceBatch;
use scanside_app::error::{Error, ErrorKind};
use tch::{TchError, Tensor};

/// Which targets to compute, and how.
pub(super) struct TeacherQuery<'a> {
    pub(super) targets: &'a Targets,
    pub(super) losses: &'a DistillLosses,
    /// The students' resolutions.
    pub(super) levels: Levels,
    /// The loss on the labels, whose gradients weight the teacher's features.
    pub(super) label_loss: SegmentationLoss,
    /// Seed of the Jacobian's directions.
    pub(super) seed: u64,
}

/// The teachers' outputs for a batch.
#[derive(Default)]
struct Answer {
    /// Logits of all resolutions, the full one first.
    logits: Vec<Tensor>,
    features: Vec<FeatureTarget>,
    jacobian: Option<JacobianTarget>,
}

impl TeacherQuery<'_> {
    /// The targets for a batch of labelled patches and, if there are any, patches without labels, at step `step` of the
    /// training.
    ///
    /// # Errors
    /// The teachers cannot compute what the losses need, a network cannot be run, or libtorch fails.
    pub(super) fn ask(
        &self,
        signal: &mut TeacherSignal,
        labelled: &DeviceBatch,
        unlabelled: Option<&DeviceBatch>,
        step: u64,
    ) -> Result<TeacherBatch, Error> {
        let batches: Vec<&DeviceBatch> = [Some(labelled), unlabelled].into_iter().flatten().collect();
        let images: Vec<&Tensor> = batches.iter().map(|batch| &batch.images).collect();
        let images = Tensor::f_cat(&images, 0).or_torch_error()?;
        let answer = match signal {
            TeacherSignal::Cached(_) => self.stored(&batches)?,
            TeacherSignal::PerPatch(teachers) => match (self.losses.feature, self.losses.jacobian) {
                (None, None) => Answer { logits: teachers.logits(&images)?, ..Answer::default() },
                (Some(_), _) => {
                    let samples = labelled.labels.size()[0];
                    let (logits, features) = teachers.features(&images, |logits| {
                        let value = self.label_loss.deep(&labelled_part(logits, samples)?, &labelled.labels)?;
                        value.dice.f_add(&value.cross_entropy)
                    })?;
                    let narrow = |target: FeatureTarget| target.narrow(samples);
                    let features = features.into_iter().map(narrow).collect::<Result<_, _>>().or_torch_error()?;
                    Answer { logits, features, jacobian: None }
                }
                (None, Some(_)) => {
                    // A leaf: the students are differentiated with respect to it, too.
                    let _ = images.set_requires_grad(true);
                    let direction =
                        |logits: &Tensor| jacobian::direction(self.seed, step, &logits.size(), logits.device());
                    let (logits, target) = teachers.image_gradient(&images, direction)?;
                    Answer { logits, features: Vec::new(), jacobian: Some(target) }
                }
            },
        };
        self.targets_of(images, answer).or_torch_error()
    }

    /// The logits of stored probabilities.
    fn stored(&self, batches: &[&DeviceBatch]) -> Result<Answer, Error> {
        if self.losses.feature.is_some() || self.losses.jacobian.is_some() {
            let sentence = "feature and Jacobian losses need teachers that run on every patch, not stored soft labels";
            return Err(Error::new(ErrorKind::Usage, sentence));
        }
        let soft: Option<Vec<&Tensor>> = batches.iter().map(|batch| batch.soft.as_ref()).collect();
        let soft = soft.ok_or_else(|| Error::new(ErrorKind::Internal, "a batch has no soft labels"))?;
        let probabilities = Tensor::f_cat(&soft, 0).or_torch_error()?;
        let logits = self.levels.from_probabilities(&self.targets.heads, &probabilities).or_torch_error()?;
        Ok(Answer { logits, ..Answer::default() })
    }

    fn targets_of(&self, images: Tensor, answer: Answer) -> Result<TeacherBatch, TchError> {
        let (heads, full) = (&self.targets.heads, &answer.logits[0]);
        let logits = match &self.losses.logit {
            Some((settings, _)) => settings.targets(heads, &answer.logits, &foreground(heads, full)?)?,
            None => Vec::new(),
        };
        let edges = match &self.losses.boundary {
            Some((settings, _)) => Some(settings.edges(heads, full)?),
            None => None,
        };
        Ok(TeacherBatch { images, logits, edges, features: answer.features, jacobian: answer.jacobian })
    }
}

/// Where the teachers predict foreground, `[n, z, y, x]`.
fn foreground(heads: &Heads, logits: &Tensor) -> Result<Tensor, TchError> {
    match heads {
        Heads::Labels(_) => logits.f_argmax(1, false)?.f_gt(0),
        Heads::Regions(_) => logits.f_gt(0)?.f_any_dim(1, false),
    }
}
