//! Whole label maps, for comparison.

use crate::error::FormatError;
use crate::label_map::LabelMap;
use crate::resident::further_room;
use crate::volume_file::VolumeFile;
use crate::voxels::{Element, with_type};

/// Reads a label map of any stored type. Takes four bytes per voxel.
///
/// # Errors
/// More than one channel; cut-off or damaged data; a value that is no whole number from 0 to `u32::MAX`.
pub(crate) fn labels_of(file: &VolumeFile) -> Result<LabelMap, FormatError> {
    let path = || file.path().to_path_buf();
    if file.channels() != 1 {
        return Err(FormatError::ManyChannels { path: path(), channels: file.channels() });
    }
    let coding = file.coding();
    let mut labels: Vec<u32> = Vec::new();
    file.read_all(|bytes| {
        let more = bytes.len() / coding.voxel_type.bytes();
        if labels.capacity() - labels.len() < more {
            labels
                .try_reserve_exact(further_room(file, labels.len()).max(more))
                .map_err(|_| FormatError::Memory { path: path(), bytes: 4 * file.voxels() as u64 })?;
        }
        with_type!(coding.voxel_type, T => {
            for v in T::decode(bytes, coding.big_endian) {
                let label = v.label(coding.values.scaling).map_err(|value| {
                    let [_, ny, nx] = file.shape_zyx();
                    let n = labels.len();
                    FormatError::NotALabel { path: path(), value, at_xyz: [n % nx, n / nx % ny, n / (nx * ny)] }
                })?;
                labels.push(label);
            }
        });
        Ok(())
    })?;
    Ok(LabelMap { geometry: file.geometry().clone(), labels })
}
