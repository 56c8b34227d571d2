//! What a compiled network consists of.

use crate::arch::{Activation, BLOCK_ROWS, Quant};
use crate::kernels::{ConvGeometry, PoolGeometry, Squash, Upsample};
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
    /// They are zeros with the voxels of something smaller every so often.
    Spread {
        /// What is read: stored tensors alone.
        #[serde(with = "flat")]
        low: Box<ValueSpec>,
        /// Distance of its voxels.
        by: [usize; 3],
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
    /// Of the graph's node.
    pub name: String,
    /// What is computed.
    pub kind: Kind,
    /// From what.
    pub inputs: Vec<ValueSpec>,
    /// Where to.
    pub place: Place,
    /// Stored how.
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
        own + self.inputs.iter().map(ValueSpec::macs).sum::<u64>()
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

/// A compiled network that does not hold together: a damaged file, or a defect of who made it.
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
        self.parts
            .iter()
            .map(|p| match p {
                PartSpec::Upsampled { low, cout, .. } => (low.channels() * cout) as u64 * voxels + low.macs(),
                PartSpec::Spread { low, .. } => low.macs(),
                PartSpec::Stored { .. } => 0,
            })
            .sum()
    }

    /// Calls `f` for every stored tensor that reading this one reads.
    pub fn places(&self, f: &mut impl FnMut(Place)) {
        for part in &self.parts {
            match part {
                PartSpec::Stored { place, .. } => f(*place),
                PartSpec::Upsampled { low, .. } | PartSpec::Spread { low, .. } => low.places(f),
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
                PartSpec::Spread { low, .. } => low.weights(f),
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
            PartSpec::Spread { low, .. } => low.channels(),
        }
    }
}

/// More elements than any tensor of a network on one patch; keeps products of sizes far from overflowing.
const MOST_ELEMENTS: usize = 1 << 31;

impl Graph {
    /// Checks every number of a graph that may come from a damaged or hostile file, against `weight_bytes` of weights.
    ///
    /// # Errors
    /// What does not hold together first.
    pub fn check(&self, weight_bytes: usize) -> Result<(), SpecError> {
        let mut c = Checker { graph: self, weight_bytes, buffers: alloc::vec![None; self.buffers.min(1 << 16)] };
        c.graph()
    }
}

struct Checker<'a> {
    graph: &'a Graph,
    weight_bytes: usize,
    /// Channels, grid and storage of what each buffer holds now.
    buffers: Vec<Option<(usize, [usize; 3], Storage)>>,
}

fn bad<T>(why: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError(why.into()))
}

fn elements(channels: usize, grid: [usize; 3]) -> Result<usize, SpecError> {
    let mut n = channels;
    for axis in grid {
        n = n
            .checked_mul(axis)
            .filter(|&n| n <= MOST_ELEMENTS)
            .ok_or_else(|| SpecError("a tensor too large".into()))?;
    }
    if n == 0 { bad("a tensor of no elements") } else { Ok(n) }
}

impl Checker<'_> {
    fn graph(&mut self) -> Result<(), SpecError> {
        let g = self.graph;
        elements(g.channels, g.patch)?;
        elements(g.heads, g.patch)?;
        if g.buffers > 1 << 16 || g.tables.len() > 1 << 16 || g.tables.iter().any(|&t| t == 0 || t > 1 << 20) {
            return bad("more buffers or tables than a network has");
        }
        let mut written = false;
        for step in &g.steps {
            self.step(step).map_err(|e| SpecError(alloc::format!("step \"{}\": {}", step.name, e.0)))?;
            written |= step.place == Place::Output;
        }
        if written { Ok(()) } else { bad("no step writes the output") }
    }

    fn step(&mut self, step: &Step) -> Result<(), SpecError> {
        elements(step.channels, step.grid)?;
        for input in &step.inputs {
            self.value(input)?;
        }
        let one = || match step.inputs.as_slice() {
            [input] => Ok(input),
            _ => bad("takes one input"),
        };
        let mut in_place = None;
        match &step.kind {
            Kind::Conv(g, weights) => {
                let input = one()?;
                if (input.channels(), input.grid) != (g.cin, g.input)
                    || (step.channels, step.grid) != (g.cout, g.output)
                {
                    return bad("a convolution of another shape than its tensors");
                }
                self.window(&g.kernel, &g.stride, &g.dilation, &g.pad)?;
                let taps = elements(g.cin, g.kernel)?;
                elements(g.cout.div_ceil(BLOCK_ROWS) * BLOCK_ROWS, [taps, 1, 1])?;
                match weights {
                    ConvSpec::Float { weights, form, bias } => {
                        self.floats(*weights, *form, g.weight_elements())?;
                        self.span(*bias, 4, g.cout)?;
                    }
                    ConvSpec::Int { weights, totals, scale, bias, quant } => {
                        self.span(*weights, 1, g.int_weight_bytes())?;
                        for span in [totals, scale, bias] {
                            self.span(*span, 4, g.cout)?;
                        }
                        grid(*quant)?;
                    }
                }
            }
            Kind::Pool(g) => {
                let input = one()?;
                if (input.channels(), input.grid) != (g.channels, g.input)
                    || (step.channels, step.grid) != (g.channels, g.output)
                {
                    return bad("pooling of another shape than its tensors");
                }
                self.window(&g.kernel, &g.stride, &[1; 3], &g.pad)?;
            }
            Kind::Squash(_) => {
                let input = one()?;
                if (input.channels(), input.grid) != (step.channels, step.grid) {
                    return bad("probabilities of another shape than their logits");
                }
            }
            Kind::Sum { in_place: ops } => {
                if step.inputs.iter().any(|i| (i.channels(), i.grid) != (step.channels, step.grid)) {
                    return bad("a sum of tensors of different shapes");
                }
                if let Some(ops) = ops {
                    self.ops(ops, step.channels)?;
                    in_place = Some(step.place);
                } else if step.inputs.is_empty() {
                    return bad("a sum of nothing");
                }
            }
        }
        let mut aliased = false;
        step.inputs.iter().for_each(|v| v.places(&mut |p| aliased |= p == step.place));
        if aliased {
            return bad("reads what it writes");
        }
        match step.place {
            Place::Input => return bad("writes the input"),
            Place::Output => {
                if (step.channels, step.grid, step.storage) != (self.graph.heads, self.graph.patch, Storage::F32) {
                    return bad("writes an output of another shape");
                }
                if in_place.is_some() {
                    return bad("adds to the output");
                }
            }
            Place::Buffer(b) => {
                let new = Some((step.channels, step.grid, step.storage));
                let Some(slot) = self.buffers.get_mut(b) else { return bad("a buffer that is not there") };
                if in_place.is_some() && *slot != new {
                    return bad("adds to a buffer of another shape");
                }
                *slot = new;
            }
        }
        if let Storage::U8(q) = step.storage {
            grid(q)?;
        }
        if let Some(q) = step.on_grid {
            if !matches!(step.kind, Kind::Conv(..)) {
                return bad("a grid on something else than a convolution");
            }
            grid(q)?;
        }
        if let Some(norm) = &step.norm {
            if matches!(step.kind, Kind::Pool(_) | Kind::Squash(_)) {
                return bad("a norm of something else than a convolution or a sum");
            }
            if self.graph.tables.get(norm.table) != Some(&step.channels) {
                return bad("a norm of another width than its table");
            }
            for span in [norm.scale, norm.shift, norm.epsilon] {
                self.span(span, 4, step.channels)?;
            }
        }
        Ok(())
    }

    fn window(
        &self,
        kernel: &[usize; 3],
        stride: &[usize; 3],
        dilation: &[usize; 3],
        pad: &[usize; 3],
    ) -> Result<(), SpecError> {
        let small = |v: &[usize; 3], least: usize| v.iter().all(|&n| (least..=1024).contains(&n));
        if small(kernel, 1) && small(stride, 1) && small(dilation, 1) && small(pad, 0) {
            Ok(())
        } else {
            bad("a window of impossible size")
        }
    }

    fn value(&self, value: &ValueSpec) -> Result<(), SpecError> {
        if value.parts.is_empty() || value.parts.len() > 1 << 12 {
            return bad("a value without parts");
        }
        for part in &value.parts {
            if let PartSpec::Upsampled { low, .. } | PartSpec::Spread { low, .. } = part
                && low.parts.iter().any(|p| !matches!(p, PartSpec::Stored { .. }))
            {
                return bad("a computed value inside a computed value");
            }
            elements(part.channels(), value.grid)?;
            match part {
                PartSpec::Stored { place, channels, ops } => {
                    let held = match place {
                        Place::Input => Some((self.graph.channels, self.graph.patch)),
                        Place::Output => None,
                        Place::Buffer(b) => self.buffers.get(*b).copied().flatten().map(|h| (h.0, h.1)),
                    };
                    if held != Some((*channels, value.grid)) {
                        return bad("reads a tensor that is not there");
                    }
                    self.ops(ops, *channels)?;
                }
                PartSpec::Upsampled { low, cout, kernel, weights, form, bias, grids, .. } => {
                    self.value(low)?;
                    self.window(kernel, &[1; 3], &[1; 3], &[0; 3])?;
                    if (0..3).any(|a| low.grid[a].checked_mul(kernel[a]) != Some(value.grid[a])) {
                        return bad("an upsampling of another shape than its result");
                    }
                    elements(low.channels() * cout.next_multiple_of(BLOCK_ROWS), *kernel)?;
                    self.floats(*weights, *form, Upsample::weight_elements(low.channels(), *cout, *kernel))?;
                    self.span(*bias, 4, *cout)?;
                    grids.iter().try_for_each(|&q| grid(q))?;
                }
                PartSpec::Spread { low, by } => {
                    self.value(low)?;
                    self.window(by, by, &[1; 3], &[0; 3])?;
                    // The last voxel of the small tensor lies inside, and nothing of it beyond.
                    if (0..3).any(|a| value.grid[a].div_ceil(by[a]) != low.grid[a]) {
                        return bad("a spread of another shape than its result");
                    }
                }
            }
        }
        Ok(())
    }

    fn ops(&self, ops: &[OpSpec], channels: usize) -> Result<(), SpecError> {
        for op in ops {
            match op {
                OpSpec::Table(t) if self.graph.tables.get(*t) == Some(&channels) => {}
                OpSpec::Table(_) => return bad("a table of another width than its tensor"),
                OpSpec::Affine(scale, shift) => {
                    self.span(*scale, 4, channels)?;
                    self.span(*shift, 4, channels)?;
                }
                OpSpec::Act(_) => {}
                OpSpec::Grid(q) => grid(*q)?,
            }
        }
        Ok(())
    }

    fn floats(&self, span: Span, form: Form, len: usize) -> Result<(), SpecError> {
        self.span(span, if form == Form::F32 { 4 } else { 2 }, len)
    }

    fn span(&self, span: Span, bytes: usize, len: usize) -> Result<(), SpecError> {
        let end = len.checked_mul(bytes).and_then(|n| n.checked_add(span.offset));
        if span.len == len && span.offset.is_multiple_of(64) && end.is_some_and(|end| end <= self.weight_bytes) {
            Ok(())
        } else {
            bad("weights that are not there")
        }
    }
}

fn grid(q: Quant) -> Result<(), SpecError> {
    if q.scale.is_normal() && q.scale > 0.0 { Ok(()) } else { bad("a grid without a step") }
}
