//! One training step of one network.

use super::projection::Projection;
use super::terms::LossTerm;
use crate::network::{Answer, Engine, Feature, Network};
use crate::optimise::{AveragedWeights, Sgd};
use crate::torch_error::OrTorchError;
use scanside_app::error::{Error, ErrorKind};
use tch::{TchError, Tensor};

/// A network in training, with its optimiser.
#[derive(Debug)]
pub struct TrainingState {
    /// The network.
    pub network: Network,
    /// What computes it.
    pub engine: Engine,
    /// The optimiser of the network's parameters and, after them, of the projections.
    pub optimiser: Sgd,
    /// Averaged weights, if they are kept.
    pub average: Option<AveragedWeights>,
    /// Projections to a teacher's channels; empty unless the network learns from features.
    pub projections: Vec<Projection>,
}

/// What a loss is computed from.
#[derive(Debug)]
pub struct Outputs<'a> {
    /// Logits of all resolutions, the full one first.
    pub logits: &'a [Tensor],
    /// The projected features, in the order of the projections.
    pub projected: Vec<Tensor>,
}

/// The numbers of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepValue {
    /// The loss.
    pub loss: f64,
    /// Its terms without their weights, in order.
    pub terms: Vec<(&'static str, f64)>,
    /// The norm of each term's gradient with respect to the logits, weight included; empty where it was not measured. With
    /// projections, with respect to the input of the head, from which both logits and features are computed.
    pub term_gradients: Vec<(&'static str, f64)>,
    /// Norm of all gradients before clipping.
    pub gradient_norm: f64,
}

impl TrainingState {
    /// One step of learning rate `rate` on `images`, `[n, channels, z, y, x]`, that reduces the sum of the terms that `loss`
    /// returns. With `measure_gradients`, the norm of each term's gradient is measured as well.
    ///
    /// The weights stay as they are where the loss is not a finite number.
    ///
    /// # Errors
    /// libtorch fails or has no memory, or what `loss` returns.
    pub fn step(
        &mut self,
        images: &Tensor,
        rate: f64,
        measure_gradients: bool,
        loss: impl FnOnce(&Outputs<'_>) -> Result<Vec<LossTerm>, Error>,
    ) -> Result<StepValue, Error> {
        self.network.parameters.zero_gradients();
        self.projections.iter_mut().for_each(|projection| projection.weight.zero_grad());
        let features: Vec<Feature> = self.projections.iter().map(|projection| projection.feature).collect();
        let answer = self.engine.forward(&self.network, images, &features)?;
        let pairs = self.projections.iter().zip(&answer.features);
        let projected = pairs.map(|(projection, feature)| projection.apply(feature)).collect::<Result<_, _>>();
        let terms = loss(&Outputs { logits: &answer.logits, projected: projected.or_torch_error()? })?;
        let (total, mut value) = self.sum(&terms, measure_gradients, &answer)?;
        value.gradient_norm = f64::NAN;
        if value.loss.is_finite() {
            total.f_backward().or_torch_error()?;
            let mut gradients = self.engine.gradients(&self.network, &answer, &features)?;
            gradients.extend(self.projections.iter().map(|p| Some(p.weight.grad()).filter(Tensor::defined)));
            let mut weights: Vec<&Tensor> = self.network.parameters.iter().map(|p| &p.tensor).collect();
            weights.extend(self.projections.iter().map(|projection| &projection.weight));
            value.gradient_norm = self.optimiser.step(&weights, &gradients, rate).or_torch_error()?;
            self.engine.weights_changed();
            if let Some(average) = &mut self.average {
                average.add(&self.network.parameters).or_torch_error()?;
            }
        }
        Ok(value)
    }

    /// The weighted sum of the terms, and the numbers that are logged.
    fn sum(&self, terms: &[LossTerm], measure_gradients: bool, answer: &Answer) -> Result<(Tensor, StepValue), Error> {
        let mut value = StepValue::default();
        let mut total: Option<Tensor> = None;
        for term in terms {
            let weighted = term.value.f_mul_scalar(term.weight).or_torch_error()?;
            if measure_gradients {
                value.term_gradients.push((term.name, self.gradient_norm(&weighted, answer)?));
            }
            value.terms.push((term.name, number(&term.value).or_torch_error()?));
            total = Some(match total {
                None => weighted,
                Some(total) => total.f_add(&weighted).or_torch_error()?,
            });
        }
        let total = total.ok_or_else(|| Error::new(ErrorKind::Internal, "a loss needs at least one term"))?;
        value.loss = number(&total).or_torch_error()?;
        Ok((total, value))
    }

    /// The norm of a term's gradient with respect to the logits of full resolution or, where the feature of that resolution
    /// is projected, with respect to that feature, which is the input of the head.
    fn gradient_norm(&self, term: &Tensor, answer: &Answer) -> Result<f64, Error> {
        if !term.requires_grad() {
            return Ok(0.0);
        }
        let of = |tensor: &Tensor| -> Result<Option<Tensor>, TchError> {
            // Undefined where the term does not depend on the tensor: most terms depend on one of the two only.
            Ok(Tensor::f_run_backward(&[term], &[tensor], true, false)?.pop().filter(Tensor::defined))
        };
        let place = self.projections.iter().position(|projection| projection.feature == Feature::Decoder(0));
        let gradient = match place.map(|place| &answer.features[place]) {
            None => of(&answer.logits[0]).or_torch_error()?,
            // Autograd knows how the logits depend on the feature; with the core's kernels it does not.
            Some(feature) if !feature.is_leaf() => of(feature).or_torch_error()?,
            Some(feature) => {
                let through_head = match of(&answer.logits[0]).or_torch_error()? {
                    Some(gradient) => {
                        let head = self.head()?;
                        let through = gradient.f_conv_transpose3d(head, None::<Tensor>, 1, 0, 0, 1, 1);
                        Some(through.or_torch_error()?)
                    }
                    None => None,
                };
                match (through_head, of(feature).or_torch_error()?) {
                    (Some(a), Some(b)) => Some(a.f_add(&b).or_torch_error()?),
                    (a, b) => a.or(b),
                }
            }
        };
        match gradient {
            Some(gradient) => gradient.f_norm().and_then(|norm| f64::try_from(&norm)).or_torch_error(),
            None => Ok(0.0),
        }
    }

    /// The weights of the head of full resolution.
    fn head(&self) -> Result<&Tensor, Error> {
        let last = self.network.layers().decoder.len() - 1;
        let name = format!("{}.weight", self.network.layers().decoder[last].head.path);
        let missing = || Error::new(ErrorKind::Internal, format!("the network has no tensor {name}"));
        self.network.parameters.get(&name).ok_or_else(missing)
    }
}

/// The value of a tensor of one number.
fn number(tensor: &Tensor) -> Result<f64, TchError> {
    f64::try_from(&tensor.f_detach()?)
}
