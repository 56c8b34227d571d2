//! The teachers: frozen networks whose probabilities are averaged.

use super::feature::{Held, places};
use super::jacobian;
use super::model_teacher::ModelTeacher;
use super::source::{TeacherNetwork, TeacherSource};
use crate::export::TrainedNetwork;
use crate::export::reference::network_of;
use crate::network::{Engine, Network, Precision};
use crate::plan::TrainingPlan;
use crate::targets::Heads;
use crate::training::settings::RunSettings;
use anyhow::{Result, bail};
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_core::nnunet::architecture::UNet;
use tch::{Kind, TchError, Tensor};

/// Frozen networks.
#[derive(Debug)]
pub struct Teachers {
    voices: Vec<Voice>,
    heads: Heads,
    passes: u64,
}

/// How a teacher's answer changes with the image.
#[derive(Debug)]
pub struct Slopes {
    /// The direction of logits that was looked along.
    pub direction: Tensor,
    /// The gradient with respect to the image.
    pub teacher: Tensor,
}

impl Slopes {
    /// The same tensors, for another thread.
    pub fn shallow_clone(&self) -> Slopes {
        Slopes { direction: self.direction.shallow_clone(), teacher: self.teacher.shallow_clone() }
    }
}

/// One source's answers.
#[derive(Debug)]
enum Voice {
    /// A U-Net with its heads at all resolutions.
    Trained(Box<Network>, Engine),
    /// A model file.
    Model(Box<ModelTeacher>),
}

impl Teachers {
    /// Builds the networks of `sources`.
    ///
    /// # Errors
    /// A network does not fit the plan, or there is no memory.
    pub fn new(sources: Vec<TeacherSource>, plan: &TrainingPlan, settings: &RunSettings) -> Result<Teachers, Error> {
        let mut voices = Vec::with_capacity(sources.len());
        for source in sources {
            voices.push(match source.network {
                TeacherNetwork::Trained(trained) => {
                    check_fits(&source.name, &trained, plan)?;
                    let network = network_of(&trained, settings.device).or_error(ErrorKind::Model)?;
                    let RunSettings { device, threads, precision, .. } = *settings;
                    let engine = Engine::new(trained.unet(), plan.patch_zyx, device, threads, precision);
                    Voice::Trained(Box::new(network), engine.or_error(ErrorKind::DoesNotFit)?)
                }
                TeacherNetwork::Model(file) => {
                    Voice::Model(Box::new(ModelTeacher::new(*file, plan, settings.threads)?))
                }
            });
        }
        Ok(Teachers { voices, heads: plan.targets.heads.clone(), passes: 0 })
    }

    /// What the teachers say of `images`, `[n, channels, z, y, x]`: logits of all resolutions, the full one first. Those of
    /// several teachers are the logits of their mean probability.
    ///
    /// # Errors
    /// A network cannot be run, or libtorch refuses an operation.
    pub fn logits(&mut self, images: &Tensor) -> Result<Vec<Tensor>> {
        self.passes += 1;
        let mut each = Vec::with_capacity(self.voices.len());
        for voice in &mut self.voices {
            match voice {
                Voice::Trained(network, engine) => each.push(engine.infer(network, images)?),
                Voice::Model(model) => each.extend(model.logits(&self.heads, images)?),
            }
        }
        if each.len() == 1 {
            return Ok(each.remove(0));
        }
        let levels = each.first().map_or(0, Vec::len);
        let level = |i: usize| each.iter().map(|logits| logits[i].shallow_clone()).collect::<Vec<_>>();
        Ok((0..levels).map(|i| mean_logits(&self.heads, &level(i))).collect::<Result<_, _>>()?)
    }

    /// What the only teacher says of `images`, and what it holds at [`places`]: activations, and their gradients of the loss
    /// that `loss` makes of its logits.
    ///
    /// # Errors
    /// There are several teachers, or it is a model file, whose layers nobody sees; or as [`Teachers::logits`].
    pub fn activations(
        &mut self,
        images: &Tensor,
        loss: impl FnOnce(&[Tensor]) -> Result<Tensor>,
    ) -> Result<(Vec<Tensor>, Vec<Held>)> {
        let [Voice::Trained(network, engine)] = &mut self.voices[..] else {
            bail!("features are learned from one teacher that is a run or a fold of an nnU-Net folder");
        };
        self.passes += 1;
        let places = places(network.layers().decoder.len());
        let answer = engine.forward(network, images, &places)?;
        let gradients = engine.feature_gradients(&answer, &places, &loss(&answer.logits)?)?;
        let hold =
            |(activations, gradient): (&Tensor, Tensor)| Ok(Held { activations: activations.f_detach()?, gradient });
        let held = answer.features.iter().zip(gradients).map(hold).collect::<Result<_>>()?;
        Ok((answer.logits.iter().map(Tensor::f_detach).collect::<Result<_, _>>()?, held))
    }

    /// What the only teacher says of `images`, which must require a gradient, and how that changes with them along the
    /// `direction` made for its logits.
    ///
    /// # Errors
    /// As [`Teachers::activations`].
    pub fn slopes(
        &mut self,
        images: &Tensor,
        direction: impl FnOnce(&Tensor) -> Result<Tensor, TchError>,
    ) -> Result<(Vec<Tensor>, Slopes)> {
        let [Voice::Trained(network, _)] = &self.voices[..] else {
            bail!("how the answer changes is learned from one teacher that is a run or a fold of an nnU-Net folder");
        };
        self.passes += 1;
        let logits = network.answer(images, &[], Precision::F32)?.logits;
        let direction = direction(&logits[0])?;
        let teacher = jacobian::slope(images, &logits[0], &direction, false)?;
        Ok((logits.iter().map(Tensor::f_detach).collect::<Result<_, _>>()?, Slopes { direction, teacher }))
    }

    /// How many batches the teachers have looked at.
    pub fn passes(&self) -> u64 {
        self.passes
    }
}

/// Whether a U-Net takes the patches of a plan and answers as its students will.
fn check_fits(name: &str, trained: &TrainedNetwork, plan: &TrainingPlan) -> Result<(), Error> {
    let unet = trained.unet();
    let strides = |unet: &UNet| -> Vec<Vec<usize>> { unet.stages.iter().map(|stage| stage.stride.clone()).collect() };
    let fits = unet.heads == plan.unet.heads
        && unet.input_channels == plan.unet.input_channels
        && strides(unet) == strides(&plan.unet);
    if fits {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Model,
        format!(
            "the teacher {name} takes {} channel(s), gives {} heads and has strides {:?}; the plan has {}, {} and {:?}",
            unet.input_channels,
            unet.heads,
            strides(unet),
            plan.unet.input_channels,
            plan.unet.heads,
            strides(&plan.unet)
        ),
    ))
}

/// The logits of the mean of probabilities.
fn mean_logits(heads: &Heads, logits: &[Tensor]) -> Result<Tensor, TchError> {
    // In logarithms: probabilities near 0 and 1 keep their logits.
    let mean = |terms: Vec<Tensor>| -> Result<Tensor, TchError> {
        let count = terms.len() as f64;
        Tensor::f_stack(&terms, 0)?.f_logsumexp(0i64, false)?.f_sub_scalar(count.ln())
    };
    match heads {
        Heads::Labels(_) => mean(logits.iter().map(|l| l.f_log_softmax(1, Kind::Float)).collect::<Result<_, _>>()?),
        Heads::Regions(_) => {
            let yes = mean(logits.iter().map(Tensor::f_log_sigmoid).collect::<Result<_, _>>()?)?;
            let no = mean(logits.iter().map(|l| l.f_neg()?.f_log_sigmoid()).collect::<Result<_, _>>()?)?;
            yes.f_sub(&no)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn the_mean_of_probabilities_is_what_several_teachers_say() {
        let shape = [2, 3, 2, 2, 2];
        let logits: Vec<Tensor> = (0..3).map(|_| Tensor::randn(shape, (Kind::Float, Device::Cpu)) * 3).collect();
        let difference = |a: &Tensor, b: &Tensor| f64::try_from((a - b).abs().max()).unwrap();
        let mean = |f: &dyn Fn(&Tensor) -> Tensor| logits.iter().map(f).reduce(|a, b| a + b).unwrap() / 3;
        let labels = mean_logits(&Heads::Labels(3), &logits).unwrap().softmax(1, Kind::Float);
        assert!(difference(&labels, &mean(&|l| l.softmax(1, Kind::Float))) < 1e-6);
        let regions = mean_logits(&Heads::Regions(vec![vec![1]; 3]), &logits).unwrap().sigmoid();
        assert!(difference(&regions, &mean(&Tensor::sigmoid)) < 1e-6);
    }
}
