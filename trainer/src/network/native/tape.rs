//! What forward leaves for backward, and the memory that both work in.

use super::plan::UnitPlan;
use super::{Feature, NativeNet};
use core::mem::size_of;
use scanside_core::raw::{
    Activation, Affine, Block, Data, Op, Order, Read, Source, Stored, Sum, Update, Upsample, UpsampleWeights,
};

/// All memory of a step on one sample, allocated once and used again.
#[derive(Debug)]
pub struct Tape {
    pub(super) units: Vec<UnitTape>,
    /// What decoder stages, the deepest first, join with the skips.
    pub(super) upsampled: Vec<Vec<f32>>,
    /// The deepest first.
    pub(super) logits: Vec<Vec<f32>>,
    /// From full resolution down.
    pub(super) gradients: Vec<LevelGradients>,
    pub(super) shared: Vec<Block>,
    /// One for each worker.
    pub(super) scratch: Vec<Vec<Block>>,
}

/// A unit's output as the convolution wrote it, and what is pending on it.
#[derive(Debug)]
pub(super) struct UnitTape {
    pub(super) raw: Vec<f32>,
    /// The norm with its learned factors and summands.
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    /// The norm alone.
    pub(super) centred_scale: Vec<f32>,
    pub(super) centred_shift: Vec<f32>,
    pub(super) activation: Activation,
}

/// Gradients of activations at one resolution.
#[derive(Debug, Default)]
pub(super) struct LevelGradients {
    /// Of the decoder's join; its second half is that of the encoder's output. Empty at the deepest level.
    pub(super) joined: Vec<f32>,
    /// Of the unit at hand, and of its input.
    pub(super) here: Vec<f32>,
    pub(super) next: Vec<f32>,
}

impl UnitTape {
    pub(super) fn normed(&self, c: usize) -> Affine {
        Affine { scale: self.scale[c], shift: self.shift[c] }
    }

    pub(super) fn centred(&self, c: usize) -> Affine {
        Affine { scale: self.centred_scale[c], shift: self.centred_shift[c] }
    }

    /// The output, to be read.
    pub(super) fn output(&self) -> Stored<'_> {
        Stored {
            data: Data::F32(&self.raw),
            channels: self.scale.len(),
            order: Order::Channels,
            gone: 0,
            ops: vec![Op::Affine(&self.scale, &self.shift), Op::Act(self.activation)],
        }
    }
}

/// A tensor with nothing pending.
pub(super) fn plain(data: &[f32], channels: usize) -> Stored<'_> {
    Stored { data: Data::F32(data), channels, order: Order::Channels, gone: 0, ops: Vec::new() }
}

/// A source of some tensors.
pub(super) fn source<'a>(parts: impl IntoIterator<Item = Stored<'a>>, grid: [usize; 3]) -> Source<'a> {
    Source { parts: parts.into_iter().map(|part| Box::new(part) as Box<dyn Read + 'a>).collect(), grid }
}

/// Elements and blocks of everything on a tape.
struct Sizes {
    units: Vec<[usize; 2]>,
    upsampled: Vec<usize>,
    logits: Vec<usize>,
    /// Joined, and each of the other two.
    gradients: Vec<[usize; 2]>,
    shared: usize,
    scratch: usize,
}

impl NativeNet {
    /// The transposed convolution of a stage, as a source of the kernels.
    pub(super) fn upsample<'a>(&self, stage: usize, low: Stored<'a>, weights: UpsampleWeights<'a>) -> Source<'a> {
        let g = &self.decoder[stage].upsample.g;
        let upsample = Upsample {
            low: source([low], g.output),
            cout: g.cin,
            kernel: g.kernel,
            weights,
            activation: Activation::None,
            grids: Vec::new(),
        };
        Source { parts: vec![Box::new(upsample)], grid: g.input }
    }

    fn sizes(&self) -> Sizes {
        let (mut shared, mut scratch) = (0, 0);
        let reading = |channels: usize, grid| source([plain(&[], channels)], grid);
        for unit in &self.units {
            let g = &unit.g;
            scratch = scratch.max(unit.forward.scratch_blocks(&reading(g.cin, g.input)));
            scratch = scratch.max(unit.weight_gradient.scratch_blocks());
            if let Some(gradient) = &unit.data_gradient {
                scratch = scratch.max(gradient.scratch_blocks(&reading(g.cout, g.output)));
                let update = if g.stride == [1; 3] { Update::Replace } else { Update::Add };
                shared = shared.max(gradient.shared_blocks(update));
            }
        }
        for (i, stage) in self.decoder.iter().enumerate() {
            let (up, head) = (&stage.upsample, &stage.head);
            let low = plain(&[], up.g.cout);
            let sources = [self.upsample(i, low, UpsampleWeights { weights: &[], bias: &[] })];
            let sum = Sum { sources: &sources, in_place: None, channels: up.g.cin, grid: up.g.input };
            scratch = scratch.max(sum.scratch_blocks());
            scratch = scratch.max(up.data_gradient.scratch_blocks(&reading(up.g.cin, up.g.input)));
            scratch = scratch.max(up.weight_gradient.scratch_blocks());
            scratch = scratch.max(head.forward.scratch_blocks(&reading(head.g.cin, head.g.input)));
            scratch = scratch.max(head.weight_gradient.scratch_blocks());
            scratch = scratch.max(head.data_gradient.scratch_blocks(&reading(head.g.cout, head.g.output)));
            shared = shared.max(head.data_gradient.shared_blocks(Update::Add));
        }
        let level = |l: usize| {
            let voxels: usize = self.grids[l].iter().product();
            // Units of one level have as many channels, but for what they read of others.
            let channels = self.units[self.encoder[l].end - 1].g.cout;
            let joined = if l + 1 < self.grids.len() { 2 * channels * voxels } else { 0 };
            [joined, channels * voxels]
        };
        Sizes {
            units: self.units.iter().map(|u| [u.elements(), u.g.cout]).collect(),
            upsampled: self.decoder.iter().map(|s| s.features() * s.voxels()).collect(),
            logits: self.decoder.iter().map(|s| self.heads * s.voxels()).collect(),
            gradients: (0..self.grids.len()).map(level).collect(),
            shared,
            scratch,
        }
    }

    /// Bytes of a tape.
    pub fn tape_bytes(&self) -> usize {
        let s = self.sizes();
        let floats = s.units.iter().map(|[raw, channels]| raw + 4 * channels).sum::<usize>()
            + s.upsampled.iter().chain(&s.logits).sum::<usize>()
            + s.gradients.iter().map(|[joined, other]| joined + 2 * other).sum::<usize>();
        floats * size_of::<f32>() + (s.shared + self.workers * s.scratch) * size_of::<Block>()
    }

    /// Allocates a tape.
    pub fn tape(&self) -> Tape {
        let s = self.sizes();
        let zeros = |n: &usize| vec![0f32; *n];
        let unit = |([raw, channels], plan): (&[usize; 2], &UnitPlan)| UnitTape {
            raw: zeros(raw),
            // Where there is no norm, nothing is pending but the activation.
            scale: vec![1.0; *channels],
            shift: zeros(channels),
            centred_scale: vec![1.0; *channels],
            centred_shift: zeros(channels),
            activation: plan.activation,
        };
        let level = |[joined, other]: &[usize; 2]| LevelGradients {
            joined: zeros(joined),
            here: zeros(other),
            next: zeros(other),
        };
        Tape {
            units: s.units.iter().zip(&self.units).map(unit).collect(),
            upsampled: s.upsampled.iter().map(zeros).collect(),
            logits: s.logits.iter().map(zeros).collect(),
            gradients: s.gradients.iter().map(level).collect(),
            shared: vec![Block::ZERO; s.shared],
            scratch: vec![vec![Block::ZERO; s.scratch]; self.workers],
        }
    }

    /// Writes the activations of a feature, `[channels, z, y, x]`, of the last forward.
    ///
    /// # Panics
    /// If `out` has another length than [`Self::feature_shape`] says.
    pub fn read_feature(&self, tape: &Tape, feature: Feature, out: &mut [f32]) {
        let unit = &tape.units[self.feature_unit(feature)];
        assert_eq!(out.len(), unit.raw.len());
        let voxels = out.len() / unit.scale.len();
        for (c, (out, raw)) in out.chunks_exact_mut(voxels).zip(unit.raw.chunks_exact(voxels)).enumerate() {
            out.copy_from_slice(raw);
            self.isa.change_row(out, Some(unit.normed(c)), unit.activation);
        }
    }
}

impl Tape {
    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        let unit = |u: &UnitTape| {
            size_of_val(&u.raw[..])
                + [&u.scale, &u.shift, &u.centred_scale, &u.centred_shift]
                    .map(|v| size_of_val(&v[..]))
                    .iter()
                    .sum::<usize>()
        };
        let level =
            |g: &LevelGradients| [&g.joined, &g.here, &g.next].map(|v| size_of_val(&v[..])).iter().sum::<usize>();
        self.units.iter().map(unit).sum::<usize>()
            + self.upsampled.iter().chain(&self.logits).map(|v| size_of_val(&v[..])).sum::<usize>()
            + self.gradients.iter().map(level).sum::<usize>()
            + size_of_val(&self.shared[..])
            + self.scratch.iter().map(|s| size_of_val(&s[..])).sum::<usize>()
    }

    /// Logits of the last forward at a level of deep supervision, `[heads, z, y, x]`; 0 is the highest resolution.
    pub fn logits(&self, level: usize) -> &[f32] {
        &self.logits[self.logits.len() - 1 - level]
    }
}
