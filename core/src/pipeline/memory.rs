//! What a memory plan is made from, and what it says.

use crate::volume::sum;
use alloc::vec::Vec;
use core::fmt;

/// Memory that is in use beside the buffers of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Bytes of the process before the run, the loaded model included. `None`: not measured; the model counts with
    /// [`EngineFootprint::shared_bytes`](crate::engine::EngineFootprint::shared_bytes), and nothing else does.
    pub process_bytes: Option<usize>,
    /// Peak of the process while it loaded the model.
    pub loading_bytes: usize,
    /// Bytes of the label sink.
    pub sink_bytes: usize,
    /// What allocator and threads take.
    pub overhead: Overhead,
}

impl Surroundings {
    /// Those of a program without an operating system: one heap, no threads.
    pub const fn bare() -> Surroundings {
        Surroundings { process_bytes: None, loading_bytes: 0, sink_bytes: 0, overhead: Overhead::BARE }
    }
}

impl Default for Surroundings {
    /// Those of a process whose memory was not measured.
    fn default() -> Self {
        Surroundings { process_bytes: None, loading_bytes: 0, sink_bytes: 0, overhead: Overhead::PROCESS }
    }
}

/// Bytes that allocator and threads take beyond the buffers that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overhead {
    /// In any run.
    pub fixed_bytes: usize,
    /// For each worker.
    pub worker_bytes: usize,
    /// One byte for so many counted ones; 0 for none.
    pub one_in: usize,
}

impl Overhead {
    /// Page rounding, allocator headers and thread stacks of a process.
    pub const PROCESS: Overhead = Overhead { fixed_bytes: 4 << 20, worker_bytes: 1 << 20, one_in: 50 };
    /// The lists of a few entries that are not worth a line in the plan. The allocator's own headers are not known here.
    pub const BARE: Overhead = Overhead { fixed_bytes: 16 << 10, worker_bytes: 0, one_in: 0 };

    pub(super) fn bytes(&self, counted: usize, workers: usize) -> Option<usize> {
        let share = counted.checked_div(self.one_in).unwrap_or(0);
        sum([Some(share), Some(self.fixed_bytes), workers.checked_mul(self.worker_bytes)])
    }
}

/// One part of the peak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryItem {
    /// The part's name.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: usize,
}

/// How a run uses memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The parts.
    pub items: Vec<MemoryItem>,
    /// The announced peak: the larger of the parts' sum and the peak while the model was loaded.
    pub peak_bytes: usize,
    /// Workers.
    pub workers: usize,
    /// Tiles in flight: fewer than workers where several share one.
    pub tiles: usize,
    /// Blocks of workspace for each of them: what the engine works best with, or the least that will do.
    pub workspace_blocks: usize,
    /// The workspace is the least, and less than the best.
    pub least_workspace: bool,
    /// The caller loads the scan into memory and runs on that, instead of reading its file again and again. Only for
    /// sources that have [`crate::volume::VoxelSource::kept_bytes`].
    pub resident_source: bool,
    /// Planes of network axis 0 fetched with one reading of the source.
    pub planes_per_read: usize,
}

/// The budget is too small, or the run cannot be counted in this machine's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoesNotFit {
    /// The budget.
    pub budget_bytes: usize,
    /// The smallest budget that is enough; `None` where even that cannot be addressed.
    pub least_bytes: Option<usize>,
}

impl fmt::Display for DoesNotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.least_bytes {
            // Rounded so that the figure shown is one that fits.
            Some(least) => write!(
                f,
                "this scan and model do not fit in {} MB; they need at least {} MB",
                self.budget_bytes / 1_000_000,
                least.div_ceil(1_000_000)
            ),
            None => write!(f, "this scan and model need more memory than a process can address"),
        }
    }
}

impl core::error::Error for DoesNotFit {}
