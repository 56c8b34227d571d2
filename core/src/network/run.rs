//! Runs the steps of a network, one after the other.

use super::arena::{Arena, Region, carve};
use super::bind::{ops_of, source_of};
use super::layout::Network;
use super::prepare::{Prepared, float_weights};
use super::spec::{ConvSpec, Form, Kind, OpSpec, PartSpec, Place, Span, Step, Storage, ValueSpec};
use super::weights::Weights;
use crate::arch::{Activation, BLOCK_ROWS, Block, Cuts, Isa, Order, Row, Tiles, blocks_for, numbers, numbers_mut};
use crate::executor::Executor;
use crate::kernels::{Conv, ConvWeights, Data, Norm, Op, Output, Pool, Source, Statistics, Sum};
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
            run.step(i, step, &mut output, arena, &mut scratch);
            if let Place::Buffer(b) = step.place {
                run.storage[b] = step.storage;
            }
            observer.end(i);
        }
    }
}

/// Where the memory of a step lies while one band of it is computed.
struct Lent<'a> {
    /// Numbers of buffers and tables, and their blocks.
    buffers: &'a [(usize, &'a [Block])],
    tables: &'a [(usize, &'a [Block])],
    /// What is left of a buffer that is written over, and how many of its blocks are gone.
    overwritten: Option<(usize, &'a [Block], usize)>,
    /// Weights in single precision, in the order of use.
    floats: &'a [&'a [f32]],
}

impl<E: Executor> Run<'_, '_, E> {
    fn step(
        &self,
        i: usize,
        step: &Step,
        output: &mut PatchMut<'_>,
        arena: &mut [Block],
        scratch: &mut [&mut [Block]],
    ) {
        let Network { weights, isa, .. } = self.network;
        let prepared = &self.network.prepared[i];
        // Regions of the arena: what is written, then what is only read.
        let out = match step.place {
            Place::Buffer(b) => Region { len: blocks_for(step.bytes()), ..self.layout.buffers[b] },
            _ => Region::default(),
        };
        let over = self.layout.overwritten[i];
        let written = over.map_or(out, |b| out.with(self.layout.buffers[b]));
        let table = step.norm.as_ref().map_or(Region::default(), |n| self.layout.tables[n.table]);
        let (places, tables) = read_by(step, over);
        let mut wanted = alloc::vec![self.layout.weights[i], written, table];
        wanted.extend(places.iter().map(|&b| self.layout.buffers[b]));
        wanted.extend(tables.iter().map(|&t| self.layout.tables[t]));
        let mut slices = carve(arena, &wanted).into_iter();
        let mut next = || slices.next().unwrap_or_default();
        let (weights_out, written_out, table) = (next(), next(), next());
        let read: Vec<&[Block]> = slices.map(|s| &*s).collect();
        let (buffers_in, tables_in) = read.split_at(places.len());
        let buffers: Vec<_> = places.into_iter().zip(buffers_in.iter().copied()).collect();
        let tables: Vec<_> = tables.into_iter().zip(tables_in.iter().copied()).collect();

        let bands_len = prepared.conv.as_ref().map_or(0, Conv::prepared_weights);
        let (widened, bands_out) = weights_out.split_at_mut(weights_out.len() - blocks_for(4 * bands_len));
        let (widened, pairs) = widen(*isa, step, weights, widened);
        let floats = floats_of(step, weights, widened);
        let own = match &prepared.conv {
            Some(conv) if bands_len > 0 => {
                let out = &mut numbers_mut(bands_out)[..bands_len];
                conv.prepare_weights(*isa, floats[0], out);
                &*out
            }
            _ => floats.first().copied().unwrap_or_default(),
        };
        let own_floats = usize::from(matches!(&step.kind, Kind::Conv(_, ConvSpec::Float { .. })));

        let statistics = if step.norm.is_some() { step.channels } else { 0 };
        let mut statistics = Statistics::new(prepared.tiles, statistics);
        let [nz, ny, nx] = step.grid;
        let shape = [step.channels, nz, ny, nx];
        let plane = step.channels * ny * nx;
        for planes in self.layout.bands(i, step) {
            let cuts = |order| {
                Cuts::new(shape, order, prepared.step, planes.clone()).expect("a checked step has a tensor to write")
            };
            // The output of this band, and what lies behind it.
            let end = out.offset - written.offset + blocks_for(planes.end * plane * step.storage.bytes());
            let (before, behind) = written_out.split_at_mut(if over.is_some() { end } else { written.len });
            let before = &mut before[out.offset - written.offset..];
            let overwritten = over.map(|b| {
                let start = self.layout.buffers[b].offset - written.offset;
                (b, &behind[start.saturating_sub(end)..], end.saturating_sub(start))
            });
            let lent = Lent { buffers: &buffers, tables: &tables, overwritten, floats: &floats[own_floats..] };
            let sources = self.sources(step, &lent);
            let (band, sums) = (planes.start * plane..planes.end * plane, statistics.sums());
            let target = match (step.place, step.storage) {
                (Place::Output, _) => match output {
                    PatchMut::F32(out) => Output::F32(Tiles::new(&mut out[band], cuts(Order::Channels), sums)),
                    PatchMut::F16(out) => Output::F16(Tiles::new(&mut out[band], cuts(Order::Channels), sums)),
                },
                (_, Storage::F32) => Output::F32(Tiles::new(&mut numbers_mut(before)[band], cuts(Order::Planes), sums)),
                (_, Storage::F16) => Output::F16(Tiles::new(&mut numbers_mut(before)[band], cuts(Order::Planes), sums)),
                (_, Storage::U8(q)) => {
                    Output::U8(Tiles::new(&mut numbers_mut(before)[band], cuts(Order::Planes), sums), q)
                }
            };
            let scratch: Vec<&mut [Block]> = scratch.iter_mut().map(|s| &mut **s).collect();
            let ops = match &step.kind {
                Kind::Sum { in_place: Some(ops) } => Some(ops_of(ops, &|t| self.table(&lent, t), weights)),
                _ => None,
            };
            compute(
                *isa,
                step,
                prepared,
                &sources,
                own,
                pairs,
                weights,
                &target,
                scratch,
                ops.as_deref(),
                self.executor,
            );
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
        let mut floats = lent.floats.iter().copied();
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
}

/// Runs the kernel of a step on the tiles of `target`.
#[allow(clippy::too_many_arguments)] // A step's inputs, outputs and surroundings.
fn compute<E: Executor>(
    isa: Isa,
    step: &Step,
    prepared: &Prepared,
    sources: &[Source<'_>],
    own: &[f32],
    pairs: Option<&[Block]>,
    weights: &Weights<'_>,
    target: &Output<'_>,
    scratch: Vec<&mut [Block]>,
    in_place: Option<&[Op<'_>]>,
    executor: &E,
) {
    match (&step.kind, &prepared.conv, sources.first()) {
        (Kind::Conv(_, spec), Some(conv), Some(source)) => {
            let weights = match spec {
                ConvSpec::Float { bias, .. } => ConvWeights::F32(own, weights.get(*bias)),
                ConvSpec::Int { weights: words, totals, scale, bias, .. } => ConvWeights::Int {
                    words: match pairs {
                        Some(words) => numbers(words),
                        None => weights.get(Span { offset: words.offset, len: words.len / 4 }),
                    },
                    totals: weights.get(*totals),
                    scale: weights.get(*scale),
                    bias: weights.get(*bias),
                },
            };
            conv.run(isa, source, weights, target, scratch, step.on_grid, executor);
        }
        (Kind::Pool(g), _, Some(source)) => Pool::run(isa, g, source, target, scratch, executor),
        (Kind::Squash(squash), _, Some(source)) => squash.run(isa, source, target, scratch, executor),
        (Kind::Sum { .. }, ..) => {
            let sum = Sum { sources, in_place, channels: step.channels, grid: step.grid };
            sum.run(isa, target, scratch, executor);
        }
        _ => {}
    }
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
