//! Dice of hard decisions over many validation patches: nnU-Net's pseudo-Dice.

use crate::targets::{Heads, Targets};
use tch::{Kind, TchError, Tensor};

/// True positives, false positives and false negatives per foreground class, summed over batches.
#[derive(Clone, Debug, PartialEq)]
pub struct HardCounts {
    /// True positives, false positives, false negatives.
    counts: Vec<[f64; 3]>,
}

impl HardCounts {
    /// All counts are 0. Classes are the heads without the background.
    pub fn new(targets: &Targets) -> HardCounts {
        let classes = match &targets.heads {
            Heads::Labels(count) => count.saturating_sub(1),
            Heads::Regions(regions) => regions.len(),
        };
        HardCounts { counts: vec![[0.0; 3]; classes] }
    }

    /// Counts a batch: `logits` and `truth` are `[n, heads, z, y, x]`, `labels` `[n, z, y, x]`.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn add(&mut self, targets: &Targets, logits: &Tensor, truth: &Tensor, labels: &Tensor) -> Result<(), TchError> {
        let heads = targets.count() as i64;
        let first = heads - self.counts.len() as i64;
        let predicted = match &targets.heads {
            Heads::Labels(_) => logits.f_argmax(1, false)?.f_one_hot(heads)?.f_permute([0, 4, 1, 2, 3])?,
            Heads::Regions(_) => logits.f_sigmoid()?.f_gt(0.5)?,
        };
        let mut predicted = predicted.f_to_kind(Kind::Float)?.f_narrow(1, first, self.counts.len() as i64)?;
        let mut truth = truth.f_narrow(1, first, self.counts.len() as i64)?;
        if let Some(ignore) = targets.ignore {
            let mask = labels.f_ne(i64::from(ignore))?.f_unsqueeze(1)?.f_to_kind(Kind::Float)?;
            predicted = predicted.f_mul(&mask)?;
            truth = truth.f_mul(&mask)?;
        }
        // Double precision: single precision stops counting at 16 million voxels.
        let sum = |t: &Tensor| Vec::<f64>::try_from(&t.f_sum_dim_intlist(&[0i64, 2, 3, 4][..], false, Kind::Double)?);
        let (both, predicted, truth) = (sum(&predicted.f_mul(&truth)?)?, sum(&predicted)?, sum(&truth)?);
        for (c, counts) in self.counts.iter_mut().enumerate() {
            counts[0] += both[c];
            counts[1] += predicted[c] - both[c];
            counts[2] += truth[c] - both[c];
        }
        Ok(())
    }

    /// Number of foreground classes.
    pub fn classes(&self) -> usize {
        self.counts.len()
    }

    /// Dice per class; `None` for a class that is neither predicted nor present anywhere.
    pub fn dice(&self) -> Vec<Option<f64>> {
        self.counts
            .iter()
            .map(|[tp, fp, fn_]| {
                let denominator = 2.0 * tp + fp + fn_;
                (denominator > 0.0).then(|| 2.0 * tp / denominator)
            })
            .collect()
    }
}
