//! The rules that every manifest keeps.

use super::{FORMAT_VERSION, Labels, Manifest, Normalization, Resampling};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Longest axis of a patch or a grid, in voxels. Tables with an entry per voxel of an axis stay below some 50 MB.
pub(crate) const MOST_EXTENT: usize = 1 << 20;
/// Most voxels of a patch.
const MOST_PATCH_VOXELS: u64 = 1 << 34;
/// Most channels, heads or folds; label values are 16 bits wide.
const MOST_PARTS: usize = 1 << 16;
/// A longer list of faults helps nobody.
const MOST_FAULTS: usize = 16;

/// A rule that a manifest breaks. Its `Display` is a clause with the numbers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ManifestFault {
    /// It cannot be read; the reader's own sentence.
    Unreadable(String),
    /// The format version is 0, which stands for none.
    NoFormat,
    /// The format version is newer than [`FORMAT_VERSION`].
    NewerFormat(u64),
    /// The patch has no voxels or too many.
    Patch([usize; 3]),
    /// The patch of a two-dimensional network has this extent on its first axis instead of 1.
    FlatPatch(usize),
    /// A spacing is not a positive finite number of millimetres.
    Spacing([Option<f64>; 3]),
    /// `transpose_forward` is not a permutation of 0, 1, 2.
    Transpose([usize; 3]),
    /// Mirror axes are not spatial axes of the network, or are named twice.
    MirrorAxes {
        /// The axes, at most the first four.
        axes: Vec<usize>,
        /// The first axis that the network has: 1 for two-dimensional ones.
        first: usize,
    },
    /// The constants of a normalisation are impossible.
    Normalization {
        /// Input channel, from 0.
        channel: usize,
        /// Its name.
        name: String,
        /// The constants.
        normalization: Normalization,
    },
    /// Splines of an order that is not supported.
    SplineOrder {
        /// The key of the manifest.
        key: &'static str,
        /// Order in the plane.
        order: u8,
        /// Order along a separate axis.
        order_z: u8,
    },
    /// A range of the envelope is none: its ends are exchanged, not finite, or no size.
    Envelope,
    /// There is no channel, no label or no fold.
    Missing,
    /// There are more channels, labels or folds than are supported.
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there are.
        count: usize,
    },
    /// Two exclusive labels have the same value.
    SameValue {
        /// Their names.
        names: [String; 2],
        /// The value.
        value: u16,
    },
}

impl fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestFault::Unreadable(why) => f.write_str(why),
            ManifestFault::NoFormat => f.write_str("it does not name its format"),
            ManifestFault::NewerFormat(found) => write!(
                f,
                "it is written in format {found}, this program reads up to {FORMAT_VERSION}; a newer scanside is needed"
            ),
            ManifestFault::Patch(patch) => write!(f, "the patch {patch:?} is not possible"),
            ManifestFault::FlatPatch(extent) => write!(f, "a 2d patch starts with 1, not {extent}"),
            ManifestFault::Spacing(spacing) => write!(f, "the spacing {spacing:?} must be positive"),
            ManifestFault::Transpose(axes) => {
                write!(f, "transpose_forward {axes:?} does not name each of 0, 1, 2 once")
            }
            ManifestFault::MirrorAxes { axes, first } => {
                write!(f, "mirror_axes {axes:?} must be different axes from {first} to 2")
            }
            ManifestFault::Normalization { channel, name, normalization } => {
                write!(f, "the normalisation of channel {channel} \"{name}\" is not possible (")?;
                match normalization {
                    Normalization::Ct { mean, std, lower, upper } => {
                        write!(f, "mean {mean}, std {std}, limits {lower} to {upper})")
                    }
                    Normalization::PercentileTo01 { lower_percent, upper_percent } => {
                        write!(f, "percentiles {lower_percent} to {upper_percent})")
                    }
                    other => write!(f, "{other:?})"),
                }
            }
            ManifestFault::SplineOrder { key, order, order_z } => write!(
                f,
                "{key} has order {order} and {order_z}; orders are 0, 1 or 3, and 0 or 1 along a separate axis"
            ),
            ManifestFault::Envelope => f.write_str("a range of the envelope is not possible"),
            ManifestFault::Missing => f.write_str("there must be at least one channel, one label and one fold"),
            ManifestFault::TooMany { what, count } => {
                write!(f, "there are {count} {what}; at most {MOST_PARTS} are supported")
            }
            ManifestFault::SameValue { names: [first, second], value } => {
                write!(f, "labels \"{first}\" and \"{second}\" have the same value {value}")
            }
        }
    }
}

/// Why a manifest cannot be used: the rules that it breaks, in one sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifestError {
    faults: Vec<ManifestFault>,
}

impl ManifestError {
    /// The broken rules; never empty. A very long list is cut off.
    pub fn faults(&self) -> &[ManifestFault] {
        &self.faults
    }
}

impl From<ManifestFault> for ManifestError {
    fn from(fault: ManifestFault) -> Self {
        ManifestError { faults: alloc::vec![fault] }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{fault}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl core::error::Error for ManifestError {}

impl Manifest {
    /// Checks every rule that a manifest keeps by itself. Whether it agrees with a network is checked by whoever has
    /// the network.
    ///
    /// # Errors
    /// The rules that it breaks.
    pub fn check(&self) -> Result<(), ManifestError> {
        let mut faults = Vec::new();
        match self.format {
            0 => faults.push(ManifestFault::NoFormat),
            FORMAT_VERSION => {}
            newer => faults.push(ManifestFault::NewerFormat(newer.into())),
        }
        self.check_grid(&mut faults);
        self.check_channels(&mut faults);
        self.check_labels(&mut faults);
        if self.envelope.as_ref().is_some_and(|envelope| !envelope.is_possible()) {
            faults.push(ManifestFault::Envelope);
        }
        faults.truncate(MOST_FAULTS);
        if faults.is_empty() { Ok(()) } else { Err(ManifestError { faults }) }
    }

    fn check_grid(&self, faults: &mut Vec<ManifestFault>) {
        let grid = &self.grid;
        let patch = grid.patch_zyx;
        let voxels = patch.iter().map(|&n| n as u64).try_fold(1, u64::checked_mul);
        let possible = voxels.is_some_and(|v| v <= MOST_PATCH_VOXELS);
        if !possible || patch.iter().any(|n| !(1..=MOST_EXTENT).contains(n)) {
            faults.push(ManifestFault::Patch(patch));
        }
        if grid.two_dimensional && patch[0] != 1 {
            faults.push(ManifestFault::FlatPatch(patch[0]));
        }
        if grid.spacing_mm.iter().flatten().any(|mm| !(mm.is_finite() && *mm > 0.0)) {
            faults.push(ManifestFault::Spacing(grid.spacing_mm));
        }
        if (0..3).any(|axis| !grid.transpose_forward.contains(&axis)) {
            faults.push(ManifestFault::Transpose(grid.transpose_forward));
        }
        let first = usize::from(grid.two_dimensional);
        let axes = &self.mirror_axes[..self.mirror_axes.len().min(4)];
        if axes.iter().enumerate().any(|(i, axis)| !(first..3).contains(axis) || axes[..i].contains(axis)) {
            faults.push(ManifestFault::MirrorAxes { axes: axes.to_vec(), first });
        }
        for (key, resampling) in [("resample_data", self.resample_data), ("resample_logits", self.resample_logits)] {
            if let Resampling::Spline { order, order_z, .. } = resampling
                && (![0, 1, 3].contains(&order) || order_z > 1)
            {
                faults.push(ManifestFault::SplineOrder { key, order, order_z });
            }
        }
    }

    fn check_channels(&self, faults: &mut Vec<ManifestFault>) {
        for (index, channel) in self.channels.iter().enumerate().take(MOST_PARTS) {
            let possible = match channel.normalization {
                Normalization::Ct { mean, std, lower, upper } => {
                    [mean, std, lower, upper].iter().all(|v| v.is_finite()) && std >= 0.0 && lower <= upper
                }
                Normalization::PercentileTo01 { lower_percent, upper_percent } => {
                    0.0 <= lower_percent && lower_percent < upper_percent && upper_percent <= 100.0
                }
                Normalization::ZScore { .. }
                | Normalization::None
                | Normalization::RescaleTo01
                | Normalization::RgbTo01 => true,
            };
            if !possible {
                faults.push(ManifestFault::Normalization {
                    channel: index,
                    name: channel.name.clone(),
                    normalization: channel.normalization.clone(),
                });
            }
        }
    }

    fn check_labels(&self, faults: &mut Vec<ManifestFault>) {
        let heads = self.labels.heads();
        if self.channels.is_empty() || heads.is_empty() || self.folds == 0 {
            faults.push(ManifestFault::Missing);
        }
        for (what, count) in [("channels", self.channels.len()), ("labels", heads.len()), ("folds", self.folds)] {
            if count > MOST_PARTS {
                faults.push(ManifestFault::TooMany { what, count });
            }
        }
        if let Labels::Exclusive { heads } = &self.labels {
            let mut names = BTreeMap::new();
            for head in heads.iter().take(MOST_PARTS) {
                let first: &String = names.entry(head.value).or_insert(&head.name);
                if !core::ptr::eq(first, &head.name) {
                    let names = [first.clone(), head.name.clone()];
                    faults.push(ManifestFault::SameValue { names, value: head.value });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Channel, Label, NetworkGrid};
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    fn sound() -> Manifest {
        let labels = Labels::Exclusive { heads: vec![Label::new("background", 0), Label::new("organ", 1)] };
        let channels = vec![Channel::new("CT", Normalization::ZScore { masked: false })];
        Manifest::new(NetworkGrid::new([8, 8, 8], [Some(1.0), None, Some(0.5)]), channels, labels)
    }

    type Change = fn(&mut Manifest);

    #[test]
    fn each_rule_is_named_with_its_numbers() {
        assert_eq!(sound().check(), Ok(()));
        let cases: [(Change, &str); 24] = [
            (|m| m.format = 0, "it does not name its format"),
            (|m| m.format = 9, "it is written in format 9"),
            (|m| m.grid.patch_zyx = [8, 0, 8], "the patch [8, 0, 8] is not possible"),
            (|m| m.grid.patch_zyx = [usize::MAX; 3], "is not possible"),
            (|m| m.grid.patch_zyx = [1 << 20, 1 << 20, 1], "is not possible"),
            (|m| m.grid.patch_zyx = [1, 1, 1 << 21], "is not possible"),
            (|m| m.grid.two_dimensional = true, "a 2d patch starts with 1, not 8"),
            (|m| m.grid.spacing_mm[0] = Some(0.0), "must be positive"),
            (|m| m.grid.spacing_mm[1] = Some(-1.0), "must be positive"),
            (|m| m.grid.spacing_mm[2] = Some(f64::NAN), "must be positive"),
            (|m| m.grid.spacing_mm[2] = Some(f64::INFINITY), "must be positive"),
            (|m| m.grid.transpose_forward = [0, 1, 1], "[0, 1, 1] does not name each of 0, 1, 2 once"),
            (|m| m.grid.transpose_forward = [5, 0, 1], "[5, 0, 1] does not"),
            (|m| m.mirror_axes = vec![0, 3], "mirror_axes [0, 3] must be different axes from 0 to 2"),
            (|m| m.mirror_axes = vec![1, 1], "mirror_axes [1, 1]"),
            (|m| m.mirror_axes = (0..64).collect(), "mirror_axes [0, 1, 2, 3] must be"),
            (
                |m| m.resample_data = Resampling::Spline { order: 2, order_z: 0, force_separate_z: None },
                "order 2 and 0",
            ),
            (|m| m.resample_logits = Resampling::Spline { order: 1, order_z: 3, force_separate_z: None }, "1 and 3"),
            (|m| m.channels.clear(), "there must be at least one channel"),
            (|m| m.labels = Labels::Regions { heads: vec![] }, "one label"),
            (|m| m.folds = 0, "one fold"),
            (|m| m.folds = usize::MAX, "folds; at most 65536 are supported"),
            (
                |m| m.labels = Labels::Exclusive { heads: vec![Label::new("a", 3), Label::new("b", 3)] },
                "labels \"a\" and \"b\" have the same value 3",
            ),
            (|m| m.labels = Labels::Regions { heads: vec![Label::new("r", 1); 70_000] }, "70000 labels"),
        ];
        for (change, says) in cases {
            let mut manifest = sound();
            change(&mut manifest);
            let error = manifest.check().expect_err(says);
            assert_eq!(error.faults().len(), 1, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn constants_of_normalisation_are_finite_and_in_order() {
        let ct = |mean, std, lower, upper| Normalization::Ct { mean, std, lower, upper };
        let percentiles = |lower_percent, upper_percent| Normalization::PercentileTo01 { lower_percent, upper_percent };
        for (normalization, possible) in [
            (ct(0.0, 1.0, -1.0, 1.0), true),
            (ct(0.0, 0.0, 1.0, 1.0), true),
            (ct(f32::NAN, 1.0, -1.0, 1.0), false),
            (ct(0.0, f32::INFINITY, -1.0, 1.0), false),
            (ct(0.0, -1.0, -1.0, 1.0), false),
            (ct(0.0, 1.0, 1.0, -1.0), false),
            (percentiles(0.0, 100.0), true),
            (percentiles(5.0, 5.0), false),
            (percentiles(-1.0, 50.0), false),
            (percentiles(0.0, 101.0), false),
            (percentiles(f64::NAN, 50.0), false),
        ] {
            let mut manifest = sound();
            manifest.channels[0].normalization = normalization.clone();
            assert_eq!(manifest.check().is_ok(), possible, "{normalization:?}");
        }
    }

    #[test]
    fn many_faults_are_joined_and_cut_off() {
        let mut manifest = sound();
        (manifest.folds, manifest.format) = (0, 0);
        let error = manifest.check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "it does not name its format; there must be at least one channel, one label and one fold"
        );
        manifest.labels = Labels::Exclusive { heads: vec![Label::new("same", 1); 1000] };
        assert_eq!(manifest.check().unwrap_err().faults().len(), MOST_FAULTS);
    }
}
