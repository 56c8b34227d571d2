//! The folder of a training run, and its description, which does not change.
//!
//! ```text
//! WORK/runs/NAME/
//!   run.json                          the description: what is trained, and how
//!   plans.json dataset.json           nnU-Net's files, the plans with this network's channels: enough for export
//!   log.jsonl                         one line per epoch
//!   checkpoint_latest.safetensors     weights, averaged weights, momentum: the state that resuming needs
//!   checkpoint_final.safetensors      the same after the last epoch
//!   validation.json validation/       whole cases measured, and their label files
//!   speed.json                        seconds and memory of a patch: one object of `scanside bench --json`
//!   report.html                       the page
//!   model.onnx                        the exported network, where the user has put it there, or the imported one
//! ```

use crate::work::Work;
use scanside_app::error::{Error, ErrorKind, OrError, OrPathError};
use scanside_app::output;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Version of `run.json`.
pub const FORMAT: u32 = 1;

/// nnU-Net's trainer class, which determines the network of a run.
pub const TRAINER: &str = "nnUNetTrainer";

/// Key of a note of imported runs: the file or folder that was imported.
pub const IMPORTED_FROM: &str = "model";

/// Largest size of `run.json`; the ids of a hundred thousand cases need less.
const MAX_BYTES: u64 = 16 << 20;

/// What is trained, and how. Written once, when the run starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFacts {
    /// Version of this description: [`FORMAT`].
    pub format: u32,
    /// The run's name: that of its folder.
    pub name: String,
    /// Time of its start, in seconds since 1970-01-01 UTC.
    pub started_unix: u64,
    /// nnU-Net's name of the dataset.
    pub dataset: String,
    /// Name of the plans.
    pub plans: String,
    /// The configuration of the plans.
    pub configuration: String,
    /// SHA-256 of `plans.json`, lower-case hex.
    pub plans_sha256: String,
    /// The fold's number, or `all`.
    pub fold: String,
    /// Ids of the cases trained on.
    pub training_cases: Vec<String>,
    /// Ids of the validation cases.
    pub validation_cases: Vec<String>,
    /// Names that the entries of [`EpochRecord::pseudo_dice`](super::log::EpochRecord::pseudo_dice) belong to: the
    /// foreground labels, or the regions.
    pub classes: Vec<String>,
    /// Channels per encoder stage of the network, which may be narrower than the plans say.
    pub features_per_stage: Vec<usize>,
    /// Trainable parameters of the network.
    pub parameters: u64,
    /// Axes of the network along which training mirrors, so that inference may mirror; empty for no mirroring.
    pub mirror_axes: Vec<usize>,
    /// Voxels per training patch: `z, y, x` of the network grid.
    pub patch_zyx: [usize; 3],
    /// Patches per step.
    pub batch_size: usize,
    /// Steps per epoch.
    pub steps_per_epoch: usize,
    /// Epochs of the whole run.
    pub epochs: usize,
    /// Learning rate of the first epoch.
    pub initial_lr: f64,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Device that computes: `cpu`, or the GPU's name.
    pub device: String,
    /// Further facts by name: loss, teacher, precision ...
    #[serde(default)]
    pub notes: std::collections::BTreeMap<String, String>,
}

/// A run's folder; its files need not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// The run in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> RunFolder {
        RunFolder(folder.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is trained, and how.
    pub fn facts(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// nnU-Net's `plans.json` at the start of the run, with the network's channels: see
    /// [`for_network`](crate::export::plans::for_network).
    pub fn plans(&self) -> PathBuf {
        self.0.join("plans.json")
    }

    /// nnU-Net's `dataset.json` at the start of the run.
    pub fn dataset(&self) -> PathBuf {
        self.0.join("dataset.json")
    }

    /// One line per epoch.
    pub fn log(&self) -> PathBuf {
        self.0.join("log.jsonl")
    }

    /// The state to resume from.
    pub fn latest(&self) -> PathBuf {
        self.0.join("checkpoint_latest.safetensors")
    }

    /// The state after the last epoch.
    pub fn last(&self) -> PathBuf {
        self.0.join("checkpoint_final.safetensors")
    }

    /// The validation on whole cases.
    pub fn validation(&self) -> PathBuf {
        self.0.join("validation.json")
    }

    /// Folder of the validation's label files.
    pub fn labels(&self) -> PathBuf {
        self.0.join("validation")
    }

    /// Measured seconds and memory of a patch.
    pub fn speed(&self) -> PathBuf {
        self.0.join("speed.json")
    }

    /// The page.
    pub fn page(&self) -> PathBuf {
        self.0.join("report.html")
    }

    /// The exported network, if the user has put it here; the network itself, if it was imported.
    pub fn model(&self) -> PathBuf {
        self.0.join("model.onnx")
    }
}

/// Whether `path` is the folder of a run.
pub fn is_run(path: &Path) -> bool {
    RunFolder::new(path).facts().is_file()
}

/// The runs of a work folder by name; empty where it has no folder of runs.
///
/// # Errors
/// The folder cannot be read.
pub fn list(work: &Work) -> Result<Vec<RunFolder>, Error> {
    let folder = work.runs();
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder).or_cannot_read(ErrorKind::Input, &folder)? {
        paths.push(entry.or_cannot_read(ErrorKind::Input, &folder)?.path());
    }
    paths.retain(|path| is_run(path));
    paths.sort();
    Ok(paths.into_iter().map(RunFolder::new).collect())
}

impl RunFacts {
    /// Reads `run.json` of a run.
    ///
    /// # Errors
    /// It does not exist, is malformed, or was written by a later version.
    pub fn read(run: &RunFolder) -> Result<RunFacts, Error> {
        let path = run.facts();
        let not_a_run = || format!("{} is not a training run: its run.json cannot be read", run.path().display());
        let mut bytes = Vec::new();
        let file = File::open(&path).or_error_with(ErrorKind::Input, not_a_run)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).or_error_with(ErrorKind::Input, not_a_run)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Error::new(
                ErrorKind::Input,
                format!("{} has more than {MAX_BYTES} bytes; it was not written by this program", path.display()),
            ));
        }
        let facts: RunFacts = serde_json::from_slice(&bytes)
            .or_error_with(ErrorKind::Input, || format!("{} was not written by this program", path.display()))?;
        if facts.format != FORMAT {
            return Err(Error::new(
                ErrorKind::Input,
                format!("{} has format {}; this program reads {FORMAT}", path.display(), facts.format),
            ));
        }
        Ok(facts)
    }

    /// Writes `run.json`, whole or not at all.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, run: &RunFolder) -> Result<(), Error> {
        output::write_whole(&run.facts(), &serde_json::to_vec_pretty(self).or_error(ErrorKind::Internal)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_back_and_strange_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path().join("teacher"));
        assert_eq!(RunFacts::read(&run).unwrap_err().kind(), ErrorKind::Input);
        let facts = RunFacts {
            format: FORMAT,
            name: "teacher".into(),
            started_unix: 1,
            dataset: "Dataset004_Hippocampus".into(),
            plans: "nnUNetPlans".into(),
            configuration: "3d_fullres".into(),
            plans_sha256: "00".into(),
            fold: "all".into(),
            training_cases: vec!["a".into()],
            validation_cases: vec![],
            classes: vec!["anterior".into()],
            features_per_stage: vec![32, 64],
            parameters: 7,
            mirror_axes: vec![0, 1, 2],
            patch_zyx: [40, 56, 40],
            batch_size: 9,
            steps_per_epoch: 250,
            epochs: 1000,
            initial_lr: 0.01,
            seed: 0,
            device: "cpu".into(),
            notes: [("loss".to_string(), "Dice + CE".to_string())].into(),
        };
        facts.write(&run).unwrap();
        assert_eq!(RunFacts::read(&run).unwrap(), facts);
        RunFacts { format: 2, ..facts }.write(&run).unwrap();
        assert!(RunFacts::read(&run).unwrap_err().to_string().contains("has format 2; this program reads 1"));
        std::fs::write(run.facts(), b"{}").unwrap();
        assert!(RunFacts::read(&run).unwrap_err().chain().contains("missing field"));
    }
}
