//! The training loss: soft Dice plus cross entropy at every resolution, as in nnU-Net.

mod deep;
mod overlap;

pub use deep::{deep_supervision_weights, downsample};
pub use overlap::HardCounts;

use crate::targets::{Heads, Targets};
use tch::{Kind, Reduction, TchError, Tensor};

/// Added to numerator and denominator of a Dice coefficient, so that absent classes have a coefficient of 1.
const SMOOTH: f64 = 1e-5;

/// The loss of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentationLoss {
    targets: Targets,
    batch_dice: bool,
}

/// Both terms over all resolutions; their sum is what is minimised.
#[derive(Debug)]
pub struct LossValue {
    /// Minus the mean Dice coefficient.
    pub dice: Tensor,
    /// Cross entropy.
    pub cross_entropy: Tensor,
}

impl SegmentationLoss {
    /// A loss for these heads. With `batch_dice` the voxels of a batch are one volume for Dice.
    pub fn new(targets: Targets, batch_dice: bool) -> SegmentationLoss {
        SegmentationLoss { targets, batch_dice }
    }

    /// The loss over all resolutions, weighted by [`deep_supervision_weights`].
    ///
    /// `logits` are `[n, heads, z, y, x]`, the full resolution first; `labels` are the label values `[n, z, y, x]` at full
    /// resolution, any integer kind.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn deep(&self, logits: &[Tensor], labels: &Tensor) -> Result<LossValue, TchError> {
        let mut sum: Option<LossValue> = None;
        for (logits, weight) in logits.iter().zip(deep_supervision_weights(logits.len())) {
            if weight == 0.0 {
                continue;
            }
            let labels = downsample(labels, &logits.size()[2..])?;
            let (dice, cross_entropy) = self.terms(logits, &labels)?;
            let (dice, cross_entropy) = (dice.f_mul_scalar(weight)?, cross_entropy.f_mul_scalar(weight)?);
            sum = Some(match sum {
                None => LossValue { dice, cross_entropy },
                Some(sum) => {
                    LossValue { dice: sum.dice.f_add(&dice)?, cross_entropy: sum.cross_entropy.f_add(&cross_entropy)? }
                }
            });
        }
        sum.ok_or_else(|| TchError::Torch("the network has no logits".into()))
    }

    /// Both terms at one resolution: `labels` are `[n, z, y, x]` on the grid of `logits`.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn terms(&self, logits: &Tensor, labels: &Tensor) -> Result<(Tensor, Tensor), TchError> {
        let labels = labels.f_to_kind(Kind::Int64)?;
        // Voxels that are not ignored, `[n, 1, z, y, x]`; `None` for all voxels.
        let mask = match self.targets.ignore {
            Some(ignore) => Some(labels.f_ne(i64::from(ignore))?.f_unsqueeze(1)?.f_to_kind(Kind::Float)?),
            None => None,
        };
        let truth = tch::no_grad(|| self.truth(&labels))?;
        match &self.targets.heads {
            Heads::Labels(_) => {
                let probabilities = logits.f_softmax(1, Kind::Float)?;
                let foreground = self.targets.count() as i64 - 1;
                let dice = self.dice(
                    &probabilities.f_narrow(1, 1, foreground)?,
                    &truth.f_narrow(1, 1, foreground)?,
                    mask.as_ref(),
                )?;
                // PyTorch's mean over no voxel is NaN.
                let counts = match &mask {
                    Some(mask) => f64::try_from(&mask.f_sum(Kind::Float)?)? > 0.0,
                    None => true,
                };
                let ce = if counts {
                    let weight: Option<&Tensor> = None;
                    // PyTorch's value for "no label is ignored".
                    let ignore = self.targets.ignore.map_or(-100, i64::from);
                    logits.f_cross_entropy_loss(&labels, weight, Reduction::Mean, ignore, 0.0)?
                } else {
                    logits.f_sum(Kind::Float)?.f_mul_scalar(0.0)?
                };
                Ok((dice, ce))
            }
            Heads::Regions(_) => {
                let dice = self.dice(&logits.f_sigmoid()?, &truth, mask.as_ref())?;
                let none: Option<&Tensor> = None;
                let ce = match &mask {
                    None => logits.f_binary_cross_entropy_with_logits(&truth, none, none, Reduction::Mean)?,
                    // The divisor is the number of voxels, not of voxels times heads.
                    Some(mask) => logits
                        .f_binary_cross_entropy_with_logits(&truth, none, none, Reduction::None)?
                        .f_mul(mask)?
                        .f_sum(Kind::Float)?
                        .f_div(&mask.f_sum(Kind::Float)?.f_clamp_min(1e-8)?)?,
                };
                Ok((dice, ce))
            }
        }
    }

    /// The targets of the heads, `[n, heads, z, y, x]` of 0 and 1, from labels `[n, z, y, x]`.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn truth(&self, labels: &Tensor) -> Result<Tensor, TchError> {
        let is = |value: i16| labels.f_eq(i64::from(value));
        let heads = match &self.targets.heads {
            Heads::Labels(count) => (0..*count as i16)
                .map(|value| {
                    let mut here = is(value)?;
                    // Ignored voxels are background here, and masked elsewhere.
                    if let (0, Some(ignore)) = (value, self.targets.ignore) {
                        here = here.f_logical_or(&is(ignore)?)?;
                    }
                    Ok(here)
                })
                .collect::<Result<Vec<_>, TchError>>()?,
            Heads::Regions(regions) => regions
                .iter()
                .map(|values| {
                    values.iter().try_fold(labels.f_zeros_like()?.f_to_kind(Kind::Bool)?, |region, value| {
                        region.f_logical_or(&is(*value)?)
                    })
                })
                .collect::<Result<Vec<_>, TchError>>()?,
        };
        Tensor::f_stack(&heads, 1)?.f_to_kind(Kind::Float)
    }

    /// Minus the mean Dice coefficient over heads (and samples, unless the batch is one volume).
    fn dice(&self, probabilities: &Tensor, truth: &Tensor, mask: Option<&Tensor>) -> Result<Tensor, TchError> {
        let sum = |t: &Tensor| t.f_sum_dim_intlist(&[2i64, 3, 4][..], false, Kind::Float);
        let (mut both, mut predicted, mut true_) = match mask {
            None => (sum(&probabilities.f_mul(truth)?)?, sum(probabilities)?, sum(truth)?),
            Some(mask) => {
                let truth = truth.f_mul(mask)?;
                (sum(&probabilities.f_mul(&truth)?)?, sum(&probabilities.f_mul(mask)?)?, sum(&truth)?)
            }
        };
        if self.batch_dice {
            for t in [&mut both, &mut predicted, &mut true_] {
                *t = t.f_sum_dim_intlist(0i64, false, Kind::Float)?;
            }
        }
        let numerator = both.f_mul_scalar(2.0)?.f_add_scalar(SMOOTH)?;
        let denominator = predicted.f_add(&true_)?.f_add_scalar(SMOOTH)?.f_clamp_min(1e-8)?;
        numerator.f_div(&denominator)?.f_mean(Kind::Float)?.f_neg()
    }
}
