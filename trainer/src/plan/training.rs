//! A plan as training needs it: `plans.json` and `dataset.json` read together.

use crate::targets::{Heads, Targets};
use crate::work::Work;
use scanside_app::digest;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_core::manifest::{Channel, Manifest, Resampling};
use scanside_core::nnunet::architecture::UNet;
use scanside_core::nnunet::labels::Dataset;
use scanside_core::nnunet::plans::Plans;
use scanside_core::nnunet::trainers::Trainer;
use scanside_core::nnunet::{self, NnUnetError};
use std::path::Path;

/// The configuration that is trained: three axes, the dataset's own resolution.
pub const CONFIGURATION: &str = "3d_fullres";

/// A configuration of the plans of a dataset, checked, with everything that training needs.
#[derive(Clone, Debug)]
pub struct TrainingPlan {
    /// Name of the dataset, `Dataset004_Hippocampus` or such.
    pub dataset_name: String,
    /// Name of the plans.
    pub plans_name: String,
    /// Name of the configuration.
    pub configuration: String,
    /// Voxels of a patch: `z, y, x` of the network grid.
    pub patch_zyx: [usize; 3],
    /// Voxel distance of the network grid in millimetres.
    pub spacing_mm: [f64; 3],
    /// Network axis `i` is file axis `transpose_forward[i]`.
    pub transpose_forward: [usize; 3],
    /// Patches per step.
    pub batch_size: usize,
    /// The Dice loss sums over the batch before it divides.
    pub batch_dice: bool,
    /// The network.
    pub unet: UNet,
    /// The training targets of its heads.
    pub targets: Targets,
    /// Names of the heads, in their order.
    pub label_names: Vec<String>,
    /// Input channels and their normalisation.
    pub channels: Vec<Channel>,
    /// How label maps are resampled to the network grid.
    pub resample_labels: Resampling,
    /// The manifest of models trained with this plan, without provenance, accuracy and mirroring.
    pub manifest: Manifest,
    /// `plans.json` as read. Kept as text: the order of entries counts, and model folders carry a copy.
    pub plans_json: String,
    /// `dataset.json` as read.
    pub dataset_json: String,
}

impl TrainingPlan {
    /// The plan of a work folder.
    ///
    /// # Errors
    /// A file is missing or damaged, or requires something that is not supported.
    pub fn read(work: &Work) -> Result<TrainingPlan, Error> {
        TrainingPlan::from_files(&work.plans(), &work.dataset(), CONFIGURATION)
    }

    /// The configuration called `configuration` of a plans file and a dataset file.
    ///
    /// # Errors
    /// As [`TrainingPlan::read`].
    pub fn from_files(plans: &Path, dataset: &Path, configuration: &str) -> Result<TrainingPlan, Error> {
        let read = |path: &Path| {
            let unreadable = || format!("{} cannot be read; run scanside-train plan first", path.display());
            std::fs::read_to_string(path).or_error_with(ErrorKind::Input, unreadable)
        };
        TrainingPlan::parse(read(plans)?, plans, read(dataset)?, dataset, configuration)
    }

    /// As [`TrainingPlan::from_files`], from texts; the paths only name them in errors.
    ///
    /// # Errors
    /// As [`TrainingPlan::read`].
    pub fn parse(
        plans_json: String,
        plans_path: &Path,
        dataset_json: String,
        dataset_path: &Path,
        configuration: &str,
    ) -> Result<TrainingPlan, Error> {
        let bad = |e: NnUnetError| Error::of(ErrorKind::Input, e);
        let plans = Plans::parse(&plans_json, plans_path).map_err(bad)?;
        let dataset = Dataset::parse(&dataset_json, dataset_path).map_err(bad)?;
        let channels = dataset.channels.len();
        let heads = dataset.labels.heads();
        let chosen = plans.configuration(configuration, channels).map_err(bad)?;
        let entries = plans.training(configuration).map_err(bad)?;
        let unet = UNet::from_plans(&chosen, Trainer::Plain, channels, heads.len()).map_err(bad)?;
        let (&[p0, p1, p2], &[s0, s1, s2]) = (&chosen.patch[..], &chosen.spacing_mm[..]) else {
            return Err(Error::new(
                ErrorKind::Input,
                format!("{}: {configuration} has two axes; only networks with three are trained", plans_path.display()),
            ));
        };
        let targets = targets(&dataset).map_err(|value| {
            Error::new(
                ErrorKind::Input,
                format!(
                    "{}: label {value} is above {}, the most that training holds",
                    dataset_path.display(),
                    i16::MAX
                ),
            )
        })?;
        let label_names = heads.iter().map(|head| head.name.clone()).collect();
        let manifest = nnunet::manifest(dataset, &plans, chosen);
        Ok(TrainingPlan {
            patch_zyx: [p0, p1, p2],
            spacing_mm: [s0, s1, s2],
            transpose_forward: plans.transpose_forward,
            dataset_name: plans.dataset_name,
            plans_name: plans.plans_name,
            configuration: configuration.to_string(),
            batch_size: entries.batch_size,
            batch_dice: entries.batch_dice,
            resample_labels: entries.resample_labels,
            channels: manifest.channels.clone(),
            unet,
            targets,
            label_names,
            manifest,
            plans_json,
            dataset_json,
        })
    }

    /// SHA-256 over everything that decides how a case is preprocessed: cases prepared under another one do not fit.
    pub fn preprocessing_sha256(&self) -> String {
        let m = &self.manifest;
        let normalizations: Vec<_> = m.channels.iter().map(|c| &c.normalization).collect();
        // `Debug` of floats is exact: it prints the shortest text that reads back as the same number.
        let facts = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?}",
            m.grid.transpose_forward,
            m.grid.spacing_mm,
            normalizations,
            m.resample_data,
            self.resample_labels,
            self.targets
        );
        digest::sha256(facts.as_bytes())
    }
}

/// The targets of a dataset's labels, or the label value that is too large.
fn targets(dataset: &Dataset) -> Result<Targets, u16> {
    let narrow = |value: &u16| i16::try_from(*value).map_err(|_| *value);
    let trained = dataset.trained.iter().map(|values| values.iter().map(narrow).collect::<Result<Vec<_>, _>>());
    let trained = trained.collect::<Result<Vec<_>, _>>()?;
    let heads = match dataset.labels {
        scanside_core::manifest::Labels::Exclusive { .. } => Heads::Labels(trained.len()),
        scanside_core::manifest::Labels::Regions { .. } => Heads::Regions(trained),
    };
    Ok(Targets { heads, ignore: dataset.ignore.as_ref().map(narrow).transpose()? })
}
