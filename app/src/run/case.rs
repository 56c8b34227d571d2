//! One case: looked at, planned, run.

use super::envelope::{self, Counted};
use super::label_file::{Destination, FIRST_WIDE_VALUE, LabelFile};
use super::label_like;
use super::timed::{Timed, Timing};
use crate::cases::Case;
use crate::components::Keeper;
use crate::digest;
use crate::error::{Error, ErrorKind, OrError};
use crate::extras::Extras;
use crate::interrupt::Stop;
use crate::machine::{self, MemoryLimit, Threads, all_cores};
use crate::model::{Model, PrecisionChoice};
use scanside_core::engine::Engine;
use scanside_core::onnx::OnnxEngine;
use scanside_core::pipeline::{
    DoesNotFit, Layout, LayoutError, MemoryPlan, Observer, Phase, PlannedRun, Run, RunError, RunOptions, Surroundings,
};
use scanside_core::postprocess::KeepLargest;
use scanside_core::preprocess::PreprocessError;
use scanside_core::volume::VoxelSource;
use scanside_formats::Scan;
use std::time::Instant;

/// The label writer's buffers and the compressor's.
const SINK_BYTES: usize = 1 << 20;

/// Raised when the same input and model would give other labels than before, so that old results are not taken over.
const LABELS_VERSION: &str = "2";

/// How to run cases.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseOptions {
    /// Distance of tiles, and whether to mirror.
    pub run: RunOptions,
    /// The most memory that the process may take, in bytes. Without a limit: what the machine and the control groups of the
    /// process have free.
    pub max_ram: Option<u64>,
    /// Threads; all cores where no number is given.
    pub threads: Option<u16>,
    /// Accept scans that look like label maps.
    pub allow_label_input: bool,
    /// A scan or a result far outside of what the model was trained on is an error.
    pub strict: bool,
    /// Of which labels only the largest component stays; applied one after the other.
    pub keep_largest: Vec<KeepLargest>,
    /// What is made beside the label file.
    pub extras: Extras,
}

impl Default for CaseOptions {
    /// nnU-Net's own choices: tiles half a patch apart, mirrored.
    fn default() -> Self {
        CaseOptions {
            run: RunOptions::default(),
            max_ram: None,
            threads: None,
            allow_label_input: false,
            strict: false,
            keep_largest: Vec::new(),
            extras: Extras::default(),
        }
    }
}

/// A case whose run by one model is planned.
pub struct PlannedCase<'m> {
    pub(crate) scan: Scan,
    source: Box<dyn VoxelSource + Send>,
    pub(crate) planned: PlannedRun<'m, OnnxEngine>,
    pub(crate) looked: Looked,
    pub(crate) options: RunOptions,
    /// The memory that it was planned for.
    pub(crate) budget: Option<Budget>,
    outside: Option<String>,
    strict: bool,
    keep_largest: Vec<KeepLargest>,
}

impl<'m> PlannedCase<'m> {
    /// The scan.
    pub fn scan(&self) -> &Scan {
        &self.scan
    }

    /// How the scan is far outside of what the model was trained on, in one sentence; nothing where it is not, or where the
    /// model states no ranges.
    pub fn outside(&self) -> Option<&str> {
        self.outside.as_deref()
    }

    /// The run as it was laid out.
    pub fn run(&self) -> &Run<'m> {
        self.planned.run()
    }

    /// Tiles, boxes and grids.
    pub fn layout(&self) -> &Layout {
        self.run().layout()
    }

    /// Upper bound of the bytes on the disk that the label file and its temporary files take.
    pub fn disk_bytes(&self) -> usize {
        let shape = self.layout().file_shape;
        let voxels: usize = shape.iter().product();
        let narrow = self.layout().decision.largest_value() < FIRST_WIDE_VALUE;
        // Labels compress well, but nothing guarantees it; planes wait with 16 bits a voxel.
        let file = if narrow { voxels } else { 2 * voxels };
        match (narrow, self.keep_largest.is_empty()) {
            (true, true) => file,
            (false, true) => file + 2 * voxels,
            (_, false) => file + 2 * voxels + Keeper::disk_bytes(shape),
        }
    }

    /// The memory that the run takes.
    pub fn memory(&self) -> &MemoryPlan {
        &self.planned.memory
    }
}

/// Seconds of looking at the scan, from which the time to read it again is known.
#[derive(Clone, Copy, Debug)]
pub struct Looked {
    /// In all.
    pub seconds: f64,
    /// Going once through the voxels of every channel.
    pub pass_seconds: f64,
}

/// By what a result is recognised: the scan's bytes, the model, and every choice that changes labels.
pub fn result_key(model: &Model, input_sha256: &[String], options: &CaseOptions) -> String {
    let step = format!("{:?}", options.run.step);
    let mirror = options.run.mirror.to_string();
    let own = [LABELS_VERSION, model.identity(), &step, &mirror];
    let kept: Vec<String> = options.keep_largest.iter().map(|rule| format!("{rule:?}")).collect();
    let choices = own.into_iter().chain(kept.iter().map(String::as_str));
    digest::facts_sha256(choices.chain(input_sha256.iter().map(String::as_str)))
}

/// Looks at the scan once and plans its run.
///
/// # Errors
/// The scan cannot be read, does not suit the model, or the run does not fit into the memory allowed.
pub fn plan<'m>(model: &'m Model, case: &Case, options: &CaseOptions) -> Result<PlannedCase<'m>, Error> {
    let started = Instant::now();
    let scan = case.open(model.manifest.reader)?;
    let mut source = scan.stream();
    Run::check_channels(&model.manifest, source.channels()).map_err(error)?;
    if !options.allow_label_input {
        label_like::refuse(&scan, source.as_mut())?;
    }
    let deviations = envelope::of_scan(&model.manifest, scan.grid(), source.as_mut())?;
    let outside = envelope::sentence("the scan", &deviations);
    if let (true, Some(sentence)) = (options.strict, &outside) {
        return Err(envelope::refused(&scan, sentence));
    }
    let pass = Instant::now();
    let run = Run::look(&model.manifest, source.as_mut(), options.run).map_err(|e| error_in(&scan, e))?;
    let looked = Looked { seconds: started.elapsed().as_secs_f64(), pass_seconds: pass.elapsed().as_secs_f64() };
    let surroundings = Surroundings {
        process_bytes: Some(model.process_bytes),
        loading_bytes: model.loading_bytes,
        sink_bytes: sink_bytes(model, &scan, options),
        ..Surroundings::default()
    };
    let budget = Budget::of(options.max_ram);
    let bytes = budget.map(|budget| budget.bytes);
    let planned = run.plan(&model.engine, &surroundings, all_cores(options.threads), bytes).map_err(|e| match e {
        RunError::DoesNotFit(needs) => {
            let needs = DoesNotFit { least_bytes: needs.least_bytes.map(|least| least + model.margin_bytes), ..needs };
            let limit = budget.map_or(MemoryLimit::Given, |budget| budget.limit);
            Error::of(ErrorKind::DoesNotFit, TooLarge { needs, limit, halvable_bytes: halvable_bytes(model) })
        }
        other => error(other),
    })?;
    let (strict, keep_largest) = (options.strict, options.keep_largest.clone());
    Ok(PlannedCase { scan, source, planned, looked, options: options.run, budget, outside, strict, keep_largest })
}

/// The most memory that the process may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) bytes: usize,
    pub(crate) limit: MemoryLimit,
}

impl Budget {
    /// The limit given; else what the process has now and what is free beside it, where the system reports that.
    fn of(max_ram: Option<u64>) -> Option<Budget> {
        if let Some(bytes) = max_ram {
            return Some(Budget { bytes: usize::try_from(bytes).unwrap_or(usize::MAX), limit: MemoryLimit::Given });
        }
        let free = machine::free_memory()?;
        let (now, _) = machine::resident_bytes()?;
        Some(Budget { bytes: free.bytes.saturating_add(now), limit: free.limit })
    }
}

/// Bytes of writing labels, and of what is made beside them.
fn sink_bytes(model: &Model, scan: &Scan, options: &CaseOptions) -> usize {
    let shape = scan.grid().shape_zyx;
    let keeper = if options.keep_largest.is_empty() { Some(0) } else { Keeper::bytes(shape) };
    let parts = [Some(SINK_BYTES), keeper, options.extras.bytes(shape, &model.manifest)];
    // A sum that cannot be counted fits into no memory.
    parts.into_iter().try_fold(0usize, |sum, part| sum.checked_add(part?)).unwrap_or(usize::MAX)
}

/// An error of the run with its kind: who is at fault.
fn error(e: RunError) -> Error {
    let kind = match &e {
        RunError::Cancelled => return Error::interrupted(),
        RunError::Layout(LayoutError::Resampling(_) | LayoutError::Manifest(_))
        | RunError::Network { .. }
        | RunError::Engine(_) => ErrorKind::Model,
        RunError::Layout(LayoutError::Step(_)) => ErrorKind::Usage,
        RunError::Sink(_) => ErrorKind::Output,
        RunError::DoesNotFit(_) => ErrorKind::DoesNotFit,
        RunError::Workers { .. } => ErrorKind::Internal,
        _ => ErrorKind::Input,
    };
    Error::of(kind, e)
}

/// As [`error`]; one about the voxels of a channel names the channel's file.
fn error_in(scan: &Scan, e: RunError) -> Error {
    let (RunError::Preprocess(PreprocessError::NotFinite { channel, .. })
    | RunError::Preprocess(PreprocessError::NotRgb { channel, .. })) = &e
    else {
        return error(e);
    };
    let paths = scan.paths();
    let path = paths[channel * paths.len() / scan.channels()].to_owned();
    Error::with_source(ErrorKind::Input, format_args!("{} cannot be segmented", path.display()), e).about(&path)
}

/// A run that does not fit into the memory allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needs}{}", of_system(limit))]
pub struct TooLarge {
    /// What was allowed, and the least that suffices.
    pub needs: DoesNotFit,
    /// What limits the memory.
    pub limit: MemoryLimit,
    /// Bytes of the network's own tensors, of which half precision would take about half; nothing where it would not.
    pub halvable_bytes: Option<u64>,
}

/// What limits the memory, where that is not an option.
fn of_system(limit: &MemoryLimit) -> String {
    match limit {
        MemoryLimit::Given => String::new(),
        MemoryLimit::Machine | MemoryLimit::ControlGroup => format!("; the limit is what is {limit}"),
    }
}

/// The bytes of a network's tensors, where half precision would need about half of them. The network is not prepared a
/// second time to count exactly: that would take memory beyond the limit.
fn halvable_bytes(model: &Model) -> Option<u64> {
    let single = model.precision != PrecisionChoice::F16 && model.engine.summary().precision == "f32";
    if !single || model.engine.native().is_none() {
        return None;
    }
    let footprint = model.engine.footprint(1);
    footprint.call_bytes(footprint.least_workspace_blocks).map(|bytes| bytes as u64)
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Time and memory.
    pub timing: Timing,
    /// How the labels are far outside of what the model was trained on, in one sentence.
    pub outside: Option<String>,
}

/// Runs a planned case on `threads`, whose number becomes the planned one; the label file appears when all of it is there.
///
/// # Errors
/// Scan, model or output fail on the way, or a stop is requested.
pub fn run(
    case: PlannedCase<'_>,
    to: Destination<'_>,
    threads: &mut Threads,
    observer: &mut dyn Observer,
    stop: &Stop,
) -> Result<Finished, Error> {
    let PlannedCase { scan, source: mut streaming, planned, strict, keep_largest, .. } = case;
    let largest = planned.run().layout().decision.largest_value();
    let mut labels = LabelFile::create(to, scan.geometry(), largest, &keep_largest)?;
    let mut timed = Timed::new(observer, stop);
    timed.phase(Phase::Prepare);
    let mut resident;
    let source = if planned.memory.resident_source {
        resident = scan.load().or_error(ErrorKind::Input)?;
        resident.as_mut()
    } else {
        streaming.as_mut()
    };
    threads.resize(planned.memory.workers)?;
    let mut counted = Counted::new(&mut labels, largest);
    let outcome = planned.segment(source, &*threads, &mut counted, &mut timed);
    let counts = counted.finish();
    let timing = timed.finish();
    outcome.map_err(error)?;
    stop.check()?;
    let counts = labels.settle()?.unwrap_or(counts);
    let deviations = envelope::of_labels(planned.run().manifest(), scan.grid(), &counts);
    let outside = envelope::sentence("the result", &deviations);
    if let (true, Some(sentence)) = (strict, &outside) {
        return Err(envelope::refused(&scan, sentence));
    }
    labels.publish()?;
    Ok(Finished { timing, outside })
}
