//! From logits on the network grid to labels on the scan's grid.
//!
//! Logits are interpolated, rounded to fp16 once more, and decided voxel by voxel as soon as their planes are
//! finished: nothing of the size heads x scan exists.
//!
//! [`KeepLargest`] removes all but the largest component of some labels afterwards, plane by plane as well.

mod components;
mod cubic;
mod decide;
mod export;
mod place;

pub use components::{ComponentFilter, ComponentScan, Fate, KeepLargest, PlaneLinks};
pub use decide::Decision;
pub use export::LabelExporter;
pub use place::{LabelPlacer, LabelSink, SinkError};
