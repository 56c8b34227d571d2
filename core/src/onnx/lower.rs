//! From tract's typed graph to a [`Network`]: which operators become our steps, and what is fused.
//!
//! Shapes, constants and operator meaning come from tract; this file only recognises them. A graph with anything it
//! does not know is not an error: it runs in tract's own executor instead.

use std::collections::HashMap;

use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;
use tract_core::ops::binary::TypedBinOp;
use tract_core::ops::cnn::{Conv as TractConv, Deconv, KernelFormat, MaxPool, PoolSpec, SumPool};
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::identity::Identity;
use tract_core::ops::konst::Const;
use tract_core::ops::math;
use tract_core::ops::nn::{DataFormat, LeakyRelu};
use tract_core::ops::source::TypedSource;

use super::conv::{Conv, ConvShape, Upsample};
use super::network::{Buffer, Kind, Network, Pool, Step, Value};
use super::norm_op::InstanceNorm;
use super::pointwise::Post;

/// Why a graph is left to tract: the operator or property that no step covers.
#[derive(Debug, Clone)]
pub(crate) struct NotLowered(pub(crate) String);

type Lowered<T> = Result<T, NotLowered>;

fn no<T>(why: impl Into<String>) -> Lowered<T> {
    Err(NotLowered(why.into()))
}

/// Lowers the graph that computes the model's single output.
pub(crate) fn lower(model: &TypedModel) -> Lowered<Network> {
    let order = model.eval_order().map_err(|e| NotLowered(format!("{e:#}")))?;
    let output = model.outputs[0];
    let mut uses: HashMap<OutletId, usize> = HashMap::new();
    for &n in &order {
        for &i in &model.nodes[n].inputs {
            *uses.entry(i).or_default() += 1;
        }
    }
    *uses.entry(output).or_default() += 1;
    let mut l = Lowerer { model, uses, values: HashMap::new(), steps: Vec::new(), buffers: 0 };
    for n in order {
        let node = &model.nodes[n];
        l.node(node).map_err(|NotLowered(why)| NotLowered(format!("{} \"{}\": {why}", node.op.name(), node.name)))?;
    }
    l.finish(output)
}

struct Lowerer<'a> {
    model: &'a TypedModel,
    uses: HashMap<OutletId, usize>,
    values: HashMap<OutletId, Value>,
    steps: Vec<Step>,
    buffers: usize,
}

impl Lowerer<'_> {
    fn node(&mut self, node: &TypedNode) -> Lowered<()> {
        if node.op_is::<Const>() || node.outputs.iter().all(|o| o.fact.konst.is_some()) {
            return Ok(());
        }
        let out = OutletId::new(node.id, 0);
        let (channels, grid) = self.shape(out)?;
        if node.op_is::<TypedSource>() {
            self.values.insert(out, Value { parts: vec![(Buffer::Input, channels)], grid });
        } else if node.op_is::<Identity>() {
            let value = self.value(node.inputs[0])?;
            if self.uses_of(node.inputs[0]) > 1 {
                // Somebody reads the original: the alias may not be overwritten.
                *self.uses.entry(out).or_default() += 1;
            }
            self.values.insert(out, value);
        } else if let Some(conv) = node.op_as::<TractConv>() {
            let (kind, input) = self.conv(conv, node, grid)?;
            self.push(out, kind, vec![input], channels, grid, None);
        } else if let Some(deconv) = node.op_as::<Deconv>() {
            let (kind, input) = self.deconv(deconv, node, grid)?;
            self.push(out, kind, vec![input], channels, grid, None);
        } else if let Some(norm) = node.op_as::<InstanceNorm>() {
            let scale = self.per_channel(node.inputs[1], channels)?;
            let shift = self.per_channel(node.inputs[2], channels)?;
            self.post(node.inputs[0], out, Post::Norm { scale, shift, epsilon: norm.epsilon() })?;
        } else if let Some(leaky) = node.op_as::<ElementWiseOp>().and_then(|e| e.0.downcast_ref::<LeakyRelu>()) {
            self.post(node.inputs[0], out, Post::Leaky(leaky.alpha))?;
        } else if let Some(concat) = node.op_as::<TypedConcat>() {
            if concat.axis != 1 || node.inputs.len() < 2 {
                return no("joins something else than channels of several tensors");
            }
            let mut parts = Vec::new();
            for &i in &node.inputs {
                parts.extend(self.value(i)?.parts);
            }
            self.values.insert(out, Value { parts, grid });
        } else if let Some(bin) = node.op_as::<TypedBinOp>() {
            self.binary(bin, node, out, channels, grid)?;
        } else if let Some(pool) = node.op_as::<MaxPool>() {
            if pool.with_index_outputs.is_some() {
                return no("returns indices");
            }
            let pool = self.pool(&pool.pool_spec, node, true, false)?;
            let input = self.value(node.inputs[0])?;
            self.push(out, Kind::Pool(pool), vec![input], channels, grid, None);
        } else if let Some(pool) = node.op_as::<SumPool>() {
            if !pool.normalize {
                return no("sums without a divisor");
            }
            let pool = self.pool(&pool.pool_spec, node, false, pool.count_include_pad)?;
            let input = self.value(node.inputs[0])?;
            self.push(out, Kind::Pool(pool), vec![input], channels, grid, None);
        } else {
            return no("not one of the operators this program runs itself");
        }
        Ok(())
    }

    fn finish(mut self, output: OutletId) -> Lowered<Network> {
        let value = self.value(output)?;
        let mine = match value.parts[..] {
            [(Buffer::Arena(b), _)] if self.uses_of(output) == 1 => Some(b),
            _ => None,
        };
        // The buffer becomes the caller's slice unless another step still reads it.
        let read = |s: &Step, b| s.output != b && s.inputs.iter().flat_map(|v| &v.parts).any(|p| p.0 == b);
        match mine {
            Some(b) if !self.steps.iter().any(|s| read(s, Buffer::Arena(b))) => {
                for step in &mut self.steps {
                    let parts = step.inputs.iter_mut().flat_map(|v| v.parts.iter_mut().map(|p| &mut p.0));
                    for place in parts.chain([&mut step.output]) {
                        if *place == Buffer::Arena(b) {
                            *place = Buffer::Output;
                        }
                    }
                }
            }
            _ => {
                let (channels, grid) = (value.channels(), value.grid);
                let step = Step {
                    kind: Kind::Copy,
                    inputs: vec![value],
                    output: Buffer::Output,
                    channels,
                    grid,
                    post: vec![],
                };
                self.steps.push(step);
            }
        }
        for step in &self.steps {
            let mut places: Vec<Buffer> = step.inputs.iter().flat_map(|v| v.parts.iter().map(|p| p.0)).collect();
            places.retain(|p| matches!(p, Buffer::Arena(_)));
            for (i, p) in places.iter().enumerate() {
                if places[..i].contains(p) {
                    return no("one step reads the same tensor twice");
                }
            }
        }
        Ok(Network::new(self.steps, self.buffers))
    }

    /// Channels and grid of a `[1, c, (z,) y, x]` f32 outlet.
    fn shape(&self, outlet: OutletId) -> Lowered<(usize, [usize; 3])> {
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

    fn value(&self, outlet: OutletId) -> Lowered<Value> {
        self.values
            .get(&outlet)
            .cloned()
            .ok_or_else(|| NotLowered("reads a constant where a tensor is expected".into()))
    }

    fn uses_of(&self, outlet: OutletId) -> usize {
        self.uses.get(&outlet).copied().unwrap_or(0)
    }

    fn constant(&self, outlet: OutletId) -> Lowered<Arc<Tensor>> {
        let fact = self.model.outlet_fact(outlet).map_err(|e| NotLowered(e.to_string()))?;
        match &fact.konst {
            Some(t) if t.datum_type() == f32::datum_type() => Ok(t.clone()),
            _ => no("has weights that are not f32 constants"),
        }
    }

    fn per_channel(&self, outlet: OutletId, channels: usize) -> Lowered<Vec<f32>> {
        let t = self.constant(outlet)?;
        let v = t.try_as_plain_ram().and_then(|v| v.as_slice::<f32>().map(<[f32]>::to_vec));
        let v = v.map_err(|e| NotLowered(e.to_string()))?;
        let along_channels = t.rank() <= 1 || t.shape().get(1) == Some(&channels);
        match v.len() {
            1 => Ok(vec![v[0]; channels]),
            n if n == channels && along_channels => Ok(v),
            _ => no(format!("has a constant of shape {:?} for {channels} channels", t.shape())),
        }
    }

    fn push(
        &mut self,
        out: OutletId,
        kind: Kind,
        inputs: Vec<Value>,
        channels: usize,
        grid: [usize; 3],
        place: Option<Buffer>,
    ) {
        let output = place.unwrap_or_else(|| {
            self.buffers += 1;
            Buffer::Arena(self.buffers - 1)
        });
        self.values.insert(out, Value { parts: vec![(output, channels)], grid });
        self.steps.push(Step { kind, inputs, output, channels, grid, post: vec![] });
    }

    /// The buffer of a value that nobody else reads and that may be overwritten.
    fn owned(&self, outlet: OutletId, value: &Value) -> Option<Buffer> {
        match value.parts[..] {
            [(b @ Buffer::Arena(_), _)] if self.uses_of(outlet) == 1 => Some(b),
            _ => None,
        }
    }

    fn post(&mut self, input: OutletId, out: OutletId, post: Post) -> Lowered<()> {
        let value = self.value(input)?;
        if let Some(b) = self.owned(input, &value)
            && let Some(step) = self.steps.iter_mut().rev().find(|s| s.output == b)
        {
            step.post.push(post);
            self.values.insert(out, value);
            return Ok(());
        }
        let (channels, grid) = (value.channels(), value.grid);
        self.push(out, Kind::Copy, vec![value], channels, grid, None);
        if let Some(step) = self.steps.last_mut() {
            step.post.push(post);
        }
        Ok(())
    }

    fn binary(
        &mut self,
        bin: &TypedBinOp,
        node: &TypedNode,
        out: OutletId,
        channels: usize,
        grid: [usize; 3],
    ) -> Lowered<()> {
        let (a, b) = (node.inputs[0], node.inputs[1]);
        let konst = |o| self.model.outlet_fact(o).is_ok_and(|f| f.konst.is_some());
        let (tensor, constant, swapped) = match (konst(a), konst(b)) {
            (false, false) if bin.0.is::<math::Add>() => {
                let (va, vb) = (self.value(a)?, self.value(b)?);
                if va.channels() != channels || vb.channels() != channels || va.grid != grid || vb.grid != grid {
                    return no("adds tensors of different shapes");
                }
                if let Some(place) = self.owned(a, &va) {
                    self.push(out, Kind::Add, vec![va, vb], channels, grid, Some(place));
                } else if let Some(place) = self.owned(b, &vb) {
                    self.push(out, Kind::Add, vec![vb, va], channels, grid, Some(place));
                } else {
                    self.push(out, Kind::Add, vec![va, vb], channels, grid, None);
                }
                return Ok(());
            }
            (false, true) => (a, b, false),
            (true, false) => (b, a, true),
            _ => return no("combines two tensors"),
        };
        if self.shape(tensor)? != (channels, grid) {
            return no("broadcasts a tensor");
        }
        let k = self.per_channel(constant, channels)?;
        let post = if bin.0.is::<math::Mul>() {
            Post::Affine { shift: vec![0.0; channels], scale: k }
        } else if bin.0.is::<math::Add>() {
            Post::Affine { scale: vec![1.0; channels], shift: k }
        } else if bin.0.is::<math::Sub>() && !swapped {
            Post::Affine { scale: vec![1.0; channels], shift: k.iter().map(|v| -v).collect() }
        } else {
            return no("not one of the operators this program runs itself");
        };
        self.post(tensor, out, post)
    }

    fn conv(&self, op: &TractConv, node: &TypedNode, output: [usize; 3]) -> Lowered<(Kind, Value)> {
        let spec = &op.pool_spec;
        if op.group != 1 || op.q_params.is_some() || op.kernel_fmt != KernelFormat::OIHW {
            return no("a grouped or quantised convolution");
        }
        let input = self.value(node.inputs[0])?;
        let pad_before = self.window(spec, &input)?;
        let shape = ConvShape {
            cin: spec.input_channels,
            cout: spec.output_channels,
            input: input.grid,
            output,
            kernel: leading(&spec.kernel_shape, 1),
            stride: leading(&spec.strides(), 1),
            dilation: leading(&spec.dilations(), 1),
            pad_before,
        };
        let weights = self.constant(node.inputs[1])?;
        let weights = weights.try_as_plain_ram().map_err(|e| NotLowered(e.to_string()))?;
        let weights = weights.as_slice::<f32>().map_err(|e| NotLowered(e.to_string()))?;
        let bias = self.per_channel(node.inputs[2], shape.cout)?;
        if weights.len() != shape.cin * shape.cout * shape.kernel.iter().product::<usize>() {
            return no("has weights of another size than its shape says");
        }
        Ok((Kind::Conv(Box::new(Conv::new(&shape, weights, &bias))), input))
    }

    fn deconv(&self, op: &Deconv, node: &TypedNode, output: [usize; 3]) -> Lowered<(Kind, Value)> {
        let spec = &op.pool_spec;
        let input = self.value(node.inputs[0])?;
        let kernel = leading(&spec.kernel_shape, 1);
        let plain = op.group == 1
            && kernel == leading(&spec.strides(), 1)
            && spec.dilations().iter().all(|&d| d == 1)
            && output == core::array::from_fn(|i| input.grid[i] * kernel[i]);
        let weights = self.constant(node.inputs[1])?;
        // ONNX stores [cin, cout, k...]; tract has turned that round by now.
        if !plain || weights.shape().get(..2) != Some(&[spec.output_channels, spec.input_channels]) {
            return no("a transposed convolution whose kernel differs from its stride");
        }
        let weights = weights.try_as_plain_ram().map_err(|e| NotLowered(e.to_string()))?;
        let weights = weights.as_slice::<f32>().map_err(|e| NotLowered(e.to_string()))?;
        let bias = self.per_channel(node.inputs[2], spec.output_channels)?;
        let up = Upsample::new(spec.input_channels, spec.output_channels, input.grid, kernel, weights, &bias);
        Ok((Kind::Upsample(Box::new(up)), input))
    }

    fn pool(&self, spec: &PoolSpec, node: &TypedNode, max: bool, count_padding: bool) -> Lowered<Pool> {
        let input = self.value(node.inputs[0])?;
        if spec.dilations().iter().any(|&d| d != 1) {
            return no("a dilated pooling window");
        }
        Ok(Pool {
            max,
            count_padding,
            kernel: leading(&spec.kernel_shape, 1),
            stride: leading(&spec.strides(), 1),
            pad_before: self.window(spec, &input)?,
        })
    }

    /// Padding before the first voxel of each axis, for a window that slides over `input`.
    fn window(&self, spec: &PoolSpec, input: &Value) -> Lowered<[usize; 3]> {
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
