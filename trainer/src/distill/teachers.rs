//! The teachers: frozen networks whose probabilities are averaged.

use super::feature::{self, FeatureTarget};
use super::jacobian::{self, JacobianTarget};
use super::model_teacher::ModelTeacher;
use super::source::{TeacherNetwork, TeacherSource};
use crate::export::TrainedNetwork;
use crate::export::reference::network_of;
use crate::network::{Engine, Network, Precision};
use crate::plan::TrainingPlan;
use crate::targets::Heads;
use crate::torch_error::OrTorchError;
use crate::training::settings::RunSettings;
use scanside_app::error::{Error, ErrorKind};
use scanside_core::nnunet::architecture::UNet;
use tch::{Kind, TchError, Tensor};

/// Frozen networks.
#[derive(Debug)]
pub struct Teachers {
    models: Vec<TeacherModel>,
    heads: Heads,
    passes: u64,
}

/// One teacher, ready to run.
#[derive(Debug)]
enum TeacherModel {
    /// A U-Net with its heads at all resolutions.
    UNet(Box<Network>, Engine),
    /// A model file.
    File(Box<ModelTeacher>),
}

impl Teachers {
    /// Builds the networks of `sources`.
    ///
    /// # Errors
    /// A network does not fit the plan, or there is no memory.
    pub fn new(sources: Vec<TeacherSource>, plan: &TrainingPlan, settings: &RunSettings) -> Result<Teachers, Error> {
        let mut models = Vec::with_capacity(sources.len());
        for source in sources {
            models.push(match source.network {
                TeacherNetwork::Trained(trained) => {
                    check_fits(&source.name, &trained, plan)?;
                    let network = network_of(&trained, settings.device)?;
                    let RunSettings { device, threads, precision, .. } = *settings;
                    let engine = Engine::new(trained.unet(), plan.patch_zyx, device, threads, precision)?;
                    TeacherModel::UNet(Box::new(network), engine)
                }
                TeacherNetwork::Model(file) => {
                    TeacherModel::File(Box::new(ModelTeacher::new(*file, plan, settings.threads)?))
                }
            });
        }
        Ok(Teachers { models, heads: plan.targets.heads.clone(), passes: 0 })
    }

    /// The teachers' logits of `images`, `[n, channels, z, y, x]`, at all resolutions, the full one first. Those of several
    /// teachers are the logits of their mean probability.
    ///
    /// # Errors
    /// A network cannot be run, or libtorch fails.
    pub fn logits(&mut self, images: &Tensor) -> Result<Vec<Tensor>, Error> {
        self.passes += 1;
        let mut each = Vec::with_capacity(self.models.len());
        for model in &mut self.models {
            match model {
                TeacherModel::UNet(network, engine) => each.push(engine.infer(network, images)?),
                TeacherModel::File(model) => each.extend(model.logits(&self.heads, images)?),
            }
        }
        if each.len() == 1 {
            return Ok(each.remove(0));
        }
        let levels = each.first().map_or(0, Vec::len);
        let level = |i: usize| each.iter().map(|logits| logits[i].shallow_clone()).collect::<Vec<_>>();
        (0..levels).map(|i| mean_logits(&self.heads, &level(i))).collect::<Result<_, _>>().or_torch_error()
    }

    /// The only teacher's logits of `images`, and its features ([`feature::compared`]) with the gradients of the loss that
    /// `loss` computes from the logits.
    ///
    /// # Errors
    /// There are several teachers, or the teacher is a model file, whose layers are not known; or as [`Teachers::logits`].
    pub fn features(
        &mut self,
        images: &Tensor,
        loss: impl FnOnce(&[Tensor]) -> Result<Tensor, TchError>,
    ) -> Result<(Vec<Tensor>, Vec<FeatureTarget>), Error> {
        let [TeacherModel::UNet(network, engine)] = &mut self.models[..] else {
            return Err(one_network_needed("feature"));
        };
        self.passes += 1;
        let compared = feature::compared(network.layers().decoder.len());
        let answer = engine.forward(network, images, &compared)?;
        let loss = loss(&answer.logits).or_torch_error()?;
        let gradients = engine.feature_gradients(&answer, &compared, &loss)?;
        let target = |(activations, gradient): (&Tensor, Tensor)| {
            Ok(FeatureTarget { activations: activations.f_detach()?, gradient })
        };
        let targets = answer.features.iter().zip(gradients).map(target).collect::<Result<_, TchError>>();
        Ok((detached(&answer.logits).or_torch_error()?, targets.or_torch_error()?))
    }

    /// The only teacher's logits of `images`, which must require a gradient, and how they change with the images in the
    /// direction that `direction` returns for the logits of full resolution.
    ///
    /// # Errors
    /// As [`Teachers::features`].
    pub fn image_gradient(
        &mut self,
        images: &Tensor,
        direction: impl FnOnce(&Tensor) -> Result<Tensor, TchError>,
    ) -> Result<(Vec<Tensor>, JacobianTarget), Error> {
        let [TeacherModel::UNet(network, _)] = &self.models[..] else {
            return Err(one_network_needed("Jacobian"));
        };
        self.passes += 1;
        let compute = || -> Result<_, TchError> {
            let logits = network.answer(images, &[], Precision::F32)?.logits;
            let direction = direction(&logits[0])?;
            let gradient = jacobian::image_gradient(images, &logits[0], &direction, false)?;
            Ok((detached(&logits)?, JacobianTarget { direction, gradient }))
        };
        compute().or_torch_error()
    }

    /// How many batches the teachers have run on.
    pub fn passes(&self) -> u64 {
        self.passes
    }
}

fn detached(tensors: &[Tensor]) -> Result<Vec<Tensor>, TchError> {
    tensors.iter().map(Tensor::f_detach).collect()
}

fn one_network_needed(loss: &str) -> Error {
    let sentence = format!("the {loss} loss needs exactly one teacher: a run, or an nnU-Net folder with one fold");
    Error::new(ErrorKind::Usage, sentence)
}

/// Whether a U-Net has the inputs, heads and strides of the plan's network.
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
    fn several_teachers_give_the_mean_of_their_probabilities() {
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
