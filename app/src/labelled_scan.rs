//! A scan and its label file, read together plane by plane.

use crate::error::{Error, ErrorKind, OrError};
use crate::geometry::difference;
use scanside_core::volume::{Box3, Grid, Index3, VoxelSource};
use scanside_formats::Scan;
use std::path::{Path, PathBuf};

/// What reading one channel of a file keeps beside a plane: buffers and a decompressor.
const STREAM_BYTES: usize = 384 << 10;

/// A scan and a label map on its voxels.
pub(crate) struct LabelledScan<'a> {
    scan: &'a Scan,
    labels: Scan,
    path: PathBuf,
}

/// A plane of both.
pub(crate) struct LabelledPlane<'a> {
    /// Its number.
    pub(crate) z: usize,
    /// Labels: `y, x`.
    pub(crate) labels: &'a [u16],
    /// The scan's voxels: channel after channel, each `y, x`.
    pub(crate) voxels: &'a [f32],
}

impl<'a> LabelledScan<'a> {
    /// A scan and the label file at `path`, both by the rules of `reader`.
    ///
    /// # Errors
    /// The label file cannot be read, or does not lie on the voxels of the scan.
    pub(crate) fn open(scan: &'a Scan, path: &Path) -> Result<Self, Error> {
        let labels =
            Scan::open_as(&[path], scan.reader()).map_err(|e| Error::cannot_read(ErrorKind::Input, path, e))?;
        if labels.channels() != 1 || difference(scan.grid(), labels.grid()).is_some() {
            let sentence = format!("the labels in {} do not lie on the voxels of the scan", path.display());
            return Err(Error::new(ErrorKind::Input, sentence).about(path));
        }
        Ok(LabelledScan { scan, labels, path: path.to_owned() })
    }

    /// Where both lie.
    pub(crate) fn grid(&self) -> &Grid {
        self.scan.grid()
    }

    /// Bytes that reading the first `channels` channels takes; `None` where they do not fit `usize`.
    pub(crate) fn bytes(shape_zyx: Index3, channels: usize) -> Option<usize> {
        // Labels come in single precision and are kept in 16 bits.
        let voxel = channels.checked_mul(4)?.checked_add(6)?;
        let planes = shape_zyx[1].checked_mul(shape_zyx[2])?.checked_mul(voxel)?;
        channels.checked_add(1)?.checked_mul(STREAM_BYTES)?.checked_add(planes)
    }

    /// Reads both from the first plane to the last, with the scan's first `channels` channels.
    ///
    /// # Errors
    /// A file is cut off or damaged, or the label file holds a value that is no label.
    pub(crate) fn each_plane(&self, channels: usize, mut each: impl FnMut(LabelledPlane<'_>)) -> Result<(), Error> {
        let [planes, rows, columns] = self.grid().shape_zyx;
        let each_channel = rows * columns;
        let (mut scan, mut file) = (self.scan.stream(), self.labels.stream());
        let mut stored = vec![0.0; each_channel];
        let mut labels = vec![0; each_channel];
        let mut voxels = vec![0.0; channels * each_channel];
        for z in 0..planes {
            let bounds = Box3([z..z + 1, 0..rows, 0..columns]);
            self.read_labels(file.as_mut(), &bounds, &mut stored)?;
            for (label, &value) in labels.iter_mut().zip(&stored) {
                *label = self.label(value)?;
            }
            for (channel, plane) in voxels.chunks_exact_mut(each_channel).enumerate() {
                scan.read(channel, &bounds, plane).or_error(ErrorKind::Input)?;
            }
            each(LabelledPlane { z, labels: &labels, voxels: &voxels });
        }
        Ok(())
    }

    fn read_labels(&self, file: &mut dyn VoxelSource, bounds: &Box3, into: &mut [f32]) -> Result<(), Error> {
        file.read(0, bounds, into).map_err(|e| Error::of(ErrorKind::Input, e).about(&self.path))
    }

    fn label(&self, value: f32) -> Result<u16, Error> {
        let label = value as u16;
        if f32::from(label) == value {
            return Ok(label);
        }
        let sentence = format!("{} holds the value {value}, which is no label", self.path.display());
        Err(Error::new(ErrorKind::Input, sentence).about(&self.path))
    }
}
