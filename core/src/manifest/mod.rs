//! The manifest of a model: grid, channels, normalisation, labels, provenance.
//!
//! The manifest is stored as JSON in the `scanside` entry of an ONNX file's `metadata_props`, or beside a foreign ONNX
//! file as JSON or TOML. It holds every fact the pipeline needs besides the graph. [`Manifest::check`] holds the rules
//! that every manifest must keep, whichever way it was read.

mod check;
mod envelope;
#[cfg(feature = "std")]
mod json;
mod words;

pub(crate) use check::MOST_EXTENT;
pub use check::{ManifestError, ManifestFault};
pub use envelope::{Card, Deviation, Envelope, LabelVolume};

use crate::volume::Reader;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The manifest version this crate writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The description that a model file carries.
///
/// [`Manifest::new`] fills in the defaults; set the other fields afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Manifest {
    /// Version of this description; readers refuse a newer one.
    pub format: u32,
    /// A short name for people.
    #[serde(default)]
    pub name: String,
    /// The grid the network works on.
    pub grid: NetworkGrid,
    /// Input channels in file order.
    pub channels: Vec<Channel>,
    /// By whose rules scans are read: `SimpleITKIO` or `NibabelIO`.
    #[serde(default, skip_serializing_if = "Reader::is_default")]
    pub reader: Reader,
    /// Cut the scan to the box of nonzero voxels first (nnU-Net does).
    #[serde(default)]
    pub crop_to_nonzero: bool,
    /// How the scan is brought to the network grid.
    #[serde(default)]
    pub resample_data: Resampling,
    /// How logits are brought back to the scan's grid.
    #[serde(default = "Resampling::linear")]
    pub resample_logits: Resampling,
    /// The meaning of the network's heads.
    pub labels: Labels,
    /// The network's outputs are probabilities, because its graph ends in a sigmoid or softmax. They are averaged and
    /// resampled as they are, and no activation is applied to them again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub probabilities: bool,
    /// Graph outputs, one per fold; their logits are averaged.
    #[serde(default = "one")]
    pub folds: usize,
    /// Spatial axes of the network grid along which mirrored passes are averaged; empty: none.
    #[serde(default)]
    pub mirror_axes: Vec<usize>,
    /// Origin of the model: free text by key (source, trainer, licence, checkpoint hashes ...).
    #[serde(default)]
    pub provenance: BTreeMap<String, String>,
    /// Measured accuracy by name, for example `mean_dice`.
    #[serde(default)]
    pub accuracy: BTreeMap<String, f64>,
    /// Speed and memory of this model where they were measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<Measurement>,
    /// Models trained together with this one; no member is worse than another in accuracy, time and memory at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub family: Vec<FamilyMember>,
    /// Ranges seen in training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelope: Option<Envelope>,
    /// Intended use, limits, data and licence, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Card>,
    /// SHA-256 over graph and weights, lower-case hex; written by this program, checked when present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph_sha256: Option<String>,
}

impl Manifest {
    /// The manifest of a model with one fold, no mirroring and unknown provenance. Everything else has the value that
    /// the file format gives to a missing key: no cropping, cubic splines for the scan, linear ones for the logits.
    pub fn new(grid: NetworkGrid, channels: Vec<Channel>, labels: Labels) -> Manifest {
        Manifest {
            format: FORMAT_VERSION,
            name: String::new(),
            grid,
            channels,
            reader: Reader::default(),
            crop_to_nonzero: false,
            resample_data: Resampling::default(),
            resample_logits: Resampling::linear(),
            labels,
            probabilities: false,
            folds: one(),
            mirror_axes: Vec::new(),
            provenance: BTreeMap::new(),
            accuracy: BTreeMap::new(),
            measured: Vec::new(),
            family: Vec::new(),
            envelope: None,
            card: None,
            graph_sha256: None,
        }
    }

    /// The manifest without measurements, envelope and card, and without the hash of its graph: all that labels
    /// depend on. Two models with equal such manifests and the same graph give the same labels.
    pub fn without_measurements(&self) -> Manifest {
        Manifest {
            accuracy: BTreeMap::new(),
            measured: Vec::new(),
            family: Vec::new(),
            envelope: None,
            card: None,
            graph_sha256: None,
            ..self.clone()
        }
    }
}

/// Speed and memory of a model on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Name of the CPU.
    pub machine: String,
    /// Threads that ran the network.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub instructions: String,
    /// How weights and tensors were stored: `f32`, `f16` or `int8`.
    pub precision: String,
    /// Seconds of one pass of one patch, the median.
    pub seconds_per_window: f64,
    /// Peak memory of a process that loaded the model and ran patches.
    pub peak_rss_bytes: u64,
}

/// One model of a family. No other member is at least as good in accuracy, time and memory, and better in one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FamilyMember {
    /// Its name.
    pub name: String,
    /// Mean Dice over classes and validation cases, 0 to 1.
    pub mean_dice: f64,
    /// As [`Measurement::seconds_per_window`], measured alike for all members.
    pub seconds_per_window: f64,
    /// As [`Measurement::peak_rss_bytes`].
    pub peak_rss_bytes: u64,
    /// As [`Manifest::graph_sha256`].
    pub graph_sha256: String,
}

fn one() -> usize {
    1
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The grid the network works on. Axes are those of the network, after `transpose_forward`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NetworkGrid {
    /// Voxels per tile. A 2d network has 1 on its first axis.
    pub patch_zyx: [usize; 3],
    /// The network input has two spatial axes instead of three.
    #[serde(default)]
    pub two_dimensional: bool,
    /// Voxel distance per axis in millimetres; `null` keeps the scan's own distance on that axis.
    pub spacing_mm: [Option<f64>; 3],
    /// Network axis `i` is file axis `transpose_forward[i]` (file axes are z, y, x).
    #[serde(default = "identity_axes")]
    pub transpose_forward: [usize; 3],
}

impl NetworkGrid {
    /// The grid of a three-dimensional network whose axes are the file's `z, y, x`.
    pub fn new(patch_zyx: [usize; 3], spacing_mm: [Option<f64>; 3]) -> NetworkGrid {
        NetworkGrid { patch_zyx, two_dimensional: false, spacing_mm, transpose_forward: identity_axes() }
    }
}

fn identity_axes() -> [usize; 3] {
    [0, 1, 2]
}

/// One input channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// The name the training data gave it ("CT", "T1" ...).
    pub name: String,
    /// How its intensities are brought to the network's range.
    pub normalization: Normalization,
}

impl Channel {
    /// A channel of this name.
    pub fn new(name: impl Into<String>, normalization: Normalization) -> Channel {
        Channel { name: name.into(), normalization }
    }
}

/// How intensities of a channel are brought to the network's range, in float32 and before resampling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Normalization {
    /// `(x - mean) / max(std, 1e-8)` with the statistics of the cropped scan.
    ZScore {
        /// Statistics and result only inside the hole-filled nonzero mask; outside stays as it is.
        #[serde(default)]
        masked: bool,
    },
    /// `(clip(x, lower, upper) - mean) / max(std, 1e-8)` with constants of the training data.
    Ct {
        /// Mean of the training data's foreground.
        mean: f32,
        /// Its standard deviation.
        std: f32,
        /// Lower clip limit.
        lower: f32,
        /// Upper clip limit.
        upper: f32,
    },
    /// The values as they are.
    None,
    /// `(x - min) / max(max - min, 1e-8)` over the cropped scan.
    RescaleTo01,
    /// `x / 255`; values outside 0..255 are refused.
    RgbTo01,
    /// Clip to two percentiles of the cropped scan (linear interpolation between ranks), then rescale those to 0..1.
    PercentileTo01 {
        /// Lower percentile, 0..100.
        lower_percent: f64,
        /// Upper percentile, 0..100.
        upper_percent: f64,
    },
}

impl Normalization {
    /// Whether it needs the nonzero mask, which takes a pass over the scan of its own.
    pub fn masked(&self) -> bool {
        match *self {
            Normalization::ZScore { masked } => masked,
            Normalization::Ct { .. }
            | Normalization::None
            | Normalization::RescaleTo01
            | Normalization::RgbTo01
            | Normalization::PercentileTo01 { .. } => false,
        }
    }

    /// Whether it needs mean and standard deviation of the scan.
    pub(crate) fn needs_moments(&self) -> bool {
        match self {
            Normalization::ZScore { .. } => true,
            Normalization::Ct { .. }
            | Normalization::None
            | Normalization::RescaleTo01
            | Normalization::RgbTo01
            | Normalization::PercentileTo01 { .. } => false,
        }
    }

    /// Whether equal stored intensities always become equal network intensities, whatever else a scan holds: then their range
    /// tells whether a scan is of the kind that the model was trained on.
    pub fn is_absolute(&self) -> bool {
        match self {
            Normalization::Ct { .. } | Normalization::None | Normalization::RgbTo01 => true,
            Normalization::ZScore { .. } | Normalization::RescaleTo01 | Normalization::PercentileTo01 { .. } => false,
        }
    }

    /// The percentiles (0..100) that it needs, which take a second pass over the scan.
    pub(crate) fn percentiles(&self) -> Option<[f64; 2]> {
        match *self {
            Normalization::PercentileTo01 { lower_percent, upper_percent } => Some([lower_percent, upper_percent]),
            Normalization::ZScore { .. }
            | Normalization::Ct { .. }
            | Normalization::None
            | Normalization::RescaleTo01
            | Normalization::RgbTo01 => None,
        }
    }
}

/// How values are brought from one grid to another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Resampling {
    /// Splines with edge padding in double precision: what nnU-Net takes from scikit-image and scipy.
    Spline {
        /// Spline order in the plane, or on all axes where no axis is separate: 0, 1 or 3.
        order: u8,
        /// Order along a separate axis: 0 or 1.
        order_z: u8,
        /// Treat the coarse axis separately: `null` decides by the spacings.
        force_separate_z: Option<bool>,
    },
    /// Trilinear in single precision, `align_corners` off: what nnU-Net takes from PyTorch.
    Torch {
        /// As for splines; `null` decides by the spacings.
        force_separate_z: Option<bool>,
    },
    /// No resampling: the grids must have the same shape.
    Keep,
}

impl Default for Resampling {
    fn default() -> Self {
        Resampling::Spline { order: 3, order_z: 0, force_separate_z: None }
    }
}

impl Resampling {
    /// Linear interpolation, the reference's choice for logits.
    pub fn linear() -> Self {
        Resampling::Spline { order: 1, order_z: 0, force_separate_z: None }
    }
}

/// The meaning of the network's heads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Labels {
    /// One head per label; the voxel gets the label of the largest logit, the first of equals.
    Exclusive {
        /// In head order.
        heads: Vec<Label>,
    },
    /// Overlapping regions: heads whose probability is above 0.5 write their value in this order, later ones over earlier
    /// ones. The probability is the sigmoid of the logit, or what the network gives: [`Manifest::probabilities`].
    Regions {
        /// In head order.
        heads: Vec<Label>,
    },
}

impl Labels {
    /// The heads in order.
    pub fn heads(&self) -> &[Label] {
        match self {
            Labels::Exclusive { heads } | Labels::Regions { heads } => heads,
        }
    }
}

/// One head: a name and the value written for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Label {
    /// The name the training data gave it.
    pub name: String,
    /// The value in the written label file.
    pub value: u16,
    /// SNOMED CT code, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snomed: Option<String>,
    /// Display colour, red green blue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rgb: Option<[u8; 3]>,
}

impl Label {
    /// A label without code and colour.
    pub fn new(name: impl Into<String>, value: u16) -> Label {
        Label { name: name.into(), value, snomed: None, rgb: None }
    }
}
