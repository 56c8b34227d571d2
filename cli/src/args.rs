//! What the user typed.

use crate::scan_size::ScanSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use scanside_core::arch::Isa;
use std::path::PathBuf;

const EXIT_CODES: &str = "Exit codes: 0 done, 2 usage, 3 bad input, 4 bad model, 5 does not fit, 6 could not write, \
                          7 some cases failed, 130 interrupted.";

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
    /// Say what a run would take: tiles, peak memory, disk, time. The network runs a few patches, to time them.
    Plan(PlanArgs),
    /// Of several models for one task, the most accurate that keeps within memory and time on this machine.
    Choose(ChooseArgs),
    /// Turn an nnU-Net v2 model folder into one self-describing ONNX file.
    Import(ImportArgs),
    /// Say what a model is: grid, channels, labels, size, engine.
    Inspect(InspectArgs),
    /// Turn a model into one file that other programs read in place, without std, Python or a graph library.
    Compile(CompileArgs),
    /// Measure models on this machine: seconds and memory per patch.
    Bench(BenchArgs),
    /// Compare label files: Dice, surface Dice and 95 % Hausdorff distance per class and case.
    Evaluate(crate::evaluate::EvaluateArgs),
}

/// Model, input and how to run: shared by `segment` and `plan`.
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// Model: a self-describing ONNX file, or an nnU-Net v2 model folder.
    #[arg(short, long, value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Scan: a .nii or .nii.gz file, one file per channel, or a folder of cases (CASE_0000.nii.gz, CASE_0001.nii.gz ...).
    #[arg(short, long, value_name = "INPUT", num_args = 1.., required = true)]
    pub(crate) input: Vec<PathBuf>,
    /// Facts about an ONNX model that does not describe itself, as JSON or TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Stay under this much memory, or refuse: 1.5G, 800M ... (decimal; KiB, MiB, GiB are binary).
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_ram: Option<u64>,
    /// Threads; the result does not depend on it [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// What does the arithmetic.
    #[arg(long, value_enum, default_value_t = EngineChoice::Auto)]
    pub(crate) engine: EngineChoice,
    /// How the network's weights and unquantised tensors are stored: half precision takes half the memory and flips a
    /// few voxels in ten thousand.
    #[arg(long, value_enum, default_value_t = PrecisionChoice::Auto)]
    pub(crate) precision: PrecisionChoice,
    /// Largest distance between tiles, as a fraction of the patch.
    #[arg(long, visible_alias = "step", value_name = "FRACTION", default_value_t = 0.5, value_parser = step)]
    pub(crate) step_size: f64,
    /// Skip the mirrored passes that the model allows: faster, other labels.
    #[arg(long, visible_alias = "no-mirroring")]
    pub(crate) disable_tta: bool,
    /// nnU-Net folder: folds to average [default: all that are there].
    #[arg(long, value_name = "FOLD", num_args = 1..)]
    pub(crate) folds: Vec<String>,
    /// nnU-Net folder: file name of the checkpoints.
    #[arg(long, value_name = "NAME", default_value = crate::model::DEFAULT_CHECKPOINT)]
    pub(crate) checkpoint: String,
    /// Take an input that looks like a label map for a scan.
    #[arg(long)]
    pub(crate) allow_label_input: bool,
}

/// What to measure, and how.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// ONNX files, self-describing or not, or nnU-Net v2 model folders.
    #[arg(short, long, value_name = "MODEL", num_args = 1.., required = true)]
    pub(crate) model: Vec<PathBuf>,
    /// Threads [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Timed runs, after one that is not.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,
    /// What does the arithmetic.
    #[arg(long, value_enum, default_value_t = EngineChoice::Auto)]
    pub(crate) engine: EngineChoice,
    /// How weights and unquantised tensors are stored.
    #[arg(long, value_enum, default_value_t = PrecisionChoice::Auto)]
    pub(crate) precision: PrecisionChoice,
    /// Instruction set of the kernels: how an older CPU would do [default: the best of this CPU].
    #[arg(long, value_name = "NAME", value_parser = instructions)]
    pub(crate) instructions: Option<Isa>,
    /// Run the network in the least memory that will do, as a tight --max-ram makes it.
    #[arg(long)]
    pub(crate) least_memory: bool,
    /// Time each step of the network, beside what this machine's arithmetic and memory would allow.
    #[arg(long)]
    pub(crate) layers: bool,
    /// A scan's voxels (and their distance in millimetres): the windows it takes, and their time [e.g. 512x512x300@0.8x0.8x1].
    #[arg(long, value_name = "XxYxZ[@MMxMMxMM]")]
    pub(crate) volume: Option<ScanSize>,
    /// One JSON document a line on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How networks store their weights and unquantised tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecisionChoice {
    /// As the model file stores its weights.
    Auto,
    /// Single precision.
    F32,
    /// Half precision; sums are made in single.
    F16,
}

impl PrecisionChoice {
    /// Whether to store in half precision; nothing where the file decides.
    pub(crate) fn half(self) -> Option<bool> {
        match self {
            PrecisionChoice::Auto => None,
            PrecisionChoice::F32 => Some(false),
            PrecisionChoice::F16 => Some(true),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineChoice {
    /// The fastest engine that can run the model.
    Auto,
    /// Scanside's own kernels.
    Native,
    /// tract's executor.
    Tract,
}

#[derive(Args, Debug)]
pub(crate) struct SegmentArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Label file (.nii or .nii.gz), or a folder.
    #[arg(short, long, value_name = "OUTPUT")]
    pub(crate) output: PathBuf,
    /// Replace label files that are there already and came from something else.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Write what was run, with hashes, plan, times and peak memory, as JSON.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) record: Option<PathBuf>,
    /// Say nothing but errors.
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Say nothing of time: no patch is run.
    #[arg(long)]
    pub(crate) no_timing: bool,
    /// One JSON document on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Models for one task, and what a run of them may take.
#[derive(Args, Debug)]
pub struct ChooseArgs {
    /// Models for one task: self-describing ONNX files, nnU-Net v2 model folders, compiled models.
    #[arg(short, long, value_name = "MODEL", num_args = 1.., required = true)]
    pub(crate) model: Vec<PathBuf>,
    /// The scan to be segmented: a .nii or .nii.gz file, or one file per channel.
    #[arg(short, long, value_name = "SCAN", num_args = 1.., required = true)]
    pub(crate) input: Vec<PathBuf>,
    /// The run may take this much memory: 1.5G, 800M ... (decimal; KiB, MiB, GiB are binary) [default: what the machine
    /// has free].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_ram: Option<u64>,
    /// The run may take this long: 60s, 2m, 1h ... [default: any time].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) max_time: Option<f64>,
    /// Threads [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// How networks store their weights and unquantised tensors.
    #[arg(long, value_enum, default_value_t = PrecisionChoice::Auto)]
    pub(crate) precision: PrecisionChoice,
    /// Largest distance between tiles, as a fraction of the patch.
    #[arg(long, visible_alias = "step", value_name = "FRACTION", default_value_t = 0.5, value_parser = step)]
    pub(crate) step_size: f64,
    /// Skip the mirrored passes that models allow: faster, other labels.
    #[arg(long, visible_alias = "no-mirroring")]
    pub(crate) disable_tta: bool,
    /// Take an input that looks like a label map for a scan.
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
    /// Folds to average [default: all that are there].
    #[arg(long, value_name = "FOLD", num_args = 1..)]
    pub(crate) folds: Vec<String>,
    /// File name of the checkpoints.
    #[arg(long, value_name = "NAME", default_value = crate::model::DEFAULT_CHECKPOINT)]
    pub(crate) checkpoint: String,
    /// Replace the file if it is there.
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
    #[arg(long, value_enum, default_value_t = PrecisionChoice::Auto)]
    pub(crate) precision: PrecisionChoice,
    /// Facts about an ONNX model that does not describe itself, as JSON or TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// nnU-Net folder: folds to average [default: all that are there].
    #[arg(long, value_name = "FOLD", num_args = 1..)]
    pub(crate) folds: Vec<String>,
    /// nnU-Net folder: file name of the checkpoints.
    #[arg(long, value_name = "NAME", default_value = crate::model::DEFAULT_CHECKPOINT)]
    pub(crate) checkpoint: String,
    /// Replace the file if it is there.
    #[arg(long)]
    pub(crate) overwrite: bool,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// A self-describing ONNX file, or an nnU-Net v2 model folder.
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
    /// Facts about an ONNX model that does not describe itself, as JSON or TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// One JSON document on standard output.
    #[arg(long)]
    pub(crate) json: bool,
}

fn instructions(text: &str) -> Result<Isa, String> {
    Isa::available().find(|isa| isa.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
        let names: Vec<&str> = Isa::available().map(Isa::name).collect();
        format!("this CPU has {}", names.join(", "))
    })
}

pub(crate) fn size(text: &str) -> Result<u64, String> {
    match text.parse::<bytesize::ByteSize>() {
        Ok(size) if size.as_u64() > 0 => Ok(size.as_u64()),
        _ => Err("give a size such as 1.5G, 800M or 2GiB".into()),
    }
}

/// Seconds.
pub(crate) fn duration(text: &str) -> Result<f64, String> {
    let number_and_unit = text.find(|c: char| c.is_ascii_alphabetic()).map(|at| text.split_at(at));
    let seconds = number_and_unit.and_then(|(number, unit)| {
        let each = match unit {
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        Some(number.trim_end().parse::<f64>().ok()? * each)
    });
    seconds.filter(|s| *s > 0.0 && s.is_finite()).ok_or_else(|| "give a time such as 60s, 2m or 1h".into())
}

fn step(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(step) if step > 0.0 && step <= 1.0 => Ok(step),
        _ => Err("give a fraction above 0 and at most 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(duration("60s"), Ok(60.0));
        assert_eq!(duration("2m"), Ok(120.0));
        assert_eq!(duration("1.5 min"), Ok(90.0));
        assert_eq!(duration("1h"), Ok(3600.0));
        for wrong in ["60", "", "s", "0s", "-1s", "1d", "1h30m", "infs", "1e999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
