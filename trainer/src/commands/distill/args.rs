//! The options of `scanside-train distill`.

use super::super::training_args::{TrainingArgs, decay, positive};
use crate::dataset::random::RandomState;
use crate::dataset::splits::Split;
use crate::distill::boundary::BoundarySettings;
use crate::distill::logit::LogitSettings;
use crate::distill::losses::DistillLosses;
use crate::distill::ramp::Ramp;
use crate::plan::TrainingPlan;
use clap::{Args, ValueEnum};
use scanside_app::choose::Budget;
use scanside_app::error::{Error, ErrorKind};
use std::path::PathBuf;

/// Train narrow students of a teacher, all together: on the labels and on the teacher's predictions.
#[derive(Args, Debug)]
pub struct DistillArgs {
    /// Options of the training. The names of runs contain their seed unless it is 0.
    #[command(flatten)]
    pub training: TrainingArgs,
    /// Teachers: training runs (folders, or names in the work folder), nnU-Net v2 model folders (all their folds), or
    /// self-describing ONNX files of any network. The probabilities of several teachers are averaged.
    #[arg(short, long, value_name = "RUN|NNUNET_FOLDER|MODEL", num_args = 1.., required = true)]
    pub teacher: Vec<PathBuf>,
    /// Students: one for each number, by which the plan's channels are divided.
    #[arg(long, value_name = "R", value_delimiter = ',', default_value = "2,4,8")]
    pub family: Vec<u8>,
    /// Fewest channels of a student's stage.
    #[arg(long, value_name = "CHANNELS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub floor: u16,
    /// Give the last decoder stage of students one convolution instead of the plan's: at least 10 % fewer multiplications.
    #[arg(long)]
    pub light_top: bool,
    /// Distillation losses, in addition to the loss on the labels.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "logit,gradient")]
    pub losses: Vec<LossChoice>,
    /// Train every student a second time without its teachers, on the same patches, for comparison. Doubles the cost of the
    /// students.
    #[arg(long)]
    pub ablation: bool,
    /// Use the labels of this many training cases only, chosen by the seed. On the other cases students learn from the
    /// teachers alone.
    #[arg(long, value_name = "CASES", value_parser = clap::value_parser!(u32).range(1..))]
    pub labelled: Option<u32>,
    /// Temperature of the logit loss: logits are divided by it.
    #[arg(long, value_name = "T", default_value_t = 2.0, value_parser = positive)]
    pub temperature: f64,
    /// Weight of the logit loss; the loss on the labels has weight 1.
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0, value_parser = positive)]
    pub logit_weight: f64,
    /// Weight of the gradient loss.
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.5, value_parser = positive)]
    pub gradient_weight: f64,
    /// Weight of the feature loss.
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.05, value_parser = positive)]
    pub feature_weight: f64,
    /// Weight of the Jacobian loss.
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.05, value_parser = positive)]
    pub jacobian_weight: f64,
    /// Train only students that segment the dataset's largest case within this time and memory on this machine, from file to
    /// file: latency=20s,ram=1G, or one of the two.
    #[arg(long, value_name = "BUDGET", value_parser = super::budget::parse)]
    pub budget: Option<Budget>,
    /// When teachers run: on every patch, as the student sees it; or once on every whole case, with mirroring. The results of
    /// the latter are stored, so that a step costs no teacher, but feature and Jacobian losses are not possible.
    #[arg(long, value_enum, default_value_t = SoftLabelChoice::Online)]
    pub soft_labels: SoftLabelChoice,
    /// Accept teachers whose training cases are not known.
    #[arg(long)]
    pub trust_teacher: bool,
    /// Decay per step of the averaged weights, which validation and export use.
    #[arg(long, value_name = "DECAY", default_value_t = 0.999, value_parser = decay)]
    pub ema: f64,
}

/// When teachers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SoftLabelChoice {
    /// On every patch.
    Online,
    /// Once on every case.
    Cached,
}

/// Distillation losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LossChoice {
    /// The teachers' probabilities, voxel by voxel.
    Logit,
    /// The spatial gradient of the probabilities, on the teachers' edges.
    Gradient,
    /// The gradient of the logits with respect to the image (Sobolev training): for comparison; several times as slow.
    Jacobian,
    /// The teacher's features, weighted by the gradient of its own loss; needs exactly one teacher; 1.5 times as slow.
    Feature,
}

impl DistillArgs {
    pub(super) fn has(&self, loss: LossChoice) -> bool {
        self.losses.contains(&loss)
    }

    pub(super) fn losses(&self, plan: &TrainingPlan) -> DistillLosses {
        let logit = LogitSettings { temperature: self.temperature, ..LogitSettings::default() };
        let boundary = BoundarySettings::new(plan.spacing_mm);
        DistillLosses {
            logit: self.has(LossChoice::Logit).then_some((logit, self.logit_weight)),
            boundary: self.has(LossChoice::Gradient).then_some((boundary, self.gradient_weight)),
            feature: self.has(LossChoice::Feature).then_some(self.feature_weight),
            jacobian: self.has(LossChoice::Jacobian).then_some(self.jacobian_weight),
            ramp: Ramp::default(),
        }
    }

    /// The training cases whose labels are used; `None` for all.
    pub(super) fn labelled(&self, split: &Split) -> Result<Option<Vec<String>>, Error> {
        match self.labelled {
            None => Ok(None),
            Some(count) if (count as usize) < split.train.len() => {
                Ok(Some(choose(&split.train, count as usize, self.training.seed as u32)))
            }
            Some(count) => {
                let sentence = format!("--labelled {count}: the fold has only {} training cases", split.train.len());
                Err(Error::new(ErrorKind::Usage, sentence))
            }
        }
    }
}

/// Some of the training cases, in their order.
fn choose(ids: &[String], count: usize, seed: u32) -> Vec<String> {
    let mut order: Vec<usize> = (0..ids.len()).collect();
    RandomState::new(seed).shuffle(&mut order);
    order.truncate(count);
    order.sort_unstable();
    order.into_iter().map(|i| ids[i].clone()).collect()
}
