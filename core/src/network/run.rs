//! Runs the steps of a network, one after the other.

use super::layout::{Network, Region, carve, float_weights};
use super::spec::{ConvSpec, Form, Kind, OpSpec, PartSpec, Place, Span, Step, Storage, ValueSpec};
use super::weights::Weights;
use crate::arch::{Activation, BLOCK_ROWS, Block, Isa, Row, Tiles, blocks_for, numbers, numbers_mut};
use crate::executor::Executor;
use crate::kernels::{
    Conv, ConvWeights, Data, Norm, Op, Output, Part, Pool, Resample, Source, Statistics, Stored, Sum, Upsample,
    UpsampleWeights,
};
use crate::patch::{Patch, PatchMut};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Called before and after each step with its number; for measuring.
pub trait StepObserver {
    /// A step begins.
    fn begin(&mut self, _step: usize) {}
    /// A step is done.
    fn end(&mut self, _step: usize) {}
}

impl StepObserver for () {}

impl Network<'_> {
    /// Computes `output` (`[heads, z, y, x]`) from `input` (`[channels, z, y, x]`).
    ///
    /// What the workspace held before does not matter.
    ///
    /// # Panics
    /// If a slice has another length than the graph and [`Self::workspace_blocks`] say.
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
        let workers = executor.workers().max(1);
        assert_eq!(workspace.len(), self.workspace_blocks(workers));
        let (arena, scratch) = self.split(workspace, workers);
        let mut scratch: Vec<&mut [Block]> = scratch.collect();
        let mut storage: Vec<Storage> = (0..self.graph.buffers).map(|_| Storage::F32).collect();
        for (i, step) in self.graph.steps.iter().enumerate() {
            observer.begin(i);
            let scratch: Vec<&mut [Block]> = scratch.iter_mut().map(|s| &mut **s).collect();
            self.step(i, step, input, &mut output, arena, scratch, &storage, executor);
            if let Place::Buffer(b) = step.place {
                storage[b] = step.storage;
            }
            observer.end(i);
        }
    }

    #[allow(clippy::too_many_arguments)] // The surroundings of a step.
    fn step<E: Executor>(
        &self,
        i: usize,
        step: &Step,
        input: Patch<'_>,
        output: &mut PatchMut<'_>,
        arena: &mut [Block],
        scratch: Vec<&mut [Block]>,
        storage: &[Storage],
        executor: &E,
    ) {
        let isa = self.isa;
        let prepared = &self.prepared[i];
        // Regions of the arena: what is written, then what is only read.
        let mut wanted = alloc::vec![prepared.weights];
        wanted.push(match step.place {
            Place::Buffer(b) => Region { len: blocks_for(step.bytes()), ..self.buffers[b] },
            _ => Region::default(),
        });
        wanted.push(step.norm.as_ref().map_or(Region::default(), |n| self.tables[n.table]));
        let (mut places, mut tables) = (Vec::new(), Vec::new());
        let mut want = |value: &ValueSpec| {
            value.places(&mut |p| {
                if let Place::Buffer(b) = p
                    && !places.contains(&b)
                {
                    places.push(b);
                }
            });
            tables_of(value, &mut |t| {
                if !tables.contains(&t) {
                    tables.push(t);
                }
            });
        };
        step.inputs.iter().for_each(&mut want);
        if let Kind::Sum { in_place: Some(ops) } = &step.kind {
            ops_tables(ops, &mut |t| {
                if !tables.contains(&t) {
                    tables.push(t);
                }
            });
        }
        wanted.extend(places.iter().map(|&b| self.buffers[b]));
        wanted.extend(tables.iter().map(|&t| self.tables[t]));
        let mut slices = carve(arena, &wanted).into_iter();
        let mut next = || slices.next().unwrap_or_default();
        let (weights_out, out, table) = (next(), next(), next());
        let read: Vec<&[Block]> = slices.map(|s| &*s).collect();
        let (buffers_in, tables_in) = read.split_at(places.len());

        let data = |place: Place| match place {
            Place::Input => Some(match input {
                Patch::F32(input) => Data::F32(input),
                Patch::F16(input) => Data::F16(input),
            }),
            Place::Output => None,
            Place::Buffer(b) => {
                let blocks = buffers_in[places.iter().position(|&p| p == b)?];
                Some(match storage[b] {
                    Storage::F32 => Data::F32(numbers(blocks)),
                    Storage::F16 => Data::F16(numbers(blocks)),
                    Storage::U8(q) => Data::U8(numbers(blocks), q),
                })
            }
        };
        let table_of = |t: usize| {
            let all: &[f32] = numbers(tables_in[tables.iter().position(|&p| p == t)?]);
            let n = self.graph.tables[t];
            Some((&all[..n], &all[all.len() / 2..][..n]))
        };
        let bands = prepared.conv.as_ref().map_or(0, Conv::prepared_weights);
        let (weights_out, bands_out) = weights_out.split_at_mut(weights_out.len() - blocks_for(4 * bands));
        let (mut widened, pairs) = widen(isa, step, &self.weights, weights_out);
        let mut float = |span: Span, form: Form| -> &[f32] {
            match form {
                Form::F32 => self.weights.get(span),
                Form::F16 => {
                    let (mine, rest) = widened.split_at(blocks_for(4 * span.len));
                    widened = rest;
                    &numbers(mine)[..span.len]
                }
            }
        };
        let own: &[f32] = match (&step.kind, &prepared.conv) {
            (Kind::Conv(_, ConvSpec::Float { weights, form, .. }), Some(conv)) if bands > 0 => {
                let out = &mut numbers_mut(bands_out)[..bands];
                conv.prepare_weights(isa, float(*weights, *form), out);
                out
            }
            (Kind::Conv(_, ConvSpec::Float { weights, form, .. }), _) => float(*weights, *form),
            _ => &[],
        };
        let sources: Vec<Source<'_>> =
            step.inputs.iter().map(|v| source_of(v, &data, &table_of, &self.weights, &mut float)).collect();

        let shape = [step.channels, step.grid[0], step.grid[1], step.grid[2]];
        let elements: usize = shape.iter().product();
        let target = match (step.place, step.storage) {
            (Place::Output, _) => match output {
                PatchMut::F32(out) => Output::F32(Tiles::new(&mut out[..elements], shape, prepared.step)),
                PatchMut::F16(out) => Output::F16(Tiles::new(&mut out[..elements], shape, prepared.step)),
            },
            (_, Storage::F32) => Output::F32(Tiles::new(&mut numbers_mut(out)[..elements], shape, prepared.step)),
            (_, Storage::F16) => Output::F16(Tiles::new(&mut numbers_mut(out)[..elements], shape, prepared.step)),
            (_, Storage::U8(q)) => Output::U8(Tiles::new(&mut numbers_mut(out)[..elements], shape, prepared.step), q),
        };
        let normed = step.norm.is_some();
        let sums: Vec<Statistics> = match (&step.kind, &prepared.conv, sources.first()) {
            (Kind::Conv(_, spec), Some(conv), Some(source)) => {
                let weights = match spec {
                    ConvSpec::Float { bias, .. } => ConvWeights::F32(own, self.weights.get(*bias)),
                    ConvSpec::Int { weights, totals, scale, bias, .. } => ConvWeights::Int {
                        words: match pairs {
                            Some(words) => numbers(words),
                            None => self.weights.get(Span { offset: weights.offset, len: weights.len / 4 }),
                        },
                        totals: self.weights.get(*totals),
                        scale: self.weights.get(*scale),
                        bias: self.weights.get(*bias),
                    },
                };
                Conv::run(conv, isa, source, weights, &target, scratch, normed, step.on_grid, executor)
            }
            (Kind::Pool(g), _, Some(source)) => {
                Pool::run(isa, g, source, &target, scratch, executor);
                Vec::new()
            }
            (Kind::Squash(squash), _, Some(source)) => {
                squash.run(isa, source, &target, scratch, executor);
                Vec::new()
            }
            (Kind::Sum { in_place }, ..) => {
                let ops = in_place.as_ref().map(|ops| ops_of(ops, &table_of, &self.weights));
                let sum = Sum { sources: &sources, in_place: ops.as_deref(), channels: step.channels, grid: step.grid };
                sum.run(isa, &target, scratch, prepared.tiles, normed, executor)
            }
            _ => Vec::new(),
        };
        if let Some(norm) = &step.norm {
            let sums: Vec<&Statistics> = sums.iter().collect();
            let norm = Norm {
                scale: self.weights.get(norm.scale),
                shift: self.weights.get(norm.shift),
                epsilon: self.weights.get(norm.epsilon),
            };
            let all: &mut [f32] = numbers_mut(table);
            let half = all.len() / 2;
            let (scale, shift) = all.split_at_mut(half);
            norm.resolve(&sums, step.grid.iter().product(), scale, shift);
        }
    }
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

fn ops_of<'a>(
    ops: &[OpSpec],
    table: &impl Fn(usize) -> Option<(&'a [f32], &'a [f32])>,
    weights: &'a Weights<'_>,
) -> Vec<Op<'a>> {
    ops.iter()
        .map(|op| match op {
            OpSpec::Table(t) => {
                let (scale, shift) = table(*t).unwrap_or_default();
                Op::Affine(scale, shift)
            }
            OpSpec::Affine(scale, shift) => Op::Affine(weights.get(*scale), weights.get(*shift)),
            OpSpec::Act(a) => Op::Act(*a),
            OpSpec::Grid(q) => Op::Grid(*q),
        })
        .collect()
}

/// Binds a value to the memory it lies in.
pub(super) fn source_of<'a>(
    value: &'a ValueSpec,
    data: &impl Fn(Place) -> Option<Data<'a>>,
    table: &impl Fn(usize) -> Option<(&'a [f32], &'a [f32])>,
    weights: &'a Weights<'_>,
    float: &mut impl FnMut(Span, Form) -> &'a [f32],
) -> Source<'a> {
    let parts = value
        .parts
        .iter()
        .map(|part| match part {
            PartSpec::Stored { place, channels, ops } => Part::Stored(Stored {
                data: data(*place).unwrap_or(Data::F32(&[])),
                channels: *channels,
                ops: ops_of(ops, table, weights),
            }),
            PartSpec::Upsampled { low, cout, kernel, weights: span, form, bias, activation, grids } => {
                let own = float(*span, *form);
                Part::Upsampled(Upsample {
                    low: Box::new(source_of(low, data, table, weights, float)),
                    cout: *cout,
                    kernel: *kernel,
                    weights: UpsampleWeights { weights: own, bias: weights.get(*bias) },
                    activation: *activation,
                    grids: grids.clone(),
                })
            }
            PartSpec::Spread { low, by } => Part::Spread(source_of(low, data, table, weights, float), *by),
            PartSpec::Resampled { low, axes: [z, y, x] } => {
                let low = Box::new(source_of(low, data, table, weights, float));
                Part::Resampled(Resample { low, axes: [z, y, x] })
            }
        })
        .collect();
    Source { parts, grid: value.grid }
}
