//! From gradients of logits to gradients of all tensors.

use super::forward::lend;
use super::tape::{Tape, UnitTape, plain, source};
use super::weights::WeightSet;
use super::{Feature, GradientSet, NativeNet};
use core::mem::swap;
use scanside_core::executor::Executor;
use scanside_core::raw::{Activation, Affine, GradientTarget, NormedRow, Pass, Stored, Update};

/// Splits a level's gradients after the first half of channels.
fn halves(joined: &mut [f32]) -> (&mut [f32], &mut [f32]) {
    joined.split_at_mut(joined.len() / 2)
}

impl NativeNet {
    /// Adds to `gradients` those of all tensors, for the image that the last forward saw.
    ///
    /// `logits` holds the gradients of the logits of each level, the highest resolution first; an empty slice stands for
    /// zeros. `features` are gradients that come to activations from elsewhere, shaped as [`Self::feature_shape`] says.
    ///
    /// A bias before an instance norm changes nothing, so its gradient is zero, and is left alone.
    ///
    /// # Panics
    /// If a slice has another size.
    #[allow(clippy::too_many_arguments)] // What comes in, what goes out, and where.
    pub fn backward<E: Executor>(
        &self,
        weights: &WeightSet,
        image: &[f32],
        tape: &mut Tape,
        logits: &[&[f32]],
        features: &[(Feature, &[f32])],
        gradients: &mut GradientSet,
        executor: &E,
    ) {
        self.check(image, executor);
        let add = |feature: Feature, here: &mut [f32]| {
            for (_, more) in features.iter().filter(|(f, _)| *f == feature) {
                self.isa.add_row(here, more);
            }
        };
        self.decoder_back(weights, image, tape, logits, add, Some(gradients), executor);
        let deepest = self.encoder.len() - 1;
        for level in (0..=deepest).rev() {
            if level < deepest {
                let g = &mut tape.gradients[level];
                g.here.copy_from_slice(halves(&mut g.joined).1);
            }
            for u in self.encoder[level].clone().rev() {
                self.unit_back(u, None, weights, image, tape, Some(gradients), executor);
            }
        }
    }

    /// The gradients of `features`, for the image that the last forward saw, from those of the logits: as
    /// [`Self::backward`], but no tensor's gradient is computed, and nothing of the encoder.
    ///
    /// # Panics
    /// If a slice has another size.
    pub fn feature_gradients<E: Executor>(
        &self,
        weights: &WeightSet,
        tape: &mut Tape,
        logits: &[&[f32]],
        features: &[Feature],
        executor: &E,
    ) -> Vec<Vec<f32>> {
        let mut found = vec![Vec::new(); features.len()];
        let keep = |feature: Feature, here: &mut [f32]| {
            for (_, found) in features.iter().zip(&mut found).filter(|(f, _)| **f == feature) {
                *found = here.to_vec();
            }
        };
        // No unit of the decoder reads the image.
        self.decoder_back(weights, &[], tape, logits, keep, None, executor);
        found
    }

    /// Back through the decoder, down to the output of the deepest encoder stage. `at` sees each feature's gradient, and may
    /// add to it, before it goes on.
    #[allow(clippy::too_many_arguments)] // As `backward`.
    fn decoder_back<E: Executor>(
        &self,
        weights: &WeightSet,
        image: &[f32],
        tape: &mut Tape,
        logits: &[&[f32]],
        mut at: impl FnMut(Feature, &mut [f32]),
        mut gradients: Option<&mut GradientSet>,
        executor: &E,
    ) {
        assert_eq!(logits.len(), self.decoder.len(), "levels of deep supervision");
        for i in (0..self.decoder.len()).rev() {
            let stage = &self.decoder[i];
            self.head(i, weights, tape, logits[stage.level], gradients.as_deref_mut(), executor);
            at(Feature::Decoder(stage.level), &mut tape.gradients[stage.level].here);
            for u in stage.units.clone().rev() {
                let joined = (u == stage.units.start).then_some(i);
                self.unit_back(u, joined, weights, image, tape, gradients.as_deref_mut(), executor);
            }
            self.upsampled_back(i, weights, tape, gradients.as_deref_mut(), executor);
        }
        at(Feature::Bottleneck, &mut tape.gradients[self.encoder.len() - 1].here);
    }

    /// The head of decoder stage `i`: its tensors' gradients, and that of its input, which is added to what came from
    /// the stage above where there is one.
    fn head<E: Executor>(
        &self,
        i: usize,
        weights: &WeightSet,
        tape: &mut Tape,
        logits: &[f32],
        gradients: Option<&mut GradientSet>,
        executor: &E,
    ) {
        let stage = &self.decoder[i];
        let (head, last) = (&stage.head, stage.units.end - 1);
        let here = &mut tape.gradients[stage.level].here;
        if logits.is_empty() {
            if i + 1 == self.decoder.len() {
                here.fill(0.0);
            }
            return;
        }
        assert_eq!(logits.len(), self.heads * stage.voxels(), "gradients of the logits of level {}", stage.level);
        let workers = executor.workers().max(1);
        let output = plain(logits, self.heads);
        if let Some(gradients) = gradients {
            let input = [tape.units[last].output()];
            let pass = Pass { isa: self.isa, executor, scratch: &mut lend(&mut tape.scratch[..self.workers]) };
            head.weight_gradient.run(pass, &input, &output, gradients.of(head.weight));
            self.add_sums(logits, gradients.of(head.bias));
        }
        let update = if i + 1 == self.decoder.len() { Update::Replace } else { Update::Add };
        let output = source([output], head.g.output);
        let pass = Pass { isa: self.isa, executor, scratch: &mut lend(&mut tape.scratch[..workers]) };
        let target = GradientTarget { gradient: here, update, shared: &mut tape.shared };
        head.data_gradient.run(pass, &output, &weights.stages[i].head_data_gradient, target);
    }

    /// Adds the sum of each channel.
    fn add_sums(&self, values: &[f32], sums: &mut [f32]) {
        let voxels = values.len() / sums.len();
        for (sum, channel) in sums.iter_mut().zip(values.chunks_exact(voxels)) {
            *sum += self.isa.moments(channel).0 as f32;
        }
    }

    /// Unit `u`, whose output's gradient lies at its level: its tensors' gradients, and that of its input, which comes
    /// to lie there, or in the join of decoder stage `joined`, or is added to that of the level above where it strides.
    #[allow(clippy::too_many_arguments)] // As `backward`.
    fn unit_back<E: Executor>(
        &self,
        u: usize,
        joined: Option<usize>,
        weights: &WeightSet,
        image: &[f32],
        tape: &mut Tape,
        mut gradients: Option<&mut GradientSet>,
        executor: &E,
    ) {
        let plan = &self.units[u];
        let level = match joined {
            Some(i) => self.decoder[i].level,
            None => self.level(u),
        };
        let workers = executor.workers().max(1);
        let (above, rest) = tape.gradients.split_at_mut(level);
        let g = &mut rest[0];
        self.norm_back(u, &weights.units[u].scale, &tape.units[u], &mut g.here, gradients.as_deref_mut(), executor);

        let output = plain(&g.here, plan.g.cout);
        if let Some(gradients) = gradients {
            let inputs = self.inputs(u, joined, image, &tape.units, &tape.upsampled);
            let weight = gradients.of(plan.tensors.weight);
            let pass = Pass { isa: self.isa, executor, scratch: &mut lend(&mut tape.scratch) };
            plan.weight_gradient.run(pass, &inputs, &output, weight);
        }

        let Some(data) = &plan.data_gradient else { return };
        // The first unit of a stage reads the stage above.
        let first = self.encoder.iter().any(|stage| stage.start == u);
        let (gradient, update) = match joined {
            Some(_) => (&mut g.joined[..], Update::Replace),
            None if first => (halves(&mut above[level - 1].joined).1, Update::Add),
            None => (&mut g.next[..], Update::Replace),
        };
        let pass = Pass { isa: self.isa, executor, scratch: &mut lend(&mut tape.scratch[..workers]) };
        let target = GradientTarget { gradient, update, shared: &mut tape.shared };
        data.run(pass, &source([output], plan.g.output), &weights.units[u].data_gradient, target);
        if joined.is_none() && !first {
            swap(&mut g.here, &mut g.next);
        }
    }

    /// What unit `u` reads: the join of decoder stage `joined`, the unit before it, or the image.
    fn inputs<'a>(
        &self,
        u: usize,
        joined: Option<usize>,
        image: &'a [f32],
        units: &'a [UnitTape],
        upsampled: &'a [Vec<f32>],
    ) -> Vec<Stored<'a>> {
        match (joined, u.checked_sub(1)) {
            (Some(i), _) => {
                let up = plain(&upsampled[i], self.decoder[i].features());
                vec![up, units[self.decoder[i].skip].output()]
            }
            (None, Some(before)) => vec![units[before].output()],
            (None, None) => vec![plain(image, self.channels)],
        }
    }

    /// The level that unit `u` lies at.
    fn level(&self, u: usize) -> usize {
        let encoder = self.encoder.iter().position(|units| units.contains(&u));
        let decoder = || self.decoder.iter().find(|stage| stage.units.contains(&u)).map(|stage| stage.level);
        encoder.or_else(decoder).unwrap_or(0)
    }

    /// Back through activation and norm, in place.
    fn norm_back<E: Executor>(
        &self,
        u: usize,
        factors: &[f32],
        unit: &UnitTape,
        gradient: &mut [f32],
        gradients: Option<&mut GradientSet>,
        executor: &E,
    ) {
        let (plan, isa) = (&self.units[u], self.isa);
        let voxels = plan.voxels();
        let slope = match plan.activation {
            Activation::None => 1.0,
            Activation::Relu => 0.0,
            Activation::Leaky(slope) => slope,
        };
        let channels = gradient.chunks_exact_mut(voxels).zip(unit.raw.chunks_exact(voxels)).enumerate();
        let mut items: Vec<_> = channels.map(|(c, (gradient, raw))| (c, gradient, raw, (0.0, 0.0))).collect();
        let per_worker = items.len().div_ceil(executor.workers().max(1));
        let mut shares: Vec<_> = items.chunks_mut(per_worker).collect();
        executor.for_each(&mut shares, |_, share| {
            for (c, gradient, raw, sums) in share.iter_mut() {
                let (normed, centred) = (unit.normed(*c), unit.centred(*c));
                let row = NormedRow { raw, normed, slope };
                *sums = isa.norm_gradient_sums(row, gradient, centred);
                let (mut factor, mut linear) = (1.0, Affine { scale: 0.0, shift: 0.0 });
                if plan.norm.is_some() {
                    // A norm takes out of a gradient its mean, and its part along the normed values.
                    factor = factors[*c] * centred.scale;
                    let [mean, along] = [sums.0, sums.1].map(|s| s / voxels as f64 * f64::from(factor));
                    linear.scale = -(along * f64::from(centred.scale)) as f32;
                    linear.shift = -(mean + along * f64::from(centred.shift)) as f32;
                }
                isa.norm_gradient(row, gradient, factor, linear);
            }
        });
        let (Some(gradients), tensors) = (gradients, &plan.tensors) else { return };
        if let (Some(scale), Some(shift)) = (tensors.scale, tensors.shift) {
            let (scale, shift) = gradients.pair(scale, shift);
            for (c, _, _, (sum, product)) in &items {
                scale[*c] += *product as f32;
                shift[*c] += *sum as f32;
            }
        }
        if let (None, Some(bias)) = (plan.norm, tensors.bias) {
            let bias = gradients.of(bias);
            items.iter().for_each(|(c, _, _, (sum, _))| bias[*c] += *sum as f32);
        }
    }

    /// The transposed convolution of decoder stage `i`: its tensors' gradients, and that of its input.
    fn upsampled_back<E: Executor>(
        &self,
        i: usize,
        weights: &WeightSet,
        tape: &mut Tape,
        gradients: Option<&mut GradientSet>,
        executor: &E,
    ) {
        let stage = &self.decoder[i];
        let up = &stage.upsample;
        let (here, below) = tape.gradients.split_at_mut(stage.level + 1);
        let gradient = &*halves(&mut here[stage.level].joined).0;
        let input = [plain(gradient, up.g.cin)];
        if let Some(gradients) = gradients {
            if let Some(bias) = up.bias {
                self.add_sums(gradient, gradients.of(bias));
            }
            // Seen as the data gradient of a convolution, its input is that one's output gradient, and the other way round.
            let low = tape.units[stage.low].output();
            let pass = Pass { isa: self.isa, executor, scratch: &mut lend(&mut tape.scratch) };
            up.weight_gradient.run(pass, &input, &low, gradients.of(up.weight));
        }
        let zeros = vec![0.0; up.g.cout];
        let w: [&[f32]; 2] = [&weights.stages[i].upsample_data_gradient, &zeros];
        let (input, out) = (source(input, up.g.input), &mut below[0].here);
        self.convolve(&up.data_gradient, up.g.output, &input, w, out, &mut tape.scratch, executor);
    }
}
