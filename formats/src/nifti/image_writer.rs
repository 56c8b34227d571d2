//! Images written plane by plane from a grid.

use super::error::HeaderError;
use super::fields::Version;
use super::geometry::{self, Placement};
use super::header::{Header, TYPE_CODES};
use super::layout::Draft;
use crate::error::FormatError;
use crate::planes::check_plane;
use crate::sink::Sink;
use crate::stream::Packing;
use scanside_core::volume::{Grid, VoxelType};
use std::io::Write;

/// What follows a header that nothing extends.
const NO_EXTENSIONS: [u8; 4] = [0; 4];

/// Writes an image in ascending `z`: NIfTI-1, or NIfTI-2 where an axis is longer than 32767; little endian, millimetres,
/// qform and sform both set.
pub struct ImageWriter<W: Write> {
    sink: Sink<W>,
    voxel_type: VoxelType,
    plane_voxels: usize,
    planes: usize,
    written: usize,
    bytes: Vec<u8>,
}

impl<W: Write> ImageWriter<W> {
    /// Writes the header to `out`, compressed if `gz`. `grid.direction` has orthonormal columns.
    ///
    /// # Errors
    /// A grid that this module would refuse to read; writing failed.
    pub fn create(out: W, grid: &Grid, voxel_type: VoxelType, gz: bool) -> Result<Self, FormatError> {
        let header = header_of(grid, voxel_type, 3)?;
        let [nz, ny, nx] = grid.shape_zyx;
        let mut sink = Sink::new(out, if gz { Packing::Gzip } else { Packing::Plain });
        sink.write(header.raw())?;
        sink.write(&NO_EXTENSIONS)?;
        Ok(ImageWriter { sink, voxel_type, plane_voxels: ny * nx, planes: nz, written: 0, bytes: Vec::new() })
    }

    /// Writes the next plane: `y, x` with `x` fastest. Integers are rounded to nearest (halves away from 0) and clamped
    /// to their type; NaN becomes 0 there.
    ///
    /// # Errors
    /// A plane of the wrong length or one too many; writing failed.
    pub fn write_plane(&mut self, values: &[f32]) -> Result<(), FormatError> {
        check_plane(values.len(), self.plane_voxels, self.written, self.planes)?;
        self.bytes.clear();
        macro_rules! put {
            ($convert:expr) => {
                self.bytes.extend(values.iter().flat_map(|&v| $convert(v).to_le_bytes()))
            };
        }
        match self.voxel_type {
            VoxelType::U8 => put!(|v: f32| v.round() as u8),
            VoxelType::I8 => put!(|v: f32| v.round() as i8),
            VoxelType::U16 => put!(|v: f32| v.round() as u16),
            VoxelType::I16 => put!(|v: f32| v.round() as i16),
            VoxelType::U32 => put!(|v: f32| v.round() as u32),
            VoxelType::I32 => put!(|v: f32| v.round() as i32),
            VoxelType::U64 => put!(|v: f32| v.round() as u64),
            VoxelType::I64 => put!(|v: f32| v.round() as i64),
            VoxelType::F32 => put!(|v: f32| v),
            VoxelType::F64 => put!(f64::from),
        }
        self.sink.write(&self.bytes)?;
        self.written += 1;
        Ok(())
    }

    /// Ends the file, flushes it and gives `out` back.
    ///
    /// # Errors
    /// Planes are missing; writing failed.
    pub fn finish(self) -> Result<W, FormatError> {
        if self.written != self.planes {
            return Err(FormatError::PlaneCount { expected: self.planes, got: self.written });
        }
        self.sink.finish()
    }
}

/// The header of an image on `grid`: NIfTI-1, or NIfTI-2 where an axis is longer than 32767. `axes` of x, y, z are real (2
/// or 3).
///
/// # Errors
/// A grid that this module would not read back as it is: directions that are not orthonormal, for example.
pub(super) fn header_of(grid: &Grid, voxel_type: VoxelType, axes: usize) -> Result<Header, FormatError> {
    let unwritable = |problem: String| FormatError::Unwritable { format: "NIfTI", problem };
    let [nz, ny, nx] = grid.shape_zyx;
    let [z, y, x] = grid.spacing_mm;
    let long = grid.shape_zyx.iter().any(|&n| i16::try_from(n).is_err());
    let mut draft = Draft::new(if long { Version::Two } else { Version::One }, false);
    draft.set_sizes(&[nx, ny, nz][..axes]);
    let code = TYPE_CODES.iter().find(|(_, t)| *t == voxel_type).map_or(0, |(code, _)| *code);
    draft.set_type(code, voxel_type.bytes());
    let spacing_xyz = [x, y, if axes == 2 { 1.0 } else { z }];
    let (pixdim, quatern, srow) =
        geometry::encode(&Placement { spacing_xyz, origin: grid.origin, direction: grid.direction });
    draft.set_geometry(pixdim, quatern, srow);
    // What is written must be readable: the parser judges empty axes, spacings and directions.
    let header = Header::parse(&draft.into_bytes()).map_err(|problem| unwritable(problem.to_string()))?;
    if header.voxel_type() != voxel_type {
        return Err(unwritable(HeaderError::UnknownType { code }.to_string()));
    }
    // The header has a rotation beside the matrix, and readers fall back to it where the matrix is sheared.
    let turned = header.grid().direction.iter().flatten().zip(grid.direction.iter().flatten());
    if turned.into_iter().any(|(read, meant)| (read - meant).abs() > 1e-3) {
        return Err(unwritable(
            "its axes are not perpendicular or their directions not of length 1; write it as .nrrd or .mha".into(),
        ));
    }
    Ok(header)
}
