//! The comparison as a JSON document. Numbers that do not exist are `null`.

pub use super::relations::Role;
use super::speed::{Conditions, Speed};
use scanside_app::evaluate::{ClassMeans, Means};
use scanside_core::metrics::Interval;
use serde::Serialize;

/// Version of the document.
pub const FORMAT: u32 = 1;

/// A family compared.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// Version of this description: [`FORMAT`].
    pub format: u32,
    /// The work folder.
    pub work: String,
    /// The run that all are compared with.
    pub teacher: String,
    /// How all of them were validated.
    pub settings: Settings,
    /// How the speeds that are compared were measured; `null` where none was.
    pub speed_conditions: Option<Conditions>,
    /// The runs: the teacher first, then from large to small.
    pub runs: Vec<Row>,
    /// Runs that differ in their seed alone, together.
    pub seeds: Vec<SeedGroup>,
    /// Runs of the folder that are not compared.
    pub left_out: Vec<LeftOut>,
    /// Remarks, in sentences.
    pub remarks: Vec<String>,
}

/// How the runs were validated.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// nnU-Net's name of the dataset.
    pub dataset: String,
    /// The configuration of the plans.
    pub configuration: String,
    /// The fold whose held-back cases were measured.
    pub fold: String,
    /// Names of the cases.
    pub cases: Vec<String>,
    /// Mirrored passes were averaged.
    pub mirroring: bool,
    /// Largest distance between tiles, as a fraction of the patch.
    pub step_size: f64,
    /// Tolerance of the surface distance for NSD, in millimetres.
    pub tolerance_mm: f64,
    /// Resamples behind the intervals.
    pub bootstrap_resamples: usize,
}

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its role in the family.
    pub role: Role,
    /// The teachers that its notes name.
    pub taught_by: Option<String>,
    /// Its losses, from its notes.
    pub loss: Option<String>,
    /// Channels per encoder stage.
    pub channels: Vec<usize>,
    /// Trainable parameters of the network, and the fraction of the teacher's that is saved.
    pub parameters: Count,
    /// Billions of multiply-adds per patch without mirroring, and the fraction of the teacher's that is saved.
    pub gmac_per_patch: Option<Amount>,
    /// Bytes of the exported network.
    pub model_bytes: Option<u64>,
    /// Cases whose labels it was trained on.
    pub labelled_cases: usize,
    /// Its seed.
    pub seed: u64,
    /// Epochs done.
    pub epochs_done: usize,
    /// Epochs of the whole run.
    pub epochs: usize,
    /// Steps per epoch.
    pub steps_per_epoch: usize,
    /// Patches per step.
    pub batch_size: usize,
    /// Agreement: the mean over classes of the means over cases.
    pub mean_over_classes: Means,
    /// The same by class.
    pub classes: Vec<ClassMeans>,
    /// Its mean Dice divided by the teacher's, paired by case; `null` for the teacher.
    pub dice_kept: Option<Estimate>,
    /// Its gain over the run that differs from it only in having no teacher.
    pub plain_twin: Option<Twin>,
    /// Speed and memory, where measured.
    pub speed: Option<Speed>,
    /// How many times as fast as the teacher it is; `null` where the two were not measured under the same conditions.
    pub speed_up: Option<f64>,
    /// Mean Dice over the classes of every case.
    pub cases: Vec<CaseDice>,
    /// The log by epoch.
    pub curve: Vec<CurvePoint>,
}

/// A whole number, compared with the teacher's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Count {
    /// The number.
    pub count: u64,
    /// The share of the teacher's that is saved; negative where it is more.
    pub saved: f64,
}

/// An amount, compared with the teacher's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Amount {
    /// The amount.
    pub amount: f64,
    /// The share of the teacher's that is saved, where that is known; negative where it is more.
    pub saved: Option<f64>,
}

/// A number with its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Cases behind it.
    pub cases: usize,
}

impl From<Interval> for Estimate {
    fn from(Interval { mean, low, high, cases }: Interval) -> Self {
        Estimate { value: mean, low, high, cases }
    }
}

/// The comparison of a student with its plain twin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Twin {
    /// The twin.
    pub name: String,
    /// The student's mean Dice minus the twin's, paired by case.
    pub dice_gained: Option<Estimate>,
}

/// Mean Dice of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseDice {
    /// The case.
    pub case: String,
    /// Mean over the classes with a defined Dice.
    pub dice: Option<f64>,
}

/// An epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Number of the epoch, from 0.
    pub epoch: usize,
    /// Dice on validation patches, mean over classes, smoothed.
    pub smoothed_dice: Option<f64>,
    /// Loss on validation patches.
    pub validation_loss: Option<f64>,
}

/// Runs that differ only in their seed. A number that one of them lacks is `null` for all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeedGroup {
    /// Their names.
    pub runs: Vec<String>,
    /// Their seeds.
    pub seeds: Vec<u64>,
    /// Of their mean Dice.
    pub mean_dice: Option<Spread>,
    /// Of the share of the teacher's mean Dice.
    pub dice_kept: Option<Spread>,
    /// Of their gain over their plain twins.
    pub dice_gained: Option<Spread>,
    /// The share kept by the mean over seeds of each case and class. Its interval is over cases: narrower than one run's,
    /// because the randomness of training is averaged out.
    pub dice_kept_by_case: Option<Estimate>,
    /// Likewise the difference to the mean of the plain twins.
    pub dice_gained_by_case: Option<Estimate>,
}

/// Mean and range over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The lowest.
    pub least: f64,
    /// The highest.
    pub most: f64,
}

/// A run that is not compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its name.
    pub run: String,
    /// Why.
    pub reason: String,
}
