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
    /// How near, in voxels along any axis.
    pub band: i64,
}

impl Default for LogitSettings {
    fn default() -> Self {
        LogitSettings { temperature: 2.0, background: 0.1, band: 3 }
    }
}

impl LogitSettings {
    /// The term over all resolutions, weighted as deep supervision weighs the labels' loss.
    ///
    /// `student` and `teacher` are logits `[n, heads, z, y, x]`, the full resolution first; `foreground` is
    /// `[n, z, y, x]` of 0 and 1 at full resolution: where the labels, or the teacher, see something.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn deep(
        &self,
        heads: &Heads,
        student: &[Tensor],
        teacher: &[Tensor],
        foreground: &Tensor,
    ) -> Result<Tensor, TchError> {
        let mut sum: Option<Tensor> = None;
        for ((student, teacher), weight) in student.iter().zip(teacher).zip(deep_supervision_weights(student.len())) {
            if weight == 0.0 {
                continue;
            }
            let weights = self.voxel_weights(&downsample(foreground, &student.size()[2..])?)?;
            let term = self.at(heads, student, teacher, &weights)?.f_mul_scalar(weight)?;
            sum = Some(match sum {
                None => term,
                Some(sum) => sum.f_add(&term)?,
            });
        }
        sum.ok_or_else(|| TchError::Torch("the student gives no logits".into()))
    }

    /// What each voxel counts: `[n, z, y, x]`.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn voxel_weights(&self, foreground: &Tensor) -> Result<Tensor, TchError> {
        let (side, reach) = ([2 * self.band + 1; 3], [self.band; 3]);
        let mask = foreground.f_to_kind(Kind::Float)?.f_unsqueeze(1)?;
        let near = mask.f_max_pool3d(side, [1; 3], reach, [1; 3], false)?.f_squeeze_dim(1)?;
        near.f_mul_scalar(1.0 - self.background)?.f_add_scalar(self.background)
    }

    /// The term at one resolution: `T^2 * sum(w * KL) / sum(w)`, where KL is summed over labels (softmax), or averaged over
    /// regions (sigmoid), which say yes or no each for itself. The factor keeps gradients of the size they have without a
    /// temperature.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn at(&self, heads: &Heads, student: &Tensor, teacher: &Tensor, weights: &Tensor) -> Result<Tensor, TchError> {
        let t = self.temperature;
        let scaled = |logits: &Tensor| logits.f_to_kind(Kind::Float)?.f_div_scalar(t);
        let (student, teacher) = (scaled(student)?, scaled(&teacher.f_detach()?)?);
        let divergence = match heads {
            Heads::Labels(_) => {
                let (says, knows) = (student.f_log_softmax(1, Kind::Float)?, teacher.f_log_softmax(1, Kind::Float)?);
                knows.f_exp()?.f_mul(&knows.f_sub(&says)?)?.f_sum_dim_intlist(1i64, false, Kind::Float)?
            }
            Heads::Regions(_) => {
                // Logarithms of a sigmoid and of its complement stay finite where the values themselves are 0 or 1.
                let one = |knows: &Tensor, says: &Tensor| -> Result<Tensor, TchError> {
                    let (knows, says) = (knows.f_log_sigmoid()?, says.f_log_sigmoid()?);
                    knows.f_exp()?.f_mul(&knows.f_sub(&says)?)
                };
                let yes = one(&teacher, &student)?;
                let no = one(&teacher.f_neg()?, &student.f_neg()?)?;
                yes.f_add(&no)?.f_mean_dim(1i64, false, Kind::Float)?
            }
        };
        divergence.f_mul(weights)?.f_sum(Kind::Float)?.f_div(&weights.f_sum(Kind::Float)?)?.f_mul_scalar(t * t)
    }
}
