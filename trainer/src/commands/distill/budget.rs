//! Which students a budget of time and memory allows. Untrained networks of the same shapes are measured before the training.

use super::super::{measuring_worker, print};
use crate::dataset::raw::{RawCase, RawDataset};
use crate::dataset::source::Source;
use crate::distill::student::StudentSpec;
use crate::export::onnx::{self, Precision};
use crate::export::plans::for_network;
use crate::export::{ModelFacts, TrainedNetwork};
use crate::plan::TrainingPlan;
use crate::plan::fingerprint::Fingerprint;
use crate::report::run::{RunFolder, TRAINER};
use crate::training::settings::TrainingContext;
use crate::work::{Work, read_text};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use scanside_app::choose::{self, Budget, Candidate, WeighOptions, nothing_fits};
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::units::{parse_bytes, parse_seconds};
use scanside_core::nnunet::FoldName;
use scanside_core::nnunet::architecture::UNet;
use scanside_core::nnunet::layers::{Layers, Role};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The students whose networks segment the dataset's largest case within `budget` on this machine, with mirroring, from file
/// to file. A student without a teacher is kept or dropped with its twin. On resuming, the runs that exist are kept and no
/// others: which students are trained must not depend on the machine's load.
///
/// # Errors
/// No network fits, or the raw dataset does not exist any more.
pub(super) fn keep_within(
    context: &TrainingContext<'_>,
    students: Vec<StudentSpec>,
    budget: Budget,
    threads: Option<u16>,
) -> Result<Vec<StudentSpec>, Error> {
    let TrainingContext { work, plan, .. } = *context;
    let exists = |student: &StudentSpec| RunFolder::new(work.runs().join(&student.run.name)).facts().is_file();
    if context.resume && students.iter().any(exists) {
        return Ok(students.into_iter().filter(exists).collect());
    }
    let case = largest_case(work)?;
    let folder = tempfile::tempdir().or_error_with(ErrorKind::Output, || "a temporary folder cannot be created")?;
    let mut networks: Vec<(UNet, PathBuf)> = Vec::new();
    for student in &students {
        if networks.iter().all(|(unet, _)| *unet != student.run.unet) {
            let file = folder.path().join(format!("{}.onnx", student.run.name));
            let (network, facts) = untrained(plan, &student.run.unet)?;
            onnx::write_unchecked(&file, &network, &facts, Precision::F32)?;
            networks.push((student.run.unet.clone(), file));
        }
    }
    let worker = measuring_worker()?;
    // A training image is a scan, even if it looks like a label map.
    let options = WeighOptions { budget, threads, allow_label_input: true, ..WeighOptions::new(case.images.clone()) };
    let weighed = networks.iter().map(|(_, file)| Ok(worker.weigh(file, &options)?.candidate));
    let candidates = weighed.collect::<Result<Vec<Candidate>, Error>>()?;
    print(&format!("for {}, the largest case, on this machine:\n{}", case.id, choose::table(&candidates, None)))?;
    let fits = |student: &StudentSpec| {
        let network = networks.iter().position(|(unet, _)| *unet == student.run.unet);
        network.is_some_and(|place| candidates[place].fits)
    };
    let kept: Vec<StudentSpec> = students.into_iter().filter(fits).collect();
    if kept.is_empty() {
        return Err(Error::new(ErrorKind::DoesNotFit, nothing_fits(&candidates, budget, ["ram=", "latency="])));
    }
    Ok(kept)
}

/// Reads limits: `latency=20s,ram=1G`, either or both.
///
/// # Errors
/// A sentence that shows how to write them.
pub(super) fn parse(text: &str) -> Result<Budget, String> {
    let mut budget = Budget::default();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let twice = match key.trim() {
            "latency" => budget.seconds.replace(parse_seconds(value)?).is_some(),
            "ram" => budget.ram_bytes.replace(parse_bytes(value)?).is_some(),
            _ => return Err("expected latency=20s, ram=1G, or both separated by a comma".into()),
        };
        if twice {
            return Err(format!("{} is given twice", key.trim()));
        }
    }
    Ok(budget)
}

/// The case with the largest volume.
fn largest_case(work: &Work) -> Result<RawCase, Error> {
    let raw = RawDataset::open(&Source::read(work)?.folder)?;
    let path = work.fingerprint();
    let fingerprint: Fingerprint =
        serde_json::from_str(&read_text(&path)?).map_err(|error| Error::cannot_read(ErrorKind::Input, &path, error))?;
    let sizes = fingerprint.shapes_after_crop.iter().zip(&fingerprint.spacings);
    let volumes = sizes.map(|(shape, spacing)| (0..3).map(|axis| shape[axis] as f64 * spacing[axis]).product::<f64>());
    let largest = raw.cases.iter().zip(volumes).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(case, _)| case.clone());
    largest.ok_or_else(|| Error::new(ErrorKind::Input, "the dataset has no case"))
}

/// An untrained network, which needs the same time and memory as a trained one.
fn untrained(plan: &TrainingPlan, unet: &UNet) -> Result<(TrainedNetwork, ModelFacts), Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_parsed() {
        assert_eq!(parse("latency=20s,ram=1G"), Ok(Budget { ram_bytes: Some(1_000_000_000), seconds: Some(20.0) }));
        assert_eq!(parse("ram=800M"), Ok(Budget { ram_bytes: Some(800_000_000), seconds: None }));
        for wrong in ["", "20s", "latency=20", "ram=1G,ram=2G", "time=20s", "latency=20s,"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
