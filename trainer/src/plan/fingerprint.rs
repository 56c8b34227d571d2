//! What the planner knows of a dataset: `dataset_fingerprint.json`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A dataset's fingerprint, one entry per case in the order of their names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Intensities of the foreground, by channel number.
    pub foreground_intensity_properties_per_channel: BTreeMap<String, Intensities>,
    /// The part of a case that the crop to nonzero keeps, as its median over the cases.
    pub median_relative_size_after_cropping: f64,
    /// Extents after the crop: file axes `z, y, x`.
    pub shapes_after_crop: Vec<[usize; 3]>,
    /// Voxel distances in millimetres.
    pub spacings: Vec<[f64; 3]>,
}

/// Intensities sampled from the foreground of all cases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intensities {
    /// Largest.
    pub max: f64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Percentile 0.5.
    pub percentile_00_5: f64,
    /// Percentile 99.5.
    pub percentile_99_5: f64,
    /// Population standard deviation.
    pub std: f64,
}

/// The percentile of sorted values, between neighbours as numpy's `percentile` does by default.
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let rank = (sorted.len() - 1) as f64 * (percent / 100.0);
    let below = rank.floor();
    let at = |k: f64| sorted[(k as usize).min(sorted.len() - 1)];
    lerp(at(below), at(below + 1.0), rank - below)
}

/// numpy's interpolation, which counts from the nearer end.
pub(crate) fn lerp(a: f64, b: f64, t: f64) -> f64 {
    if t < 0.5 { a + (b - a) * t } else { b - (b - a) * (1.0 - t) }
}

/// The median of sorted values: the mean of the two middle ones.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
}

/// One number of every row, sorted.
pub(crate) fn column<T: Copy>(rows: &[[T; 3]], axis: usize, to_f64: impl Fn(T) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = rows.iter().map(|row| to_f64(row[axis])).collect();
    values.sort_by(f64::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_equal_those_of_numpy() {
        let values = [0.5, 0.7, 1.1, 4.0];
        assert_eq!(percentile(&values, 50.0), 0.9);
        // numpy.percentile([0.5, 0.7, 1.1, 4.0], [10, 99.5])
        assert_eq!((percentile(&values, 10.0), percentile(&values, 99.5)), (0.56, 3.9564999999999997));
        assert_eq!((median(&values), median(&values[..3]), percentile(&[3.0], 99.5)), (0.9, 0.7, 3.0));
    }
}
