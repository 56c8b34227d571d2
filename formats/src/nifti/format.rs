//! NIfTI as one of this crate's formats.

use super::image_writer::header_of;
use super::labels::read_labels;
use super::{ChannelFiles, Header, LabelWriter, NiftiFile, NiftiSource, ResidentSource};
use crate::error::FormatError;
use crate::format::FileFormat;
use crate::geometry::Geometry;
use crate::label_map::{self, LabelMap, LabelOptions};
use crate::scan::ScanFiles;
use scanside_core::volume::{VoxelSource, VoxelType};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The intent code of label maps.
const INTENT_LABEL: i32 = 1002;

/// The format NIfTI.
pub(crate) struct Nifti;

impl FileFormat for Nifti {
    fn name(&self) -> &'static str {
        "NIfTI"
    }

    fn endings(&self) -> &'static [&'static str] {
        &[".nii.gz", ".nii"]
    }

    fn open(&self, paths: &[PathBuf]) -> Result<Box<dyn ScanFiles>, FormatError> {
        let files = ChannelFiles::open(paths)?;
        let geometry = Geometry::with_own(files.grid().clone(), files.header().clone());
        Ok(Box::new(NiftiScan { files, geometry }))
    }

    fn read_labels(&self, path: &Path) -> Result<LabelMap, FormatError> {
        Ok(read_labels(path)?)
    }

    /// Under the scan's own header where the scan is a NIfTI file.
    fn label_writer(
        &self,
        out: Box<dyn Write + Send>,
        geometry: &Geometry,
        options: &LabelOptions<'_>,
    ) -> Result<Box<dyn label_map::LabelWriter>, FormatError> {
        let made;
        let header = match geometry.own::<Header>() {
            Some(header) => header,
            None => {
                made = header_of(geometry.grid(), VoxelType::U8)?;
                &made
            }
        };
        let compress = options.path.to_string_lossy().ends_with(".gz");
        Ok(Box::new(LabelWriter::create(out, header, compress, options.stored, options.description)?))
    }
}

impl label_map::LabelWriter for LabelWriter<Box<dyn Write + Send>> {
    fn write_plane(&mut self, labels: &[u16]) -> Result<(), FormatError> {
        Ok(LabelWriter::write_plane(self, labels)?)
    }

    fn finish(self: Box<Self>) -> Result<(), FormatError> {
        LabelWriter::finish(*self)?;
        Ok(())
    }
}

/// The NIfTI files of a case.
struct NiftiScan {
    files: ChannelFiles,
    geometry: Geometry,
}

impl ScanFiles for NiftiScan {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn channels(&self) -> usize {
        self.files.channels()
    }

    fn paths(&self) -> Vec<&Path> {
        self.files.files().iter().map(NiftiFile::path).collect()
    }

    fn warnings(&self) -> &[String] {
        self.files.warnings()
    }

    fn stored_bytes(&self) -> u64 {
        self.files.stored_bytes()
    }

    fn marked_as_labels(&self) -> Option<&'static str> {
        (self.files.header().intent_code() == INTENT_LABEL).then_some("its header says so (intent code 1002)")
    }

    fn description(&self) -> String {
        self.files.header().description()
    }

    fn stream(&self) -> Box<dyn VoxelSource + Send> {
        Box::new(NiftiSource::new(self.files.clone()))
    }

    fn load(&self) -> Result<Box<dyn VoxelSource + Send>, FormatError> {
        Ok(Box::new(ResidentSource::load(self.files.clone())?))
    }
}
