//! `scanside-train plan`: a raw dataset becomes a work folder.

use crate::dataset::cache::CachedCase;
use crate::dataset::raw::RawDataset;
use crate::dataset::ready::{Ready, ReadyOptions, Step, make_ready};
use crate::exit::Exit;
use crate::plan::{Cost, Planner};
use crate::targets::Heads;
use crate::work::Work;
use clap::Args;
use scanside_app::error::{Error, ErrorKind};
use scanside_core::manifest::Normalization;
use scanside_core::nnunet::architecture::Encoder;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Examine a raw nnU-Net dataset, plan its training, and preprocess its cases.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Raw dataset: a folder with dataset.json, imagesTr and labelsTr.
    #[arg(value_name = "DATASET_FOLDER")]
    pub dataset: PathBuf,
    /// Work folder: plan, preprocessed cases and training runs [default: a folder here, named after the dataset].
    #[arg(short = 'o', long, value_name = "WORK")]
    pub work: Option<PathBuf>,
    /// Which of nnU-Net's planners.
    #[arg(long, value_enum, default_value_t = Planner::Default)]
    pub planner: Planner,
    /// Cases at a time [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Replace cases that another plan has preprocessed, folds, and a plan that was edited before the dataset or the
    /// planner changed.
    #[arg(long)]
    pub overwrite: bool,
}

/// Runs the command.
///
/// # Errors
/// The dataset has faults, or the work folder cannot be written or holds something of another plan.
pub fn run(args: &PlanArgs) -> Result<Exit, Error> {
    let raw = RawDataset::open(&args.dataset)?;
    let folder = match &args.work {
        Some(folder) => folder.clone(),
        None if raw.name.is_empty() => {
            return Err(Error::new(ErrorKind::Usage, "the dataset's folder has no name; say where to work with -o"));
        }
        None => PathBuf::from(&raw.name),
    };
    if std::path::absolute(&folder).is_ok_and(|path| path == raw.folder) {
        let what = format!(
            "{} is the raw dataset itself, which is never written to; say where to work with -o",
            folder.display()
        );
        return Err(Error::new(ErrorKind::Usage, what));
    }
    let work = Work::new(folder);
    let threads = args.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let options = ReadyOptions { planner: args.planner, threads, overwrite: args.overwrite };
    let (examined, prepared) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let total = raw.cases.len();
    let ready = make_ready(&raw, &work, options, &|id, step| {
        let (word, count) = match step {
            Step::Examined => ("examined", &examined),
            Step::Prepared => ("prepared", &prepared),
            // Nothing happened, and there may be thousands.
            Step::Reused => {
                prepared.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        eprintln!("{word} {number}/{total}: {id}");
    })?;
    for warning in &ready.warnings {
        eprintln!("scanside-train: warning: {warning}");
    }
    // A reader that went away (`| head`) is no reason to stop.
    let _ = std::io::stdout().write_all(in_words(&raw, &work, &ready).as_bytes());
    Ok(Exit::Done)
}

/// The plan, for people.
fn in_words(raw: &RawDataset, work: &Work, ready: &Ready) -> String {
    let Ready { plan, outcome, .. } = ready;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<14} {value}");
    };
    line("dataset", format!("{}, {} cases", plan.dataset_name, raw.cases.len()));
    let channels = plan.channels.iter().map(|channel| {
        let how = match channel.normalization {
            Normalization::ZScore { masked: true } => "z-score within the nonzero mask",
            Normalization::ZScore { masked: false } => "z-score",
            Normalization::Ct { .. } => "clipped and scaled as a CT",
            Normalization::None => "as it is",
            Normalization::RescaleTo01 => "rescaled to 0..1",
            Normalization::RgbTo01 => "divided by 255",
            Normalization::PercentileTo01 { .. } => "percentiles rescaled to 0..1",
        };
        format!("{} ({how})", channel.name)
    });
    line("channels", channels.collect::<Vec<_>>().join(", "));
    let kind = if matches!(plan.targets.heads, Heads::Regions(_)) { "regions" } else { "labels" };
    line(kind, labels(raw, work, ready));
    line("plans", format!("{}, configuration {}", plan.plans_name, plan.configuration));
    line(
        "spacing",
        format!(
            "{} mm",
            by(plan.spacing_mm.map(|mm| format!("{mm:.4}").trim_end_matches('0').trim_end_matches('.').to_string()))
        ),
    );
    if plan.transpose_forward != [0, 1, 2] {
        line("axes", format!("file axes {:?} come in this order", plan.transpose_forward));
    }
    line("median case", format!("{} voxels after the crop", by(median_shape(ready))));
    line("patch", format!("{} voxels, {} a batch", by(plan.patch_zyx), plan.batch_size));
    let unet = &plan.unet;
    let encoder = match &unet.encoder {
        Encoder::Plain { convs } => format!("plain encoder, convolutions {convs:?}"),
        Encoder::Residual { blocks, .. } => format!("residual encoder, blocks {blocks:?}"),
    };
    line("network", format!("{} stages, {encoder}", unet.stages.len()));
    line("features", format!("{:?}", unet.stages.iter().map(|stage| stage.features).collect::<Vec<_>>()));
    line("strides", unet.stages.iter().map(|stage| by(stage.stride.iter())).collect::<Vec<_>>().join(", "));
    let cost = Cost::of(unet, &plan.patch_zyx);
    line(
        "cost",
        format!("{:.2} M parameters, {:.2} GMAC a patch", cost.parameters as f64 / 1e6, cost.macs as f64 / 1e9),
    );
    let mut sizes: Vec<String> = ready.splits.iter().map(|s| format!("{} + {}", s.train.len(), s.val.len())).collect();
    sizes.dedup();
    line("folds", format!("{}, cases to train and to measure on: {}", ready.splits.len(), sizes.join(", ")));
    let bytes: u64 =
        raw.cases.iter().filter_map(|case| std::fs::metadata(work.case(&case.id)).ok()).map(|about| about.len()).sum();
    let removed = if outcome.removed > 0 { format!(", {} removed", outcome.removed) } else { String::new() };
    line(
        "cache",
        format!(
            "{:.2} GB, {} cases prepared, {} there already{removed}",
            bytes as f64 / 1e9,
            outcome.prepared,
            outcome.reused
        ),
    );
    line("work folder", work.root().display().to_string());
    text
}

/// Names of labels or regions, and in how many cases each is.
fn labels(raw: &RawDataset, work: &Work, ready: &Ready) -> String {
    let plan = &ready.plan;
    let mut found: Vec<usize> = Vec::new();
    for case in raw.cases.iter().filter_map(|case| CachedCase::open(&work.case(&case.id)).ok()) {
        found.resize(case.locations().len(), 0);
        found.iter_mut().zip(case.locations()).for_each(|(cases, voxels)| *cases += usize::from(!voxels.is_empty()));
    }
    // Background has no class locations, and is no region.
    let background = usize::from(matches!(plan.targets.heads, Heads::Labels(_)));
    let foreground = plan.label_names[background..].iter().zip(&found);
    let mut text: Vec<String> = plan.label_names[..background].to_vec();
    text.extend(foreground.map(|(name, cases)| format!("{name} (in {cases})")));
    let ignore = plan.targets.ignore.map_or(String::new(), |value| format!("; voxels of value {value} do not count"));
    format!("{}{ignore}", text.join(", "))
}

fn by<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(" x ")
}

/// Network axes.
fn median_shape(ready: &Ready) -> [usize; 3] {
    ready.plan.transpose_forward.map(|axis| {
        let mut sizes: Vec<usize> = ready.fingerprint.shapes_after_crop.iter().map(|shape| shape[axis]).collect();
        sizes.sort_unstable();
        sizes[sizes.len() / 2]
    })
}
