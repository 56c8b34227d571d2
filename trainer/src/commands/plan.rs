//! `scanside-train plan`: prepares a work folder from a raw dataset.

use super::{note, print};
use crate::dataset::cache::CachedCase;
use crate::dataset::raw::RawDataset;
use crate::dataset::ready::{Ready, ReadyOptions, Step, make_ready};
use crate::exit::Exit;
use crate::plan::{Cost, Planner};
use crate::targets::Heads;
use crate::work::Work;
use clap::Args;
use scanside_app::error::{Error, ErrorKind};
use scanside_app::interrupt::Stop;
use scanside_app::machine::all_cores;
use scanside_core::nnunet::architecture::Encoder;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Examine a raw nnU-Net dataset, plan its training, and preprocess its cases.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// Raw dataset: a folder with dataset.json, imagesTr and labelsTr.
    #[arg(value_name = "DATASET_FOLDER")]
    pub dataset: PathBuf,
    /// Work folder for plan, preprocessed cases and training runs [default: a folder here, named after the dataset].
    #[arg(short = 'o', long, value_name = "WORK")]
    pub work: Option<PathBuf>,
    /// nnU-Net planner to use.
    #[arg(long, value_enum, default_value_t = Planner::Default)]
    pub planner: Planner,
    /// Cases processed at a time; each needs memory for a whole case [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Replace folds, cases that another plan has preprocessed, and a plan that was edited before the dataset or the planner
    /// changed.
    #[arg(long)]
    pub overwrite: bool,
}

/// Runs the command.
///
/// # Errors
/// The dataset has faults, or the work folder cannot be written or contains files of another plan.
pub fn run(args: &PlanArgs, stop: &Stop) -> Result<Exit, Error> {
    let raw = RawDataset::open(&args.dataset)?;
    let folder = match &args.work {
        Some(folder) => folder.clone(),
        None if raw.name.is_empty() => {
            return Err(Error::new(ErrorKind::Usage, "the dataset's folder has no name; choose a work folder with -o"));
        }
        None => PathBuf::from(&raw.name),
    };
    if std::path::absolute(&folder).is_ok_and(|path| path == raw.folder) {
        let what = format!(
            "{} is the raw dataset itself, which must not be changed; choose another work folder with -o",
            folder.display()
        );
        return Err(Error::new(ErrorKind::Usage, what));
    }
    let work = Work::new(folder);
    let threads = all_cores(args.threads);
    let options = ReadyOptions { planner: args.planner, threads, overwrite: args.overwrite };
    let (examined, prepared) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let total = raw.cases.len();
    let ready = make_ready(&raw, &work, options, stop, &|id, step| {
        let (word, count) = match step {
            Step::Examined => ("examined", &examined),
            Step::Prepared => ("prepared", &prepared),
            // There may be thousands of them.
            Step::Reused => {
                prepared.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        note!("{word} {number}/{total}: {id}");
    })?;
    for warning in &ready.warnings {
        note!("scanside-train: warning: {warning}");
    }
    print(&summary(&raw, &work, &ready))?;
    Ok(Exit::Done)
}

/// The plan as text, one entry per line.
fn summary(raw: &RawDataset, work: &Work, ready: &Ready) -> String {
    let mut text = String::new();
    let entries = dataset_entries(raw, work, ready).into_iter().chain(network_entries(ready));
    for (name, value) in entries.chain(folder_entries(raw, work, ready)) {
        let _ = writeln!(text, "{name:<14} {value}");
    }
    text
}

type Entries = Vec<(&'static str, String)>;

fn dataset_entries(raw: &RawDataset, work: &Work, ready: &Ready) -> Entries {
    let plan = &ready.plan;
    let channels = plan.channels.iter().map(|channel| format!("{} ({})", channel.name, channel.normalization));
    let kind = if matches!(plan.targets.heads, Heads::Regions(_)) { "regions" } else { "labels" };
    let spacing = plan.spacing_mm.map(|mm| format!("{mm:.4}").trim_end_matches('0').trim_end_matches('.').to_string());
    let mut entries = vec![
        ("dataset", format!("{}, {} cases", plan.dataset_name, raw.cases.len())),
        ("channels", channels.collect::<Vec<_>>().join(", ")),
        (kind, labels(raw, work, ready)),
        ("plans", format!("{}, configuration {}", plan.plans_name, plan.configuration)),
        ("spacing", format!("{} mm", by(spacing))),
    ];
    if plan.transpose_forward != [0, 1, 2] {
        entries.push(("axes", format!("network axes are the file axes {:?}", plan.transpose_forward)));
    }
    entries.push(("median case", format!("{} voxels after cropping", by(median_shape(ready)))));
    entries
}

fn network_entries(ready: &Ready) -> Entries {
    let plan = &ready.plan;
    let unet = &plan.unet;
    let encoder = match &unet.encoder {
        Encoder::Plain { convs } => format!("plain encoder, convolutions {convs:?}"),
        Encoder::Residual { blocks, .. } => format!("residual encoder, blocks {blocks:?}"),
    };
    let features: Vec<usize> = unet.stages.iter().map(|stage| stage.features).collect();
    let cost = Cost::of(unet, &plan.patch_zyx);
    vec![
        ("patch", format!("{} voxels, {} per batch", by(plan.patch_zyx), plan.batch_size)),
        ("network", format!("{} stages, {encoder}", unet.stages.len())),
        ("features", format!("{features:?}")),
        ("strides", unet.stages.iter().map(|stage| by(stage.stride.iter())).collect::<Vec<_>>().join(", ")),
        (
            "cost",
            format!("{:.2} M parameters, {:.2} GMAC per patch", cost.parameters as f64 / 1e6, cost.macs as f64 / 1e9),
        ),
    ]
}

fn folder_entries(raw: &RawDataset, work: &Work, ready: &Ready) -> Entries {
    let outcome = &ready.outcome;
    let mut sizes: Vec<String> = ready.splits.iter().map(|s| format!("{} + {}", s.train.len(), s.val.len())).collect();
    sizes.dedup();
    let files = raw.cases.iter().filter_map(|case| std::fs::metadata(work.case(&case.id)).ok());
    let bytes: u64 = files.map(|metadata| metadata.len()).sum();
    let removed = if outcome.removed > 0 { format!(", {} removed", outcome.removed) } else { String::new() };
    vec![
        ("folds", format!("{}, training + validation cases: {}", ready.splits.len(), sizes.join(", "))),
        (
            "cache",
            format!(
                "{:.2} GB, {} cases prepared, {} reused{removed}",
                bytes as f64 / 1e9,
                outcome.prepared,
                outcome.reused
            ),
        ),
        ("work folder", work.root().display().to_string()),
    ]
}

/// Names of labels or regions, and the number of cases that contain each.
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
    let ignore = plan.targets.ignore.map_or(String::new(), |value| format!("; voxels of label {value} are ignored"));
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
