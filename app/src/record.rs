//! The run record: what was run on what, with which result, as JSON.

use crate::digest;
use crate::error::{Error, ErrorKind, OrError};
use crate::machine;
use crate::model::Model;
use crate::output;
use crate::plan::PlanReport;
use crate::run::{CaseOptions, PhaseSeconds};
use scanside_core::engine::Engine;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A run of one model on one or many cases.
#[derive(Serialize)]
pub struct RunRecord {
    format: u32,
    program: &'static str,
    version: &'static str,
    /// Seconds since 1970-01-01 UTC.
    started_unix: u64,
    model: ModelRecord,
    options: OptionsRecord,
    /// The cases, in the order in which they were run.
    pub cases: Vec<CaseRecord>,
    seconds: f64,
    peak_rss_bytes: Option<usize>,
}

#[derive(Serialize)]
struct ModelRecord {
    path: PathBuf,
    name: String,
    /// The file's hash; a folder has none of its own.
    file_sha256: Option<String>,
    /// Hash over graph, weights and manifest.
    identity_sha256: String,
    engine: &'static str,
    folds: usize,
    provenance: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct OptionsRecord {
    step_size: f64,
    mirroring: bool,
    max_ram_bytes: Option<u64>,
    threads: Option<u16>,
    /// Label values of which, taken together, only the largest component stays; one list for each step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keep_largest: Vec<Vec<u16>>,
}

/// A file, by its bytes.
#[derive(Clone, Debug, Serialize)]
pub struct FileRecord {
    /// Where it lies.
    pub path: PathBuf,
    /// The hash of its bytes.
    pub sha256: String,
}

/// The result of one case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseRecord {
    /// The case's name.
    pub name: String,
    /// What came of it.
    pub status: CaseStatus,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What that means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<ErrorKind>,
    /// What is odd about its scan or its labels without being an error, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Its files.
    pub inputs: Vec<FileRecord>,
    /// Its label file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<FileRecord>,
    /// How it was run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanReport>,
    /// Seconds of each phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase_seconds: Option<PhaseSeconds>,
    /// Seconds in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The most memory that the process was seen to take in this case, after a tile or phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_rss_bytes: Option<usize>,
}

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseStatus {
    /// Its labels were written.
    Done,
    /// Its labels were there already, made from the same files with the same model.
    Resumed,
    /// There are no labels.
    Failed,
}

impl RunRecord {
    /// A run that begins now, with the model from `path`.
    ///
    /// # Errors
    /// The model's file cannot be read.
    pub fn new(model: &Model, path: &Path, options: &CaseOptions) -> Result<Self, Error> {
        let hash = |path: &Path| digest::file_sha256(path).map_err(|e| Error::cannot_read(ErrorKind::Model, path, e));
        Ok(RunRecord {
            format: 2,
            program: "scanside",
            version: env!("CARGO_PKG_VERSION"),
            started_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            model: ModelRecord {
                path: path.to_owned(),
                name: model.manifest.name.clone(),
                file_sha256: path.is_file().then(|| hash(path)).transpose()?,
                identity_sha256: model.identity().to_owned(),
                engine: model.engine.name(),
                folds: model.manifest.folds,
                provenance: model.manifest.provenance.clone(),
            },
            options: OptionsRecord {
                step_size: options.run.step,
                mirroring: options.run.mirror,
                max_ram_bytes: options.max_ram,
                threads: options.threads,
                keep_largest: options.keep_largest.iter().map(|rule| rule.labels.clone()).collect(),
            },
            cases: Vec::new(),
            seconds: 0.0,
            peak_rss_bytes: None,
        })
    }

    /// The run is over.
    pub fn finish(&mut self, elapsed: Duration) {
        self.seconds = elapsed.as_secs_f64();
        self.peak_rss_bytes = machine::resident_bytes().map(|(_, peak)| peak);
    }

    /// Writes the record as JSON, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let json = serde_json::to_vec_pretty(self).or_error(ErrorKind::Internal)?;
        output::write_whole(path, &json)
    }
}

impl CaseRecord {
    fn new(name: &str, status: CaseStatus, inputs: Vec<FileRecord>) -> Self {
        CaseRecord {
            name: name.to_owned(),
            status,
            error: None,
            error_kind: None,
            warnings: Vec::new(),
            inputs,
            output: None,
            plan: None,
            phase_seconds: None,
            seconds: None,
            peak_rss_bytes: None,
        }
    }

    /// A case without labels.
    pub fn failed(name: &str, error: &Error) -> Self {
        CaseRecord {
            error: Some(error.chain()),
            error_kind: Some(error.kind()),
            ..Self::new(name, CaseStatus::Failed, Vec::new())
        }
    }

    /// A case whose labels were there already.
    ///
    /// # Errors
    /// The label file cannot be read.
    pub fn resumed(name: &str, inputs: Vec<FileRecord>, output: &Path) -> Result<Self, Error> {
        Ok(CaseRecord { output: Some(written(output)?), ..Self::new(name, CaseStatus::Resumed, inputs) })
    }

    /// A case whose labels were written; its plan and times are added by the caller.
    ///
    /// # Errors
    /// The label file cannot be read back.
    pub fn done(name: &str, inputs: Vec<FileRecord>, output: &Path) -> Result<Self, Error> {
        Ok(CaseRecord { output: Some(written(output)?), ..Self::new(name, CaseStatus::Done, inputs) })
    }
}

/// The label file as it lies on disk.
fn written(path: &Path) -> Result<FileRecord, Error> {
    let sha256 = digest::file_sha256(path)
        .or_error_with(ErrorKind::Output, || format!("{} cannot be read back", path.display()))?;
    Ok(FileRecord { path: path.to_owned(), sha256 })
}
