//! From the values of the heads to a label, voxel by voxel.

use crate::half_float::round_f64_to_f16;
use crate::manifest::{Labels, Manifest};
use alloc::vec::Vec;

/// The smallest logit whose float32 sigmoid exceeds one half lies just above this: `1 + exp(-x)` rounds to 2 below.
const REGION_THRESHOLD: f32 = 1.5 / (1 << 24) as f32;

/// How the heads' logits of a voxel become its label.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The first head with the largest logit; values by head.
    Largest(Vec<u16>),
    /// Heads whose value lies above `above` write their label, later heads over earlier ones.
    Overwrite {
        /// Labels by head.
        values: Vec<u16>,
        /// The value of a head that stands for a probability of one half.
        above: f32,
    },
}

impl Decision {
    /// As the manifest says.
    pub fn new(manifest: &Manifest) -> Self {
        let values = manifest.labels.heads().iter().map(|l| l.value).collect();
        match manifest.labels {
            Labels::Exclusive { .. } => Decision::Largest(values),
            Labels::Regions { .. } if manifest.probabilities => Decision::Overwrite { values, above: 0.5 },
            Labels::Regions { .. } => Decision::Overwrite { values, above: REGION_THRESHOLD },
        }
    }

    /// The largest value that can be written.
    pub fn largest_value(&self) -> u16 {
        let (Decision::Largest(values) | Decision::Overwrite { values, .. }) = self;
        values.iter().copied().max().unwrap_or(0)
    }

    /// Takes the values of head `head` of a row into `best` and `labels`; heads come in order from 0.
    pub(crate) fn take(&self, head: usize, logits: &[f32], best: &mut [f32], labels: &mut [u16]) {
        match self {
            Decision::Largest(values) => {
                let value = values[head];
                if head == 0 {
                    best.copy_from_slice(logits);
                    labels.fill(value);
                } else {
                    for ((b, l), &v) in best.iter_mut().zip(labels).zip(logits) {
                        let larger = v > *b;
                        *b = if larger { v } else { *b };
                        *l = if larger { value } else { *l };
                    }
                }
            }
            Decision::Overwrite { values, above } => {
                let value = values[head];
                if head == 0 {
                    labels.fill(0);
                }
                for (l, &v) in labels.iter_mut().zip(logits) {
                    *l = if v > *above { value } else { *l };
                }
            }
        }
    }
}

/// A head's value as it is decided on: scipy's way ends in fp16, PyTorch's in float32.
#[inline(always)]
pub(super) fn round(value: f64, single_precision: bool) -> f32 {
    if single_precision { value as f32 } else { round_f64_to_f16(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Channel, Label, NetworkGrid, Normalization};
    use alloc::vec;

    #[test]
    fn the_first_of_equal_logits_wins_and_signed_zeros_are_equal() {
        let decision = Decision::Largest(vec![0, 7, 9]);
        let (mut best, mut labels) = ([0.0; 3], [99; 3]);
        for (head, row) in [[1.0, -0.0, -2.0], [1.0, 0.0, -1.0], [1.5, -1.0, -1.0]].iter().enumerate() {
            decision.take(head, row, &mut best, &mut labels);
        }
        assert_eq!(labels, [9, 0, 7]);
    }

    #[test]
    fn regions_overwrite_and_one_subnormal_is_not_above_one_half() {
        let quantum = 1.0 / (1 << 24) as f32;
        let decision = Decision::Overwrite { values: vec![1, 2], above: REGION_THRESHOLD };
        let (mut best, mut labels) = ([0.0; 4], [99; 4]);
        decision.take(0, &[quantum, 2.0 * quantum, 5.0, 5.0], &mut best, &mut labels);
        decision.take(1, &[-1.0, -1.0, -1.0, 1.0], &mut best, &mut labels);
        assert_eq!(labels, [0, 1, 1, 2]);
    }

    #[test]
    fn probabilities_are_compared_as_they_are() {
        let mut manifest = Manifest::new(
            NetworkGrid::new([8; 3], [None; 3]),
            vec![Channel::new("CT", Normalization::None)],
            Labels::Regions { heads: vec![Label::new("a", 3)] },
        );
        let labels = |manifest: &Manifest| {
            let (mut best, mut labels) = ([0.0; 4], [99; 4]);
            Decision::new(manifest).take(0, &[-0.1, 0.1, 0.5, 0.500_001], &mut best, &mut labels);
            labels
        };
        assert_eq!(labels(&manifest), [0, 3, 3, 3]);
        manifest.probabilities = true;
        assert_eq!(labels(&manifest), [0, 0, 0, 3]);
    }
}
