//! Logit distillation: the divergence of the student's probabilities from the teacher's, voxel by voxel.

use crate::loss::{deep_supervision_weights, downsample};
use crate::targets::Heads;
use tch::{Kind, TchError, Tensor};

/// Settings of the term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogitSettings {
    /// Divides the logits before the softmax: above 1, small probabilities count for more.
    pub temperature: f64,
    /// Weight of a voxel that is neither foreground nor near it; those have 1.
    pub background: f64,
    /// Largest distance from foreground that is near, in voxels along each axis.
    pub band: i64,
}

impl Default for LogitSettings {
    fn default() -> Self {
        LogitSettings { temperature: 2.0, background: 0.1, band: 3 }
    }
}

/// A teacher's probabilities of a batch at one resolution, prepared for any number of students.
#[derive(Debug)]
pub struct LogitTarget {
    /// The logarithm of each probability, and the probability times the weight of its voxel. A softmax has one part with all
    /// labels; a sigmoid has two, for the region and for its complement.
    parts: Vec<(Tensor, Tensor)>,
}

impl LogitTarget {
    /// The same tensors, for another thread.
    pub fn shallow_clone(&self) -> LogitTarget {
        LogitTarget { parts: self.parts.iter().map(|(a, b)| (a.shallow_clone(), b.shallow_clone())).collect() }
    }
}

impl LogitSettings {
    /// The targets at all resolutions; `None` where a resolution has no weight.
    ///
    /// `teacher` are logits `[n, heads, z, y, x]`, the full resolution first; `foreground` is `[n, z, y, x]` of 0 and 1 at
    /// full resolution.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn targets(
        &self,
        heads: &Heads,
        teacher: &[Tensor],
        foreground: &Tensor,
    ) -> Result<Vec<Option<LogitTarget>>, TchError> {
        let level = |(teacher, weight): (&Tensor, f64)| {
            if weight == 0.0 {
                return Ok(None);
            }
            let weights = self.voxel_weights(&downsample(foreground, &teacher.size()[2..])?)?;
            self.target(heads, teacher, &weights).map(Some)
        };
        teacher.iter().zip(deep_supervision_weights(teacher.len())).map(level).collect()
    }

    /// The term over all resolutions, with the weights of deep supervision. `student` are logits of the same shapes as the
    /// teacher's.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn deep(&self, heads: &Heads, student: &[Tensor], targets: &[Option<LogitTarget>]) -> Result<Tensor, TchError> {
        let mut sum: Option<Tensor> = None;
        for ((student, target), weight) in student.iter().zip(targets).zip(deep_supervision_weights(student.len())) {
            let Some(target) = target else { continue };
            let term = self.at(heads, student, target)?.f_mul_scalar(weight)?;
            sum = Some(match sum {
                None => term,
                Some(sum) => sum.f_add(&term)?,
            });
        }
        sum.ok_or_else(|| TchError::Torch("the student has no logits".into()))
    }

    /// The weight of each voxel: `[n, z, y, x]`.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn voxel_weights(&self, foreground: &Tensor) -> Result<Tensor, TchError> {
        let mut near = foreground.f_to_kind(Kind::Float)?.f_unsqueeze(1)?;
        // The dilation by a box is separable.
        for axis in 0..3 {
            let (mut side, mut reach) = ([1; 3], [0; 3]);
            (side[axis], reach[axis]) = (2 * self.band + 1, self.band);
            near = near.f_max_pool3d(side, [1; 3], reach, [1; 3], false)?;
        }
        near.f_squeeze_dim(1)?.f_mul_scalar(1.0 - self.background)?.f_add_scalar(self.background)
    }

    /// The target at one resolution; `weights` are the weights of the voxels.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn target(&self, heads: &Heads, teacher: &Tensor, weights: &Tensor) -> Result<LogitTarget, TchError> {
        tch::no_grad(|| {
            let mut shares = weights.f_div(&weights.f_sum(Kind::Float)?)?.f_unsqueeze(1)?;
            if let Heads::Regions(regions) = heads {
                shares = shares.f_div_scalar(regions.len() as f64)?;
            }
            let parts = self.logarithms(heads, teacher)?.into_iter().map(|logarithm| {
                let weighted = logarithm.f_exp()?.f_mul(&shares)?;
                Ok((logarithm, weighted))
            });
            Ok(LogitTarget { parts: parts.collect::<Result<_, TchError>>()? })
        })
    }

    /// The term at one resolution: `T^2 * sum(w * KL) / sum(w)`, where KL is summed over labels (softmax), or averaged over
    /// regions (sigmoid), which do not exclude each other. The factor `T^2` keeps the size of the gradients independent of the
    /// temperature.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn at(&self, heads: &Heads, student: &Tensor, target: &LogitTarget) -> Result<Tensor, TchError> {
        let mut sum: Option<Tensor> = None;
        for (student, (teacher, weighted)) in self.logarithms(heads, student)?.iter().zip(&target.parts) {
            let part = teacher.f_sub(student)?.f_mul(weighted)?.f_sum(Kind::Float)?;
            sum = Some(match sum {
                None => part,
                Some(sum) => sum.f_add(&part)?,
            });
        }
        let sum = sum.ok_or_else(|| TchError::Torch("the teacher has no heads".into()))?;
        sum.f_mul_scalar(self.temperature * self.temperature)
    }

    /// Logarithms of probabilities. For a sigmoid and its complement they are computed directly, so that they stay finite
    /// where the probabilities are rounded to 0 or 1.
    fn logarithms(&self, heads: &Heads, logits: &Tensor) -> Result<Vec<Tensor>, TchError> {
        let scaled = logits.f_to_kind(Kind::Float)?.f_div_scalar(self.temperature)?;
        Ok(match heads {
            Heads::Labels(_) => vec![scaled.f_log_softmax(1, Kind::Float)?],
            Heads::Regions(_) => vec![scaled.f_log_sigmoid()?, scaled.f_neg()?.f_log_sigmoid()?],
        })
    }
}
