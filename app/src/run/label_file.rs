//! The label file of a case: written plane by plane, published whole.

use crate::components::{Keeper, WaitingPlanes};
use crate::error::{Error, OrPathError};
use crate::output::PendingFile;
use crate::own_labels;
use scanside_core::postprocess::{KeepLargest, LabelSink, SinkError};
use scanside_formats::{Geometry, LabelOptions, LabelType, LabelWriter, label_writer};
use std::io;
use std::path::{Path, PathBuf};

/// nnU-Net writes 8-bit labels as long as the largest value of the case stays below this.
pub(super) const FIRST_WIDE_VALUE: u16 = 255;

/// Where the labels of a case go.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The label file.
    pub path: &'a Path,
    /// What the file is recognised by: [`result_key`](super::result_key).
    pub key: &'a str,
}

/// A label file being written.
pub(super) struct LabelFile {
    path: PathBuf,
    geometry: Geometry,
    description: String,
    target: PendingFile,
    planes: Planes,
}

/// Where planes go.
enum Planes {
    /// No value can need 16 bits: planes go straight to the file.
    Written(Box<dyn LabelWriter>),
    /// Voxels may still be removed, or the type depends on the largest value: planes wait in an unnamed file beside the target.
    Waiting { planes: WaitingPlanes, largest: u16, keeper: Option<Box<Keeper>> },
}

impl LabelFile {
    /// Begins the label file of a scan with this geometry. Labels are at most `largest_value`; `rules` say of which of them only
    /// the largest component stays.
    pub(super) fn create(
        to: Destination<'_>,
        geometry: &Geometry,
        largest_value: u16,
        rules: &[KeepLargest],
    ) -> Result<Self, Error> {
        let Destination { path, key } = to;
        let target = PendingFile::create(path)?;
        let description = own_labels::description(key);
        let planes = if largest_value < FIRST_WIDE_VALUE && rules.is_empty() {
            let options = LabelOptions { path, stored: LabelType::U8, description: &description };
            let writer = label_writer(Box::new(target.handle()?), geometry, &options);
            Planes::Written(writer.map_err(|e| Error::cannot_write(path, e))?)
        } else {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let shape = geometry.grid().shape_zyx;
            let planes = WaitingPlanes::create(folder, shape).or_cannot_write(path)?;
            let keeper = Keeper::create(rules, shape, folder).or_cannot_write(path)?.map(Box::new);
            Planes::Waiting { planes, largest: 0, keeper }
        };
        Ok(LabelFile { path: path.to_owned(), geometry: geometry.clone(), description, target, planes })
    }

    /// Removes components, once all planes are there. Gives the voxels that are left of each label value; nothing where no
    /// component is to be removed.
    pub(super) fn settle(&mut self) -> Result<Option<Vec<u64>>, Error> {
        let Planes::Waiting { planes, largest, keeper } = &mut self.planes else { return Ok(None) };
        let Some(keeper) = keeper.take() else { return Ok(None) };
        let counts = keeper.finish(planes).or_cannot_write(&self.path)?;
        *largest = counts.iter().rposition(|count| *count > 0).map_or(0, |value| value as u16);
        Ok(Some(counts))
    }

    /// Makes the file appear, after [`Self::settle`].
    pub(super) fn publish(self) -> Result<(), Error> {
        let LabelFile { path, geometry, description, target, planes } = self;
        let failed = |e| Error::cannot_write(&path, e);
        let writer = match planes {
            Planes::Written(writer) => writer,
            Planes::Waiting { mut planes, largest, .. } => {
                let stored = if largest < FIRST_WIDE_VALUE { LabelType::U8 } else { LabelType::U16 };
                let options = LabelOptions { path: &path, stored, description: &description };
                let mut writer = label_writer(Box::new(target.handle()?), &geometry, &options).map_err(failed)?;
                planes.each(|labels| writer.write_plane(labels).map_err(io::Error::other)).or_cannot_write(&path)?;
                writer
            }
        };
        writer.finish().map_err(failed)?;
        target.publish()
    }
}

impl LabelSink for LabelFile {
    fn write_plane(&mut self, labels: &[u16]) -> Result<(), SinkError> {
        let written = match &mut self.planes {
            Planes::Written(writer) => writer.write_plane(labels).map_err(|e| e.to_string()),
            Planes::Waiting { planes, largest, keeper } => {
                *largest = labels.iter().copied().fold(*largest, u16::max);
                let kept = keeper.as_mut().map_or(Ok(()), |keeper| keeper.push(labels));
                kept.and_then(|()| planes.push(labels)).map_err(|e| e.to_string())
            }
        };
        written.map_err(|e| SinkError(format!("{} cannot be written: {e}", self.path.display()).into()))
    }
}
