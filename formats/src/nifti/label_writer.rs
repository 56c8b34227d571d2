//! Labels written plane by plane under the scan's header.

use super::error::NiftiError;
use super::header::Header;
use super::layout::Draft;
use super::sink::Sink;
use crate::label_map::LabelType;
use std::io::Write;

/// Writes a label volume in ascending `z`.
///
/// Version, byte order, voxel sizes, units and both transforms are the scan's, bit for bit. Everything else of its header
/// is left behind, names and notes included; a 4-D scan gives 3-D labels, a 2-D scan 2-D ones. The same labels give the
/// same bytes.
pub struct LabelWriter<W: Write> {
    sink: Sink<W>,
    dtype: LabelType,
    big_endian: bool,
    plane_voxels: usize,
    planes: usize,
    written: usize,
    bytes: Vec<u8>,
}

impl<W: Write> LabelWriter<W> {
    /// Writes the header to `out`, compressed if `gz`; `description` (at most 80 bytes) is its free text.
    ///
    /// # Errors
    /// Writing failed.
    pub fn create(out: W, header: &Header, gz: bool, dtype: LabelType, description: &str) -> Result<Self, NiftiError> {
        let [nz, ny, nx] = header.grid().shape_zyx;
        let mut draft = Draft::new(header.version(), header.big_endian());
        draft.copy_geometry(header.raw());
        let axes = if header.is_planar() { 2 } else { 3 };
        draft.set_sizes(&[nx, ny, nz][..axes]);
        let (code, bytes) = match dtype {
            LabelType::U8 => (2, 1),
            LabelType::U16 => (512, 2),
        };
        draft.set_type(code, bytes);
        draft.set_description(description);
        let mut sink = Sink::new(out, gz);
        sink.write(&draft.into_bytes())?;
        Ok(LabelWriter {
            sink,
            dtype,
            big_endian: header.big_endian(),
            plane_voxels: ny * nx,
            planes: nz,
            written: 0,
            bytes: Vec::new(),
        })
    }

    /// Writes the next plane: `y, x` with `x` fastest.
    ///
    /// # Errors
    /// A plane of the wrong length or one too many; a label above 255 in a file of 8 bits; writing failed.
    pub fn write_plane(&mut self, labels: &[u16]) -> Result<(), NiftiError> {
        check_plane(labels.len(), self.plane_voxels, self.written, self.planes)?;
        self.bytes.clear();
        match (self.dtype, self.big_endian) {
            (LabelType::U8, _) => {
                let most = u16::from(u8::MAX);
                for &value in labels {
                    let small = u8::try_from(value).map_err(|_| NiftiError::LabelTooLarge { value, most })?;
                    self.bytes.push(small);
                }
            }
            (LabelType::U16, true) => self.bytes.extend(labels.iter().flat_map(|v| v.to_be_bytes())),
            (LabelType::U16, false) => self.bytes.extend(labels.iter().flat_map(|v| v.to_le_bytes())),
        }
        self.sink.write(&self.bytes)?;
        self.written += 1;
        Ok(())
    }

    /// Ends the file, flushes it and gives `out` back.
    ///
    /// # Errors
    /// Planes are missing; writing failed.
    pub fn finish(self) -> Result<W, NiftiError> {
        if self.written != self.planes {
            return Err(NiftiError::PlaneCount { expected: self.planes, got: self.written });
        }
        self.sink.finish()
    }
}

pub(super) fn check_plane(got: usize, expected: usize, written: usize, planes: usize) -> Result<(), NiftiError> {
    if got != expected {
        Err(NiftiError::PlaneSize { expected, got })
    } else if written == planes {
        Err(NiftiError::PlaneCount { expected: planes, got: written + 1 })
    } else {
        Ok(())
    }
}
