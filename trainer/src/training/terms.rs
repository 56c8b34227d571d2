//! The terms of a loss.

use crate::loss::SegmentationLoss;
use tch::{TchError, Tensor};

/// Name of the Dice term, in logs.
pub const DICE: &str = "dice";
/// Name of the cross-entropy term, in logs.
pub const CROSS_ENTROPY: &str = "cross_entropy";

/// One term of a loss.
#[derive(Debug)]
pub struct LossTerm {
    /// Its name, in logs.
    pub name: &'static str,
    /// Its weight in the sum.
    pub weight: f64,
    /// Its value without the weight: a tensor of one number that autograd can differentiate.
    pub value: Tensor,
}

/// The terms of the loss on the labels. `logits` are `[n, heads, z, y, x]`, the full resolution first; `labels` are label
/// values `[n, z, y, x]`.
///
/// # Errors
/// libtorch fails.
pub fn label_terms(loss: &SegmentationLoss, logits: &[Tensor], labels: &Tensor) -> Result<Vec<LossTerm>, TchError> {
    let value = loss.deep(logits, labels)?;
    Ok(vec![
        LossTerm { name: DICE, weight: 1.0, value: value.dice },
        LossTerm { name: CROSS_ENTROPY, weight: 1.0, value: value.cross_entropy },
    ])
}
