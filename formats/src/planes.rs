//! Label planes as bytes: how every format's label map is written.

use crate::error::FormatError;
use crate::label_map::{LabelOutput, LabelWriter};
use crate::sink::Sink;
use crate::stream::Packing;
use scanside_core::volume::Index3;
use std::io::{Seek, SeekFrom, Write};

/// How a label is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LabelCode {
    /// One byte.
    U8,
    /// Two bytes.
    U16 { big_endian: bool },
    /// Four bytes, most significant first.
    I32,
}

/// A field of the header that holds the length of the packed bytes, right-aligned in decimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LengthField {
    /// Its first byte.
    pub(crate) at: usize,
    /// Its bytes.
    pub(crate) digits: usize,
}

/// What a label file begins with.
pub(crate) struct Opening {
    /// The bytes before the packed ones.
    pub(crate) plain: Vec<u8>,
    /// How what follows is packed.
    pub(crate) packing: Packing,
    /// The first of the packed bytes.
    pub(crate) packed: Vec<u8>,
    /// Where the length of the packed bytes goes, in the plain ones.
    pub(crate) length: Option<LengthField>,
}

/// Writes a label map in ascending `z`.
pub(crate) struct PlaneWriter {
    sink: Sink<Box<dyn LabelOutput>>,
    code: LabelCode,
    plane_voxels: usize,
    planes: usize,
    written: usize,
    bytes: Vec<u8>,
    /// The file's first byte, its first packed byte, and the field for their number.
    length: Option<(u64, u64, LengthField)>,
}

impl PlaneWriter {
    /// Writes what the file begins with.
    ///
    /// # Errors
    /// Writing failed.
    pub(crate) fn begin(
        mut out: Box<dyn LabelOutput>,
        opening: Opening,
        code: LabelCode,
        shape_zyx: Index3,
    ) -> Result<Self, FormatError> {
        let start = out.stream_position().map_err(FormatError::writing)?;
        out.write_all(&opening.plain).map_err(FormatError::writing)?;
        let length = opening.length.map(|field| (start, start + opening.plain.len() as u64, field));
        let mut sink = Sink::new(out, opening.packing);
        sink.write(&opening.packed)?;
        let [planes, rows, columns] = shape_zyx;
        Ok(PlaneWriter { sink, code, plane_voxels: rows * columns, planes, written: 0, bytes: Vec::new(), length })
    }
}

/// Whether another plane of `got` voxels may be written.
pub(crate) fn check_plane(got: usize, expected: usize, written: usize, planes: usize) -> Result<(), FormatError> {
    if got != expected {
        Err(FormatError::PlaneSize { expected, got })
    } else if written == planes {
        Err(FormatError::PlaneCount { expected: planes, got: written + 1 })
    } else {
        Ok(())
    }
}

impl LabelWriter for PlaneWriter {
    fn write_plane(&mut self, labels: &[u16]) -> Result<(), FormatError> {
        check_plane(labels.len(), self.plane_voxels, self.written, self.planes)?;
        self.bytes.clear();
        match self.code {
            LabelCode::U8 => {
                let most = u16::from(u8::MAX);
                for &value in labels {
                    let small = u8::try_from(value).map_err(|_| FormatError::LabelTooLarge { value, most })?;
                    self.bytes.push(small);
                }
            }
            LabelCode::U16 { big_endian: true } => self.bytes.extend(labels.iter().flat_map(|v| v.to_be_bytes())),
            LabelCode::U16 { big_endian: false } => self.bytes.extend(labels.iter().flat_map(|v| v.to_le_bytes())),
            LabelCode::I32 => self.bytes.extend(labels.iter().flat_map(|v| i32::from(*v).to_be_bytes())),
        }
        self.sink.write(&self.bytes)?;
        self.written += 1;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), FormatError> {
        if self.written != self.planes {
            return Err(FormatError::PlaneCount { expected: self.planes, got: self.written });
        }
        let mut out = self.sink.finish()?;
        if let Some((start, first, LengthField { at, digits })) = self.length {
            let mut put = || {
                let bytes = out.stream_position()? - first;
                out.seek(SeekFrom::Start(start + at as u64))?;
                write!(out, "{bytes:>digits$}")?;
                out.seek(SeekFrom::End(0))?;
                out.flush()
            };
            put().map_err(FormatError::writing)?;
        }
        Ok(())
    }
}
