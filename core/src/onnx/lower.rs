//! From tract's typed graph to a compiled network: which operators become our steps.
//!
//! Shapes, constants and operator meaning come from tract; this file only recognises them. A graph with anything it
//! does not know is not an error: it runs in tract's own executor instead.

use std::collections::{HashMap, HashSet};

use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;
use tract_core::ops::binary::TypedBinOp;
use tract_core::ops::cast::Cast;
use tract_core::ops::cnn::{Conv as TractConv, Deconv, KernelFormat, MaxPool, PoolSpec, SumPool};
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::identity::Identity;
use tract_core::ops::konst::Const;
use tract_core::ops::math;
use tract_core::ops::nn::{DataFormat, LeakyRelu, Sigmoid, Softmax, SoftmaxKind};
use tract_core::ops::source::TypedSource;
use tract_onnx_opl::resize::Resize;

use super::grid_op::GridOp;
use super::norm_op::InstanceNorm;
use super::quantised::QuantTable;
use super::resize;
use crate::arch::Activation;
use crate::kernels::{ConvGeometry, MOST_INT_PRODUCTS, PoolGeometry, Squash};
use crate::manifest::Manifest;
use crate::network::{Graph, GraphBuilder, ValueSpec, Weights};

/// Why a graph is left to tract: the operator or property that no step covers.
#[derive(Debug, Clone)]
pub(super) struct NotLowered(pub(super) String);

type Step<T> = Result<T, NotLowered>;

fn no<T>(why: impl Into<String>) -> Step<T> {
    Err(NotLowered(why.into()))
}

/// A compiled fold.
pub(super) struct Lowered {
    pub(super) graph: Graph,
    pub(super) weights: Weights<'static>,
    /// Quantised convolutions that compute in floats, with the reason.
    pub(super) floats: Vec<String>,
}

/// Lowers the graph that computes the model's single output. With `half`, weights and unquantised tensors are stored in
/// half precision.
pub(super) fn lower(model: &TypedModel, manifest: &Manifest, quantised: &QuantTable, half: bool) -> Step<Lowered> {
    let order = model.eval_order().map_err(|e| NotLowered(format!("{e:#}")))?;
    let output = model.outputs[0];
    let mut uses: HashMap<OutletId, usize> = HashMap::new();
    for &n in &order {
        for &i in &model.nodes[n].inputs {
            *uses.entry(i).or_default() += 1;
        }
    }
    *uses.entry(output).or_default() += 1;
    let builder = GraphBuilder::new(manifest.channels.len(), manifest.grid.patch_zyx, half);
    let values = HashMap::new();
    let mut l = Lowerer { model, quantised, uses, values, alone: HashSet::new(), builder, floats: Vec::new() };
    for n in order {
        let node = &model.nodes[n];
        l.node(node).map_err(|NotLowered(why)| NotLowered(format!("{} \"{}\": {why}", node.op.name(), node.name)))?;
    }
    let value = l.value(output)?;
    let (graph, weights) = l.builder.finish(value).map_err(|e| NotLowered(e.0))?;
    Ok(Lowered { graph, weights, floats: l.floats })
}

struct Lowerer<'a> {
    model: &'a TypedModel,
    quantised: &'a QuantTable,
    uses: HashMap<OutletId, usize>,
    values: HashMap<OutletId, ValueSpec>,
    /// Values whose buffer nothing else reads.
    alone: HashSet<OutletId>,
    builder: GraphBuilder,
    floats: Vec<String>,
}

impl Lowerer<'_> {
    fn node(&mut self, node: &TypedNode) -> Step<()> {
        if node.op_is::<Const>() || node.outputs.iter().all(|o| o.fact.konst.is_some()) {
            return Ok(());
        }
        let out = OutletId::new(node.id, 0);
        let (channels, grid) = self.shape(out)?;
        let name = &node.name;
        let value = if node.op_is::<TypedSource>() {
            self.builder.input()
        } else if node.op_is::<Identity>() || node.op_is::<Cast>() {
            // A cast to f32 of what is f32 already: graphs of half precision are computed in single.
            self.follows(node.inputs[0], out);
            self.value(node.inputs[0])?
        } else if let Some(conv) = node.op_as::<TractConv>() {
            self.alone.insert(out);
            self.conv(conv, node, out, grid)?
        } else if let Some(deconv) = node.op_as::<Deconv>() {
            self.deconv(deconv, node, out, grid)?
        } else if let Some(norm) = node.op_as::<InstanceNorm>() {
            let scale = self.per_channel(node.inputs[1], channels)?;
            let shift = self.per_channel(node.inputs[2], channels)?;
            self.follows(node.inputs[0], out);
            let value = self.value(node.inputs[0])?;
            self.builder.norm(name, value, &scale, &shift, norm.epsilon())
        } else if let Some(leaky) = node.op_as::<ElementWiseOp>().and_then(|e| e.0.downcast_ref::<LeakyRelu>()) {
            self.follows(node.inputs[0], out);
            let value = self.value(node.inputs[0])?;
            let act = if leaky.alpha == 0.0 { Activation::Relu } else { Activation::Leaky(leaky.alpha) };
            self.builder.activation(name, value, act)
        } else if node.op_as::<ElementWiseOp>().is_some_and(|e| e.0.is::<Sigmoid>()) {
            self.alone.insert(out);
            let value = self.value(node.inputs[0])?;
            self.builder.squash(name, value, Squash::Sigmoid)
        } else if let Some(softmax) = node.op_as::<Softmax>() {
            if softmax.axes.as_slice() != [1] || softmax.kind != SoftmaxKind::Softmax {
                return no("not over the channels of a voxel");
            }
            self.alone.insert(out);
            let value = self.value(node.inputs[0])?;
            self.builder.squash(name, value, Squash::Softmax)
        } else if let Some(grid) = node.op_as::<GridOp>() {
            self.follows(node.inputs[0], out);
            let value = self.value(node.inputs[0])?;
            self.builder.on_grid(name, value, grid.quant(), self.uses_of(node.inputs[0]) == 1)
        } else if let Some(concat) = node.op_as::<TypedConcat>() {
            if concat.axis != 1 {
                return no("joins something else than channels");
            }
            let values = node.inputs.iter().map(|&i| self.value(i)).collect::<Step<_>>()?;
            self.builder.concat(values)
        } else if let Some(bin) = node.op_as::<TypedBinOp>() {
            self.binary(bin, node, out, channels, grid)?
        } else if let Some(resize) = node.op_as::<Resize>() {
            self.resize(resize, node, out, channels, grid)?
        } else if let Some(pool) = node.op_as::<MaxPool>() {
            if pool.with_index_outputs.is_some() {
                return no("returns indices");
            }
            self.pool(&pool.pool_spec, node, grid, true, false)?
        } else if let Some(pool) = node.op_as::<SumPool>() {
            if !pool.normalize {
                return no("sums without a divisor");
            }
            self.pool(&pool.pool_spec, node, grid, false, pool.count_include_pad)?
        } else {
            return no("not one of the operators this program runs itself");
        };
        self.values.insert(out, value);
        Ok(())
    }

    /// `out` is `input` with something pending: it has the buffer for itself where `input` had and nobody else reads it.
    fn follows(&mut self, input: OutletId, out: OutletId) {
        if self.alone.contains(&input) && self.uses_of(input) == 1 {
            self.alone.insert(out);
        }
    }

    /// Channels and grid of a `[1, c, (z,) y, x]` f32 outlet.
    fn shape(&self, outlet: OutletId) -> Step<(usize, [usize; 3])> {
        let fact = self.model.outlet_fact(outlet).map_err(|e| NotLowered(e.to_string()))?;
        let shape = fact.shape.as_concrete().ok_or_else(|| NotLowered("has a shape that is not fixed".into()))?;
        if fact.datum_type != f32::datum_type() {
            return no(format!("computes in {:?}", fact.datum_type));
        }
        match *shape {
            [1, c, y, x] => Ok((c, [1, y, x])),
            [1, c, z, y, x] => Ok((c, [z, y, x])),
            _ => no(format!("has the shape {shape:?}")),
        }
    }

    fn value(&self, outlet: OutletId) -> Step<ValueSpec> {
        self.values
            .get(&outlet)
            .cloned()
            .ok_or_else(|| NotLowered("reads a constant where a tensor is expected".into()))
    }

    fn uses_of(&self, outlet: OutletId) -> usize {
        self.uses.get(&outlet).copied().unwrap_or(0)
    }

    fn constant(&self, outlet: OutletId) -> Step<Arc<Tensor>> {
        let fact = self.model.outlet_fact(outlet).map_err(|e| NotLowered(e.to_string()))?;
        match &fact.konst {
            Some(t) if t.datum_type() == f32::datum_type() => Ok(t.clone()),
            _ => no("has weights that are not f32 constants"),
        }
    }

    fn floats(&self, outlet: OutletId) -> Step<(Vec<f32>, TVec<usize>)> {
        let t = self.constant(outlet)?;
        let v = t.try_as_plain_ram().and_then(|v| v.as_slice::<f32>().map(<[f32]>::to_vec));
        Ok((v.map_err(|e| NotLowered(e.to_string()))?, t.shape().into()))
    }

    fn per_channel(&self, outlet: OutletId, channels: usize) -> Step<Vec<f32>> {
        let (v, shape) = self.floats(outlet)?;
        let along_channels = shape.len() <= 1 || shape.get(1) == Some(&channels);
        match v.len() {
            1 => Ok(vec![v[0]; channels]),
            n if n == channels && along_channels => Ok(v),
            _ => no(format!("has a constant of shape {shape:?} for {channels} channels")),
        }
    }

    fn binary(
        &mut self,
        bin: &TypedBinOp,
        node: &TypedNode,
        out: OutletId,
        channels: usize,
        grid: [usize; 3],
    ) -> Step<ValueSpec> {
        let (a, b) = (node.inputs[0], node.inputs[1]);
        let konst = |o| self.model.outlet_fact(o).is_ok_and(|f| f.konst.is_some());
        let (tensor, constant, swapped) = match (konst(a), konst(b)) {
            (false, false) if bin.0.is::<math::Add>() => {
                let (va, vb) = (self.value(a)?, self.value(b)?);
                if va.channels() != channels || vb.channels() != channels || va.grid != grid || vb.grid != grid {
                    return no("adds tensors of different shapes");
                }
                self.alone.insert(out);
                let free = |o| self.alone.contains(&o) && self.uses_of(o) == 1;
                let (first, second, free) = if free(a) { (va, vb, true) } else { (vb, va, free(b)) };
                return Ok(self.builder.add(&node.name, first, second, free));
            }
            (false, true) => (a, b, false),
            (true, false) => (b, a, true),
            _ => return no("combines two tensors"),
        };
        if self.shape(tensor)? != (channels, grid) {
            return no("broadcasts a tensor");
        }
        let k = self.per_channel(constant, channels)?;
        let (scale, shift) = if bin.0.is::<math::Mul>() {
            (k, vec![0.0; channels])
        } else if bin.0.is::<math::Add>() {
            (vec![1.0; channels], k)
        } else if bin.0.is::<math::Sub>() && !swapped {
            (vec![1.0; channels], k.iter().map(|v| -v).collect())
        } else {
            return no("not one of the operators this program runs itself");
        };
        self.follows(tensor, out);
        let value = self.value(tensor)?;
        Ok(self.builder.affine(&node.name, value, &scale, &shift))
    }

    /// Whether an instance norm alone reads the outlet.
    fn is_normed(&self, out: OutletId) -> bool {
        let readers = &self.model.nodes[out.node].outputs[out.slot].successors;
        self.uses_of(out) == 1
            && !readers.is_empty()
            && readers.iter().all(|i| i.slot == 0 && self.model.nodes[i.node].op_is::<InstanceNorm>())
    }

    fn conv(&mut self, op: &TractConv, node: &TypedNode, out: OutletId, output: [usize; 3]) -> Step<ValueSpec> {
        let spec = &op.pool_spec;
        if op.group != 1 || op.q_params.is_some() || op.kernel_fmt != KernelFormat::OIHW {
            return no("a grouped convolution");
        }
        let input = self.value(node.inputs[0])?;
        let g = ConvGeometry {
            cin: spec.input_channels,
            cout: spec.output_channels,
            input: input.grid,
            output,
            kernel: leading(&spec.kernel_shape, 1),
            stride: leading(&spec.strides(), 1),
            dilation: leading(&spec.dilations(), 1),
            pad: self.window(spec, &input)?,
        };
        let (weights, _) = self.floats(node.inputs[1])?;
        let bias = self.per_channel(node.inputs[2], g.cout)?;
        if weights.len() != g.cin * g.cout * g.taps() {
            return no("has weights of another size than its shape says");
        }
        let why = match self.quantised.0.get(&node.name) {
            None => None,
            Some(Err(why)) => Some(why.clone()),
            Some(Ok(q)) if q.values.len() != weights.len() || q.scales.len() != g.cout => {
                Some("the graph library changed its weights".into())
            }
            Some(Ok(_)) if !g.int_sums_fit() => Some(format!(
                "its sums of {} x {} integer products can exceed 32 bits; the most is {MOST_INT_PRODUCTS}",
                g.cin,
                g.taps()
            )),
            Some(Ok(q)) => match self.builder.grid_of(&input) {
                Some(quant) => {
                    let made = self.builder.conv_int(&node.name, input, &g, &q.values, &q.scales, &bias, quant);
                    return made.map_err(|e| NotLowered(e.0));
                }
                None => Some("its input is not quantised, or not all of it on one grid".into()),
            },
        };
        if let Some(why) = why {
            self.floats.push(format!("\"{}\": {why}", node.name));
        }
        let normed = self.is_normed(out);
        Ok(self.builder.conv(&node.name, input, &g, &weights, &bias, normed))
    }

    fn deconv(&mut self, op: &Deconv, node: &TypedNode, out: OutletId, output: [usize; 3]) -> Step<ValueSpec> {
        let spec = &op.pool_spec;
        let input = self.value(node.inputs[0])?;
        let (kernel, by) = (leading(&spec.kernel_shape, 1), leading(&spec.strides(), 1));
        let dilation = leading(&spec.dilations(), 1);
        let pad = self.deconv_pad(op, &input)?;
        let (cin, cout) = (spec.input_channels, spec.output_channels);
        let taps: usize = kernel.iter().product();
        let (w, shape) = self.floats(node.inputs[1])?;
        // ONNX stores [cin, cout, k...]; tract has turned that round by now.
        if op.group != 1 || shape.get(..2) != Some(&[cout, cin]) || w.len() != cin * cout * taps {
            return no("a grouped transposed convolution");
        }
        let bias = self.per_channel(node.inputs[2], cout)?;
        let plain = kernel == by && dilation == [1; 3] && output == core::array::from_fn(|i| input.grid[i] * kernel[i]);
        if plain && pad == [0; 3] {
            let mut turned = vec![0f32; w.len()];
            for o in 0..cout {
                for c in 0..cin {
                    turned[(c * cout + o) * taps..][..taps].copy_from_slice(&w[(o * cin + c) * taps..][..taps]);
                }
            }
            let value = self.builder.upsample(input, cout, kernel, &turned, &bias);
            // Computed where it is read: once, unless several read it.
            return Ok(if self.uses_of(out) > 1 { self.builder.settle(&node.name, value) } else { value });
        }
        // A convolution with the kernel turned round, over the input with zeros between its voxels.
        let mut before = [0; 3];
        for a in 0..3 {
            let reach = (kernel[a] - 1) * dilation[a];
            before[a] =
                reach.checked_sub(pad[a]).ok_or_else(|| NotLowered("is padded by more than its kernel".into()))?;
        }
        let grid = core::array::from_fn(|a| (input.grid[a] - 1) * by[a] + 1);
        let g = ConvGeometry { cin, cout, input: grid, output, kernel, stride: [1; 3], dilation, pad: before };
        let turned: Vec<f32> = w.chunks_exact(taps).flat_map(|w| w.iter().rev().copied()).collect();
        let spread = self.builder.spread(input, by, grid);
        self.alone.insert(out);
        let normed = self.is_normed(out);
        Ok(self.builder.conv(&node.name, spread, &g, &turned, &bias, normed))
    }

    fn deconv_pad(&self, op: &Deconv, input: &ValueSpec) -> Step<[usize; 3]> {
        let spec = &op.pool_spec;
        let rank = spec.kernel_shape.len();
        if spec.data_format != DataFormat::NCHW || !(2..=3).contains(&rank) {
            return no("works on another axis order than [n, c, (z,) y, x]");
        }
        let computed = spec.padding.compute_for_deconv(
            &input.grid[3 - rank..],
            &spec.kernel_shape,
            &spec.dilations(),
            &spec.strides(),
            &op.adjustments,
        );
        let computed = computed.map_err(|e| NotLowered(e.to_string()))?;
        let before: Vec<usize> = computed.iter().map(|d| d.pad_before).collect();
        Ok(leading(&before, 0))
    }

    fn resize(
        &mut self,
        op: &Resize,
        node: &TypedNode,
        out: OutletId,
        channels: usize,
        output: [usize; 3],
    ) -> Step<ValueSpec> {
        let input = self.value(node.inputs[0])?;
        if input.channels() != channels {
            return no("changes the number of channels");
        }
        let konst = |input: Option<usize>| {
            let outlet = *node.inputs.get(input?)?;
            self.model.outlet_fact(outlet).ok()?.konst.clone()
        };
        let rank = self.model.outlet_fact(out).map_err(|e| NotLowered(e.to_string()))?.rank();
        let scales = konst(op.optional_scales_input);
        let axes = resize::axes(op, scales, rank, input.grid, output).map_err(NotLowered)?;
        let value = self.builder.resample(input, axes);
        // Computed where it is read: once, unless several read it.
        Ok(if self.uses_of(out) > 1 { self.builder.settle(&node.name, value) } else { value })
    }

    fn pool(
        &mut self,
        spec: &PoolSpec,
        node: &TypedNode,
        output: [usize; 3],
        max: bool,
        count_padding: bool,
    ) -> Step<ValueSpec> {
        let input = self.value(node.inputs[0])?;
        if spec.dilations().iter().any(|&d| d != 1) {
            return no("a dilated pooling window");
        }
        let g = PoolGeometry {
            max,
            count_padding,
            kernel: leading(&spec.kernel_shape, 1),
            stride: leading(&spec.strides(), 1),
            pad: self.window(spec, &input)?,
            channels: input.channels(),
            input: input.grid,
            output,
        };
        Ok(self.builder.pool(&node.name, input, &g))
    }

    /// Padding before the first voxel of each axis, for a window that slides over `input`.
    fn window(&self, spec: &PoolSpec, input: &ValueSpec) -> Step<[usize; 3]> {
        let rank = spec.kernel_shape.len();
        if spec.data_format != DataFormat::NCHW || !(2..=3).contains(&rank) {
            return no("works on another axis order than [n, c, (z,) y, x]");
        }
        let computed = spec.computed_padding(&input.grid[3 - rank..]);
        let before: Vec<usize> = computed.iter().map(|d| d.pad_before).collect();
        Ok(leading(&before, 0))
    }
}

/// Two axes or three, as three.
fn leading(axes: &[usize], first: usize) -> [usize; 3] {
    match *axes {
        [z, y, x] => [z, y, x],
        [y, x] => [first, y, x],
        _ => [first; 3],
    }
}

#[cfg(test)]
mod tests;
