//! `scanside bench`: seconds and memory per patch, on this machine.
//!
//! Other programs of this project measure with the same code: they offer [`run`] as a command `bench`, and call
//! [`in_process_of_its_own`].

pub use crate::args::{BenchArgs, PrecisionChoice};
pub use crate::scan_size::WholeScan;

use crate::args::EngineChoice;
use crate::exit::{Exit, Failure, OrExit};
use crate::model::{self, How};
use crate::process;
use crate::progress::{human_bytes, human_seconds};
use crate::threads::Threads;
use clap::ValueEnum;
use scanside_core::arch::{Block, Isa};
use scanside_core::engine::Engine;
use scanside_core::manifest::Manifest;
use scanside_core::network::{ConvSpec, Kind, Step, StepObserver};
use scanside_core::onnx::{self, OnnxEngine};
use scanside_core::patch::{PatchNumber, PatchPrecision};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// One model, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// File name.
    pub model: String,
    /// SHA-256 over graph and weights; of a compiled model, over its bytes. Empty in measurements of older versions.
    #[serde(default)]
    pub graph_sha256: String,
    /// The CPU, as it calls itself. Empty in measurements of older versions.
    #[serde(default)]
    pub machine: String,
    /// What did the arithmetic.
    pub engine: String,
    /// Instruction set of the kernels.
    pub instructions: String,
    /// How weights and tensors were stored: `f32`, `f16` or `int8`.
    pub precision: String,
    /// Voxels per patch, `z, y, x`.
    pub patch: [usize; 3],
    /// Threads.
    pub threads: usize,
    /// Timed runs.
    pub runs: usize,
    /// Reading the model and preparing its engine.
    pub load_seconds: f64,
    /// One pass of one patch: the median of the timed runs.
    pub median_seconds: f64,
    /// The fastest of them.
    pub least_seconds: f64,
    /// The slowest.
    pub most_seconds: f64,
    /// Multiply-adds of a pass, in thousand millions, where they are known.
    pub gmac: Option<f64>,
    /// Announced: the program with its model, workspace, input and output, or what reading the model took, whichever is
    /// more.
    pub announced_bytes: usize,
    /// The most this process ever held.
    pub peak_rss_bytes: Option<usize>,
    /// A scan of the size that was asked about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub whole_scan: Option<WholeScan>,
    /// The network's steps, where they were timed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub layers: Vec<Layer>,
}

/// One step of a network, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// The fastest of the timed runs.
    pub seconds: f64,
    /// Multiply-adds, in thousand millions.
    pub gmac: f64,
    /// What is read and written once, weights included.
    pub megabytes: f64,
    /// Share of the time that arithmetic would take alone.
    pub arithmetic: f64,
    /// Share of the time that moving the bytes would take alone.
    pub memory: f64,
}

impl BenchArgs {
    /// One model, timed five times on these threads (all cores where nothing is said).
    pub fn of(model: &Path, threads: Option<u16>, precision: PrecisionChoice) -> BenchArgs {
        BenchArgs {
            model: vec![model.to_owned()],
            threads,
            runs: 5,
            engine: EngineChoice::Auto,
            precision,
            instructions: None,
            least_memory: false,
            layers: false,
            volume: None,
            json: true,
        }
    }
}

/// Measures, and prints what it finds.
///
/// # Errors
/// A model cannot be read or run.
pub fn run(args: &BenchArgs) -> Result<Exit, Failure> {
    for model in &args.model {
        if !model.exists() {
            return Err(Failure::says(Exit::BadModel, format!("{} does not exist", model.display())));
        }
    }
    if !args.json {
        say!("{}", header());
    }
    for model in &args.model {
        // Each model in a process of its own: memory that one took does not count for the next.
        let measured = if args.model.len() > 1 {
            in_process_of_its_own(&std::env::current_exe().or_exit(Exit::BadModel)?, model, args)?
        } else {
            measure(model, args)?
        };
        if args.json {
            say!("{}", serde_json::to_string(&measured).or_exit(Exit::CouldNotWrite)?);
        } else {
            print(&measured);
        }
    }
    Ok(Exit::Done)
}

/// Measures one model as `args` say, whatever models they name, in a fresh process of the command `bench` of `program`.
///
/// # Errors
/// The model cannot be read or run.
pub fn in_process_of_its_own(program: &Path, model: &Path, args: &BenchArgs) -> Result<Measured, Failure> {
    let mut command = Command::new(program);
    command.args(["bench", "--json", "--runs", &args.runs.to_string(), "--model"]).arg(model);
    if let Some(threads) = args.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    if let Some(isa) = args.instructions {
        command.args(["--instructions", isa.name()]);
    }
    if args.layers {
        command.arg("--layers");
    }
    if args.least_memory {
        command.arg("--least-memory");
    }
    if let Some(volume) = args.volume {
        command.args(["--volume", &volume.to_string()]);
    }
    let name = |v: Option<clap::builder::PossibleValue>| v.map(|v| v.get_name().to_owned()).unwrap_or_default();
    command.args(["--engine", &name(args.engine.to_possible_value())]);
    command.args(["--precision", &name(args.precision.to_possible_value())]);
    let output = command.output().or_exit(Exit::BadModel)?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let why = why.trim();
        // Every program of this project puts its name before its errors.
        let why = why.split_once(": ").filter(|(name, _)| name.starts_with("scanside")).map_or(why, |(_, why)| why);
        let exit = output.status.code().and_then(Exit::of_code).unwrap_or(Exit::BadModel);
        return Err(Failure::says(exit, why.to_owned()));
    }
    serde_json::from_slice(&output.stdout).or_exit(Exit::BadModel)
}

/// A model to be measured, its graph's hash, and what it says of itself; an ONNX file need not say anything.
fn open(path: &Path, args: &BenchArgs) -> Result<(OnnxEngine, String, Option<Manifest>), Failure> {
    let isa = args.instructions.unwrap_or_else(Isa::detect);
    let how = How { engine: args.engine, precision: args.precision, isa, ..How::default() };
    if path.is_dir() || model::is_compiled(path) {
        let opened = model::open(path, &how)?;
        return Ok((opened.engine, opened.graph_sha256, Some(opened.manifest)));
    }
    let bytes = std::fs::read(path).or_exit(Exit::BadModel)?;
    let proto = onnx::parse_model(&bytes).or_exit_with(Exit::BadModel, || format!("{}", path.display()))?;
    let (manifest, told) = match onnx::extract(&proto).or_exit(Exit::BadModel)? {
        Some(manifest) => (manifest, true),
        None => (onnx::neutral_manifest(&proto).or_exit(Exit::BadModel)?, false),
    };
    drop(bytes);
    let graph_sha256 = onnx::graph_sha256(&proto);
    Ok((model::prepare(path, proto, &manifest, &how)?, graph_sha256, told.then_some(manifest)))
}

fn measure(path: &Path, args: &BenchArgs) -> Result<Measured, Failure> {
    let start = Instant::now();
    let (engine, graph_sha256, manifest) = open(path, args)?;
    if args.volume.is_some() && manifest.is_none() {
        let sentence = "does not say at what voxel distance it works, so there is no answer to --volume";
        return Err(Failure::says(Exit::Usage, format!("{} {sentence}", path.display())));
    }
    let measured = match engine.footprint(1).patch {
        PatchPrecision::F32 => measure_in::<f32>(path, args, &engine, start),
        PatchPrecision::F16 => measure_in::<u16>(path, args, &engine, start),
    };
    let measured = measured?;
    let scan = args.volume.zip(manifest);
    let whole_scan = scan.map(|(volume, manifest)| volume.run(&manifest, measured.median_seconds)).transpose()?;
    Ok(Measured { graph_sha256, whole_scan, ..measured })
}

/// Measures with patches of one precision: all that needs no more than the engine.
fn measure_in<T: PatchNumber>(
    path: &Path,
    args: &BenchArgs,
    engine: &OnnxEngine,
    start: Instant,
) -> Result<Measured, Failure> {
    // Reading a model takes several times its weights for a moment.
    let loading_bytes = process::resident_bytes().map_or(0, |b| b.1);
    process::give_back();
    let held = || process::TYPICAL_PROCESS_BYTES + engine.weights_bytes();
    let loaded_bytes = process::resident_bytes().map_or_else(held, |b| b.0);
    let load_seconds = start.elapsed().as_secs_f64();
    let threads = args.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let executor = Threads::new(threads)?;
    let footprint = engine.footprint(threads);
    let voxels: usize = engine.patch_zyx().iter().product();
    let input: Vec<T> = noise(engine.channels() * voxels);
    let mut output = vec![T::default(); engine.heads() * voxels];
    let workspace_blocks =
        if args.least_memory { footprint.least_workspace_blocks } else { footprint.workspace_blocks };
    let mut workspace = vec![Block::ZERO; workspace_blocks];
    let mut seconds = Vec::new();
    for run in 0..=args.runs {
        let start = Instant::now();
        let (input, output) = (T::patch(&input), T::patch_mut(&mut output));
        engine.infer(0, input, output, &mut workspace, &executor).or_exit(Exit::BadModel)?;
        if run > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    seconds.sort_by(f64::total_cmp);
    let buffers = footprint.patch.bytes() * (input.len() + output.len());
    let announced = footprint.call_bytes(workspace_blocks).and_then(|b| b.checked_add(loaded_bytes + buffers));
    let peak_rss_bytes = process::resident_bytes().map(|b| b.1);
    let layers =
        if args.layers { layers(engine, &input, &mut output, &mut workspace, &executor, args)? } else { vec![] };
    Ok(Measured {
        model: path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
        graph_sha256: String::new(),
        machine: process::cpu_name(),
        engine: engine.name().to_owned(),
        instructions: engine.native().map_or("tract's".into(), |n| n.networks()[0].isa().name().to_owned()),
        precision: model::precision_name(args.precision, engine).to_owned(),
        patch: engine.patch_zyx(),
        threads,
        runs: seconds.len(),
        load_seconds,
        median_seconds: seconds[seconds.len() / 2],
        least_seconds: seconds[0],
        most_seconds: seconds[seconds.len() - 1],
        gmac: engine.macs_per_patch().map(|m| m as f64 / 1e9),
        announced_bytes: announced.unwrap_or(usize::MAX).max(loading_bytes),
        peak_rss_bytes,
        whole_scan: None,
        layers,
    })
}

/// Values like those of a normalised scan, the same each time.
pub(crate) fn noise<T: PatchNumber>(n: usize) -> Vec<T> {
    let mut state = 1u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            T::narrow((state >> 8) as f32 / (1 << 22) as f32 * 0.85 - 1.7)
        })
        .collect()
}

struct Watch {
    start: Instant,
    least: Vec<f64>,
}

impl StepObserver for Watch {
    fn begin(&mut self, _: usize) {
        self.start = Instant::now();
    }
    fn end(&mut self, step: usize) {
        let seconds = self.start.elapsed().as_secs_f64();
        if self.least.len() <= step {
            self.least.resize(step + 1, f64::INFINITY);
        }
        self.least[step] = self.least[step].min(seconds);
    }
}

fn layers<T: PatchNumber>(
    engine: &OnnxEngine,
    input: &[T],
    output: &mut [T],
    workspace: &mut [Block],
    executor: &Threads,
    args: &BenchArgs,
) -> Result<Vec<Layer>, Failure> {
    let Some(native) = engine.native() else { return Ok(vec![]) };
    let mut watch = Watch { start: Instant::now(), least: vec![] };
    for _ in 0..args.runs {
        let (input, output) = (T::patch(input), T::patch_mut(output));
        native.infer_observed(0, input, output, workspace, executor, &mut watch).or_exit(Exit::BadModel)?;
    }
    let limits = Limits::measure(native.networks()[0].isa(), executor);
    let layer = |(step, &seconds): (&Step, &f64)| {
        let int = matches!(&step.kind, Kind::Conv(_, ConvSpec::Int { .. }));
        let rate = if int { limits.int_macs } else { limits.float_macs };
        let macs = step.macs() as f64;
        let bytes = native.networks()[0].step_bytes(step) as f64;
        Layer {
            name: step.name.clone(),
            seconds,
            gmac: macs / 1e9,
            megabytes: bytes / 1e6,
            arithmetic: macs / rate / seconds,
            memory: bytes / limits.bytes / seconds,
        }
    };
    Ok(native.networks()[0].graph().steps.iter().zip(&watch.least).map(layer).collect())
}

/// What this machine does per second on these threads with nothing in the way.
struct Limits {
    float_macs: f64,
    int_macs: f64,
    /// Copied through memory, read and written counted.
    bytes: f64,
}

impl Limits {
    fn measure(isa: Isa, executor: &Threads) -> Limits {
        use scanside_core::executor::Executor;
        let best = |work: &(dyn Fn(&mut Vec<u8>) -> u64 + Sync)| {
            let mut buffers: Vec<Vec<u8>> = vec![vec![1; 64 << 20]; executor.workers()];
            let mut rate = 0f64;
            for _ in 0..5 {
                let done = std::sync::atomic::AtomicU64::new(0);
                let start = Instant::now();
                executor.for_each(&mut buffers, |_, b| {
                    done.fetch_add(work(b), std::sync::atomic::Ordering::Relaxed);
                });
                rate = rate.max(done.into_inner() as f64 / start.elapsed().as_secs_f64());
            }
            rate
        };
        Limits {
            float_macs: best(&|_| isa.spin_multiply_adds(4_000_000)),
            int_macs: best(&|_| isa.spin_dot_products(4_000_000)),
            bytes: best(&|b| {
                let (from, to) = b.split_at_mut(32 << 20);
                to.copy_from_slice(from);
                64 << 20
            }),
        }
    }
}

/// The line above those of [`Measured::line`].
pub fn header() -> String {
    format!(
        "{:<28} {:>7} {:>4} {:>9} {:>9} {:>9} {:>8} {:>11} {:>11}",
        "model", "engine", "thr", "median s", "least s", "most s", "GFLOP/s", "announced", "peak RSS"
    )
}

impl Measured {
    /// A line of a table, under [`header`].
    pub fn line(&self) -> String {
        let rate = self.gmac.map_or_else(|| "-".into(), |g| format!("{:.1}", 2.0 * g / self.median_seconds));
        let rss = self.peak_rss_bytes.map_or_else(|| "-".into(), human_bytes);
        format!(
            "{:<28} {:>7} {:>4} {:>9.4} {:>9.4} {:>9.4} {rate:>8} {:>11} {rss:>11}",
            self.model,
            self.engine,
            self.threads,
            self.median_seconds,
            self.least_seconds,
            self.most_seconds,
            human_bytes(self.announced_bytes)
        )
    }
}

fn print(m: &Measured) {
    say!("{}", m.line());
    if let Some(scan) = &m.whole_scan {
        let time = human_seconds(scan.network_seconds);
        say!("  {}: {} window(s), {} pass(es) of the network, {time}", scan.volume, scan.windows, scan.passes);
    }
    if m.layers.is_empty() {
        return;
    }
    say!(
        "  {} on {} thread(s), {}; shares are of the limits measured just now",
        m.precision,
        m.threads,
        m.instructions
    );
    say!("  {:<36} {:>9} {:>8} {:>9} {:>11} {:>9}", "step", "ms", "GMAC", "MB", "arithmetic", "memory");
    for l in &m.layers {
        say!(
            "  {:<36} {:>9.3} {:>8.3} {:>9.2} {:>9.0} % {:>7.0} %",
            l.name,
            1e3 * l.seconds,
            l.gmac,
            l.megabytes,
            100.0 * l.arithmetic,
            100.0 * l.memory
        );
    }
}
