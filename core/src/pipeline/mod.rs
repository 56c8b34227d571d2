//! The run: voxels of a scan in, planes of labels out.
//!
//! A caller looks at a scan with a model, plans the run's memory, and runs it:
//!
//! 1. [`Run::look`] reads the scan once and lays the run out: the box that is segmented, grids, tiles, passes.
//! 2. [`Run::plan`] counts the memory of the run and chooses workers and buffers that stay inside a budget.
//! 3. [`PlannedRun::segment`] runs it.

mod counts;
mod error;
mod layout;
mod look;
mod memory;
mod plan;
mod run;
mod tile;
mod window;

pub use counts::Work;
pub use error::RunError;
pub use layout::{Layout, LayoutError, RunOptions};
pub use look::Run;
pub use memory::{DoesNotFit, MemoryItem, MemoryPlan, Overhead, Surroundings};
pub use plan::PlannedRun;
pub use run::{Observer, Phase};
