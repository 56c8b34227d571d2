//! The label file of a case: written plane by plane, published whole, recognised by the key in its free text.

use crate::error::{Error, OrPathError};
use crate::output::PendingFile;
use scanside_core::postprocess::{LabelSink, SinkError};
use scanside_core::volume::Reader;
use scanside_formats::{Geometry, LabelOptions, LabelType, LabelWriter, Scan, is_complete, label_writer};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// nnU-Net writes 8-bit labels as long as the largest value of the case stays below this.
const FIRST_WIDE_VALUE: u16 = 255;

/// Hex digits of the key in a label file.
const KEY_DIGITS: usize = 48;

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
    /// The type depends on the largest value, so planes wait in an unnamed file beside the target.
    Waiting { planes: BufWriter<File>, largest: u16 },
}

impl LabelFile {
    /// Begins the label file of a scan with this geometry. Labels are at most `largest_value`; `key` is what the file is
    /// recognised by.
    pub(super) fn create(path: &Path, geometry: &Geometry, largest_value: u16, key: &str) -> Result<Self, Error> {
        let target = PendingFile::create(path)?;
        let description = description(key);
        let planes = if largest_value < FIRST_WIDE_VALUE {
            let options = LabelOptions { path, stored: LabelType::U8, description: &description };
            let writer = label_writer(Box::new(target.handle()?), geometry, &options);
            Planes::Written(writer.map_err(|e| Error::cannot_write(path, e))?)
        } else {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let file = tempfile::tempfile_in(folder).or_cannot_write(path)?;
            Planes::Waiting { planes: BufWriter::new(file), largest: 0 }
        };
        Ok(LabelFile { path: path.to_owned(), geometry: geometry.clone(), description, target, planes })
    }

    /// Makes the file appear.
    pub(super) fn publish(self) -> Result<(), Error> {
        let LabelFile { path, geometry, description, target, planes } = self;
        let failed = |e| Error::cannot_write(&path, e);
        let writer = match planes {
            Planes::Written(writer) => writer,
            Planes::Waiting { planes, largest } => {
                let stored = if largest < FIRST_WIDE_VALUE { LabelType::U8 } else { LabelType::U16 };
                let options = LabelOptions { path: &path, stored, description: &description };
                let mut writer = label_writer(Box::new(target.handle()?), &geometry, &options).map_err(failed)?;
                let mut file = planes.into_inner().map_err(|e| Error::cannot_write(&path, e.into_error()))?;
                file.rewind().or_cannot_write(&path)?;
                copy_planes(file, geometry.grid().shape_zyx, writer.as_mut(), &path)?;
                writer
            }
        };
        writer.finish().map_err(failed)?;
        target.publish()
    }
}

/// Reads planes of 16-bit labels and hands them to the writer.
fn copy_planes(file: File, shape_zyx: [usize; 3], writer: &mut dyn LabelWriter, path: &Path) -> Result<(), Error> {
    let [planes, rows, columns] = shape_zyx;
    let mut file = BufReader::new(file);
    let (mut bytes, mut labels) = (vec![0; 2 * rows * columns], vec![0; rows * columns]);
    for _ in 0..planes {
        file.read_exact(&mut bytes).or_cannot_write(path)?;
        for (label, pair) in labels.iter_mut().zip(bytes.chunks_exact(2)) {
            *label = u16::from_le_bytes([pair[0], pair[1]]);
        }
        writer.write_plane(&labels).map_err(|e| Error::cannot_write(path, e))?;
    }
    Ok(())
}

impl LabelSink for LabelFile {
    fn write_plane(&mut self, labels: &[u16]) -> Result<(), SinkError> {
        let written = match &mut self.planes {
            Planes::Written(writer) => writer.write_plane(labels).map_err(|e| e.to_string()),
            Planes::Waiting { planes, largest } => {
                *largest = labels.iter().copied().fold(*largest, u16::max);
                labels.iter().try_for_each(|l| planes.write_all(&l.to_le_bytes())).map_err(|e| e.to_string())
            }
        };
        written.map_err(|e| SinkError(format!("{} cannot be written: {e}", self.path.display()).into()))
    }
}

/// The free text of a label file: enough of the key to recognise it, in the eighty bytes that NIfTI has for it.
fn description(key: &str) -> String {
    format!("scanside {}", &key[..key.len().min(KEY_DIGITS)])
}

/// Whether the label file at `path` is complete and was made with this key. Read plane by plane.
pub fn is_result_of(path: &Path, key: &str) -> bool {
    // Labels have the axes of their scan, which this reader takes even where they are sheared.
    Scan::open_as(&[path], Reader::Nibabel)
        .is_ok_and(|scan| scan.description() == description(key) && is_complete(&scan))
}
