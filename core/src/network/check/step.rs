//! The checks of a step.

use super::bounds::{self, Window};
use super::{Checker, Held, bad, scratch};
use crate::arch::BLOCK_ROWS;
use crate::kernels::{ConvGeometry, MOST_INT_PRODUCTS, PoolGeometry};
use crate::network::spec::{ConvSpec, Form, Kind, NormSpec, OpSpec, Place, SpecError, Step, Storage};
use alloc::format;

impl Checker<'_> {
    /// Checks a step and notes what it writes.
    pub(super) fn step(&mut self, step: &Step) -> Result<(), SpecError> {
        bounds::tensor(step.channels, step.grid)?;
        for input in &step.inputs {
            self.value(input)?;
        }
        self.kind(step)?;
        let mut aliased = false;
        step.inputs.iter().for_each(|v| v.places(&mut |p| aliased |= p == step.place));
        if aliased {
            return bad("it reads the tensor that it writes");
        }
        if let Some(q) = step.on_grid {
            if !matches!(step.kind, Kind::Conv(..)) {
                return bad("only a convolution puts its output on a grid");
            }
            bounds::quant(q)?;
        }
        let scratch = scratch::most_bytes(step);
        if scratch > bounds::MOST_BYTES as f64 {
            return bad(format!("a worker may need {scratch:.0} bytes of scratch, the most is {}", bounds::MOST_BYTES));
        }
        self.output(step)?;
        match &step.norm {
            Some(norm) => self.norm(step, norm),
            None => Ok(()),
        }
    }

    /// Checks what the step computes against the shapes of its tensors and its weights.
    fn kind(&mut self, step: &Step) -> Result<(), SpecError> {
        if let Kind::Sum { in_place } = &step.kind {
            return self.sum(step, in_place.as_deref());
        }
        let [input] = step.inputs.as_slice() else {
            return bad(format!("it has {} inputs and takes one", step.inputs.len()));
        };
        let (input, output) = ((input.channels(), input.grid), (step.channels, step.grid));
        let shapes = match &step.kind {
            Kind::Conv(g, _) => ((g.cin, g.input), (g.cout, g.output)),
            Kind::Pool(g) => ((g.channels, g.input), (g.channels, g.output)),
            Kind::Squash(_) | Kind::Sum { .. } => (input, input),
        };
        if (input, output) != shapes {
            return bad(format!(
                "its tensors have channels and voxels {input:?} and {output:?}, its operation {:?} and {:?}",
                shapes.0, shapes.1
            ));
        }
        match &step.kind {
            Kind::Conv(g, weights) => self.conv(g, weights),
            Kind::Pool(g) => pool(g),
            Kind::Squash(_) | Kind::Sum { .. } => Ok(()),
        }
    }

    fn sum(&self, step: &Step, in_place: Option<&[OpSpec]>) -> Result<(), SpecError> {
        for input in &step.inputs {
            let (summand, total) = ((input.channels(), input.grid), (step.channels, step.grid));
            if summand != total {
                return bad(format!("a summand has channels and voxels {summand:?}, the sum {total:?}"));
            }
        }
        match in_place {
            Some(ops) => self.ops(ops, step.channels),
            None if step.inputs.is_empty() => bad("a sum of nothing"),
            None => Ok(()),
        }
    }

    fn conv(&mut self, g: &ConvGeometry, weights: &ConvSpec) -> Result<(), SpecError> {
        let ConvGeometry { kernel, stride, dilation, pad, input, output, .. } = g;
        Window { kernel, stride, dilation, pad, input, output }.check()?;
        if !g.is_possible() {
            return bad(format!("no kernel computes a convolution of this shape: {g:?}"));
        }
        bounds::weights(&[g.cin.next_multiple_of(4), kernel[0], kernel[1], kernel[2], g.cout + BLOCK_ROWS])?;
        let kernel_bytes = match weights {
            ConvSpec::Float { weights, form, bias } => {
                self.floats(*weights, *form, g.weight_elements())?;
                self.span(*bias, 4, g.cout)?;
                g.weight_elements() * if *form == Form::F32 { 4 } else { 2 }
            }
            ConvSpec::Int { weights, totals, scale, bias, quant } => {
                if !g.int_sums_fit() {
                    return bad(format!(
                        "its integer sums of {} x {} products can exceed 32 bits; the most is {MOST_INT_PRODUCTS}",
                        g.cin,
                        g.taps()
                    ));
                }
                self.span(*weights, 1, g.int_weight_bytes())?;
                for span in [totals, scale, bias] {
                    self.span(*span, 4, g.cout)?;
                }
                bounds::quant(*quant)?;
                g.int_weight_bytes()
            }
        };
        // Tables are made for the taps of each kernel, so kernels that shared their weights could ask for more than the
        // file has bytes.
        self.kernel_bytes = self.kernel_bytes.saturating_add(kernel_bytes);
        if self.kernel_bytes > self.weight_bytes {
            return bad(format!(
                "the convolutions up to here have {} bytes of kernels, the weight section has {}",
                self.kernel_bytes, self.weight_bytes
            ));
        }
        Ok(())
    }

    /// Checks where the step writes and notes it.
    fn output(&mut self, step: &Step) -> Result<(), SpecError> {
        if let Storage::U8(q) = step.storage {
            bounds::quant(q)?;
        }
        let in_place = matches!(step.kind, Kind::Sum { in_place: Some(_) });
        match step.place {
            Place::Input => bad("it writes the network's input"),
            Place::Output => {
                let (own, wanted) = ((step.channels, step.grid), (self.graph.heads, self.graph.patch));
                if own != wanted {
                    return bad(format!("it writes channels and voxels {own:?} to an output of {wanted:?}"));
                }
                if matches!(step.storage, Storage::U8(_)) {
                    return bad("it writes bytes to the network's output");
                }
                if in_place { bad("it adds to the network's output") } else { Ok(()) }
            }
            Place::Buffer(b) => {
                let new = Some(Held { channels: step.channels, grid: step.grid, storage: step.storage });
                let Some(slot) = self.buffers.get_mut(b) else {
                    return bad(format!("it writes buffer {b} of {}", self.graph.buffers));
                };
                if in_place && *slot != new {
                    return bad(format!("it adds to buffer {b}, which holds a tensor of another shape or none"));
                }
                *slot = new;
                Ok(())
            }
        }
    }

    /// Checks the instance norm of what the step writes, and notes that its table is there from now on.
    fn norm(&mut self, step: &Step, norm: &NormSpec) -> Result<(), SpecError> {
        if matches!(step.kind, Kind::Pool(_) | Kind::Squash(_)) {
            return bad("an instance norm follows only a convolution or a sum");
        }
        let t = norm.table;
        match self.graph.tables.get(t) {
            Some(&channels) if channels == step.channels => {}
            Some(channels) => {
                return bad(format!("table {t} has {channels} channels, the norm that writes it {}", step.channels));
            }
            None => return bad(format!("its norm writes table {t} of {}", self.graph.tables.len())),
        }
        if core::mem::replace(&mut self.tables[t], true) {
            return bad(format!("table {t} was written before"));
        }
        for span in [norm.scale, norm.shift, norm.epsilon] {
            self.span(span, 4, step.channels)?;
        }
        Ok(())
    }
}

fn pool(g: &PoolGeometry) -> Result<(), SpecError> {
    let PoolGeometry { kernel, stride, pad, input, output, .. } = g;
    Window { kernel, stride, dilation: &[1; 3], pad, input, output }.check()?;
    if g.is_possible() { Ok(()) } else { bad(format!("no kernel computes pooling of this shape: {g:?}")) }
}
