//! The files of one case and what must be equal between them.

use super::error::NiftiError;
use super::file::NiftiFile;
use super::header::Header;
use scanside_core::volume::Grid;
use std::path::Path;

/// The image files of one case: one 3-D file per channel, or one 4-D file whose fourth axis is the channels.
#[derive(Clone, Debug)]
pub struct ChannelFiles {
    files: Vec<NiftiFile>,
    warnings: Vec<String>,
}

impl ChannelFiles {
    /// Opens the files of a case in channel order; reads their headers alone.
    ///
    /// Several 4-D files are stacked: all channels of the first, then of the next, as nnU-Net does.
    ///
    /// # Errors
    /// Those of [`NiftiFile::open`]; shapes or spacings that are not exactly equal.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self, NiftiError> {
        let files = paths.iter().map(NiftiFile::open).collect::<Result<Vec<_>, _>>()?;
        let Some((first, others)) = files.split_first() else {
            return Err(NiftiError::NoFiles);
        };
        let mut warnings = Vec::new();
        for other in others {
            let differ = |what, first_has: String, second_has: String| NiftiError::Mismatch {
                what,
                first: first.path().to_path_buf(),
                first_has,
                second: other.path().to_path_buf(),
                second_has,
            };
            let (a, b) = (first.grid(), other.grid());
            let shape = |f: &NiftiFile| {
                let [z, y, x] = f.grid().shape_zyx;
                let channels = if f.channels() > 1 { format!(" x {} channels", f.channels()) } else { String::new() };
                let axes = if f.header().is_planar() { format!("{x} x {y}") } else { format!("{x} x {y} x {z}") };
                axes + &channels
            };
            if shape(first) != shape(other) {
                return Err(differ("shape", shape(first), shape(other)));
            }
            if a.spacing_mm != b.spacing_mm {
                let spacing = |[z, y, x]: [f64; 3]| format!("{x} x {y} x {z} mm");
                return Err(differ("voxel spacing", spacing(a.spacing_mm), spacing(b.spacing_mm)));
            }
            for (what, one, two) in [
                ("origin", format!("{:?} mm", a.origin), format!("{:?} mm", b.origin)),
                ("direction", format!("{:?}", a.direction), format!("{:?}", b.direction)),
            ] {
                if one != two {
                    warnings.push(format!(
                        "the channels differ in {what}: {} has {one} and {} has {two}; \
                         they are combined voxel by voxel, so check that they are aligned",
                        first.path().display(),
                        other.path().display()
                    ));
                }
            }
        }
        Ok(ChannelFiles { files, warnings })
    }

    /// Shape, spacing, origin and direction of the first file.
    pub fn grid(&self) -> &Grid {
        self.files[0].grid()
    }

    /// The first file's header: the one that labels are written under.
    pub fn header(&self) -> &Header {
        self.files[0].header()
    }

    /// The files in the order given.
    pub fn files(&self) -> &[NiftiFile] {
        &self.files
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.files.len() * self.files[0].channels()
    }

    /// Bytes of all voxels of all channels in their stored types, uncompressed: what
    /// [`ResidentSource`](super::ResidentSource) keeps.
    pub fn stored_bytes(&self) -> u64 {
        self.files.iter().map(NiftiFile::data_bytes).fold(0, u64::saturating_add)
    }

    /// What the channels differ in without it being an error: origin and direction.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The file a channel lies in, and the voxel at which it starts there.
    pub(super) fn place(&self, channel: usize) -> (usize, usize) {
        let each = self.files[0].channels();
        let voxels: usize = self.grid().shape_zyx.iter().product();
        (channel / each, (channel % each) * voxels)
    }
}
