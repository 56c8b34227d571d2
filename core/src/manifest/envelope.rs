//! What a model was made from and for: ranges seen in training, and whether a scan or a result is far outside of them.

use crate::volume::Grid;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// A scan that covers more than this times the largest extent seen in training, or less than the smallest divided by it, is
/// far outside. Coarser voxels likewise.
const FAR_GRID: f64 = 2.0;
/// A structure whose volume is more than this times the largest seen in training, or less than the smallest divided by it,
/// is far outside. Organs vary more than fields of view.
const FAR_VOLUME: f64 = 3.0;

/// What a person has to know before using a model. Texts may be empty where nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Card {
    /// For which scans and for which use it was made.
    pub intended_use: String,
    /// For which it was not, and known failures.
    pub limits: String,
    /// The data it was trained on.
    pub data: String,
    /// The licence of the model file.
    pub licence: String,
}

/// Ranges seen in training. Ranges that are not known are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Envelope {
    /// Fewest and most voxels of a scan along the file's axes `z, y, x`; after the crop to nonzero, where the model crops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voxels_zyx: Option<[[usize; 2]; 3]>,
    /// Smallest and largest voxel distance along `z, y, x`, in millimetres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spacing_mm_zyx: Option<[[f64; 2]; 3]>,
    /// Smallest and largest extent along `z, y, x`, in millimetres: voxels times their distance, scan by scan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extent_mm_zyx: Option<[[f64; 2]; 3]>,
    /// For each channel the lowest and highest stored intensity. Empty where they are not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub intensities: Vec<[f64; 2]>,
    /// For each channel the percentiles 0.5 and 99.5 of the intensities inside labelled structures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub foreground_intensities: Vec<[f64; 2]>,
    /// Volumes of the labelled structures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub label_volumes: Vec<LabelVolume>,
}

/// The volumes that a label had in training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelVolume {
    /// The value in label files.
    pub value: u16,
    /// Smallest and largest volume of a scan that has the label, in millilitres.
    pub ml: [f64; 2],
}

/// One way in which a scan or a result is far outside of what was seen in training. Its `Display` is a clause with the
/// numbers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Deviation {
    /// The scan covers much more or much less than any scan in training, in millimetres; axes from the longest to the
    /// shortest.
    Extent {
        /// Of the scan.
        mm: [f64; 3],
        /// Seen in training.
        seen: [[f64; 2]; 3],
    },
    /// The scan's voxels are much coarser than any in training, in millimetres; axes from the coarsest to the finest.
    Spacing {
        /// Of the scan.
        mm: [f64; 3],
        /// Seen in training.
        seen: [[f64; 2]; 3],
    },
    /// Intensities of a channel are of another kind than in training.
    Intensities {
        /// The channel, from 0.
        channel: usize,
        /// Lowest and highest of the scan.
        range: [f64; 2],
        /// Lowest and highest seen in training.
        seen: [f64; 2],
    },
    /// The volume of a structure is far from any in training.
    Volume {
        /// The label's name.
        name: String,
        /// Millilitres found.
        ml: f64,
        /// Seen in training.
        seen: [f64; 2],
    },
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deviation::Extent { mm: [a, b, c], seen } => {
                write!(f, "it covers {a:.0} x {b:.0} x {c:.0} mm, scans in training ")?;
                ranges(f, seen, 0)
            }
            Deviation::Spacing { mm: [a, b, c], seen } => {
                write!(f, "its voxels are {a:.2} x {b:.2} x {c:.2} mm, in training ")?;
                ranges(f, seen, 2)
            }
            Deviation::Intensities { channel, range: [low, high], seen } => write!(
                f,
                "intensities of channel {channel} are {low:.0} to {high:.0}, in training {:.0} to {:.0}",
                seen[0], seen[1]
            ),
            Deviation::Volume { name, ml, seen } => {
                write!(f, "{name} has {ml:.2} ml, in training {:.2} to {:.2} ml", seen[0], seen[1])
            }
        }
    }
}

/// Ranges of three axes in millimetres.
fn ranges(f: &mut fmt::Formatter<'_>, seen: &[[f64; 2]; 3], digits: usize) -> fmt::Result {
    for (axis, [low, high]) in seen.iter().enumerate() {
        f.write_str(if axis == 0 { "" } else { " x " })?;
        if low == high {
            write!(f, "{low:.digits$}")?;
        } else {
            write!(f, "{low:.digits$} to {high:.digits$}")?;
        }
    }
    f.write_str(" mm")
}

impl Envelope {
    /// The ranges of scans with these shapes and voxel distances (`z, y, x`, millimetres); absent where there are none.
    pub fn of_scans(shapes_zyx: &[[usize; 3]], spacings_mm_zyx: &[[f64; 3]]) -> Envelope {
        let extents: Vec<[f64; 3]> = shapes_zyx
            .iter()
            .zip(spacings_mm_zyx)
            .map(|(shape, spacing)| core::array::from_fn(|k| shape[k] as f64 * spacing[k]))
            .collect();
        Envelope {
            voxels_zyx: ranges_of(shapes_zyx, |a, b| a.min(b), |a, b| a.max(b)),
            spacing_mm_zyx: ranges_of(spacings_mm_zyx, f64::min, f64::max),
            extent_mm_zyx: ranges_of(&extents, f64::min, f64::max),
            ..Envelope::default()
        }
    }

    /// How far a scan's grid is outside. Axes are compared by size, since scans come in any orientation. Finer voxels are not
    /// far outside: they are resampled without loss.
    pub fn deviations_of_grid(&self, grid: &Grid) -> Vec<Deviation> {
        let mut found = Vec::new();
        if let Some(seen) = self.extent_mm_zyx {
            let mm = descending(core::array::from_fn(|k| grid.shape_zyx[k] as f64 * grid.spacing_mm[k]));
            let seen = descending_ranges(seen);
            if (0..3).any(|k| mm[k] > FAR_GRID * seen[k][1] || mm[k] < seen[k][0] / FAR_GRID) {
                found.push(Deviation::Extent { mm, seen });
            }
        }
        if let Some(seen) = self.spacing_mm_zyx {
            let (mm, seen) = (descending(grid.spacing_mm), descending_ranges(seen));
            if (0..3).any(|k| mm[k] > FAR_GRID * seen[k][1]) {
                found.push(Deviation::Spacing { mm, seen });
            }
        }
        found
    }

    /// Whether a channel whose intensities go from `range[0]` to `range[1]` is far outside: it leaves the range of training
    /// by more than that range's own width, or does not reach the intensities of labelled structures.
    pub fn deviation_of_intensities(&self, channel: usize, range: [f64; 2]) -> Option<Deviation> {
        let far = |seen: &[f64; 2]| {
            let width = seen[1] - seen[0];
            range[0] < seen[0] - width || range[1] > seen[1] + width
        };
        let beside = |seen: &[f64; 2]| range[1] < seen[0] || range[0] > seen[1];
        let seen = self.intensities.get(channel).filter(|seen| far(seen));
        let seen = seen.or_else(|| self.foreground_intensities.get(channel).filter(|seen| beside(seen)));
        seen.map(|&seen| Deviation::Intensities { channel, range, seen })
    }

    /// Labels whose volume is far outside. `found` has the value, name and millilitres of each label of the model; labels
    /// that are absent from the scan have 0.
    pub fn deviations_of_volumes<'a>(&self, found: impl Iterator<Item = (u16, &'a str, f64)>) -> Vec<Deviation> {
        let mut deviations = Vec::new();
        for (value, name, ml) in found {
            let Some(seen) = self.label_volumes.iter().find(|label| label.value == value).map(|label| label.ml) else {
                continue;
            };
            if ml > FAR_VOLUME * seen[1] || ml < seen[0] / FAR_VOLUME {
                deviations.push(Deviation::Volume { name: name.into(), ml, seen });
            }
        }
        deviations
    }

    /// Whether every range is one.
    pub(crate) fn is_possible(&self) -> bool {
        let range = |&[low, high]: &[f64; 2]| low.is_finite() && high.is_finite() && low <= high;
        let size = |pair: &[f64; 2]| range(pair) && pair[0] > 0.0;
        self.voxels_zyx.is_none_or(|axes| axes.iter().all(|[low, high]| (1..=*high).contains(low)))
            && self.spacing_mm_zyx.is_none_or(|axes| axes.iter().all(size))
            && self.extent_mm_zyx.is_none_or(|axes| axes.iter().all(size))
            && self.intensities.iter().all(range)
            && self.foreground_intensities.iter().all(range)
            && self.label_volumes.iter().all(|label| range(&label.ml) && label.ml[0] >= 0.0)
    }
}

/// The least and the greatest of each axis.
fn ranges_of<T: Copy>(values: &[[T; 3]], least: fn(T, T) -> T, greatest: fn(T, T) -> T) -> Option<[[T; 2]; 3]> {
    let first = values.first()?;
    Some(core::array::from_fn(|k| {
        values.iter().fold([first[k]; 2], |[low, high], v| [least(low, v[k]), greatest(high, v[k])])
    }))
}

fn descending(mut values: [f64; 3]) -> [f64; 3] {
    values.sort_unstable_by(|a, b| b.total_cmp(a));
    values
}

/// Ranges of the longest, the middle and the shortest axis, where each scan has its own order: bounds, since the order of
/// ends need not be that of one scan.
fn descending_ranges(seen: [[f64; 2]; 3]) -> [[f64; 2]; 3] {
    let (low, high) = (descending(seen.map(|pair| pair[0])), descending(seen.map(|pair| pair[1])));
    core::array::from_fn(|k| [low[k], high[k]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    fn grid(shape_zyx: [usize; 3], spacing_mm: [f64; 3]) -> Grid {
        let direction = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        Grid { shape_zyx, spacing_mm, origin: [0.0; 3], direction }
    }

    fn hippocampus() -> Envelope {
        let mut envelope = Envelope::of_scans(&[[24, 40, 31], [47, 59, 43]], &[[1.0; 3], [1.0; 3]]);
        envelope.intensities = vec![[-1024.0, 3000.0]];
        envelope.foreground_intensities = vec![[-100.0, 300.0]];
        envelope.label_volumes = vec![LabelVolume { value: 1, ml: [0.6, 2.4] }];
        envelope
    }

    #[test]
    fn a_whole_head_is_far_from_crops_in_any_orientation() {
        let envelope = hippocampus();
        assert_eq!(envelope.deviations_of_grid(&grid([30, 50, 40], [1.0; 3])), []);
        assert_eq!(envelope.deviations_of_grid(&grid([59, 47, 31], [1.0; 3])), [], "other axes");
        assert_eq!(envelope.deviations_of_grid(&grid([60, 100, 80], [0.5; 3])), [], "finer voxels");
        let head = envelope.deviations_of_grid(&grid([160, 192, 224], [1.0; 3]));
        assert_eq!(
            head[0].to_string(),
            "it covers 224 x 192 x 160 mm, scans in training 40 to 59 x 31 to 47 x 24 to 43 mm"
        );
        let coarse = envelope.deviations_of_grid(&grid([8, 50, 40], [5.0, 1.0, 1.0]));
        assert_eq!(coarse[0].to_string(), "its voxels are 5.00 x 1.00 x 1.00 mm, in training 1.00 x 1.00 x 1.00 mm");
    }

    #[test]
    fn intensities_of_another_kind_are_far() {
        let envelope = hippocampus();
        assert_eq!(envelope.deviation_of_intensities(0, [-1024.0, 2000.0]), None);
        assert_eq!(envelope.deviation_of_intensities(0, [0.0, 255.0]), None, "it reaches labelled structures");
        assert!(envelope.deviation_of_intensities(0, [400.0, 900.0]).is_some(), "it does not");
        assert!(envelope.deviation_of_intensities(0, [0.0, 65535.0]).is_some());
        assert_eq!(envelope.deviation_of_intensities(1, [0.0, 65535.0]), None, "nothing is known of this channel");
    }

    #[test]
    fn volumes_far_from_those_seen_are_named() {
        let envelope = hippocampus();
        let far = |ml| envelope.deviations_of_volumes([(1, "anterior", ml), (2, "posterior", 1e9)].into_iter());
        assert_eq!((far(0.3), far(7.0)), (vec![], vec![]));
        assert_eq!(far(122.0)[0].to_string(), "anterior has 122.00 ml, in training 0.60 to 2.40 ml");
        assert_eq!(far(0.0).len(), 1);
    }

    #[test]
    fn impossible_ranges_are_found() {
        assert!(hippocampus().is_possible());
        for broken in [
            Envelope { voxels_zyx: Some([[2, 1]; 3]), ..hippocampus() },
            Envelope { spacing_mm_zyx: Some([[0.0, 1.0]; 3]), ..hippocampus() },
            Envelope { extent_mm_zyx: Some([[1.0, f64::INFINITY]; 3]), ..hippocampus() },
            Envelope { intensities: vec![[f64::NAN, 1.0]], ..hippocampus() },
            Envelope { label_volumes: vec![LabelVolume { value: 1, ml: [-1.0, 2.0] }], ..hippocampus() },
        ] {
            assert!(!broken.is_possible(), "{broken:?}");
        }
    }
}
