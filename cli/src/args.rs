//! The command line.

use crate::args_extra::ExtraArgs;
use crate::exit::EXIT_CODES;
use clap::{Args, Parser, Subcommand, ValueEnum};
use scanside_app::cases::{Part, Selection};
use scanside_app::measure::ScanSize;
use scanside_app::model::{DEFAULT_CHECKPOINT, EngineChoice, ModelOptions, PrecisionChoice, instruction_set};
use scanside_app::run::CaseOptions;
use scanside_app::units::{parse_bytes, parse_seconds};
use scanside_core::nnunet::FoldName;
use scanside_core::pipeline::RunOptions;
use std::path::PathBuf;

/// Segments 3D medical images with nnU-Net models, in bounded memory. Research software, not for diagnosis.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write the labels of a scan, or of every case in a folder.
    Segment(SegmentArgs),
    /// Show what a run would take: tiles, peak memory, disk, time. A few patches are run to measure the time.
    Plan(PlanArgs),
    /// Choose the most accurate of several models that fits into the memory and time allowed on this machine.
    Choose(ChooseArgs),
    /// Convert an nnU-Net v2 model folder into one self-describing ONNX file.
    Import(ImportArgs),
    /// Show what a model is: grid, channels, labels, size, engine.
    Inspect(InspectArgs),
    /// Compile a model into one file that is read in place: fast to open, and usable without std or an ONNX library.
    Compile(CompileArgs),
    /// Measure models on this machine: seconds and memory per patch.
    Bench(BenchArgs),
    /// Compare label files: Dice, surface Dice and 95 % Hausdorff distance per class and case.
    Evaluate(EvaluateArgs),
    /// Run one job for another Scanside process.
    #[command(hide = true)]
    Worker,
}

/// Model, input and how to run: shared by `segment` and `plan`.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Model: a self-describing ONNX file, or an nnU-Net v2 model folder.
    #[arg(short, long, value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Scan: a .nii or .nii.gz file, one file per channel, or a folder of cases. Channels are CASE_0000.nii.gz,
    /// CASE_0001.nii.gz ...; for a model with one channel, files of any name are cases.
    #[arg(short, long, value_name = "INPUT", num_args = 1.., required_unless_present = "list")]
    pub(crate) input: Vec<PathBuf>,
    /// Read the names of scans from a text file, one a line. Of several channels, name the first (CASE_0000.nii.gz).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input", "recursive"])]
    pub(crate) list: Option<PathBuf>,
    /// Search the sub-folders of the input folder as well. Label files keep the sub-folders.
    #[arg(long)]
    pub(crate) recursive: bool,
    /// Take only part I of N of the cases, counted from 0: every Nth case from case I on, in the order of their names, as
    /// nnU-Net's -part_id and -num_parts.
    #[arg(long, value_name = "I/N")]
    pub(crate) part: Option<Part>,
    /// The manifest of an ONNX model that has none inside, as JSON or TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Memory limit of the process: a run that would need more is refused. 1.5G, 800M ... (decimal; KiB, MiB, GiB are
    /// binary).
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) max_ram: Option<u64>,
    /// Number of threads; the result does not depend on it [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Inference engine.
    #[arg(long, value_enum, default_value_t = EngineArg::Auto)]
    pub(crate) engine: EngineArg,
    /// How the network's weights and unquantised tensors are stored: half precision takes half the memory and changes a
    /// few voxels in a million.
    #[arg(long, value_enum, default_value_t = PrecisionArg::Auto)]
    pub(crate) precision: PrecisionArg,
    /// Largest distance between tiles, as a fraction of the patch.
    #[arg(long, visible_alias = "step", value_name = "FRACTION", default_value_t = 0.5, value_parser = step)]
    pub(crate) step_size: f64,
    /// Disable test-time mirroring: up to 8 times faster; labels differ slightly.
    #[arg(long, visible_alias = "no-mirroring")]
    pub(crate) disable_tta: bool,
    #[command(flatten)]
    pub(crate) parts: FolderArgs,
    /// Accept an input that looks like a label map.
    #[arg(long)]
    pub(crate) allow_label_input: bool,
    /// Refuse a scan, or a result, that is far outside of what the model was trained on, where the model states that; without
    /// this it is a warning.
    #[arg(long)]
    pub(crate) strict: bool,
}

impl RunArgs {
    /// What is to be segmented.
    pub(crate) fn selection(&self) -> Selection {
        Selection { input: self.input.clone(), list: self.list.clone(), recursive: self.recursive, part: self.part }
    }

    pub(crate) fn model_options(&self) -> ModelOptions {
        ModelOptions {
            manifest: self.manifest.clone(),
            engine: self.engine.into(),
            precision: self.precision.into(),
            ..self.parts.options()
        }
    }

    pub(crate) fn case_options(&self) -> CaseOptions {
        CaseOptions {
            run: RunOptions { step: self.step_size, mirror: !self.disable_tta },
            max_ram: self.max_ram,
            threads: self.threads,
            allow_label_input: self.allow_label_input,
            strict: self.strict,
            ..CaseOptions::default()
        }
    }
}

/// What to measure, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// ONNX files, self-describing or not, nnU-Net v2 model folders, or compiled models.
    #[arg(short, long, value_name = "MODEL", num_args = 1.., required = true)]
    pub(crate) model: Vec<PathBuf>,
    /// The manifest of an ONNX model that has none inside, as JSON or TOML [default: a manifest beside the model].
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) parts: FolderArgs,
    /// Number of threads [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Number of timed runs; one run before them is not timed.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,
    /// Inference engine.
    #[arg(long, value_enum, default_value_t = EngineArg::Auto)]
    pub(crate) engine: EngineArg,
    /// How weights and unquantised tensors are stored.
    #[arg(long, value_enum, default_value_t = PrecisionArg::Auto)]
    pub(crate) precision: PrecisionArg,
    /// Instruction set of the kernels, to measure what an older CPU would do [default: the best of this CPU].
    #[arg(long, value_name = "NAME", value_parser = instructions)]
    pub(crate) instructions: Option<String>,
    /// Run the network in low-memory mode, as with a small --max-ram: less memory, slower.
    #[arg(long)]
    pub(crate) least_memory: bool,
    /// Print the time of each step of the network, and how close it is to this machine's arithmetic and memory limits.
    #[arg(long)]
    pub(crate) layers: bool,
    /// Count the windows of a scan of this size and predict their time: voxels, and their distance in millimetres, for
    /// example 512x512x300@0.8x0.8x1.
    #[arg(long, value_name = "XxYxZ[@MMxMMxMM]")]
    pub(crate) volume: Option<ScanSize>,
    /// Print one JSON document per line on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How networks store their weights and unquantised tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionArg {
    /// As the model file stores its weights.
    Auto,
    /// Single precision.
    F32,
    /// Half precision; sums are made in single precision.
    F16,
}

impl From<PrecisionArg> for PrecisionChoice {
    fn from(arg: PrecisionArg) -> Self {
        match arg {
            PrecisionArg::Auto => PrecisionChoice::Auto,
            PrecisionArg::F32 => PrecisionChoice::F32,
            PrecisionArg::F16 => PrecisionChoice::F16,
        }
    }
}

/// What to compare, and how to print the result.
#[derive(Args, Debug)]
pub(crate) struct EvaluateArgs {
    /// Predicted labels: a .nii or .nii.gz file, or a folder of them.
    #[arg(short, long, value_name = "PREDICTIONS")]
    pub(crate) predictions: PathBuf,
    /// Reference labels: a file, or a folder whose files have the predictions' names.
    #[arg(short, long, value_name = "LABELS")]
    pub(crate) labels: PathBuf,
    /// Take class names from this model [default: dataset.json in the labels' folder or beside it].
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// Tolerance of surface Dice, in millimetres: surfaces that are no farther apart agree.
    #[arg(long, value_name = "MM", default_value_t = 1.0, value_parser = tolerance)]
    pub(crate) tolerance: f64,
    /// Compare voxel for voxel, even if the files say that their voxels lie in different places.
    #[arg(long)]
    pub(crate) ignore_geometry: bool,
    /// Number of threads; the result does not depend on it. Each takes 2 bytes per voxel of a class's box [default: all
    /// cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// One JSON document on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(mm) if mm >= 0.0 && mm.is_finite() => Ok(mm),
        _ => Err("give a distance in millimetres, 0 or more".into()),
    }
}

/// Which engine runs a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineArg {
    /// The fastest engine that can run the model.
    Auto,
    /// Scanside's own kernels.
    Native,
    /// tract's executor.
    Tract,
}

impl From<EngineArg> for EngineChoice {
    fn from(arg: EngineArg) -> Self {
        match arg {
            EngineArg::Auto => EngineChoice::Auto,
            EngineArg::Native => EngineChoice::Native,
            EngineArg::Tract => EngineChoice::Tract,
        }
    }
}

/// Which parts of an nnU-Net folder to take.
#[derive(Args, Clone, Debug)]
pub(crate) struct FolderArgs {
    /// nnU-Net folder: folds to average [default: those of 0 to 4 that exist, or all where there is only fold_all].
    #[arg(long, value_name = "FOLD", num_args = 1.., value_parser = fold)]
    folds: Vec<FoldName>,
    /// nnU-Net folder: file name of the checkpoints.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_CHECKPOINT)]
    checkpoint: String,
    /// nnU-Net folder: accept a trainer that does not come with nnU-Net. Tensors are compared with plans.json all the same;
    /// if the trainer builds another network that happens to have the same tensors, labels are wrong without notice.
    #[arg(long)]
    trust_trainer: bool,
}

impl FolderArgs {
    pub(crate) fn options(&self) -> ModelOptions {
        ModelOptions {
            folds: self.folds.clone(),
            checkpoint: self.checkpoint.clone(),
            trust_trainer: self.trust_trainer,
            ..Default::default()
        }
    }

    /// The same options on a command line.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if !self.folds.is_empty() {
            words.push("--folds".to_owned());
            words.extend(self.folds.iter().map(FoldName::to_string));
        }
        if self.checkpoint != DEFAULT_CHECKPOINT {
            words.extend(["--checkpoint".to_owned(), self.checkpoint.clone()]);
        }
        if self.trust_trainer {
            words.push("--trust-trainer".to_owned());
        }
        words
    }
}

fn fold(text: &str) -> Result<FoldName, String> {
    text.parse().map_err(|_| "a fold is a number from 0, or all".into())
}

#[derive(Args, Debug)]
pub(crate) struct SegmentArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Label file (.nii or .nii.gz), or a folder.
    #[arg(short, long, value_name = "OUTPUT")]
    pub(crate) output: PathBuf,
    /// Replace existing label files that were made from another scan or with another model.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Write a record of the run as JSON: hashes, plan, times, peak memory, and what was left out.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) record: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) extra: ExtraArgs,
    /// Print nothing but errors.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Do not predict the time: no patch is run.
    #[arg(long)]
    pub(crate) no_timing: bool,
    /// One JSON document on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Models for one task, and what a run of them may take.
#[derive(Args, Debug)]
pub(crate) struct ChooseArgs {
    /// Models for one task: self-describing ONNX files, nnU-Net v2 model folders, compiled models.
    #[arg(short, long, value_name = "MODEL", num_args = 1.., required = true)]
    pub(crate) model: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) parts: FolderArgs,
    /// The scan to be segmented: a .nii or .nii.gz file, or one file per channel.
    #[arg(short, long, value_name = "SCAN", num_args = 1.., required = true)]
    pub(crate) input: Vec<PathBuf>,
    /// Memory limit of the run: 1.5G, 800M ... (decimal; KiB, MiB, GiB are binary) [default: what the machine has free].
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) max_ram: Option<u64>,
    /// Time limit of the run: 60s, 2m, 1h ... [default: none].
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    pub(crate) max_time: Option<f64>,
    /// Number of threads [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// How networks store their weights and unquantised tensors.
    #[arg(long, value_enum, default_value_t = PrecisionArg::Auto)]
    pub(crate) precision: PrecisionArg,
    /// Largest distance between tiles, as a fraction of the patch.
    #[arg(long, visible_alias = "step", value_name = "FRACTION", default_value_t = 0.5, value_parser = step)]
    pub(crate) step_size: f64,
    /// Disable test-time mirroring: up to 8 times faster; labels differ slightly.
    #[arg(long, visible_alias = "no-mirroring")]
    pub(crate) disable_tta: bool,
    /// Accept an input that looks like a label map.
    #[arg(long)]
    pub(crate) allow_label_input: bool,
    /// One JSON document on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// The model folder: plans.json, dataset.json, fold_*/checkpoint_final.pth.
    #[arg(value_name = "NNUNET_FOLDER")]
    pub(crate) folder: PathBuf,
    /// The ONNX file to write.
    #[arg(short, long, value_name = "MODEL.onnx")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) parts: FolderArgs,
    /// Replace the file if it exists.
    #[arg(long)]
    pub(crate) overwrite: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CompileArgs {
    /// A self-describing ONNX file, or an nnU-Net v2 model folder.
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "FILE.image")]
    pub(crate) output: PathBuf,
    /// How weights and unquantised tensors are stored.
    #[arg(long, value_enum, default_value_t = PrecisionArg::Auto)]
    pub(crate) precision: PrecisionArg,
    /// The manifest of an ONNX model that has none inside, as JSON or TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) parts: FolderArgs,
    /// Replace the file if it exists.
    #[arg(long)]
    pub(crate) overwrite: bool,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// A self-describing ONNX file, or an nnU-Net v2 model folder.
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// The manifest of an ONNX model that has none inside, as JSON or TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) parts: FolderArgs,
    /// One JSON document on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

fn instructions(name: &str) -> Result<String, String> {
    instruction_set(name).map(|isa| isa.name().to_owned())
}

fn step(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(step) if step > 0.0 && step <= 1.0 => Ok(step),
        _ => Err("give a fraction above 0 and at most 1".into()),
    }
}
