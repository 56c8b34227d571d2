//! What is known of a case before it is drawn: where its structures lie, and which values become black and white.

use super::panel::Window;
use crate::error::Error;
use crate::labelled_scan::LabelledScan;
use scanside_core::manifest::{Channel, Normalization};
use scanside_core::volume::Index3;
use std::ops::Range;

/// Percentiles of the scan that become black and white.
const PERCENTILES: [f64; 2] = [1.0, 99.0];

/// Voxels of a label in each plane of each file axis `z, y, x`.
pub(super) struct Profile(pub(super) [Vec<u32>; 3]);

/// How often values occur, sorted by their upper sixteen bits: to about one part in a hundred.
struct Histogram(Vec<u64>);

/// What one look at a case gives.
pub(super) struct Survey {
    pub(super) window: Window,
    /// In the order of the labels.
    pub(super) profiles: Vec<Profile>,
}

impl Profile {
    /// Voxels in all.
    pub(super) fn voxels(&self) -> u64 {
        self.0[0].iter().map(|count| u64::from(*count)).sum()
    }

    /// The planes of an axis that hold the label; nothing where there are no voxels.
    pub(super) fn extent(&self, axis: usize) -> Option<Range<usize>> {
        let first = self.0[axis].iter().position(|count| *count > 0)?;
        let last = self.0[axis].iter().rposition(|count| *count > 0)?;
        Some(first..last + 1)
    }

    /// The plane that holds most of it, the middle one of equals.
    pub(super) fn thickest(&self, axis: usize) -> usize {
        let counts = &self.0[axis];
        let most = counts.iter().max();
        let equals: Vec<usize> = (0..counts.len()).filter(|plane| counts.get(*plane) == most).collect();
        equals[equals.len() / 2]
    }
}

impl Histogram {
    fn new() -> Histogram {
        Histogram(vec![0; 1 << 16])
    }

    /// Numbers in the order of the values that they stand for.
    fn add(&mut self, value: f32) {
        let bits = value.to_bits();
        let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        self.0[(ordered >> 16) as usize] += 1;
    }

    fn percentile(&self, percent: f64) -> f32 {
        let all: u64 = self.0.iter().sum();
        let rank = (percent / 100.0 * all as f64) as u64;
        let mut below = 0;
        let bin = self.0.iter().position(|count| {
            below += count;
            below > rank
        });
        let ordered = (bin.unwrap_or(1 << 15) as u32) << 16;
        f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
    }
}

/// Looks at a case once. `places` gives the place of a label among the `count` that are drawn.
///
/// # Errors
/// Those of [`LabelledScan::each_plane`].
pub(super) fn survey(
    volume: &LabelledScan<'_>,
    channel: &Channel,
    places: &[Option<usize>],
    count: usize,
) -> Result<Survey, Error> {
    let shape = volume.grid().shape_zyx;
    let mut profiles: Vec<Profile> = (0..count).map(|_| Profile(shape.map(|n| vec![0; n]))).collect();
    let mut histogram = Histogram::new();
    volume.each_plane(1, |plane| {
        for (y, row) in plane.labels.chunks_exact(shape[2]).enumerate() {
            for (x, &label) in row.iter().enumerate() {
                if let Some(Some(place)) = places.get(usize::from(label)) {
                    let counts = &mut profiles[*place].0;
                    counts.iter_mut().zip([plane.z, y, x]).for_each(|(counts, at)| counts[at] += 1);
                }
            }
        }
        plane.voxels.iter().filter(|value| value.is_finite()).for_each(|value| histogram.add(*value));
    })?;
    let window = match channel.normalization {
        // What was seen of the structures and their surroundings in training.
        Normalization::Ct { lower, upper, .. } => Window { black: lower, white: upper },
        _ => {
            let [black, white] = PERCENTILES.map(|percent| histogram.percentile(percent));
            Window { black, white }
        }
    };
    Ok(Survey { window, profiles })
}

/// Bytes that a survey takes beside reading the case; `None` where they do not fit `usize`.
pub(super) fn bytes(shape_zyx: Index3, count: usize) -> Option<usize> {
    let planes = shape_zyx.iter().try_fold(0usize, |sum, n| sum.checked_add(*n))?;
    planes.checked_mul(4)?.checked_mul(count)?.checked_add(8 << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_values_to_a_hundredth() {
        let mut histogram = Histogram::new();
        (-1000..1000).for_each(|value| histogram.add(value as f32));
        for percent in [1.0, 25.0, 75.0, 99.0] {
            let exact = -1000.0 + 20.0 * percent as f32;
            let got = histogram.percentile(percent);
            assert!((got - exact).abs() <= 0.01 * exact.abs(), "{percent} %: {got}, not {exact}");
        }
        let mut constant = Histogram::new();
        constant.add(0.0);
        assert_eq!(constant.percentile(99.0), 0.0);
    }

    #[test]
    fn profiles_give_extent_and_thickest_plane() {
        let profile = Profile([vec![0, 2, 3, 3, 3, 0], vec![11], vec![0, 11]]);
        assert_eq!(profile.voxels(), 11);
        assert_eq!((profile.extent(0), profile.thickest(0)), (Some(1..5), 3));
        assert_eq!(Profile([vec![0], vec![0], vec![0]]).extent(0), None);
    }
}
