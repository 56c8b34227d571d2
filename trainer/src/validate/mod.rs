//! Whole cases, segmented by the inference core from their raw images and compared with their labels.
//!
//! Engine, pipeline and label files are those that a user of the model gets. Existing label files that the same model
//! computed from the same images are used again.

use scanside_app::cases::Case;
use scanside_app::error::{Error, ErrorKind, OrError, OrPathError};
use scanside_app::evaluate::{self, ClassList, Comparison, Pair, Pairs, Report, Settings};
use scanside_app::interrupt::Stop;
use scanside_app::machine::Threads;
use scanside_app::model::Model;
use scanside_app::run::{self, CaseOptions, Destination};
use scanside_app::{digest, output, own_labels};
use scanside_core::nnunet::labels::Dataset;
use scanside_core::pipeline::RunOptions;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Version of the JSON document.
const FORMAT: u32 = 1;
/// Most bytes of a document read back: ten thousand cases of a hundred classes.
const MAX_BYTES: u64 = 1 << 30;

/// A case: raw images, one per channel, and the label file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationCase {
    /// Its name.
    pub id: String,
    /// One file per channel, in order.
    pub images: Vec<PathBuf>,
    /// The reference labels.
    pub label: PathBuf,
}

/// How to segment and measure.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The text of `dataset.json`: class names, regions, the label to ignore.
    pub dataset: &'a str,
    /// Average the mirrored passes that the model allows.
    pub mirror: bool,
    /// Largest distance between tiles, as a fraction of the patch.
    pub step: f64,
    /// Tolerance of the surface distance for NSD, in millimetres.
    pub tolerance_mm: f64,
    /// Threads of the network; `None` for all cores.
    pub threads: Option<u16>,
    /// Folder for label files, one `ID.nii.gz` per case, which are used again next time. `None`: they are deleted.
    pub labels: Option<&'a Path>,
    /// A request to stop, checked before every case and every tile.
    pub stop: &'a Stop,
}

impl<'a> Options<'a> {
    /// nnU-Net's defaults.
    pub fn new(dataset: &'a str, stop: &'a Stop) -> Options<'a> {
        Options { dataset, mirror: true, step: 0.5, tolerance_mm: 1.0, threads: None, labels: None, stop }
    }
}

/// What was measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Validation {
    format: u32,
    /// Name in the model's manifest.
    pub model: String,
    /// Hash over its graph, weights and description.
    pub model_sha256: String,
    /// Hash over its graph and weights.
    pub graph_sha256: String,
    /// Mirrored passes were averaged.
    pub mirroring: bool,
    /// Largest distance between tiles, as a fraction of the patch.
    pub step_size: f64,
    /// Seconds of segmentation, without cases whose labels existed.
    pub seconds: f64,
    /// Cases whose labels existed.
    #[serde(rename = "taken_over")]
    pub reused: usize,
    /// Agreement by case and class, with means and intervals.
    pub agreement: Report,
}

impl Validation {
    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// The file cannot be read, or was not written by this program.
    pub fn read(path: &Path) -> Result<Validation, Error> {
        let mut bytes = Vec::new();
        let file = File::open(path).or_cannot_read(ErrorKind::Input, path)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).or_cannot_read(ErrorKind::Input, path)?;
        if bytes.len() as u64 > MAX_BYTES {
            let sentence = format!("{} has more than {MAX_BYTES} bytes", path.display());
            return Err(Error::new(ErrorKind::Input, sentence).about(path));
        }
        let document: Validation =
            serde_json::from_slice(&bytes).map_err(|e| Error::cannot_read(ErrorKind::Input, path, e))?;
        if document.format != FORMAT {
            return Err(Error::new(
                ErrorKind::Input,
                format!("{} has format {}; this program reads {FORMAT}", path.display(), document.format),
            ));
        }
        Ok(document)
    }

    /// The document as JSON.
    ///
    /// # Errors
    /// The document cannot be expressed as JSON.
    pub fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string_pretty(self).or_error(ErrorKind::Internal)
    }

    /// Writes the JSON document, whole or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        output::write_whole(path, self.to_json()?.as_bytes())
    }

    /// Tables of cases and of means, as text.
    pub fn table(&self) -> String {
        evaluate::render(&self.agreement)
    }

    /// Mean Dice over classes and cases.
    pub fn mean_dice(&self) -> Option<f64> {
        self.agreement.mean_over_classes.dice.map(|mean| mean.mean)
    }
}

/// Segments and measures cases one after the other.
///
/// # Errors
/// There is no case; the model is for other channels or labels than the dataset; label files cannot be written; the
/// caller asked to stop. A case with faulty files is not an error: the result names it.
pub fn cases(model: &Model, cases: &[ValidationCase], options: &Options<'_>) -> Result<Validation, Error> {
    if cases.is_empty() {
        return Err(Error::new(ErrorKind::Input, "there is no case to validate on"));
    }
    check_model(model, options.dataset)?;
    let classes = ClassList::from_dataset(options.dataset).or_error(ErrorKind::Input)?;
    let scratch;
    let folder = match options.labels {
        Some(folder) => folder,
        None => {
            scratch = tempfile::tempdir()
                .or_error_with(ErrorKind::Output, || "no temporary folder could be made for label files")?;
            scratch.path()
        }
    };
    let pair = |case: &ValidationCase| {
        Pair::new(case.id.clone(), folder.join(format!("{}.nii.gz", case.id)), case.label.clone())
    };
    let pairs = Pairs { matched: cases.iter().map(pair).collect(), ..Pairs::default() };
    // Where a dataset's labels lie was checked when it was examined.
    let how = Comparison { tolerance_mm: options.tolerance_mm, ignore_geometry: true };
    let mut compared = Vec::new();
    let (mut seconds, mut reused) = (0.0, 0);
    let mut threads = Threads::new(1)?;
    for (case, pair) in cases.iter().zip(&pairs.matched) {
        let started = Instant::now();
        match segment(model, case, &pair.prediction, &mut threads, options) {
            Ok(true) => seconds += started.elapsed().as_secs_f64(),
            Ok(false) => reused += 1,
            Err(error) if error.kind() == ErrorKind::Input => {
                compared.push((pair, Err(error)));
                continue;
            }
            Err(error) => return Err(error),
        }
        let agreement = if pair.label.is_file() {
            pair.compare(&classes, how)
        } else {
            Err(Error::missing(ErrorKind::Input, &pair.label))
        };
        compared.push((pair, agreement));
    }
    let settings = Settings::from(how);
    Ok(Validation {
        format: FORMAT,
        model: model.manifest().name.clone(),
        model_sha256: model.identity().to_owned(),
        graph_sha256: model.graph_sha256().to_owned(),
        mirroring: options.mirror,
        step_size: options.step,
        seconds,
        reused,
        agreement: Report::new(settings, &classes, &pairs, compared),
    })
}

/// Checks that the model is for the channels and labels of the dataset.
fn check_model(model: &Model, dataset: &str) -> Result<(), Error> {
    let manifest = model.manifest();
    let dataset = Dataset::parse(dataset, Path::new("dataset.json")).or_error(ErrorKind::Input)?;
    let (theirs, ours) = (manifest.channels.len(), dataset.channels.len());
    if theirs != ours {
        return Err(Error::new(
            ErrorKind::Model,
            format!("the model takes {theirs} channel(s), the dataset has {ours} ({})", dataset.channels.join(", ")),
        ));
    }
    let names = |labels: &scanside_core::manifest::Labels| -> Vec<String> {
        labels.heads().iter().map(|head| format!("{} {}", head.value, head.name)).collect()
    };
    let (theirs, ours) = (names(&manifest.labels), names(&dataset.labels));
    if theirs != ours {
        return Err(Error::new(
            ErrorKind::Model,
            format!("the model's labels are {}; the dataset's are {}", short(&theirs), short(&ours)),
        ));
    }
    Ok(())
}

/// A list for a sentence.
fn short(items: &[String]) -> String {
    const MAX_NAMED: usize = 8;
    let mut text = items.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if items.len() > MAX_NAMED {
        text += &format!(" and {} more", items.len() - MAX_NAMED);
    }
    text
}

/// Writes the labels of a case; `false` where they existed.
fn segment(
    model: &Model,
    case: &ValidationCase,
    target: &Path,
    threads: &mut Threads,
    options: &Options<'_>,
) -> Result<bool, Error> {
    options.stop.check()?;
    let how = CaseOptions {
        run: RunOptions { step: options.step, mirror: options.mirror },
        max_ram: None,
        threads: options.threads,
        // A training image is a scan, even if it looks like a label map.
        allow_label_input: true,
        ..CaseOptions::default()
    };
    let hashes = case
        .images
        .iter()
        .map(|path| digest::file_sha256(path).or_cannot_read(ErrorKind::Input, path))
        .collect::<Result<Vec<String>, Error>>()?;
    let key = run::result_key(model, &hashes, &how);
    if own_labels::is_result_of(target, &key) {
        return Ok(false);
    }
    let raw = Case::new(&case.id, case.images.clone());
    let planned = run::plan(model, &raw, &how)?;
    let to = Destination { path: target, key: &key };
    run::run(planned, to, threads, &mut (), options.stop)?;
    Ok(true)
}
