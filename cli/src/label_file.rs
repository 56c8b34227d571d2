//! Label planes into a NIfTI file with the scan's own geometry.

use crate::exit::{Exit, Failure, OrExit};
use crate::output::PendingFile;
use scanside_core::nifti::{ChannelFiles, Header, LabelType, LabelWriter, NiftiSource};
use scanside_core::pipeline::Layout;
use scanside_core::postprocess::{LabelSink, SinkError};
use scanside_core::volume::{Box3, VoxelSource};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// nnU-Net writes 8-bit labels as long as the largest value of the case stays below this.
const FIRST_WIDE_VALUE: u16 = 255;

/// A label file being written.
pub(crate) struct LabelFile {
    path: PathBuf,
    header: Header,
    compress: bool,
    key: String,
    state: State,
}

enum State {
    /// No value can need 16 bits: planes go straight to the file.
    Narrow(LabelWriter<PendingFile>),
    /// The type depends on the largest value, so planes wait in an unnamed file beside the target.
    Spooled { spool: BufWriter<File>, target: PendingFile, largest: u16, plane: usize },
}

impl LabelFile {
    pub(crate) fn create(path: &Path, header: &Header, layout: &Layout, key: &str) -> Result<Self, Failure> {
        let cannot = || format!("{} cannot be written", path.display());
        let compress = path.to_string_lossy().ends_with(".gz");
        let target = PendingFile::create(path)?;
        let state = if layout.decision.largest_value() < FIRST_WIDE_VALUE {
            let writer = LabelWriter::create(target, header, compress, LabelType::U8, &description(key))
                .or_exit_with(Exit::CouldNotWrite, cannot)?;
            State::Narrow(writer)
        } else {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let spool = tempfile::tempfile_in(folder).or_exit_with(Exit::CouldNotWrite, cannot)?;
            let plane = layout.file_shape[1] * layout.file_shape[2];
            State::Spooled { spool: BufWriter::new(spool), target, largest: 0, plane }
        };
        Ok(LabelFile { path: path.to_owned(), header: header.clone(), compress, key: key.to_owned(), state })
    }

    /// Makes the file appear.
    pub(crate) fn publish(self) -> Result<(), Failure> {
        let cannot = || format!("{} cannot be written", self.path.display());
        let writer = match self.state {
            State::Narrow(writer) => writer,
            State::Spooled { spool, target, largest, plane } => {
                let kind = if largest < FIRST_WIDE_VALUE { LabelType::U8 } else { LabelType::U16 };
                let mut writer =
                    LabelWriter::create(target, &self.header, self.compress, kind, &description(&self.key))
                        .or_exit_with(Exit::CouldNotWrite, cannot)?;
                let mut spool =
                    spool.into_inner().map_err(|e| e.into_error()).or_exit_with(Exit::CouldNotWrite, cannot)?;
                spool.rewind().or_exit_with(Exit::CouldNotWrite, cannot)?;
                let mut spool = BufReader::new(spool);
                let (mut bytes, mut labels) = (vec![0; 2 * plane], vec![0; plane]);
                for _ in 0..self.header.grid().shape_zyx[0] {
                    spool.read_exact(&mut bytes).or_exit_with(Exit::CouldNotWrite, cannot)?;
                    for (label, pair) in labels.iter_mut().zip(bytes.chunks_exact(2)) {
                        *label = u16::from_le_bytes([pair[0], pair[1]]);
                    }
                    writer.write_plane(&labels).or_exit_with(Exit::CouldNotWrite, cannot)?;
                }
                writer
            }
        };
        writer.finish().or_exit_with(Exit::CouldNotWrite, cannot)?.publish()
    }
}

impl LabelSink for LabelFile {
    fn write_plane(&mut self, labels: &[u16]) -> Result<(), SinkError> {
        let written = match &mut self.state {
            State::Narrow(writer) => writer.write_plane(labels).map_err(|e| e.to_string()),
            State::Spooled { spool, largest, .. } => {
                *largest = labels.iter().copied().fold(*largest, u16::max);
                labels.iter().try_for_each(|l| spool.write_all(&l.to_le_bytes())).map_err(|e| e.to_string())
            }
        };
        written.map_err(|e| SinkError(format!("{} cannot be written: {e}", self.path.display()).into()))
    }
}

/// What the file says of its origin: enough to recognise it, in the eighty bytes that NIfTI has for it.
fn description(key: &str) -> String {
    format!("scanside {}", &key[..key.len().min(DESCRIBED_DIGITS)])
}

/// Hex digits of the key in a label file.
const DESCRIBED_DIGITS: usize = 48;

/// Whether the label file at `path` is complete and was made with this key. Read plane by plane.
pub fn is_result_of(path: &Path, key: &str) -> bool {
    let Ok(files) = ChannelFiles::open(&[path]) else { return false };
    if files.header().description() != description(key) {
        return false;
    }
    // A file that something else cut short still has the right header.
    let [planes, rows, columns] = files.grid().shape_zyx;
    let mut source = NiftiSource::new(files);
    let mut plane = vec![0.0; rows * columns];
    (0..planes).all(|z| source.read(0, &Box3([z..z + 1, 0..rows, 0..columns]), &mut plane).is_ok())
}
