//! From logits to a label, voxel by voxel.

use crate::manifest::Labels;
use alloc::vec::Vec;

/// The smallest logit whose float32 sigmoid exceeds one half lies just above this: `1 + exp(-x)` rounds to 2 below.
const REGION_THRESHOLD: f32 = 1.5 / (1 << 24) as f32;

/// How the heads' logits of a voxel become its label.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The first head with the largest logit; values by head.
    Largest(Vec<u16>),
    /// Heads above sigmoid one half write their value, later heads over earlier ones.
    Overwrite(Vec<u16>),
}

impl Decision {
    /// As the manifest says.
    pub fn new(labels: &Labels) -> Self {
        let values = labels.heads().iter().map(|l| l.value).collect();
        match labels {
            Labels::Exclusive { .. } => Decision::Largest(values),
            Labels::Regions { .. } => Decision::Overwrite(values),
        }
    }

    /// The largest value that can be written.
    pub fn largest_value(&self) -> u16 {
        let (Decision::Largest(values) | Decision::Overwrite(values)) = self;
        values.iter().copied().max().unwrap_or(0)
    }

    /// Takes the logits of head `head` of a row into `best` and `labels`; heads come in order from 0.
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
            Decision::Overwrite(values) => {
                let value = values[head];
                if head == 0 {
                    labels.fill(0);
                }
                for (l, &v) in labels.iter_mut().zip(logits) {
                    *l = if v > REGION_THRESHOLD { value } else { *l };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let decision = Decision::Overwrite(vec![1, 2]);
        let (mut best, mut labels) = ([0.0; 4], [99; 4]);
        decision.take(0, &[quantum, 2.0 * quantum, 5.0, 5.0], &mut best, &mut labels);
        decision.take(1, &[-1.0, -1.0, -1.0, 1.0], &mut best, &mut labels);
        assert_eq!(labels, [0, 1, 1, 2]);
    }
}
