//! One case: looked at, planned, run.

use crate::args::{PrecisionChoice, RunArgs};
use crate::cases::Case;
use crate::digest;
use crate::exit::{Exit, Failure, OrExit};
use crate::interrupt;
use crate::label_file::LabelFile;
use crate::label_like;
use crate::model::Model;
use crate::progress::{PhaseSeconds, Progress, human_bytes};
use crate::threads::Threads;
use scanside_core::engine::{Engine, EngineFootprint};
use scanside_core::memory::{self, MemoryPlan, Surroundings};
use scanside_core::nifti::{ChannelFiles, NiftiSource, ResidentSource};
use scanside_core::pipeline::{self, Layout, LayoutError, PipelineError, RunOptions};
use scanside_core::preprocess;
use scanside_core::volume::VoxelSource;
use std::path::Path;
use std::time::Instant;

/// The label writer's buffers and the compressor's.
const SINK_BYTES: usize = 1 << 20;

/// Raised when the same input and model would give other labels than before, so that old results are not taken over.
const LABELS_VERSION: &str = "2";

/// How to run cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CaseOptions {
    /// Distance of tiles, and whether to mirror.
    pub run: RunOptions,
    /// Stay under this many bytes.
    pub max_ram: Option<u64>,
    /// Threads; all cores where nothing is said.
    pub threads: Option<u16>,
    /// Take scans that look like label maps.
    pub allow_label_input: bool,
}

impl From<&RunArgs> for CaseOptions {
    fn from(args: &RunArgs) -> Self {
        CaseOptions {
            run: RunOptions { step: args.step_size, mirror: !args.disable_tta },
            max_ram: args.max_ram,
            threads: args.threads,
            allow_label_input: args.allow_label_input,
        }
    }
}

/// A case with its layout and memory plan.
pub struct PlannedCase {
    pub(crate) files: ChannelFiles,
    source: NiftiSource,
    pub(crate) layout: Layout,
    pub(crate) memory: MemoryPlan,
    pub(crate) looked: Looked,
    pub(crate) options: RunOptions,
}

/// Seconds of looking at the scan, which tell how long it takes to read it again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked {
    /// In all.
    pub(crate) seconds: f64,
    /// Going once through the voxels of every channel.
    pub(crate) pass_seconds: f64,
}

/// What a result is recognised by: the scan's bytes, the model, and every choice that changes labels.
pub fn result_key(model: &Model, input_sha256: &[String], options: &CaseOptions) -> String {
    let step = format!("{:?}", options.run.step);
    let mirror = options.run.mirror.to_string();
    let own = [LABELS_VERSION, model.identity(), &step, &mirror];
    digest::facts_sha256(own.into_iter().chain(input_sha256.iter().map(String::as_str)))
}

/// Looks at the scan once and plans its run.
///
/// # Errors
/// The scan cannot be read, does not suit the model, or the run does not fit into the memory allowed.
pub fn plan(model: &Model, case: &Case, options: &CaseOptions) -> Result<PlannedCase, Failure> {
    let started = Instant::now();
    let files = ChannelFiles::open(&case.channels).or_exit(Exit::BadInput)?;
    let mut source = NiftiSource::new(files.clone());
    let expected = model.manifest.channels.len();
    if source.channels() != expected {
        return Err(Failure::new(Exit::BadInput, LayoutError::Channels { expected, got: source.channels() }));
    }
    if !options.allow_label_input {
        label_like::refuse(&mut source, files.header())?;
    }
    let pass = Instant::now();
    let bounds = preprocess::find_box(&mut source, model.manifest.crop_to_nonzero).or_exit(Exit::BadInput)?;
    let looked = Looked { seconds: started.elapsed().as_secs_f64(), pass_seconds: pass.elapsed().as_secs_f64() };
    let grid = files.grid();
    let layout = Layout::new(&model.manifest, grid.shape_zyx, grid.spacing_mm, bounds, options.run).map_err(|e| {
        let model_is_at_fault = matches!(e, LayoutError::Resampling(_));
        Failure::new(if model_is_at_fault { Exit::BadModel } else { Exit::BadInput }, e)
    })?;
    let surroundings = Surroundings {
        process_bytes: model.process_bytes,
        loading_bytes: model.loading_bytes,
        resident_source_bytes: usize::try_from(files.stored_bytes()).unwrap_or(usize::MAX),
        streaming_source_bytes: source.resident_bytes(),
        sink_bytes: SINK_BYTES,
    };
    // The weights are in the process already.
    let engine = |workers| EngineFootprint { shared_bytes: 0, ..model.engine.footprint(workers) };
    let workers =
        options.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let budget = options.max_ram.map(|b| usize::try_from(b).unwrap_or(usize::MAX));
    let memory = memory::plan(&layout, &model.manifest, &engine, &surroundings, workers, budget);
    // The error itself stays below the sentence: `choose` asks it for the least memory that would do.
    let memory = memory.map_err(|e| {
        let sentence = format!("{e}{}", half_precision_hint(model));
        Failure::new(Exit::DoesNotFit, anyhow::Error::new(e).context(sentence))
    })?;
    Ok(PlannedCase { files, source, layout, memory, looked, options: options.run })
}

/// What else a user can do whose memory does not suffice. The network is not prepared a second time to see whether it
/// would: that would take memory over the budget.
fn half_precision_hint(model: &Model) -> String {
    let single = model.precision != PrecisionChoice::F16 && model.engine.summary().precision == "f32";
    if !single || model.engine.native().is_none() {
        return String::new();
    }
    let footprint = model.engine.footprint(1);
    let tensors = footprint.call_bytes(footprint.least_workspace_blocks).unwrap_or(0);
    format!("; half precision (--precision f16) takes about half of the network's own {}", human_bytes(tensors))
}

/// Runs a planned case; the label file appears when all of it is there. Its header remembers `key`.
///
/// # Errors
/// Scan, model or output fail on the way, or the user interrupts.
pub fn run(
    model: &Model,
    case: &Case,
    planned: PlannedCase,
    key: &str,
    output: &Path,
    quiet: bool,
) -> Result<PhaseSeconds, Failure> {
    let PlannedCase { files, source: mut streaming, layout, memory, .. } = planned;
    let mut labels = LabelFile::create(output, files.header(), &layout, key)?;
    let mut progress = Progress::new(&case.name, quiet);
    pipeline::Observer::phase(&mut progress, pipeline::Phase::Prepare);
    let mut resident;
    let source: &mut dyn VoxelSource = if memory.resident_source {
        resident = ResidentSource::load(files).or_exit(Exit::BadInput)?;
        &mut resident
    } else {
        &mut streaming
    };
    let threads = Threads::new(memory.workers)?;
    let facts = preprocess::measure(source, &layout.bounds, &model.manifest.channels, layout.clip_axis())
        .or_exit(Exit::BadInput)?;
    let outcome = pipeline::segment(
        &layout,
        &model.manifest,
        &facts,
        &memory,
        source,
        &model.engine,
        &threads,
        &mut labels,
        &mut progress,
    );
    progress.finish();
    match outcome {
        Ok(()) => {}
        Err(PipelineError::Cancelled) => return Err(interrupt::failure()),
        Err(e @ PipelineError::Sink(_)) => return Err(Failure::new(Exit::CouldNotWrite, e)),
        Err(e @ PipelineError::Engine(_)) => return Err(Failure::new(Exit::BadModel, e)),
        Err(e) => return Err(Failure::new(Exit::BadInput, e)),
    }
    if interrupt::requested() {
        return Err(interrupt::failure());
    }
    labels.publish()?;
    Ok(progress.seconds)
}
