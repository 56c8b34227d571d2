//! Builds a [`Graph`]: what may stay pending does, the rest becomes a step.

use super::spec::{
    ConvSpec, Form, Graph, Kind, NormSpec, OpSpec, PartSpec, Place, Span, SpecError, Step, Storage, ValueSpec,
};
use super::weights::{Weights, WeightsBuilder};
use crate::arch::{Activation, Quant};
use crate::kernels::{Between, ConvGeometry, MOST_INT_PRODUCTS, PoolGeometry, Squash, Upsample};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use half::f16;

/// Collects steps and weights.
///
/// Values are what earlier calls returned; each may be used as often as needed.
pub struct GraphBuilder {
    graph: Graph,
    weights: WeightsBuilder,
    form: Form,
    storage: Storage,
    /// Factor that each output channel of a step's weights was multiplied with; see [`Self::conv`].
    scaled: Vec<Option<Vec<f32>>>,
}

impl GraphBuilder {
    /// A network on `channels` of `patch`. With `half`, weights and unquantised tensors are stored in half precision, and
    /// so are input and output where no convolution is in integers; sums are always single.
    pub fn new(channels: usize, patch: [usize; 3], half: bool) -> GraphBuilder {
        GraphBuilder {
            graph: Graph { channels, heads: 0, patch, buffers: 0, tables: vec![], steps: vec![] },
            weights: WeightsBuilder::default(),
            form: if half { Form::F16 } else { Form::F32 },
            storage: if half { Storage::F16 } else { Storage::F32 },
            scaled: vec![],
        }
    }

    /// The input.
    pub fn input(&self) -> ValueSpec {
        stored(Place::Input, self.graph.channels, self.graph.patch)
    }

    fn floats(&mut self, packed: &[f32]) -> Span {
        match self.form {
            Form::F32 => self.weights.push(packed),
            Form::F16 => {
                let halves: Vec<u16> = packed.iter().map(|&v| f16::from_f32(v).to_bits()).collect();
                self.weights.push(&halves)
            }
        }
    }

    fn step(&mut self, name: &str, kind: Kind, inputs: Vec<ValueSpec>, channels: usize, grid: [usize; 3]) -> ValueSpec {
        let place = Place::Buffer(self.graph.buffers);
        self.graph.buffers += 1;
        let storage = self.storage;
        let name = String::from(name);
        self.graph.steps.push(Step { name, kind, inputs, place, storage, channels, grid, on_grid: None, norm: None });
        self.scaled.push(None);
        stored(place, channels, grid)
    }

    /// A convolution with float weights `[cout, cin, kz, ky, kx]`.
    ///
    /// `normed`: nothing but an instance norm reads the result. Then each channel may be stored at any scale, and in
    /// half precision one is chosen (a power of two, by the norm of its weights) that keeps it far from both ends of
    /// the format's range.
    pub fn conv(
        &mut self,
        name: &str,
        input: ValueSpec,
        g: &ConvGeometry,
        w: &[f32],
        bias: &[f32],
        normed: bool,
    ) -> ValueSpec {
        let input = self.store_small(name, input);
        let per_channel = g.cin * g.taps();
        let factors: Option<Vec<f32>> = (normed && self.form == Form::F16).then(|| {
            w.chunks_exact(per_channel)
                .map(|w| {
                    let norm = libm::sqrt(w.iter().map(|&v| f64::from(v) * f64::from(v)).sum());
                    if norm > 0.0 && norm.is_finite() { libm::exp2(-libm::floor(libm::log2(norm))) as f32 } else { 1.0 }
                })
                .collect()
        });
        let (weights, bias) = match &factors {
            None => (g.pack(w), self.weights.push(bias)),
            Some(f) => {
                let w: Vec<f32> =
                    w.chunks_exact(per_channel).zip(f).flat_map(|(w, f)| w.iter().map(move |v| v * f)).collect();
                let bias: Vec<f32> = bias.iter().zip(f).map(|(b, f)| b * f).collect();
                (g.pack(&w), self.weights.push(&bias))
            }
        };
        let weights = self.floats(&weights);
        let kind = Kind::Conv(g.clone(), ConvSpec::Float { weights, form: self.form, bias });
        let value = self.step(name, kind, vec![input], g.cout, g.output);
        if let Some(last) = self.scaled.last_mut() {
            *last = factors;
        }
        value
    }

    /// A convolution of an input on `quant` with signed weights `[cout, cin, kz, ky, kx]`, one scale an output channel.
    ///
    /// The grid must be the last thing pending on every part of the input; the convolution takes it over.
    ///
    /// # Errors
    /// It is not, or the sums of products can exceed 32 bits ([`ConvGeometry::int_sums_fit`]).
    #[allow(clippy::too_many_arguments)] // What a quantised convolution consists of.
    pub fn conv_int(
        &mut self,
        name: &str,
        mut input: ValueSpec,
        g: &ConvGeometry,
        w: &[i8],
        scale: &[f32],
        bias: &[f32],
        quant: Quant,
    ) -> Result<ValueSpec, SpecError> {
        if self.grid_of(&input) != Some(quant) {
            return Err(SpecError(alloc::format!("the input of \"{name}\" is not on one grid")));
        }
        input = self.store_small(name, input);
        for part in &mut input.parts {
            match part {
                PartSpec::Stored { ops, .. } => {
                    ops.pop_if(|op| *op == OpSpec::Grid(quant));
                }
                PartSpec::Upsampled { grids, .. } => {
                    grids.pop();
                }
                PartSpec::Spread { .. } | PartSpec::Resampled { .. } => {}
            }
        }
        if !g.int_sums_fit() {
            return Err(SpecError(alloc::format!(
                "the integer sums of \"{name}\" can exceed 32 bits: {} x {} products, the most is {MOST_INT_PRODUCTS}",
                g.cin,
                g.taps()
            )));
        }
        let totals: Vec<i32> =
            w.chunks_exact(g.cin * g.taps()).map(|w| w.iter().map(|&v| i32::from(v)).sum()).collect();
        let scale: Vec<f32> = scale.iter().map(|s| s * quant.scale).collect();
        let weights = self.weights.push(&g.pack_int(w));
        let (totals, scale, bias) = (self.weights.push(&totals), self.weights.push(&scale), self.weights.push(bias));
        let kind = Kind::Conv(g.clone(), ConvSpec::Int { weights, totals, scale, bias, quant });
        Ok(self.step(name, kind, vec![input], g.cout, g.output))
    }

    /// The grid that all of a value lies on: the last thing pending on every part, or the bytes it is stored as.
    pub fn grid_of(&self, value: &ValueSpec) -> Option<Quant> {
        let mut all = value.parts.iter().map(|part| match part {
            PartSpec::Stored { place, ops, .. } => match (ops.last(), self.storage_of(*place)) {
                (Some(OpSpec::Grid(q)), _) => Some(*q),
                (None, Storage::U8(q)) => Some(q),
                _ => None,
            },
            PartSpec::Upsampled { grids, .. } => grids.last().copied(),
            PartSpec::Spread { .. } | PartSpec::Resampled { .. } => None,
        });
        let first = all.next()??;
        all.all(|q| q == Some(first)).then_some(first)
    }

    fn storage_of(&self, place: Place) -> Storage {
        self.writer(place).map_or(Storage::F32, |i| self.graph.steps[i].storage)
    }

    fn writer(&self, place: Place) -> Option<usize> {
        self.graph.steps.iter().rposition(|s| s.place == place)
    }

    /// The step whose output `value` is, as it was written.
    fn bare(&self, value: &ValueSpec) -> Option<usize> {
        match value.parts.as_slice() {
            [PartSpec::Stored { place: place @ Place::Buffer(_), ops, .. }] if ops.is_empty() => self.writer(*place),
            _ => None,
        }
    }

    /// Stores a value as it is now.
    pub fn settle(&mut self, name: &str, value: ValueSpec) -> ValueSpec {
        let (channels, grid) = (value.channels(), value.grid);
        let bytes = self.grid_of(&value);
        let settled = self.step(name, Kind::Sum { in_place: None }, vec![value], channels, grid);
        if let (Some(quant), Some(step)) = (bytes, self.graph.steps.last_mut()) {
            step.storage = Storage::U8(quant);
        }
        settled
    }

    /// Instance norm.
    pub fn norm(&mut self, name: &str, value: ValueSpec, scale: &[f32], shift: &[f32], epsilon: f32) -> ValueSpec {
        let free = |b: &Self, i: usize| {
            b.graph.steps[i].norm.is_none() && !matches!(b.graph.steps[i].kind, Kind::Pool(_) | Kind::Squash(_))
        };
        let (value, step) = match self.bare(&value).filter(|&i| free(self, i)) {
            Some(i) => (value, i),
            None => (self.settle(name, value), self.graph.steps.len() - 1),
        };
        let epsilon: Vec<f32> = match &self.scaled[step] {
            Some(factors) => factors.iter().map(|f| epsilon * f * f).collect(),
            None => vec![epsilon; scale.len()],
        };
        let table = self.graph.tables.len();
        self.graph.tables.push(scale.len());
        let (scale, shift) = (self.weights.push(scale), self.weights.push(shift));
        let epsilon = self.weights.push(&epsilon);
        self.graph.steps[step].norm = Some(NormSpec { table, scale, shift, epsilon });
        with_op(value, |_, _| OpSpec::Table(table))
    }

    /// An activation.
    pub fn activation(&mut self, name: &str, mut value: ValueSpec, act: Activation) -> ValueSpec {
        if !value.parts.iter().all(|p| matches!(p, PartSpec::Stored { .. })) {
            if let [PartSpec::Upsampled { activation: a @ Activation::None, grids, .. }] = value.parts.as_mut_slice()
                && grids.is_empty()
            {
                *a = act;
                return value;
            }
            value = self.settle(name, value);
        }
        with_op(value, |_, _| OpSpec::Act(act))
    }

    /// Scale and shift with constants, one of each a channel.
    pub fn affine(&mut self, name: &str, mut value: ValueSpec, scale: &[f32], shift: &[f32]) -> ValueSpec {
        if !value.parts.iter().all(|p| matches!(p, PartSpec::Stored { .. })) {
            value = self.settle(name, value);
        }
        let weights = &mut self.weights;
        with_op(value, |from, to| OpSpec::Affine(weights.push(&scale[from..to]), weights.push(&shift[from..to])))
    }

    /// To the nearest value of a grid. `alone`: nothing reads the value without it, so it can be stored on the grid.
    pub fn on_grid(&mut self, name: &str, mut value: ValueSpec, quant: Quant, alone: bool) -> ValueSpec {
        if alone
            && let Some(i) = self.bare(&value)
            && let step = &mut self.graph.steps[i]
            && step.norm.is_none()
            && step.on_grid.is_none()
            && matches!(step.kind, Kind::Conv(..))
        {
            step.on_grid = Some(quant);
            step.storage = Storage::U8(quant);
            return value;
        }
        for part in &mut value.parts {
            let (channels, grid) = (part.channels(), value.grid);
            if matches!(part, PartSpec::Spread { .. } | PartSpec::Resampled { .. }) {
                let alone = ValueSpec { parts: vec![part.clone()], grid };
                self.settle(name, alone);
                let place = Place::Buffer(self.graph.buffers - 1);
                *part = PartSpec::Stored { place, channels, ops: vec![] };
            }
        }
        for part in &mut value.parts {
            match part {
                PartSpec::Stored { ops, .. } if ops.last() != Some(&OpSpec::Grid(quant)) => {
                    ops.push(OpSpec::Grid(quant))
                }
                PartSpec::Upsampled { grids, .. } if grids.last() != Some(&quant) => grids.push(quant),
                _ => {}
            }
        }
        value
    }

    /// The value, settled where a part of it is computed as it is read.
    fn stored_alone(&mut self, value: ValueSpec) -> ValueSpec {
        let stored = value.parts.iter().all(|p| matches!(p, PartSpec::Stored { .. }));
        if stored { value } else { self.settle("upsampled twice", value) }
    }

    /// Stores the parts of a convolution's input that would be computed as they are read, where they are small: each of
    /// the convolution's tiles computes what it reads, so small tensors, of which tiles overlap much, are computed several
    /// times. Large ones stay as they are: they would be the run's largest tensors.
    fn store_small(&mut self, name: &str, mut value: ValueSpec) -> ValueSpec {
        let grid = value.grid;
        let small = 8 * grid.iter().product::<usize>() <= self.graph.patch.iter().product();
        for part in &mut value.parts {
            if small && matches!(part, PartSpec::Upsampled { .. } | PartSpec::Resampled { .. }) {
                let alone = ValueSpec { parts: vec![part.clone()], grid };
                let stored = self.settle(&alloc::format!("{name}, upsampled"), alone);
                *part = stored.parts[0].clone();
            }
        }
        value
    }

    /// A transposed convolution whose kernel equals its stride, weights `[cin, cout, kz, ky, kx]`.
    pub fn upsample(&mut self, low: ValueSpec, cout: usize, kernel: [usize; 3], w: &[f32], bias: &[f32]) -> ValueSpec {
        let low = self.stored_alone(low);
        let packed = Upsample::pack(low.channels(), cout, kernel, w);
        let weights = self.floats(&packed);
        let bias = self.weights.push(bias);
        let grid = core::array::from_fn(|a| low.grid[a] * kernel[a]);
        let (form, activation) = (self.form, Activation::None);
        let low = Box::new(low);
        let part = PartSpec::Upsampled { low, cout, kernel, weights, form, bias, activation, grids: vec![] };
        ValueSpec { parts: vec![part], grid }
    }

    /// Zeros between voxels, `by` apart, on `grid`.
    pub fn spread(&mut self, low: ValueSpec, by: [usize; 3], grid: [usize; 3]) -> ValueSpec {
        let low = self.stored_alone(low);
        ValueSpec { parts: vec![PartSpec::Spread { low: Box::new(low), by }], grid }
    }

    /// Interpolation onto another grid, whose voxels lie at `axes` along `z, y, x`.
    pub fn resample(&mut self, low: ValueSpec, axes: [Vec<Between>; 3]) -> ValueSpec {
        let low = Box::new(self.stored_alone(low));
        let grid = core::array::from_fn(|a| axes[a].len());
        ValueSpec { parts: vec![PartSpec::Resampled { low, axes }], grid }
    }

    /// Channels one after the other.
    pub fn concat(&mut self, values: Vec<ValueSpec>) -> ValueSpec {
        let grid = values.first().map_or([0; 3], |v| v.grid);
        ValueSpec { parts: values.into_iter().flat_map(|v| v.parts).collect(), grid }
    }

    /// Pooling.
    pub fn pool(&mut self, name: &str, value: ValueSpec, g: &PoolGeometry) -> ValueSpec {
        self.step(name, Kind::Pool(g.clone()), vec![value], g.channels, g.output)
    }

    /// Probabilities.
    pub fn squash(&mut self, name: &str, value: ValueSpec, squash: Squash) -> ValueSpec {
        let (channels, grid) = (value.channels(), value.grid);
        self.step(name, Kind::Squash(squash), vec![value], channels, grid)
    }

    /// A sum. `free`: nothing reads `a` any more, so the sum may take its place.
    pub fn add(&mut self, name: &str, a: ValueSpec, b: ValueSpec, free: bool) -> ValueSpec {
        let (channels, grid) = (a.channels(), a.grid);
        if free
            && let [PartSpec::Stored { place: place @ Place::Buffer(_), ops, .. }] = a.parts.as_slice()
            && self.storage_of(*place) == self.storage
        {
            let (place, ops) = (*place, ops.clone());
            let mut reads = false;
            b.places(&mut |p| reads |= p == place);
            if !reads {
                let kind = Kind::Sum { in_place: Some(ops) };
                let (name, storage) = (String::from(name), self.storage);
                let step =
                    Step { name, kind, inputs: vec![b], place, storage, channels, grid, on_grid: None, norm: None };
                self.graph.steps.push(step);
                self.scaled.push(None);
                return stored(place, channels, grid);
            }
        }
        self.step(name, Kind::Sum { in_place: None }, vec![a, b], channels, grid)
    }

    /// Steps so far.
    pub fn steps(&self) -> &[Step] {
        &self.graph.steps
    }

    /// Makes `value` the output.
    ///
    /// # Errors
    /// The graph fails its check ([`Graph::check`]): a defect of the caller.
    pub fn finish(mut self, value: ValueSpec) -> Result<(Graph, Weights<'static>), SpecError> {
        self.graph.heads = value.channels();
        let mut step = self.bare(&value);
        if let Some(i) = step {
            let place = self.graph.steps[i].place;
            let mut others = self.graph.steps.iter().filter(|s| s.place == place).count() > 1;
            let steps = self.graph.steps.iter();
            steps.flat_map(|s| &s.inputs).for_each(|v| v.places(&mut |p| others |= p == place));
            let step_i = &self.graph.steps[i];
            if others || step_i.on_grid.is_some() || matches!(step_i.kind, Kind::Sum { in_place: Some(_) }) {
                step = None;
            }
        }
        let i = step.unwrap_or_else(|| {
            self.settle("output", value);
            self.graph.steps.len() - 1
        });
        self.graph.steps[i].place = Place::Output;
        // Integers are exact, and a patch that was rounded before would not be what the file's own graph computes.
        let exact = self.graph.steps.iter().any(|s| matches!(s.kind, Kind::Conv(_, ConvSpec::Int { .. })));
        self.graph.steps[i].storage = if exact { Storage::F32 } else { self.storage };
        let weights = self.weights.finish();
        self.graph.check(weights.bytes().len())?;
        Ok((self.graph, weights))
    }
}

fn stored(place: Place, channels: usize, grid: [usize; 3]) -> ValueSpec {
    ValueSpec { parts: vec![PartSpec::Stored { place, channels, ops: vec![] }], grid }
}

/// Adds an operation to every stored part; `make` gets the part's first channel and the one after its last.
fn with_op(mut value: ValueSpec, mut make: impl FnMut(usize, usize) -> OpSpec) -> ValueSpec {
    let mut first = 0;
    for part in &mut value.parts {
        let channels = part.channels();
        if let PartSpec::Stored { ops, .. } = part {
            ops.push(make(first, first + channels));
        }
        first += channels;
    }
    value
}
