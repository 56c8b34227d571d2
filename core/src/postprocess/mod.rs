//! From logits on the network grid to labels on the scan's grid.
//!
//! Logits are interpolated, rounded to fp16 once more, and decided voxel by voxel as soon as their planes are
//! finished: nothing of the size heads x scan exists.

mod cubic;
mod decide;
mod export;
mod place;

pub use decide::Decision;
pub use export::LabelExporter;
pub use place::{LabelPlacer, LabelSink, SinkError};
