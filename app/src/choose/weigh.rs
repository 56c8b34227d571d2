//! What a run of a scan would take with a model, and whether models can be compared at all.

use super::decide::{ACCURACY, Budget, Candidate, over_time};
use crate::cases::{self, Case};
use crate::error::{Error, ErrorKind};
use crate::model::{self, Model, ModelOptions};
use crate::run::{self, CaseOptions, TooLarge};
use crate::time::Clock;
use crate::units::human_bytes;
use scanside_core::manifest::Manifest;
use scanside_core::pipeline::RunOptions;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Labels of a model that an error lists.
const MOST_LABELS_LISTED: usize = 8;

/// The scan and the run that models are weighed by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeighOptions {
    /// The files of one scan.
    pub scan: Vec<PathBuf>,
    /// What the run may take.
    pub budget: Budget,
    /// Threads; all cores where no number is given.
    pub threads: Option<u16>,
    /// How models are opened.
    pub model: ModelOptions,
    /// Largest distance between tiles, as a fraction of the patch.
    pub step: f64,
    /// Average the mirrored passes that models allow.
    pub mirror: bool,
    /// Accept a scan that looks like a label map.
    pub allow_label_input: bool,
}

impl WeighOptions {
    /// A scan, with nnU-Net's own choices and no limits.
    pub fn new(scan: Vec<PathBuf>) -> WeighOptions {
        WeighOptions {
            scan,
            budget: Budget::default(),
            threads: None,
            model: ModelOptions::default(),
            step: 0.5,
            mirror: true,
            allow_label_input: false,
        }
    }

    fn case(&self, channels: usize) -> Result<Case, Error> {
        match cases::find(&self.scan, channels)?.found.into_iter().next() {
            Some(found) => found.map_err(|none| none.error()),
            None => Err(Error::new(ErrorKind::Input, "the input holds no scan")),
        }
    }
}

/// A model that was weighed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Weighed {
    /// The case's name.
    pub case: String,
    /// What a run would take.
    pub candidate: Candidate,
}

/// What a run of the scan would take with the model at `path`: opened, planned and timed in this process.
///
/// # Errors
/// The model or the scan cannot be read.
pub fn weigh(path: &Path, options: &WeighOptions) -> Result<Weighed, Error> {
    let started = Instant::now();
    let model = Model::open(path, &options.model)?;
    let load = started.elapsed().as_secs_f64();
    let case = options.case(model.manifest.channels.len())?;
    // The run will be another process.
    let model = model.for_another_process();
    let mut candidate = unweighed(path, &model);
    let how = CaseOptions {
        run: RunOptions { step: options.step, mirror: options.mirror },
        max_ram: options.budget.ram_bytes,
        threads: options.threads,
        allow_label_input: options.allow_label_input,
        ..CaseOptions::default()
    };
    let planned = match run::plan(&model, &case, &how) {
        Ok(planned) => planned,
        Err(error) => {
            let Some(TooLarge { needs, limit, .. }) = error.find() else { return Err(error) };
            candidate.least_ram_bytes = needs.least_bytes;
            let bytes = |bytes: usize| human_bytes(bytes as u64);
            candidate.why_not = Some(match needs.least_bytes {
                Some(least) => format!("needs {}, {} {}", bytes(least), bytes(needs.budget_bytes), limit.short()),
                None => "needs more memory than a process can address".into(),
            });
            return Ok(Weighed { case: case.name, candidate });
        }
    };
    candidate.tiles = Some(planned.layout().tiling.tiles());
    candidate.network_passes = Some(planned.run().passes());
    candidate.workers = Some(planned.memory().workers);
    candidate.layers_in_bands = Some(planned.memory().least_workspace);
    candidate.peak_ram_bytes = Some(planned.memory().peak_bytes);
    let mut clock = Clock::new(path, load);
    if let Some(free) = clock.too_large_to_time(planned.memory()) {
        let [needs, bytes] = [planned.memory().peak_bytes, free.bytes].map(|bytes| human_bytes(bytes as u64));
        candidate.why_not = Some(format!("needs {needs}, {bytes} {}", free.limit));
        return Ok(Weighed { case: case.name, candidate });
    }
    let prediction = clock.predict(&model, &planned)?;
    let seconds = prediction.phases.sum();
    candidate.seconds_per_window = Some(prediction.seconds_per_window);
    candidate.predicted_seconds = Some(seconds);
    candidate.why_not = over_time(seconds, options.budget);
    candidate.fits = candidate.why_not.is_none();
    Ok(Weighed { case: case.name, candidate })
}

/// A model of which only the file is known.
fn unweighed(path: &Path, model: &Model) -> Candidate {
    Candidate {
        model: path.to_owned(),
        name: model.manifest.name.clone(),
        mean_dice: model.manifest.accuracy.get(ACCURACY).copied(),
        precision: model.precision().to_owned(),
        tiles: None,
        network_passes: None,
        workers: None,
        layers_in_bands: None,
        peak_ram_bytes: None,
        least_ram_bytes: None,
        seconds_per_window: None,
        predicted_seconds: None,
        fits: false,
        why_not: None,
    }
}

/// The manifests of models for one task. Models are compared by one figure, which means something only where they take the
/// same channels and give the same labels.
///
/// # Errors
/// A model cannot be read, or is for another task than the first.
pub fn same_task(models: &[PathBuf], options: &ModelOptions) -> Result<Vec<Manifest>, Error> {
    let task = |manifest: &Manifest| {
        let heads = manifest.labels.heads().iter();
        let mut labels: Vec<String> = heads.map(|head| format!("{} {}", head.value, head.name)).collect();
        labels.sort();
        (manifest.channels.len(), labels)
    };
    let manifests = models.iter().map(|path| model::manifest(path, options)).collect::<Result<Vec<_>, Error>>()?;
    let mut tasks = models.iter().zip(manifests.iter().map(task));
    if let Some((first, expected)) = tasks.next()
        && let Some((other, got)) = tasks.find(|(_, task)| *task != expected)
    {
        let sentence = format!(
            "the models are for different tasks: {}; {}",
            describe_task(first, &expected),
            describe_task(other, &got)
        );
        return Err(Error::new(ErrorKind::Usage, sentence));
    }
    Ok(manifests)
}

fn describe_task(path: &Path, (channels, labels): &(usize, Vec<String>)) -> String {
    let mut text = labels.iter().take(MOST_LABELS_LISTED).cloned().collect::<Vec<_>>().join(", ");
    if labels.len() > MOST_LABELS_LISTED {
        text += &format!(" and {} more", labels.len() - MOST_LABELS_LISTED);
    }
    format!("{} labels {text} on {channels} channel(s)", path.display())
}
