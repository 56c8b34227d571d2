//! Where labels go in tests.

use scanside_core::postprocess::{LabelSink, SinkError};

/// Keeps all labels, plane after plane.
#[derive(Clone, Debug, Default)]
pub struct KeptLabels(
    /// The labels, `[z, y, x]`.
    pub Vec<u16>,
);

impl LabelSink for KeptLabels {
    fn write_plane(&mut self, labels: &[u16]) -> Result<(), SinkError> {
        self.0.extend_from_slice(labels);
        Ok(())
    }
}

/// Drops all labels.
#[derive(Clone, Copy, Debug)]
pub struct Discard;

impl LabelSink for Discard {
    fn write_plane(&mut self, _labels: &[u16]) -> Result<(), SinkError> {
        Ok(())
    }
}
