//! The run: scan planes in, finished label planes out.

mod layout;
mod run;
mod tile;
mod window;

pub(crate) use layout::needs_mask;
pub use layout::{Layout, LayoutError, RunOptions};
pub use run::{Observer, Phase, PipelineError, segment};
