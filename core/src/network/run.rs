//! Runs the steps of a network, one after the other.

use super::arena::{Arena, Region, carve};
use super::bind::{ops_of, source_of};
use super::layout::Network;
use super::prepare::float_weights;
use super::spec::{ConvSpec, Form, Kind, OpSpec, PartSpec, Place, Span, Step, Storage, ValueSpec};
use super::weights::Weights;
use crate::arch::{Activation, BLOCK_ROWS, Block, Cuts, Isa, Order, Row, Tiles, blocks_for, numbers, numbers_mut};
use crate::executor::Executor;
use crate::kernels::{Conv, ConvWeights, Data, Norm, Op, Output, Pass, Pool, Source, Statistics, Sum};
use crate::patch::{Patch, PatchMut};
use alloc::vec::Vec;

/// Called before and after each step with its number; for measuring.
pub trait StepObserver {
    /// A step begins.
    fn begin(&mut self, _step: usize) {}
    /// A step is done.
    fn end(&mut self, _step: usize) {}
}

impl StepObserver for () {}

/// What the steps of a run share.
struct Run<'a, 'w, E> {
    network: &'a Network<'w>,
    layout: &'a Arena,
    input: Patch<'a>,
    /// How each buffer is stored now.
    storage: Vec<Storage>,
    executor: &'a E,
}

impl Network<'_> {
    /// Computes `output` (`[heads, z, y, x]`) from `input` (`[channels, z, y, x]`).
    ///
    /// The workspace has room as [`Self::workspace_blocks`] says, or at least [`Self::least_workspace_blocks`]; what it
    /// held before does not matter.
    ///
    /// # Panics
    /// If a slice has another length than the graph says, or the workspace is too small.
    pub fn run<E: Executor>(
        &self,
        input: Patch<'_>,
        mut output: PatchMut<'_>,
        workspace: &mut [Block],
        executor: &E,
        observer: &mut impl StepObserver,
    ) {
        let voxels: usize = self.graph.patch.iter().product();
        assert_eq!((input.len(), output.len()), (self.graph.channels * voxels, self.graph.heads * voxels));
        let Some((layout, arena, mut scratch)) = self.split(workspace, executor.workers().max(1)) else {
            panic!("a workspace too small for the network");
        };
        let storage = (0..self.graph.buffers).map(|_| Storage::F32).collect();
        let mut run = Run { network: self, layout, input, storage, executor };
        for (i, step) in self.graph.steps.iter().enumerate() {
            observer.begin(i);
            run.step(i, &mut output, arena, &mut scratch);
            if let Place::Buffer(b) = step.place {
                run.storage[b] = step.storage;
            }
            observer.end(i);
        }
    }
}

/// The memory of one step, carved out of the arena.
struct Borrowed<'a> {
    /// Where weights are prepared.
    weights: &'a mut [Block],
    /// Where the output goes, with the buffer that it overwrites, and where in it the output begins.
    written: &'a mut [Block],
    start: usize,
    /// The buffer that is overwritten, and where it begins in `written`.
    over: Option<(usize, usize)>,
    /// Where the scale and shift of the norm go.
    table: &'a mut [Block],
    /// Numbers of buffers and tables that are only read, and their blocks.
    buffers: Vec<(usize, &'a [Block])>,
    tables: Vec<(usize, &'a [Block])>,
}

/// The weights of one step in the form in which kernels take them.
struct StepWeights<'a> {
    /// Of the step itself, where they are floats.
    own: &'a [f32],
    /// Of its inputs, in the order of use.
    inputs: Vec<&'a [f32]>,
    /// Of the step itself, where they are integers that had to be rearranged for the instruction set.
    words: Option<&'a [Block]>,
}

/// What a step reads while one band of it is computed.
struct Lent<'a> {
    buffers: &'a [(usize, &'a [Block])],
    tables: &'a [(usize, &'a [Block])],
    /// What is left of a buffer that is overwritten, and how many of its blocks are gone.
    overwritten: Option<(usize, &'a [Block], usize)>,
    weights: &'a StepWeights<'a>,
}

impl<E: Executor> Run<'_, '_, E> {
    /// Runs step `i`: its memory is carved out of the arena and its weights are prepared; then its inputs are bound and its
    /// kernel is run, band by band of planes.
    fn step(&self, i: usize, output: &mut PatchMut<'_>, arena: &mut [Block], scratch: &mut [&mut [Block]]) {
        let Network { graph, weights, isa, prepared, .. } = self.network;
        let (step, prepared) = (&graph.steps[i], &prepared[i]);
        let Borrowed { weights: for_weights, written, start, over, table, buffers, tables } = self.borrow(i, arena);
        let step_weights = prepare_weights(self.network, i, for_weights);
        let summed = if step.norm.is_some() { step.channels } else { 0 };
        let mut statistics = Statistics::new(prepared.tiles, summed);
        let [nz, ny, nx] = step.grid;
        let plane = step.channels * ny * nx;
        for planes in self.layout.bands(i, step) {
            // The output of this band, and what lies behind it.
            let end = start + blocks_for(planes.end * plane * step.storage.bytes());
            let (before, behind) = written.split_at_mut(if over.is_some() { end } else { written.len() });
            let overwritten = over.map(|(b, at)| (b, &behind[at.saturating_sub(end)..], end.saturating_sub(at)));
            let lent = Lent { buffers: &buffers, tables: &tables, overwritten, weights: &step_weights };
            let sources = self.sources(step, &lent);
            let in_place = match &step.kind {
                Kind::Sum { in_place: Some(ops) } => Some(ops_of(ops, &|t| self.table(&lent, t), weights)),
                _ => None,
            };
            let band = planes.start * plane..planes.end * plane;
            let order = if step.place == Place::Output { Order::Channels } else { Order::Planes };
            let cuts = Cuts::new([step.channels, nz, ny, nx], order, prepared.step, planes);
            let cuts = cuts.expect("a checked step writes a tensor");
            let (memory, sums) = (&mut before[start..], statistics.sums());
            let target = match (step.place, step.storage) {
                (Place::Output, _) => match output {
                    PatchMut::F32(out) => Output::F32(Tiles::new(&mut out[band], cuts, sums)),
                    PatchMut::F16(out) => Output::F16(Tiles::new(&mut out[band], cuts, sums)),
                },
                (_, Storage::F32) => Output::F32(Tiles::new(&mut numbers_mut(memory)[band], cuts, sums)),
                (_, Storage::F16) => Output::F16(Tiles::new(&mut numbers_mut(memory)[band], cuts, sums)),
                (_, Storage::U8(q)) => Output::U8(Tiles::new(&mut numbers_mut(memory)[band], cuts, sums), q),
            };
            let pass = Pass { isa: *isa, executor: self.executor, scratch: &mut *scratch };
            self.compute(i, pass, &Bound { sources, in_place, weights: &step_weights }, &target);
        }
        if let Some(norm) = &step.norm {
            let norm = Norm {
                scale: weights.get(norm.scale),
                shift: weights.get(norm.shift),
                epsilon: weights.get(norm.epsilon),
            };
            let all: &mut [f32] = numbers_mut(table);
            let half = all.len() / 2;
            let (scale, shift) = all.split_at_mut(half);
            norm.resolve(&statistics, nz * ny * nx, scale, shift);
        }
    }

    /// Carves the memory of step `i` out of the arena: first what is written, then what is only read.
    fn borrow<'a>(&self, i: usize, arena: &'a mut [Block]) -> Borrowed<'a> {
        let (step, layout) = (&self.network.graph.steps[i], self.layout);
        let out = match step.place {
            Place::Buffer(b) => Region { len: blocks_for(step.bytes()), ..layout.buffers[b] },
            _ => Region::default(),
        };
        let over = layout.overwritten[i];
        let written = over.map_or(out, |b| out.with(layout.buffers[b]));
        let table = step.norm.as_ref().map_or(Region::default(), |n| layout.tables[n.table]);
        let (buffers, tables) = read_by(step, over);
        let mut wanted = alloc::vec![layout.weights[i], written, table];
        wanted.extend(buffers.iter().map(|&b| layout.buffers[b]));
        wanted.extend(tables.iter().map(|&t| layout.tables[t]));
        let mut slices = carve(arena, &wanted).into_iter();
        let mut next = || slices.next().unwrap_or_default();
        let (for_weights, for_output, for_table) = (next(), next(), next());
        let mut read = slices.map(|s| &*s);
        let buffers = buffers.into_iter().zip(read.by_ref()).collect();
        let tables = tables.into_iter().zip(read).collect();
        Borrowed {
            weights: for_weights,
            written: for_output,
            start: out.offset - written.offset,
            over: over.map(|b| (b, layout.buffers[b].offset - written.offset)),
            table: for_table,
            buffers,
            tables,
        }
    }

    /// The inputs of a step.
    fn sources<'a>(&'a self, step: &'a Step, lent: &'a Lent<'a>) -> Vec<Source<'a>> {
        let typed = |blocks: &'a [Block], b: usize| match self.storage[b] {
            Storage::F32 => Data::F32(numbers(blocks)),
            Storage::F16 => Data::F16(numbers(blocks)),
            Storage::U8(q) => Data::U8(numbers(blocks), q),
        };
        let data = |place: Place| match place {
            Place::Input => Some(match self.input {
                Patch::F32(input) => (Data::F32(input), Order::Channels, 0),
                Patch::F16(input) => (Data::F16(input), Order::Channels, 0),
            }),
            Place::Output => None,
            Place::Buffer(b) => match lent.overwritten {
                Some((over, left, gone)) if over == b => {
                    Some((typed(left, b), Order::Planes, gone * size_of::<Block>() / self.storage[b].bytes()))
                }
                _ => {
                    let (_, blocks) = lent.buffers.iter().find(|(p, _)| *p == b)?;
                    Some((typed(blocks, b), Order::Planes, 0))
                }
            },
        };
        let mut floats = lent.weights.inputs.iter().copied();
        let mut float = || floats.next().unwrap_or_default();
        let table = |t: usize| self.table(lent, t);
        let weights = &self.network.weights;
        step.inputs.iter().map(|v| source_of(v, &data, &table, weights, &mut float)).collect()
    }

    /// Scale and shift that an instance norm left.
    fn table<'a>(&self, lent: &Lent<'a>, t: usize) -> Option<(&'a [f32], &'a [f32])> {
        let (_, blocks) = lent.tables.iter().find(|(p, _)| *p == t)?;
        let all: &[f32] = numbers(blocks);
        let n = self.network.graph.tables[t];
        Some((&all[..n], &all[all.len() / 2..][..n]))
    }

    /// Runs the kernel of step `i` on the tiles of `target`.
    fn compute(&self, i: usize, pass: Pass<'_, '_, E>, bound: &Bound<'_>, target: &Output<'_>) {
        let (step, conv) = (&self.network.graph.steps[i], &self.network.prepared[i].conv);
        let weights = &self.network.weights;
        match (&step.kind, conv, bound.sources.first()) {
            (Kind::Conv(_, spec), Some(conv), Some(source)) => {
                let weights = match spec {
                    ConvSpec::Float { bias, .. } => ConvWeights::F32(bound.weights.own, weights.get(*bias)),
                    ConvSpec::Int { weights: words, totals, scale, bias, .. } => ConvWeights::Int {
                        words: match bound.weights.words {
                            Some(words) => numbers(words),
                            None => weights.get(Span { offset: words.offset, len: words.len / 4 }),
                        },
                        totals: weights.get(*totals),
                        scale: weights.get(*scale),
                        bias: weights.get(*bias),
                    },
                };
                conv.run(pass, source, weights, step.on_grid, target);
            }
            (Kind::Pool(g), _, Some(source)) => Pool::run(pass, g, source, target),
            (Kind::Squash(squash), _, Some(source)) => squash.run(pass, source, target),
            (Kind::Sum { .. }, ..) => {
                let (sources, in_place) = (&bound.sources, bound.in_place.as_deref());
                Sum { sources, in_place, channels: step.channels, grid: step.grid }.run(pass, target);
            }
            _ => {}
        }
    }
}

/// What the kernel of a step takes, bound to the memory it lies in.
struct Bound<'a> {
    sources: Vec<Source<'a>>,
    /// What is pending on a sum's first summand, where the output holds it.
    in_place: Option<Vec<Op<'a>>>,
    weights: &'a StepWeights<'a>,
}

/// Buffers that a step reads, without the one that it writes over, and tables, each once.
fn read_by(step: &Step, over: Option<usize>) -> (Vec<usize>, Vec<usize>) {
    let (mut places, mut tables) = (Vec::new(), Vec::new());
    let mut table = |t: usize| {
        if !tables.contains(&t) {
            tables.push(t);
        }
    };
    for value in &step.inputs {
        value.places(&mut |p| {
            if let Place::Buffer(b) = p
                && Some(b) != over
                && !places.contains(&b)
            {
                places.push(b);
            }
        });
        tables_of(value, &mut table);
    }
    if let Kind::Sum { in_place: Some(ops) } = &step.kind {
        ops_tables(ops, &mut table);
    }
    (places, tables)
}

/// Prepares the weights of step `i` in `out`: widened, rearranged and transformed, where they are not used as they lie.
fn prepare_weights<'a>(network: &'a Network<'_>, i: usize, out: &'a mut [Block]) -> StepWeights<'a> {
    let Network { graph, weights, isa, prepared, .. } = network;
    let (step, conv) = (&graph.steps[i], &prepared[i].conv);
    let transformed = conv.as_ref().map_or(0, Conv::prepared_weights);
    let (widened, for_transforms) = out.split_at_mut(out.len() - blocks_for(4 * transformed));
    let (widened, words) = widen(*isa, step, weights, widened);
    let mut floats = floats_of(step, weights, widened).into_iter();
    let is_float = matches!(&step.kind, Kind::Conv(_, ConvSpec::Float { .. }));
    let packed = if is_float { floats.next().unwrap_or_default() } else { &[] };
    let own = match conv {
        Some(conv) if transformed > 0 => {
            let out = &mut numbers_mut(for_transforms)[..transformed];
            conv.prepare_weights(*isa, packed, out);
            &*out
        }
        _ => packed,
    };
    StepWeights { own, inputs: floats.collect(), words }
}

/// The float weights of a step in single precision, in the order of use: where they lie, or where they were widened to.
fn floats_of<'a>(step: &Step, weights: &'a Weights<'_>, mut widened: &'a [Block]) -> Vec<&'a [f32]> {
    let of = |(span, form): (Span, Form)| match form {
        Form::F32 => weights.get(span),
        Form::F16 => {
            let (mine, rest) = widened.split_at(blocks_for(4 * span.len));
            widened = rest;
            &numbers(mine)[..span.len]
        }
    };
    float_weights(step).into_iter().map(of).collect()
}

/// Widens half-precision weights, and after them rearranges integer weights for an instruction set that takes pairs of
/// 16 bits. Gives the blocks of the latter, where there are any.
fn widen<'a>(isa: Isa, step: &Step, weights: &Weights<'_>, out: &'a mut [Block]) -> (&'a [Block], Option<&'a [Block]>) {
    let halves = float_weights(step).into_iter().filter(|(_, form)| *form == Form::F16);
    let len: usize = halves.clone().map(|(span, _)| blocks_for(4 * span.len)).sum();
    let (floats, ints) = out.split_at_mut(len);
    let mut rest = &mut *floats;
    for (span, _) in halves {
        let (mine, tail) = rest.split_at_mut(blocks_for(4 * span.len));
        let wide = &mut numbers_mut(mine)[..span.len];
        isa.read_row(Row::F16(weights.get(span)), None, Activation::None, wide);
        rest = tail;
    }
    match &step.kind {
        Kind::Conv(g, ConvSpec::Int { weights: span, .. }) if isa.int_group() != 4 => {
            pairs(weights.get(*span), g.taps() * BLOCK_ROWS, g.cin, numbers_mut(ints));
            (floats, Some(ints))
        }
        _ => (floats, None),
    }
}

/// `[block][cin / 4][tap * row][4]` bytes to `[block][cin / 2][tap * row]` pairs of 16 bits.
fn pairs(bytes: &[i8], per_group: usize, cin: usize, out: &mut [i32]) {
    let (fours, twos) = (cin.div_ceil(4), cin.div_ceil(2));
    for (block, from) in bytes.chunks_exact(fours * per_group * 4).enumerate() {
        for pair in 0..twos {
            let to = &mut out[(block * twos + pair) * per_group..][..per_group];
            let from = &from[pair / 2 * per_group * 4..][..per_group * 4];
            for (to, four) in to.iter_mut().zip(from.chunks_exact(4)) {
                let [a, b] = [four[pair % 2 * 2], four[pair % 2 * 2 + 1]];
                *to = i32::from(a) & 0xffff | i32::from(b) << 16;
            }
        }
    }
}

fn ops_tables(ops: &[OpSpec], f: &mut impl FnMut(usize)) {
    for op in ops {
        if let OpSpec::Table(t) = op {
            f(*t);
        }
    }
}

fn tables_of(value: &ValueSpec, f: &mut impl FnMut(usize)) {
    for part in &value.parts {
        match part {
            PartSpec::Stored { ops, .. } => ops_tables(ops, f),
            PartSpec::Upsampled { low, .. } | PartSpec::Spread { low, .. } | PartSpec::Resampled { low, .. } => {
                tables_of(low, f)
            }
        }
    }
}
