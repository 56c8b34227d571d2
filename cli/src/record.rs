//! The run record: what was run on what, with which result, as JSON.

use crate::args::RunArgs;
use crate::digest;
use crate::exit::{Exit, Failure, OrExit};
use crate::model::Model;
use crate::output;
use crate::plan::PlanReport;
use crate::process;
use crate::progress::PhaseSeconds;
use scanside_core::engine::Engine;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Serialize)]
pub(crate) struct RunRecord {
    format: u32,
    program: &'static str,
    version: &'static str,
    /// Seconds since 1970-01-01 UTC.
    started_unix: u64,
    model: ModelRecord,
    options: OptionsRecord,
    pub(crate) cases: Vec<CaseRecord>,
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
    provenance: std::collections::BTreeMap<String, String>,
}

#[derive(Serialize)]
struct OptionsRecord {
    step_size: f64,
    mirroring: bool,
    max_ram_bytes: Option<u64>,
    threads: Option<u16>,
}

#[derive(Serialize)]
pub(crate) struct FileRecord {
    pub(crate) path: PathBuf,
    pub(crate) sha256: String,
}

#[derive(Serialize)]
pub(crate) struct CaseRecord {
    name: String,
    /// `done`, `resumed` (was there already) or `failed`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    inputs: Vec<FileRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<FileRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<PlanReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase_seconds: Option<PhaseSeconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    /// The most the process took up to the end of this case.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_rss_bytes: Option<usize>,
}

impl RunRecord {
    pub(crate) fn new(model: &Model, args: &RunArgs) -> Result<Self, Failure> {
        let file_sha256 = if args.model.is_file() {
            Some(
                digest::file_sha256(&args.model)
                    .or_exit_with(Exit::BadModel, || format!("{} cannot be read", args.model.display()))?,
            )
        } else {
            None
        };
        let started_unix =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Ok(RunRecord {
            format: 1,
            program: "scanside",
            version: env!("CARGO_PKG_VERSION"),
            started_unix,
            model: ModelRecord {
                path: args.model.clone(),
                name: model.manifest.name.clone(),
                file_sha256,
                identity_sha256: model.identity().to_owned(),
                engine: model.engine.name(),
                folds: model.manifest.folds,
                provenance: model.manifest.provenance.clone(),
            },
            options: OptionsRecord {
                step_size: args.step_size,
                mirroring: !args.disable_tta,
                max_ram_bytes: args.max_ram,
                threads: args.threads,
            },
            cases: Vec::new(),
            seconds: 0.0,
            peak_rss_bytes: None,
        })
    }

    pub(crate) fn finish(&mut self, elapsed: Duration) {
        self.seconds = elapsed.as_secs_f64();
        self.peak_rss_bytes = process::resident_bytes().map(|(_, peak)| peak);
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let json = serde_json::to_vec_pretty(self).or_exit(Exit::CouldNotWrite)?;
        output::write_whole(path, &json)
    }
}

impl CaseRecord {
    fn empty(name: &str, status: &'static str, inputs: Vec<FileRecord>) -> Self {
        CaseRecord {
            name: name.to_owned(),
            status,
            error: None,
            exit_code: None,
            inputs,
            output: None,
            plan: None,
            phase_seconds: None,
            seconds: None,
            peak_rss_bytes: None,
        }
    }

    pub(crate) fn failed(name: &str, failure: &Failure) -> Self {
        CaseRecord {
            error: Some(failure.to_string()),
            exit_code: Some(failure.exit as i32),
            ..Self::empty(name, "failed", Vec::new())
        }
    }

    pub(crate) fn resumed(name: &str, inputs: Vec<FileRecord>, output: &Path) -> Result<Self, Failure> {
        Ok(CaseRecord { output: Some(written(output)?), ..Self::empty(name, "resumed", inputs) })
    }

    pub(crate) fn done(
        name: &str,
        inputs: Vec<FileRecord>,
        output: &Path,
        plan: PlanReport,
        phases: PhaseSeconds,
        seconds: f64,
        peak_rss_bytes: Option<usize>,
    ) -> Result<Self, Failure> {
        Ok(CaseRecord {
            output: Some(written(output)?),
            plan: Some(plan),
            phase_seconds: Some(phases),
            seconds: Some(seconds),
            peak_rss_bytes,
            ..Self::empty(name, "done", inputs)
        })
    }
}

/// The label file as it lies on disk.
fn written(path: &Path) -> Result<FileRecord, Failure> {
    let sha256 = digest::file_sha256(path)
        .or_exit_with(Exit::CouldNotWrite, || format!("{} cannot be read back", path.display()))?;
    Ok(FileRecord { path: path.to_owned(), sha256 })
}
