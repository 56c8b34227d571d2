//! Voxels that agree: counts, Dice, volumes, and the box each class lies in.

use alloc::vec::Vec;

use super::{MetricsError, check_voxels};
use crate::volume::{Box3, Index3};

/// Voxels of one class in a prediction and its reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In both.
    pub true_positive: u64,
    /// In the prediction alone.
    pub false_positive: u64,
    /// In the reference alone.
    pub false_negative: u64,
}

impl Counts {
    /// Voxels of the class in the prediction.
    pub fn prediction_voxels(&self) -> u64 {
        self.true_positive + self.false_positive
    }

    /// Voxels of the class in the reference.
    pub fn reference_voxels(&self) -> u64 {
        self.true_positive + self.false_negative
    }

    /// `2 TP / (2 TP + FP + FN)`, 0 to 1; `None` where both are empty (nnU-Net's `summary.json` has NaN there).
    pub fn dice(&self) -> Option<f64> {
        let sum = self.prediction_voxels() + self.reference_voxels();
        (sum > 0).then(|| 2.0 * self.true_positive as f64 / sum as f64)
    }
}

/// The volume of so many voxels in millilitres (1000 mm³).
pub fn volume_ml(voxels: u64, spacing_mm: [f64; 3]) -> f64 {
    voxels as f64 * (spacing_mm[0] * spacing_mm[1] * spacing_mm[2]) / 1000.0
}

/// What prediction and reference hold of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassOverlap {
    /// Voxels that agree and that do not.
    pub counts: Counts,
    /// The smallest box with every voxel of the class in either array; `None` where there is none.
    pub bounds: Option<Box3>,
}

impl ClassOverlap {
    fn add_run(&mut self, in_prediction: bool, in_reference: bool, z: usize, y: usize, start: usize, end: usize) {
        let voxels = (end - start) as u64;
        match (in_prediction, in_reference) {
            (true, true) => self.counts.true_positive += voxels,
            (true, false) => self.counts.false_positive += voxels,
            (false, true) => self.counts.false_negative += voxels,
            (false, false) => return,
        }
        let run = [z..z + 1, y..y + 1, start..end];
        match &mut self.bounds {
            None => self.bounds = Some(Box3(run)),
            Some(Box3(bounds)) => {
                for (whole, part) in bounds.iter_mut().zip(run) {
                    whole.start = whole.start.min(part.start);
                    whole.end = whole.end.max(part.end);
                }
            }
        }
    }
}

/// Counts every class in one pass over two label arrays.
///
/// A class is a set of label values: one value for a plain label, several for a region. Classes may share values.
/// Memory: nothing beyond the result. Time: one pass, plus work per class at each change of label along `x`.
///
/// # Errors
///
/// [`MetricsError::VoxelCount`] where an array does not hold `shape`'s voxels.
pub fn overlap<T: Copy + PartialEq>(
    prediction: &[T],
    reference: &[T],
    shape: Index3,
    classes: &[&[T]],
) -> Result<Vec<ClassOverlap>, MetricsError> {
    check_voxels(shape, prediction.len())?;
    check_voxels(shape, reference.len())?;
    let mut found = alloc::vec![ClassOverlap::default(); classes.len()];
    let [_, ny, nx] = shape;
    if prediction.is_empty() {
        return Ok(found);
    }
    let rows = prediction.chunks_exact(nx).zip(reference.chunks_exact(nx));
    for (row, (p, r)) in rows.enumerate() {
        let mut start = 0;
        while start < nx {
            // Labels come in runs; looking classes up once a run keeps many classes as cheap as one.
            let pair = (p[start], r[start]);
            let length = p[start..].iter().zip(&r[start..]).take_while(|(p, r)| (**p, **r) == pair).count();
            // A pair unequal to itself (a float's NaN) belongs to no class.
            let end = start + length.max(1);
            for (class, values) in found.iter_mut().zip(classes) {
                class.add_run(values.contains(&pair.0), values.contains(&pair.1), row / ny, row % ny, start, end);
            }
            start = end;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn dice_is_none_where_both_are_empty_and_zero_where_one_is() {
        assert_eq!(Counts::default().dice(), None);
        assert_eq!(Counts { false_positive: 3, ..Counts::default() }.dice(), Some(0.0));
        assert_eq!(Counts { false_negative: 3, ..Counts::default() }.dice(), Some(0.0));
        assert_eq!(Counts { true_positive: 2, false_positive: 1, false_negative: 3 }.dice(), Some(0.5));
    }

    #[test]
    fn a_millilitre_is_a_thousand_cubic_millimetres() {
        assert_eq!(volume_ml(500, [4.0, 1.0, 0.5]), 1.0);
    }

    #[test]
    fn regions_count_all_their_values() {
        let prediction = [0u8, 1, 2, 3];
        let reference = [1u8, 2, 2, 0];
        let found = overlap(&prediction, &reference, [1, 2, 2], &[&[1, 2, 3], &[2], &[7]]).unwrap();
        assert_eq!(found[0].counts, Counts { true_positive: 2, false_positive: 1, false_negative: 1 });
        assert_eq!(found[0].bounds, Some(Box3([0..1, 0..2, 0..2])));
        assert_eq!(found[1].counts, Counts { true_positive: 1, false_positive: 0, false_negative: 1 });
        assert_eq!(found[2], ClassOverlap::default());
    }

    #[test]
    fn arrays_must_hold_their_shape() {
        let wrong = overlap(&[0u8; 7], &[0u8; 8], [2, 2, 2], &[&[1]]);
        assert_eq!(wrong, Err(MetricsError::VoxelCount { shape: [2, 2, 2], got: 7 }));
        let huge = overlap::<u8>(&[], &[], [usize::MAX, 2, 2], &[&[1]]);
        assert!(matches!(huge, Err(MetricsError::VoxelCount { .. })));
        assert_eq!(overlap::<u8>(&[], &[], [0, 4, 4], &[&[1]]), Ok(vec![ClassOverlap::default()]));
    }

    proptest! {
        #[test]
        fn equals_a_voxel_by_voxel_count(
            (shape, p, r) in (1usize..5, 1usize..5, 1usize..9).prop_flat_map(|(z, y, x)| {
                let labels = || proptest::collection::vec(0u32..4, z * y * x);
                (Just([z, y, x]), labels(), labels())
            })
        ) {
            let classes: [&[u32]; 3] = [&[1], &[2], &[1, 3]];
            let found = overlap(&p, &r, shape, &classes).unwrap();
            for (class, values) in found.iter().zip(classes) {
                let mut counts = Counts::default();
                let mut bounds: Option<Box3> = None;
                for i in 0..p.len() {
                    let (a, b) = (values.contains(&p[i]), values.contains(&r[i]));
                    counts.true_positive += u64::from(a && b);
                    counts.false_positive += u64::from(a && !b);
                    counts.false_negative += u64::from(!a && b);
                    if a || b {
                        let at = [i / (shape[1] * shape[2]), i / shape[2] % shape[1], i % shape[2]];
                        let old = bounds.unwrap_or(Box3(at.map(|c| c..c + 1)));
                        bounds = Some(Box3([0, 1, 2].map(|k| {
                            old.0[k].start.min(at[k])..old.0[k].end.max(at[k] + 1)
                        })));
                    }
                }
                prop_assert_eq!(&class.counts, &counts);
                prop_assert_eq!(&class.bounds, &bounds);
            }
        }
    }
}
