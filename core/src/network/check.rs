//! Checks every number of a graph that may come from a damaged or hostile file.

use super::spec::{ConvSpec, Form, Graph, Kind, OpSpec, PartSpec, Place, Span, SpecError, Step, Storage, ValueSpec};
use crate::arch::{BLOCK_ROWS, Quant};
use crate::kernels::{Between, Upsample};
use alloc::string::String;
use alloc::vec::Vec;

/// More elements than any tensor of a network on one patch; keeps products of sizes far from overflowing.
const MOST_ELEMENTS: usize = 1 << 31;

impl Graph {
    /// Checks the graph against `weight_bytes` of weights.
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
                if !g.is_possible() {
                    return bad("a convolution of impossible size");
                }
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
                if !g.is_possible() {
                    return bad("pooling of impossible size");
                }
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
                if (step.channels, step.grid) != (self.graph.heads, self.graph.patch) {
                    return bad("writes an output of another shape");
                }
                if matches!(step.storage, Storage::U8(_)) {
                    return bad("writes an output of bytes");
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
            if let PartSpec::Upsampled { low, .. } | PartSpec::Spread { low, .. } | PartSpec::Resampled { low, .. } =
                part
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
                PartSpec::Resampled { low, axes } => {
                    self.value(low)?;
                    for (axis, (&to, &from)) in axes.iter().zip(value.grid.iter().zip(&low.grid)) {
                        let inside = |b: &Between| (0.0..1.0).contains(&b.weight) && b.index < from;
                        if axis.len() != to || !axis.iter().all(|b| inside(b) && b.end() <= from) {
                            return bad("an interpolation between voxels that are not there");
                        }
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
