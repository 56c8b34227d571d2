//! From an image to logits.

use super::NativeNet;
use super::tape::{Tape, plain, source};
use super::weights::WeightSet;
use scanside_core::executor::Executor;
use scanside_core::raw::{
    Block, Conv, ConvWeights, Cuts, Norm, Order, Output, Pass, Source, Statistics, Stored, Sum, Tiles, UpsampleWeights,
};

/// Borrows each worker's scratch anew.
pub(super) fn lend(scratch: &mut [Vec<Block>]) -> Vec<&mut [Block]> {
    scratch.iter_mut().map(Vec::as_mut_slice).collect()
}

/// A tensor `[channels, z, y, x]`, all of it, cut into tiles.
fn whole(channels: usize, [z, y, x]: [usize; 3], step: [usize; 3]) -> Cuts {
    Cuts::whole([channels, z, y, x], Order::Channels, step).expect("a layer of a network has elements")
}

impl NativeNet {
    /// Computes the logits of all levels from one image, `[channels, z, y, x]`, and keeps what backward needs.
    ///
    /// # Panics
    /// If the image has another size, or the executor more workers than the network was laid out for.
    pub fn forward<E: Executor>(&self, weights: &WeightSet, image: &[f32], tape: &mut Tape, executor: &E) {
        self.check(image, executor);
        let first = self.decoder.first().map_or(self.units.len(), |stage| stage.units.start);
        for u in 0..first {
            self.unit(u, None, weights, image, tape, executor);
        }
        for (i, stage) in self.decoder.iter().enumerate() {
            self.upsampled(i, weights, tape, executor);
            for u in stage.units.clone() {
                self.unit(u, (u == stage.units.start).then_some(i), weights, image, tape, executor);
            }
            let head = &stage.head;
            let input = source([tape.units[stage.units.end - 1].output()], head.g.input);
            let w = &weights.stages[i];
            let out = &mut tape.logits[i];
            self.convolve(
                &head.forward,
                head.g.output,
                &input,
                [&w.head, &w.head_bias],
                out,
                &mut tape.scratch,
                executor,
            );
        }
    }

    pub(super) fn check<E: Executor>(&self, image: &[f32], executor: &E) {
        let voxels: usize = self.units[0].g.input.iter().product();
        assert_eq!(image.len(), self.channels * voxels, "an image of another size");
        assert!(executor.workers() <= self.workers, "laid out for {} workers", self.workers);
    }

    #[allow(clippy::too_many_arguments)] // A layer's inputs, outputs and surroundings.
    pub(super) fn convolve<E: Executor>(
        &self,
        conv: &Conv,
        grid: [usize; 3],
        input: &Source<'_>,
        [weights, bias]: [&[f32]; 2],
        out: &mut [f32],
        scratch: &mut [Vec<Block>],
        executor: &E,
    ) -> Statistics {
        let cuts = whole(bias.len(), grid, conv.tile_step());
        let mut statistics = Statistics::new(cuts.count(), bias.len());
        let tiles = Output::F32(Tiles::new(out, cuts, statistics.sums()));
        let weights = ConvWeights::F32(weights, bias);
        let workers = executor.workers().max(1);
        let pass = Pass { isa: self.isa, executor, scratch: &mut lend(&mut scratch[..workers]) };
        conv.run(pass, input, weights, None, &tiles);
        statistics
    }

    /// Runs unit `u`: the first of decoder stage `joined`, or one that reads the unit before it.
    fn unit<E: Executor>(
        &self,
        u: usize,
        joined: Option<usize>,
        weights: &WeightSet,
        image: &[f32],
        tape: &mut Tape,
        executor: &E,
    ) {
        let (plan, w) = (&self.units[u], &weights.units[u]);
        let (before, rest) = tape.units.split_at_mut(u);
        let out = &mut rest[0];
        let inputs: Vec<Stored<'_>> = match (joined, before.last()) {
            (Some(stage), _) => {
                let up = plain(&tape.upsampled[stage], self.decoder[stage].features());
                vec![up, before[self.decoder[stage].skip].output()]
            }
            (None, Some(unit)) => vec![unit.output()],
            (None, None) => vec![plain(image, self.channels)],
        };
        let input = source(inputs, plan.g.input);
        let raw = &mut out.raw;
        let sums = self.convolve(
            &plan.forward,
            plan.g.output,
            &input,
            [&w.forward, &w.bias],
            raw,
            &mut tape.scratch,
            executor,
        );
        if let Some(epsilon) = plan.norm {
            let (ones, zeros, epsilons) = (vec![1.0; plan.g.cout], vec![0.0; plan.g.cout], vec![epsilon; plan.g.cout]);
            let norm = Norm { scale: &ones, shift: &zeros, epsilon: &epsilons };
            norm.resolve(&sums, plan.voxels(), &mut out.centred_scale, &mut out.centred_shift);
            for c in 0..plan.g.cout {
                out.scale[c] = w.scale[c] * out.centred_scale[c];
                out.shift[c] = w.scale[c] * out.centred_shift[c] + w.shift[c];
            }
        }
    }

    /// Runs the transposed convolution of decoder stage `i`.
    fn upsampled<E: Executor>(&self, i: usize, weights: &WeightSet, tape: &mut Tape, executor: &E) {
        let (stage, w) = (&self.decoder[i], &weights.stages[i]);
        let low = tape.units[stage.low].output();
        let sources = [self.upsample(i, low, UpsampleWeights { weights: &w.upsample, bias: &w.upsample_bias })];
        let (features, grid) = (stage.features(), stage.upsample.g.input);
        let sum = Sum { sources: &sources, in_place: None, channels: features, grid };
        let cuts = whole(features, grid, Sum::tile_step(features, grid));
        let out = Output::F32(Tiles::new(&mut tape.upsampled[i], cuts, &mut []));
        let workers = executor.workers().max(1);
        let pass = Pass { isa: self.isa, executor, scratch: &mut lend(&mut tape.scratch[..workers]) };
        sum.run(pass, &out);
    }
}
