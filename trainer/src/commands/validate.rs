//! `scanside-train validate`: the cases that a fold holds back, segmented by a model and measured.

use super::runs::{self, WhichWeights};
use super::say;
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
use scanside_app::model::{Model, ModelOptions};
use scanside_core::nnunet::FoldName;
use std::path::PathBuf;

/// Digits of a model's hash in folder names.
const HASH_DIGITS: usize = 12;
/// The tolerance of NSD where none is asked for.
const DEFAULT_TOLERANCE_MM: f64 = 1.0;

/// Which model, and which cases.
#[derive(Args, Debug)]
pub struct ValidateArgs {
    /// The work folder that the dataset was prepared in.
    #[arg(value_name = "WORK")]
    pub work: PathBuf,
    /// A training run (its folder, or its name in the work folder), an ONNX file, or an nnU-Net v2 model folder.
    #[arg(short, long, value_name = "MODEL")]
    pub model: PathBuf,
    /// The fold whose held-back cases are measured [default: the run's own, otherwise 0].
    #[arg(long, value_name = "FOLD")]
    pub fold: Option<FoldName>,
    /// Skip the mirrored passes that the model allows: faster, other labels.
    #[arg(long)]
    pub no_mirroring: bool,
    /// Of a run: which of the checkpoint's weights.
    #[arg(long, value_enum, default_value_t)]
    pub weights: WhichWeights,
    /// Of a run: how the network's weights are stored, as `export` would.
    #[arg(long, value_enum, default_value_t)]
    pub precision: Precision,
    /// Folder for label files and validation.json [default: in the run, or WORK/validation].
    #[arg(short, long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// Surfaces that lie no farther apart agree, in millimetres.
    #[arg(long, value_name = "MM", default_value_t = DEFAULT_TOLERANCE_MM, value_parser = tolerance)]
    pub tolerance: f64,
    /// Threads; the result does not depend on it [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// One JSON document on standard output instead of tables.
    #[arg(long)]
    pub json: bool,
    /// Say nothing on the way.
    #[arg(short, long)]
    pub quiet: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(mm) if mm >= 0.0 && mm.is_finite() => Ok(mm),
        _ => Err("give a distance in millimetres, 0 or more".into()),
    }
}

/// Validates. Label files made before from the same images by the same model are taken over.
///
/// # Errors
/// The fold holds no case back, the model cannot be run or is for other data, or results cannot be written.
pub fn run(args: &ValidateArgs) -> Result<Exit, Error> {
    let (validation, places) = judged(args)?;
    if args.json {
        say(&validation.to_json()?);
    } else {
        say(&validation.table());
    }
    for failed in &validation.agreement.failed {
        eprintln!("{}: {}", failed.case, failed.error);
    }
    if !args.quiet {
        eprintln!("labels in {}, measurements in {}", places.labels.display(), places.document.display());
    }
    Ok(if validation.agreement.failed.is_empty() { Exit::Done } else { Exit::SomeFailed })
}

/// Validates a run by nothing but defaults.
///
/// # Errors
/// As [`run`].
pub(super) fn of_run(work: &Work, run: &RunFolder, threads: Option<u16>) -> Result<Validation, Error> {
    let args = ValidateArgs {
        work: work.root().to_owned(),
        model: run.path().to_owned(),
        fold: None,
        no_mirroring: false,
        weights: WhichWeights::default(),
        precision: Precision::default(),
        output: None,
        tolerance: DEFAULT_TOLERANCE_MM,
        threads,
        json: false,
        quiet: true,
    };
    Ok(judged(&args)?.0)
}

fn judged(args: &ValidateArgs) -> Result<(Validation, Places), Error> {
    let work = Work::new(&args.work);
    let dataset = read_text(&work.dataset())?;
    let own = runs::find(&work, &args.model);
    let (model, own_fold) = open(args, own.as_ref())?;
    let fold = args.fold.or(own_fold).unwrap_or(FoldName::Number(0));
    let cases = held_back(&work, fold)?;
    if cases.is_empty() {
        return Err(Error::new(
            ErrorKind::Input,
            format!("fold {fold} of {} holds no case back to measure", work.splits().display()),
        ));
    }
    // What is measured here is the run's own result, to be seen on its page.
    let own = own.filter(|_| own_fold == Some(fold) && args.output.is_none());
    let places = places(args, &work, &model, fold, own.as_ref());
    let options = Options {
        mirror: !args.no_mirroring,
        tolerance_mm: args.tolerance,
        threads: args.threads,
        labels: Some(&places.labels),
        quiet: args.quiet,
        ..Options::new(&dataset)
    };
    let validation = validate::cases(&model, &cases, &options)?;
    validation.write(&places.document)?;
    if let Some(run) = &own {
        page::write(run, &cases)?;
    }
    Ok((validation, places))
}

/// The model, and the fold it was trained on where that is known.
fn open(args: &ValidateArgs, run: Option<&RunFolder>) -> Result<(Model, Option<FoldName>), Error> {
    let Some(run) = run else {
        if !args.model.exists() {
            return Err(Error::new(
                ErrorKind::Model,
                format!(
                    "{} is neither a file, nor a folder, nor a run of {}",
                    args.model.display(),
                    args.work.display()
                ),
            ));
        }
        return Ok((Model::open(&args.model, &ModelOptions::default())?, None));
    };
    if let Some(model) = runs::taken_over(run) {
        let fold = RunFacts::read(run)?.fold;
        return Ok((Model::open(&model, &ModelOptions::default())?, fold.parse().ok()));
    }
    let trained = runs::read(run, args.weights)?;
    let (manifest, graph) = onnx::model(&trained.network, &trained.facts, args.precision)?;
    let fold = trained.facts.fold;
    drop(trained);
    Ok((Model::of_graph(run.path(), manifest, graph)?, Some(fold)))
}

/// The cases that a fold does not train on.
pub fn held_back(work: &Work, fold: FoldName) -> Result<Vec<ValidationCase>, Error> {
    let raw = RawDataset::open(&Source::read(work)?.folder)?;
    let ids: Vec<String> = raw.cases.iter().map(|case| case.id.clone()).collect();
    let split = splits::fold(&splits::read(&work.splits(), &ids)?, &ids, fold)?;
    let case = |id: &String| {
        let case = raw.case(id)?;
        Some(ValidationCase { id: id.clone(), images: case.images.clone(), label: case.label.clone() })
    };
    Ok(split.val.iter().filter_map(case).collect())
}

/// Where label files and the document go.
struct Places {
    labels: PathBuf,
    document: PathBuf,
}

fn places(args: &ValidateArgs, work: &Work, model: &Model, fold: FoldName, own: Option<&RunFolder>) -> Places {
    if let Some(run) = own {
        return Places { labels: run.labels(), document: run.validation() };
    }
    let folder = args.output.clone().unwrap_or_else(|| {
        let name = args.model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let hash = &model.identity()[..HASH_DIGITS];
        work.root().join("validation").join(format!("{name}-{hash}")).join(format!("fold_{fold}"))
    });
    Places { document: folder.join("validation.json"), labels: folder }
}
