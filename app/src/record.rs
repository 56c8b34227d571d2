//! The run record: what was run on what, with which result, as JSON. Each case goes to the file when it is over, so that
//! memory does not grow with their number.

use crate::cases::LeftOut;
use crate::digest;
use crate::error::{Error, ErrorKind, OrError, OrPathError};
use crate::machine;
use crate::model::Model;
use crate::output::PendingFile;
use crate::plan::PlanReport;
use crate::run::{CaseOptions, PhaseSeconds};
use scanside_core::engine::Engine;
use scanside_formats::stem;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A run of one model, as known at its start: what the record begins with.
#[derive(Serialize)]
pub struct RunRecord {
    format: u32,
    program: &'static str,
    version: &'static str,
    /// Seconds since 1970-01-01 UTC.
    started_unix: u64,
    model: ModelRecord,
    options: OptionsRecord,
}

/// How many cases there were, and what came of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Cases in all. Those that are none of the following were not begun, because the run was stopped.
    pub cases: usize,
    /// Labels were written.
    pub done: usize,
    /// Labels were there already, made from the same files with the same model.
    pub done_before: usize,
    /// There are no labels.
    pub failed: usize,
    /// Files and folders of the input that are no cases, by reason.
    pub left_out: Vec<LeftOut>,
}

impl Summary {
    /// Cases that were not begun.
    pub fn not_begun(&self) -> usize {
        self.cases - self.done - self.done_before - self.failed
    }
}

/// A path as text. A name that is no text is written with replacement characters rather than not at all.
fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

#[derive(Serialize)]
struct ModelRecord {
    #[serde(serialize_with = "as_text")]
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
    /// Where it is.
    #[serde(serialize_with = "as_text")]
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
        })
    }
}

/// What the record ends with.
#[derive(Serialize)]
struct End<'a> {
    summary: &'a Summary,
    seconds: f64,
    peak_rss_bytes: Option<usize>,
}

/// A record being written.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    file: PendingFile,
    cases: usize,
}

impl RecordFile {
    /// Begins the record of a run.
    ///
    /// # Errors
    /// The file is named like an image, or cannot be written.
    pub fn create(path: &Path, run: &RunRecord) -> Result<RecordFile, Error> {
        if stem(path).is_some() {
            let sentence = format!("{} names an image, and the record is a JSON document", path.display());
            return Err(Error::new(ErrorKind::Usage, sentence).about(path));
        }
        let mut record = RecordFile { path: path.to_owned(), file: PendingFile::create(path)?, cases: 0 };
        let text = pretty(run)?;
        record.write(&format!("{},\n  \"cases\": [", text.strip_suffix("\n}").unwrap_or(&text)))?;
        Ok(record)
    }

    /// Adds a case.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, case: &CaseRecord) -> Result<(), Error> {
        let comma = if self.cases == 0 { "" } else { "," };
        self.cases += 1;
        // Line breaks inside of texts are escaped.
        self.write(&format!("{comma}\n    {}", pretty(case)?.replace('\n', "\n    ")))
    }

    /// Ends the record, which then appears.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self, summary: &Summary, elapsed: Duration) -> Result<(), Error> {
        let peak_rss_bytes = machine::resident_bytes().map(|(_, peak)| peak);
        let end = End { summary, seconds: elapsed.as_secs_f64(), peak_rss_bytes };
        let text = pretty(&end)?;
        let close = if self.cases == 0 { "]" } else { "\n  ]" };
        self.write(&format!("{close},{}\n", text.strip_prefix('{').unwrap_or(&text)))?;
        self.file.publish()
    }

    fn write(&mut self, text: &str) -> Result<(), Error> {
        self.file.write_all(text.as_bytes()).or_cannot_write(&self.path)
    }
}

fn pretty(part: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string_pretty(part).or_error(ErrorKind::Internal)
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn run() -> RunRecord {
        let model = ModelRecord {
            path: "m.onnx".into(),
            name: "{}".into(),
            file_sha256: None,
            identity_sha256: "00".into(),
            engine: "native",
            folds: 1,
            provenance: BTreeMap::new(),
        };
        let options = OptionsRecord {
            step_size: 0.5,
            mirroring: true,
            max_ram_bytes: None,
            threads: None,
            keep_largest: Vec::new(),
        };
        RunRecord { format: 2, program: "scanside", version: "0", started_unix: 0, model, options }
    }

    fn written(cases: &[CaseRecord], summary: &Summary) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        let mut record = RecordFile::create(&path, &run()).unwrap();
        cases.iter().for_each(|case| record.add(case).unwrap());
        assert!(!path.exists());
        record.finish(summary, Duration::from_millis(1500)).unwrap();
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn a_record_that_is_written_in_parts_is_one_document() {
        let none = written(&[], &Summary::default());
        assert_eq!((&none["cases"], &none["seconds"], &none["model"]["name"]), (&json!([]), &json!(1.5), &json!("{}")));
        let cases = ["a", "b \"\n}"].map(|name| CaseRecord::failed(name, &Error::new(ErrorKind::Input, "broken")));
        let summary = Summary { cases: 2, failed: 2, ..Summary::default() };
        let two = written(&cases, &summary);
        assert_eq!((&two["cases"][1]["name"], &two["summary"]["failed"]), (&json!("b \"\n}"), &json!(2)));
    }

    #[test]
    #[cfg(unix)]
    fn a_path_that_is_no_text_is_recorded() {
        use std::os::unix::ffi::OsStrExt;
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(b"M\xfcller.nii"));
        let inputs = vec![FileRecord { path, sha256: "00".into() }];
        let case = CaseRecord { inputs, ..CaseRecord::failed("m", &Error::new(ErrorKind::Input, "broken")) };
        assert_eq!(written(&[case], &Summary::default())["cases"][0]["inputs"][0]["path"], "M\u{fffd}ller.nii");
    }

    #[test]
    fn a_record_never_takes_an_images_name() {
        let error = RecordFile::create(Path::new("labels.nii.gz"), &run()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
    }
}
