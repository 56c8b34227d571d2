//! `scanside-train validate`: segments the validation cases of a fold with a model and compares them with their labels.

use super::runs::{self, WhichWeights};
use super::{note, print};
use crate::dataset::raw::RawDataset;
use crate::dataset::source::Source;
use crate::dataset::splits;
use crate::exit::Exit;
use crate::export::onnx::{self, Precision};
use crate::report::page;
use crate::report::run::{RunFacts, RunFolder};
use crate::validate::{self, Options, Validation, ValidationCase};
use crate::work::{Work, read_text};
use clap::Args;
use scanside_app::error::{Error, ErrorKind};
use scanside_app::interrupt::Stop;
use scanside_app::model::{Model, ModelOptions};
use scanside_core::nnunet::FoldName;
use std::path::{Path, PathBuf};

/// Digits of a model's hash in folder names.
const HASH_DIGITS: usize = 12;
/// Default tolerance of NSD.
const DEFAULT_TOLERANCE_MM: f64 = 1.0;

/// Options of `validate`.
#[derive(Args, Debug)]
pub struct ValidateArgs {
    /// Work folder created by `scanside-train plan`.
    #[arg(value_name = "WORK")]
    pub work: PathBuf,
    /// A training run (its folder, or its name in the work folder), an ONNX file, or an nnU-Net v2 model folder.
    #[arg(short, long, value_name = "MODEL")]
    pub model: PathBuf,
    /// Fold whose validation cases are measured [default: the run's own, otherwise 0].
    #[arg(long, value_name = "FOLD")]
    pub fold: Option<FoldName>,
    /// Disable test-time mirroring: up to 8 times faster; labels differ slightly.
    #[arg(long)]
    pub no_mirroring: bool,
    /// Which of the checkpoint's weights to use, for a run.
    #[arg(long, value_enum, default_value_t)]
    pub weights: WhichWeights,
    /// Number format of the weights, for a run, as in `export`.
    #[arg(long, value_enum, default_value_t)]
    pub precision: Precision,
    /// Folder for label files and validation.json [default: in the run, or WORK/validation].
    #[arg(short, long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// Tolerance of the surface distance for NSD, in millimetres.
    #[arg(long, value_name = "MM", default_value_t = DEFAULT_TOLERANCE_MM, value_parser = tolerance)]
    pub tolerance: f64,
    /// Threads; the result does not depend on them [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print one JSON document instead of tables.
    #[arg(long)]
    pub json: bool,
    /// Do not print where the files are.
    #[arg(short, long)]
    pub quiet: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(mm) if mm >= 0.0 && mm.is_finite() => Ok(mm),
        _ => Err("expected a distance in millimetres, 0 or more".into()),
    }
}

/// What to validate.
struct Request<'a> {
    work: &'a Work,
    model: &'a Path,
    fold: Option<FoldName>,
    mirror: bool,
    weights: WhichWeights,
    precision: Precision,
    output: Option<&'a Path>,
    tolerance_mm: f64,
    threads: Option<u16>,
}

/// Validates. Existing label files that the same model computed from the same images are used again.
///
/// # Errors
/// The fold has no validation case, the model cannot be run or is for other data, or results cannot be written.
pub fn run(args: &ValidateArgs, stop: &Stop) -> Result<Exit, Error> {
    let request = Request {
        work: &Work::new(&args.work),
        model: &args.model,
        fold: args.fold,
        mirror: !args.no_mirroring,
        weights: args.weights,
        precision: args.precision,
        output: args.output.as_deref(),
        tolerance_mm: args.tolerance,
        threads: args.threads,
    };
    let (validation, outputs) = validated(&request, stop)?;
    print(&if args.json { validation.to_json()? } else { validation.table() })?;
    for failed in &validation.agreement.failed {
        note!("{}: {}", failed.case, failed.error);
    }
    if !args.quiet {
        note!("labels in {}, measurements in {}", outputs.labels.display(), outputs.document.display());
    }
    Ok(if validation.agreement.failed.is_empty() { Exit::Done } else { Exit::SomeFailed })
}

/// Validates a run with the defaults.
///
/// # Errors
/// As [`run`].
pub(super) fn of_run(work: &Work, run: &RunFolder, threads: Option<u16>, stop: &Stop) -> Result<Validation, Error> {
    let request = Request {
        work,
        model: run.path(),
        fold: None,
        mirror: true,
        weights: WhichWeights::default(),
        precision: Precision::default(),
        output: None,
        tolerance_mm: DEFAULT_TOLERANCE_MM,
        threads,
    };
    Ok(validated(&request, stop)?.0)
}

fn validated(request: &Request<'_>, stop: &Stop) -> Result<(Validation, Outputs), Error> {
    let work = request.work;
    let dataset = read_text(&work.dataset())?;
    let own = runs::find(work, request.model);
    let (model, own_fold) = open(request, own.as_ref())?;
    let fold = request.fold.or(own_fold).unwrap_or(FoldName::Number(0));
    let cases = validation_cases(work, fold)?;
    if cases.is_empty() {
        let sentence = format!("fold {fold} of {} has no validation case", work.splits().display());
        return Err(Error::new(ErrorKind::Input, sentence).about(&work.splits()));
    }
    // The result belongs to the run itself, and is shown on its page.
    let own = own.filter(|_| own_fold == Some(fold) && request.output.is_none());
    let outputs = outputs(request, &model, fold, own.as_ref());
    let options = Options {
        mirror: request.mirror,
        tolerance_mm: request.tolerance_mm,
        threads: request.threads,
        labels: Some(&outputs.labels),
        ..Options::new(&dataset, stop)
    };
    let validation = validate::cases(&model, &cases, &options)?;
    validation.write(&outputs.document)?;
    if let Some(run) = &own {
        page::write(run, &cases)?;
    }
    Ok((validation, outputs))
}

/// The model, and the fold it was trained on, if that is known.
fn open(request: &Request<'_>, run: Option<&RunFolder>) -> Result<(Model, Option<FoldName>), Error> {
    let Some(run) = run else {
        let given = request.model;
        if !given.exists() {
            let folder = request.work.root().display();
            let sentence = format!("{} is neither a file, nor a folder, nor a run of {folder}", given.display());
            return Err(Error::new(ErrorKind::Model, sentence).about(given));
        }
        return Ok((Model::open(given, &ModelOptions::default())?, None));
    };
    if let Some(model) = runs::imported_model(run) {
        let fold = RunFacts::read(run)?.fold;
        return Ok((Model::open(&model, &ModelOptions::default())?, fold.parse().ok()));
    }
    let trained = runs::read(run, request.weights)?;
    let (manifest, graph) = onnx::model(&trained.network, &trained.facts, request.precision)?;
    let fold = trained.facts.fold;
    drop(trained);
    Ok((Model::of_graph(run.path(), manifest, graph)?, Some(fold)))
}

/// The validation cases of a fold, with their raw files.
pub(super) fn validation_cases(work: &Work, fold: FoldName) -> Result<Vec<ValidationCase>, Error> {
    let raw = RawDataset::open(&Source::read(work)?.folder)?;
    let ids: Vec<String> = raw.cases.iter().map(|case| case.id.clone()).collect();
    let split = splits::fold(&splits::read(&work.splits(), &ids)?, &ids, fold)?;
    let case = |id: &String| {
        let case = raw.case(id)?;
        Some(ValidationCase { id: id.clone(), images: case.images.clone(), label: case.label.clone() })
    };
    Ok(split.val.iter().filter_map(case).collect())
}

/// The paths of label files and document.
struct Outputs {
    labels: PathBuf,
    document: PathBuf,
}

fn outputs(request: &Request<'_>, model: &Model, fold: FoldName, own: Option<&RunFolder>) -> Outputs {
    if let Some(run) = own {
        return Outputs { labels: run.labels(), document: run.validation() };
    }
    let folder = request.output.map(Path::to_owned).unwrap_or_else(|| {
        let name = request.model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let hash = &model.identity()[..HASH_DIGITS];
        request.work.root().join("validation").join(format!("{name}-{hash}")).join(format!("fold_{fold}"))
    });
    Outputs { document: folder.join("validation.json"), labels: folder }
}
