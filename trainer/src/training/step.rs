//! One step of one network: patches in, weights moved.

use super::lift::Lift;
use crate::network::{Answer, Engine, Feature, Network};
use crate::optimise::{AveragedWeights, Sgd};
use anyhow::Result;
use tch::Tensor;

/// A network in training with all that goes along with it.
#[derive(Debug)]
pub struct Trainee {
    /// The network.
    pub network: Network,
    /// What computes it.
    pub engine: Engine,
    /// Its descent: the network's parameters, then the lifts.
    pub descent: Sgd,
    /// Averaged weights, if they are kept.
    pub average: Option<AveragedWeights>,
    /// What brings its activations to a teacher's channels, if it learns from those.
    pub lifts: Vec<Lift>,
}

/// What a loss is made of.
#[derive(Debug)]
pub struct Seen<'a> {
    /// Logits of all resolutions, the full one first.
    pub logits: &'a [Tensor],
    /// Activations at the places of the lifts, in the teacher's channels.
    pub lifted: Vec<Tensor>,
}

/// One part of a loss.
#[derive(Debug)]
pub struct Term {
    /// Its name, in logs.
    pub name: &'static str,
    /// What it counts.
    pub weight: f64,
    /// Its value, a tensor of one number that can go backward.
    pub value: Tensor,
}

/// What a step came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepValue {
    /// The loss.
    pub loss: f64,
    /// Its parts without their weights, in order.
    pub terms: Vec<(&'static str, f64)>,
    /// The norm of each part's gradient with respect to the logits, weight included; empty where it was not asked for. With
    /// lifts, with respect to what the head reads: both logits and features come from there.
    pub pulls: Vec<(&'static str, f64)>,
    /// Norm of all gradients before clipping.
    pub gradient_norm: f64,
}

impl Trainee {
    /// One step of `rate` on `images`, `[n, channels, z, y, x]`, to lessen the sum of the terms that `loss` makes of what the
    /// network says. With `weigh`, how strongly each term pulls is measured as well.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn step(
        &mut self,
        images: &Tensor,
        rate: f64,
        weigh: bool,
        loss: impl FnOnce(&Seen<'_>) -> Result<Vec<Term>>,
    ) -> Result<StepValue> {
        self.network.parameters.zero_gradients();
        self.lifts.iter_mut().for_each(|lift| lift.weight.zero_grad());
        let places: Vec<Feature> = self.lifts.iter().map(|lift| lift.feature).collect();
        let answer = self.engine.forward(&self.network, images, &places)?;
        let lifted = self.lifts.iter().zip(&answer.features).map(|(lift, feature)| lift.apply(feature));
        let terms = loss(&Seen { logits: &answer.logits, lifted: lifted.collect::<Result<_, _>>()? })?;
        let mut value = StepValue::default();
        let mut total: Option<Tensor> = None;
        for term in &terms {
            let weighted = term.value.f_mul_scalar(term.weight)?;
            if weigh {
                value.pulls.push((term.name, self.pull(&weighted, &answer)?));
            }
            value.terms.push((term.name, f64::try_from(&term.value.f_detach()?)?));
            total = Some(match total {
                None => weighted,
                Some(total) => total.f_add(&weighted)?,
            });
        }
        let total = total.ok_or_else(|| anyhow::anyhow!("a loss needs at least one term"))?;
        value.loss = f64::try_from(&total.f_detach()?)?;
        value.gradient_norm = f64::NAN;
        // A step along what is no number would destroy the weights for good.
        if value.loss.is_finite() {
            total.f_backward()?;
            let mut gradients = self.engine.gradients(&self.network, &answer, &places)?;
            gradients.extend(self.lifts.iter().map(|lift| Some(lift.weight.grad()).filter(Tensor::defined)));
            let mut weights: Vec<&Tensor> = self.network.parameters.iter().map(|p| &p.tensor).collect();
            weights.extend(self.lifts.iter().map(|lift| &lift.weight));
            value.gradient_norm = self.descent.step(&weights, &gradients, rate)?;
            self.engine.weights_changed();
            if let Some(average) = &mut self.average {
                average.add(&self.network.parameters)?;
            }
        }
        Ok(value)
    }

    /// The norm of a term's gradient with respect to the logits of full resolution, or, where features are looked at, to what
    /// the head of that resolution reads.
    fn pull(&self, term: &Tensor, answer: &Answer) -> Result<f64> {
        if !term.requires_grad() {
            return Ok(0.0);
        }
        let of = |tensor: &Tensor| -> Result<Option<Tensor>> {
            // Undefined where the term does not reach the tensor: most reach only one of the two.
            Ok(Tensor::f_run_backward(&[term], &[tensor], true, false)?.pop().filter(Tensor::defined))
        };
        let place = self.lifts.iter().position(|lift| lift.feature == Feature::Decoder(0));
        let total = match place.map(|place| &answer.features[place]) {
            None => of(&answer.logits[0])?,
            // Autograd knows the way from features to logits; the core's kernels leave it to us.
            Some(feature) if !feature.is_leaf() => of(feature)?,
            Some(feature) => {
                let through_head = match of(&answer.logits[0])? {
                    Some(gradient) => Some(gradient.f_conv_transpose3d(self.head()?, None::<Tensor>, 1, 0, 0, 1, 1)?),
                    None => None,
                };
                match (through_head, of(feature)?) {
                    (Some(a), Some(b)) => Some(a.f_add(&b)?),
                    (a, b) => a.or(b),
                }
            }
        };
        Ok(match total {
            Some(gradient) => f64::try_from(&gradient.f_norm()?)?,
            None => 0.0,
        })
    }

    /// The weights of the head of full resolution.
    fn head(&self) -> Result<&Tensor> {
        let last = self.network.layers().decoder.len() - 1;
        let name = format!("{}.weight", self.network.layers().decoder[last].head.path);
        self.network.parameters.get(&name).ok_or_else(|| anyhow::anyhow!("the network has no tensor {name}"))
    }
}
