//! What a compiled network consists of.

use crate::arch::{Activation, Quant};
use crate::kernels::{Between, ConvGeometry, PoolGeometry, Squash};
use crate::patch::PatchPrecision;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Where a tensor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Place {
    /// The caller's input.
    Input,
    /// The caller's output.
    Output,
    /// A buffer of the workspace, by number.
    Buffer(usize),
}

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Storage {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Bytes on a grid.
    U8(Quant),
}

impl Storage {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Storage::F32 => 4,
            Storage::F16 => 2,
            Storage::U8(_) => 1,
        }
    }
}

/// Some of the weights: where they start and how many numbers they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Offset in bytes, divisible by 64.
    pub offset: usize,
    /// Numbers.
    pub len: usize,
}

/// How float weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// Single precision, read in place.
    F32,
    /// Half precision, widened when the step that uses them starts.
    F16,
}

/// Something pending on a stored tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OpSpec {
    /// Scale and shift that an instance norm left, by number.
    Table(usize),
    /// Constant scale and shift.
    Affine(Span, Span),
    /// An activation.
    Act(Activation),
    /// To the nearest value of a grid.
    Grid(Quant),
}

/// Some channels of a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PartSpec {
    /// They are stored.
    Stored {
        /// Where.
        place: Place,
        /// How many.
        channels: usize,
        /// Pending, in order.
        ops: Vec<OpSpec>,
    },
    /// They are a transposed convolution whose kernel equals its stride, computed as they are read.
    Upsampled {
        /// What is read: stored tensors alone.
        #[serde(with = "flat")]
        low: Box<ValueSpec>,
        /// Output channels.
        cout: usize,
        /// Kernel.
        kernel: [usize; 3],
        /// Packed weights.
        weights: Span,
        /// Their form.
        form: Form,
        /// `[cout]`.
        bias: Span,
        /// Pending.
        activation: Activation,
        /// Pending after that: grids, one after the other.
        grids: Vec<Quant>,
    },
    /// They are zeros, with the voxels of a smaller tensor at equal distances among them.
    Spread {
        /// What is read: stored tensors alone.
        #[serde(with = "flat")]
        low: Box<ValueSpec>,
        /// Distance of its voxels.
        by: [usize; 3],
    },
    /// They are something on another grid, interpolated as they are read.
    Resampled {
        /// What is read: stored tensors alone.
        #[serde(with = "flat")]
        low: Box<ValueSpec>,
        /// Where the voxels lie, along `z, y, x`.
        axes: [Vec<Between>; 3],
    },
}

/// A value of stored parts alone, without the recursion of the type: a file cannot nest values, so reading one needs no
/// more stack than its format shows.
mod flat {
    use super::{OpSpec, PartSpec, Place, ValueSpec};
    use alloc::boxed::Box;
    use alloc::vec::Vec;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error};

    type Flat = ([usize; 3], Vec<(Place, usize, Vec<OpSpec>)>);

    pub(super) fn serialize<S: Serializer>(value: &ValueSpec, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = |part: &PartSpec| match part {
            PartSpec::Stored { place, channels, ops } => Ok((*place, *channels, ops.clone())),
            _ => Err(S::Error::custom("a computed value inside a computed value")),
        };
        let parts: Vec<_> = value.parts.iter().map(stored).collect::<Result<_, _>>()?;
        (value.grid, parts).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<ValueSpec>, D::Error> {
        let (grid, parts) = Flat::deserialize(deserializer)?;
        let parts = parts.into_iter().map(|(place, channels, ops)| PartSpec::Stored { place, channels, ops }).collect();
        Ok(Box::new(ValueSpec { parts, grid }))
    }
}

/// A tensor `[channels, z, y, x]` to be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValueSpec {
    /// Its channels, joined.
    pub parts: Vec<PartSpec>,
    /// `z, y, x`.
    pub grid: [usize; 3],
}

/// Weights of a convolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ConvSpec {
    /// In floats.
    Float {
        /// [`ConvGeometry::pack`].
        weights: Span,
        /// Their form.
        form: Form,
        /// `[cout]`.
        bias: Span,
    },
    /// In integers; the input is on the grid.
    Int {
        /// [`ConvGeometry::pack_int`].
        weights: Span,
        /// Sum of each output channel's weights.
        totals: Span,
        /// Input scale times weight scale, `[cout]`.
        scale: Span,
        /// `[cout]`.
        bias: Span,
        /// The input's grid.
        quant: Quant,
    },
}

/// What a step computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    /// A convolution of the one input.
    Conv(ConvGeometry, ConvSpec),
    /// The sum of the inputs; of one, a copy.
    Sum {
        /// The output holds the first summand, with this pending on it.
        in_place: Option<Vec<OpSpec>>,
    },
    /// Pooling of the one input.
    Pool(PoolGeometry),
    /// Probabilities of the one input.
    Squash(Squash),
}

/// Instance norm of what a step writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NormSpec {
    /// Number of the table that receives scale and shift.
    pub table: usize,
    /// Learned factors.
    pub scale: Span,
    /// Learned summands.
    pub shift: Span,
    /// One a channel.
    pub epsilon: Span,
}

/// One fused step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Name of the graph's node.
    pub name: String,
    /// What is computed.
    pub kind: Kind,
    /// The values that it reads.
    pub inputs: Vec<ValueSpec>,
    /// Where its output is written.
    pub place: Place,
    /// How its output is stored.
    pub storage: Storage,
    /// Output channels.
    pub channels: usize,
    /// Output grid.
    pub grid: [usize; 3],
    /// Values go to the nearest of this grid before anything else sees them.
    pub on_grid: Option<Quant>,
    /// Statistics of the output.
    pub norm: Option<NormSpec>,
}

impl Step {
    /// Bytes of the output.
    pub fn bytes(&self) -> usize {
        self.channels * self.grid.iter().product::<usize>() * self.storage.bytes()
    }

    /// Multiply-accumulates, those of upsampled inputs included (counted once).
    pub fn macs(&self) -> u64 {
        let own = match &self.kind {
            Kind::Conv(g, _) => g.macs(),
            _ => 0,
        };
        self.inputs.iter().fold(own, |n, v| n.saturating_add(v.macs()))
    }
}

/// The whole network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Input channels.
    pub channels: usize,
    /// Output channels.
    pub heads: usize,
    /// Input and output grid.
    pub patch: [usize; 3],
    /// Number of buffers.
    pub buffers: usize,
    /// Channels of each table.
    pub tables: Vec<usize>,
    /// In the order of running.
    pub steps: Vec<Step>,
}

impl Graph {
    /// Multiply-accumulates of all steps; the largest number where they are more.
    pub fn macs(&self) -> u64 {
        self.steps.iter().map(Step::macs).fold(0, u64::saturating_add)
    }

    /// How input and output are best stored: as the step that writes the output says.
    pub fn patch_precision(&self) -> PatchPrecision {
        match self.steps.iter().rfind(|s| s.place == Place::Output).map(|s| s.storage) {
            Some(Storage::F16) => PatchPrecision::F16,
            _ => PatchPrecision::F32,
        }
    }
}

/// A compiled network that cannot be run as it is: a damaged file, or a defect of the program that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError(pub String);

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the compiled network is damaged: {}", self.0)
    }
}

impl core::error::Error for SpecError {}

impl ValueSpec {
    /// Channels of all parts.
    pub fn channels(&self) -> usize {
        self.parts.iter().map(PartSpec::channels).sum()
    }

    fn macs(&self) -> u64 {
        let voxels = self.grid.iter().map(|&n| n as u64).product::<u64>();
        let of = |part: &PartSpec| match part {
            PartSpec::Upsampled { low, cout, .. } => {
                ((low.channels() * cout) as u64).saturating_mul(voxels).saturating_add(low.macs())
            }
            PartSpec::Spread { low, .. } | PartSpec::Resampled { low, .. } => low.macs(),
            PartSpec::Stored { .. } => 0,
        };
        self.parts.iter().map(of).fold(0, u64::saturating_add)
    }

    /// Calls `f` for every stored tensor that reading this one reads.
    pub fn places(&self, f: &mut impl FnMut(Place)) {
        for part in &self.parts {
            match part {
                PartSpec::Stored { place, .. } => f(*place),
                PartSpec::Upsampled { low, .. } | PartSpec::Spread { low, .. } | PartSpec::Resampled { low, .. } => {
                    low.places(f)
                }
            }
        }
    }

    /// Calls `f` for every span of float weights with its form, in the order of parts.
    pub fn weights(&self, f: &mut impl FnMut(Span, Form)) {
        for part in &self.parts {
            match part {
                PartSpec::Upsampled { low, weights, form, .. } => {
                    f(*weights, *form);
                    low.weights(f);
                }
                PartSpec::Spread { low, .. } | PartSpec::Resampled { low, .. } => low.weights(f),
                PartSpec::Stored { .. } => {}
            }
        }
    }
}

impl PartSpec {
    /// Channels.
    pub fn channels(&self) -> usize {
        match self {
            PartSpec::Stored { channels, .. } => *channels,
            PartSpec::Upsampled { cout, .. } => *cout,
            PartSpec::Spread { low, .. } | PartSpec::Resampled { low, .. } => low.channels(),
        }
    }
}
