//! Whole label maps, for comparison.

use super::error::NiftiError;
use super::file::NiftiFile;
use super::resident::further_room;
use super::voxels::{Element, with_type};
use crate::geometry::Geometry;
use crate::label_map::LabelMap;
use std::path::Path;

/// Reads a label map of any stored type. Takes four bytes per voxel.
///
/// # Errors
/// Those of [`NiftiFile::open`]; more than one channel; a value that is no whole number from 0 to `u32::MAX`.
pub(super) fn read_labels(path: &Path) -> Result<LabelMap, NiftiError> {
    let file = NiftiFile::open(path)?;
    let path = || file.path().to_path_buf();
    if file.channels() != 1 {
        return Err(NiftiError::ManyChannels { path: path(), channels: file.channels() });
    }
    let (scaling, big_endian) = (file.header().scaling(), file.header().big_endian());
    let mut labels: Vec<u32> = Vec::new();
    file.read_all(|bytes| {
        let more = bytes.len() / file.voxel_type().bytes();
        if labels.capacity() - labels.len() < more {
            labels
                .try_reserve_exact(further_room(&file, labels.len()).max(more))
                .map_err(|_| NiftiError::Memory { path: path(), bytes: 4 * file.voxels() as u64 })?;
        }
        with_type!(file.voxel_type(), T => {
            for v in T::decode(bytes, big_endian) {
                let label = v.label(scaling).map_err(|value| {
                    let [_, ny, nx] = file.grid().shape_zyx;
                    let n = labels.len();
                    NiftiError::NotALabel { path: path(), value, at_xyz: [n % nx, n / nx % ny, n / (nx * ny)] }
                })?;
                labels.push(label);
            }
        });
        Ok(())
    })?;
    Ok(LabelMap { geometry: Geometry::with_own(file.grid().clone(), file.header().clone()), labels })
}
