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

/// What a teacher knows of a batch at one resolution, ready for any number of students.
#[derive(Debug)]
pub struct Known {
    /// The logarithm of each answer's probability, and that probability times the share that its voxel has in the term. A
    /// softmax has one part of all labels; a sigmoid has two, of yes and of no.
    parts: Vec<(Tensor, Tensor)>,
}

impl Known {
    /// The same tensors, for another thread.
    pub fn shallow_clone(&self) -> Known {
        Known { parts: self.parts.iter().map(|(a, b)| (a.shallow_clone(), b.shallow_clone())).collect() }
    }
}

impl LogitSettings {
    /// What a teacher knows at all resolutions that count; nothing at the others.
    ///
    /// `teacher` are logits `[n, heads, z, y, x]`, the full resolution first; `foreground` is `[n, z, y, x]` of 0 and 1 at
    /// full resolution: where the labels, or the teacher, see something.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn known_deep(
        &self,
        heads: &Heads,
        teacher: &[Tensor],
        foreground: &Tensor,
    ) -> Result<Vec<Option<Known>>, TchError> {
        let level = |(teacher, weight): (&Tensor, f64)| {
            if weight == 0.0 {
                return Ok(None);
            }
            let weights = self.voxel_weights(&downsample(foreground, &teacher.size()[2..])?)?;
            self.known(heads, teacher, &weights).map(Some)
        };
        teacher.iter().zip(deep_supervision_weights(teacher.len())).map(level).collect()
    }

    /// The term over all resolutions, weighted as deep supervision weighs the labels' loss; `student` are logits as the
    /// teacher's were.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn deep(&self, heads: &Heads, student: &[Tensor], known: &[Option<Known>]) -> Result<Tensor, TchError> {
        let mut sum: Option<Tensor> = None;
        for ((student, known), weight) in student.iter().zip(known).zip(deep_supervision_weights(student.len())) {
            let Some(known) = known else { continue };
            let term = self.at(heads, student, known)?.f_mul_scalar(weight)?;
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
        let mut near = foreground.f_to_kind(Kind::Float)?.f_unsqueeze(1)?;
        // A box is as near along each axis by itself.
        for axis in 0..3 {
            let (mut side, mut reach) = ([1; 3], [0; 3]);
            (side[axis], reach[axis]) = (2 * self.band + 1, self.band);
            near = near.f_max_pool3d(side, [1; 3], reach, [1; 3], false)?;
        }
        near.f_squeeze_dim(1)?.f_mul_scalar(1.0 - self.background)?.f_add_scalar(self.background)
    }

    /// What a teacher knows at one resolution; `weights` are what each voxel counts.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn known(&self, heads: &Heads, teacher: &Tensor, weights: &Tensor) -> Result<Known, TchError> {
        tch::no_grad(|| {
            let mut shares = weights.f_div(&weights.f_sum(Kind::Float)?)?.f_unsqueeze(1)?;
            if let Heads::Regions(regions) = heads {
                shares = shares.f_div_scalar(regions.len() as f64)?;
            }
            let parts = self.logarithms(heads, teacher)?.into_iter().map(|knows| {
                let mass = knows.f_exp()?.f_mul(&shares)?;
                Ok((knows, mass))
            });
            Ok(Known { parts: parts.collect::<Result<_, TchError>>()? })
        })
    }

    /// The term at one resolution: `T^2 * sum(w * KL) / sum(w)`, where KL is summed over labels (softmax), or averaged over
    /// regions (sigmoid), which say yes or no each for itself. The factor keeps gradients of the size they have without a
    /// temperature.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn at(&self, heads: &Heads, student: &Tensor, known: &Known) -> Result<Tensor, TchError> {
        let mut sum: Option<Tensor> = None;
        for (says, (knows, mass)) in self.logarithms(heads, student)?.iter().zip(&known.parts) {
            let part = knows.f_sub(says)?.f_mul(mass)?.f_sum(Kind::Float)?;
            sum = Some(match sum {
                None => part,
                Some(sum) => sum.f_add(&part)?,
            });
        }
        let sum = sum.ok_or_else(|| TchError::Torch("the teacher says nothing".into()))?;
        sum.f_mul_scalar(self.temperature * self.temperature)
    }

    /// Logarithms of probabilities: of a sigmoid and of its complement they stay finite where the values themselves are 0
    /// or 1.
    fn logarithms(&self, heads: &Heads, logits: &Tensor) -> Result<Vec<Tensor>, TchError> {
        let scaled = logits.f_to_kind(Kind::Float)?.f_div_scalar(self.temperature)?;
        Ok(match heads {
            Heads::Labels(_) => vec![scaled.f_log_softmax(1, Kind::Float)?],
            Heads::Regions(_) => vec![scaled.f_log_sigmoid()?, scaled.f_neg()?.f_log_sigmoid()?],
        })
    }
}
