//! Label maps: written plane by plane, read whole.

use crate::error::FormatError;
use crate::geometry::Geometry;
use scanside_core::postprocess::{LabelSink, SinkError};
use scanside_core::volume::Grid;
use std::io::{Seek, Write};
use std::path::Path;

/// The stored type of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelType {
    /// Labels up to 255.
    U8,
    /// Labels up to 65535.
    U16,
}

/// How a label map is written.
#[derive(Clone, Copy, Debug)]
pub struct LabelOptions<'a> {
    /// The name that the file will have; its ending says the format and whether it is compressed.
    pub path: &'a Path,
    /// The stored type.
    pub stored: LabelType,
    /// Free text, at most 80 bytes.
    pub description: &'a str,
}

/// Where the bytes of a label map go: an open file. Some formats go back to their header at the end.
pub trait LabelOutput: Write + Seek + Send {}

impl<T: Write + Seek + Send> LabelOutput for T {}

impl LabelOptions<'_> {
    /// The free text as one line, for headers that are lines of text; nothing where it is empty.
    pub(crate) fn description_line(&self) -> Option<String> {
        let line: String = self.description.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Some(line).filter(|line| !line.is_empty())
    }
}

/// A label map being written, in ascending `z`.
pub trait LabelWriter: Send {
    /// Writes the next plane: `y, x` with `x` fastest.
    ///
    /// # Errors
    /// A plane of the wrong length or one too many; a label that the stored type cannot hold; writing failed.
    fn write_plane(&mut self, labels: &[u16]) -> Result<(), FormatError>;

    /// Ends the file and hands every byte to the system.
    ///
    /// # Errors
    /// Planes are missing; writing failed.
    fn finish(self: Box<Self>) -> Result<(), FormatError>;
}

/// Labels of a run go straight into the file.
impl LabelSink for dyn LabelWriter {
    fn write_plane(&mut self, labels: &[u16]) -> Result<(), SinkError> {
        LabelWriter::write_plane(self, labels).map_err(|e| SinkError(e.to_string().into()))
    }
}

/// A whole label map.
#[derive(Clone, Debug)]
pub struct LabelMap {
    /// Where it lies.
    pub geometry: Geometry,
    /// One label per voxel, `z, y, x` with `x` fastest.
    pub labels: Vec<u32>,
}

impl LabelMap {
    /// Shape, spacing, origin and direction, in ITK's convention.
    pub fn grid(&self) -> &Grid {
        self.geometry.grid()
    }
}
