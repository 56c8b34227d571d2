//! Whole label volumes, for evaluation.

use super::error::NiftiError;
use super::file::NiftiFile;
use super::header::Header;
use super::resident::further_room;
use super::voxels::{Element, with_type};
use crate::volume::Grid;
use std::path::Path;

/// Labels and where they lie.
#[derive(Clone, Debug)]
pub struct LabelVolume {
    /// The file's header.
    pub header: Header,
    /// One label per voxel, `z, y, x` with `x` fastest.
    pub labels: Vec<u32>,
}

impl LabelVolume {
    /// Shape, spacing, origin and direction as ITK reads them.
    pub fn grid(&self) -> &Grid {
        self.header.grid()
    }
}

/// Reads a label volume of any stored type. Takes four bytes per voxel.
///
/// # Errors
/// Those of [`NiftiFile::open`]; more than one channel; a value that is no whole number from 0 to `u32::MAX`.
pub fn read_labels(path: impl AsRef<Path>) -> Result<LabelVolume, NiftiError> {
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
    Ok(LabelVolume { header: file.header().clone(), labels })
}
