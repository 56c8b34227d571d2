//! Which students a budget of time and memory allows: told by networks of their shapes, before anything is trained.

use super::{measuring_program, say};
use crate::dataset::raw::{RawCase, RawDataset};
use crate::dataset::source::Source;
use crate::distill::family::Pupil;
use crate::export::onnx::{self, Precision};
use crate::export::plans::for_network;
use crate::export::{ModelFacts, TrainedNetwork};
use crate::plan::TrainingPlan;
use crate::plan::fingerprint::Fingerprint;
use crate::report::run::{RunFolder, TRAINER};
use crate::work::{Work, read_text};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use scanside::choose::{self, Budget, nothing_fits};
use scanside::exit::{Exit, Failure, OrExit};
use scanside_core::nnunet::FoldName;
use scanside_core::nnunet::architecture::UNet;
use scanside_core::nnunet::layers::{Layers, Role};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The pupils whose networks segment the dataset's largest case within `budget` on this machine, with mirroring, from
/// file to file. A network without a teacher goes with its twin. With `resume`, pupils that have begun stay and others
/// do not come: what is trained does not depend on how busy the machine is now.
///
/// # Errors
/// None fits; or the raw dataset is not there any more.
pub(super) fn keep_within(
    work: &Work,
    plan: &TrainingPlan,
    pupils: Vec<Pupil>,
    budget: Budget,
    threads: Option<u16>,
    resume: bool,
) -> Result<Vec<Pupil>, Failure> {
    let begun = |pupil: &Pupil| RunFolder::new(work.runs().join(&pupil.member.name)).facts().is_file();
    if resume && pupils.iter().any(begun) {
        return Ok(pupils.into_iter().filter(begun).collect());
    }
    let case = largest_case(work)?;
    let folder = tempfile::tempdir().or_exit_with(Exit::CouldNotWrite, || "no temporary folder could be made")?;
    let mut networks: Vec<(UNet, PathBuf)> = Vec::new();
    for pupil in &pupils {
        if networks.iter().all(|(unet, _)| *unet != pupil.member.unet) {
            let file = folder.path().join(format!("{}.onnx", pupil.member.name));
            let (network, facts) = untrained(plan, &pupil.member.unet)?;
            onnx::write_unchecked(&file, &network, &facts, Precision::F32)?;
            networks.push((pupil.member.unet.clone(), file));
        }
    }
    let files: Vec<PathBuf> = networks.iter().map(|(_, file)| file.clone()).collect();
    let candidates = choose::weigh(&measuring_program()?, &files, &case.images, budget, threads)?;
    say(&format!("for {}, the largest case, on this machine:\n{}", case.id, choose::table(&candidates, None)));
    let fits = |pupil: &Pupil| {
        let network = networks.iter().position(|(unet, _)| *unet == pupil.member.unet);
        network.is_some_and(|place| candidates[place].fits)
    };
    let kept: Vec<Pupil> = pupils.into_iter().filter(fits).collect();
    if kept.is_empty() {
        return Err(Failure::says(Exit::DoesNotFit, nothing_fits(&candidates, budget, ["ram=", "latency="])));
    }
    Ok(kept)
}

/// The case that covers the most space.
fn largest_case(work: &Work) -> Result<RawCase, Failure> {
    let raw = RawDataset::open(&Source::read(work)?.folder)?;
    let fingerprint: Fingerprint = serde_json::from_str(&read_text(&work.fingerprint())?)
        .or_exit_with(Exit::BadInput, || format!("{} cannot be read", work.fingerprint().display()))?;
    let sizes = fingerprint.shapes_after_crop.iter().zip(&fingerprint.spacings);
    let volumes = sizes.map(|(shape, spacing)| (0..3).map(|axis| shape[axis] as f64 * spacing[axis]).product::<f64>());
    let largest = raw.cases.iter().zip(volumes).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(case, _)| case.clone());
    largest.ok_or_else(|| Failure::says(Exit::BadInput, "the dataset holds no case"))
}

/// A network that nobody trained, which takes as long as one that somebody did.
fn untrained(plan: &TrainingPlan, unet: &UNet) -> Result<(TrainedNetwork, ModelFacts), Failure> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(0);
    let mut weights = BTreeMap::new();
    for tensor in Layers::of(unet).expected() {
        let values = (0..tensor.values()).map(|_| match tensor.role {
            Role::Weight => random.random_range(-0.1f32..0.1),
            Role::Scale => 1.0,
            _ => 0.0,
        });
        weights.insert(tensor.names[0].clone(), (tensor.shape.clone(), values.collect()));
    }
    let facts = ModelFacts {
        plans: for_network(&plan.plans_json, &plan.configuration, unet)?,
        dataset: plan.dataset_json.clone(),
        configuration: plan.configuration.clone(),
        trainer_name: TRAINER.to_owned(),
        fold: FoldName::Number(0),
        mirror_axes: vec![0, 1, 2],
        provenance: BTreeMap::new(),
        accuracy: BTreeMap::new(),
        measured: Vec::new(),
        family: Vec::new(),
    };
    Ok((TrainedNetwork::new(unet.clone(), weights)?, facts))
}
