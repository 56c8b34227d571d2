//! The files of one case and what must be equal between them.

use crate::error::FormatError;
use crate::geometry::Geometry;
use crate::volume_file::VolumeFile;
use scanside_core::volume::Grid;

/// The files of one case: one 3-D file per channel, or one 4-D file whose fourth axis is the channels.
#[derive(Clone, Debug)]
pub(crate) struct ChannelFiles {
    files: Vec<VolumeFile>,
    warnings: Vec<String>,
}

/// Whether numbers are equal as far as nnU-Net compares them: numpy's `allclose`.
fn close<'a>(a: impl IntoIterator<Item = &'a f64>, b: impl IntoIterator<Item = &'a f64>) -> bool {
    a.into_iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-8 + 1e-5 * b.abs())
}

impl ChannelFiles {
    /// The files of a case in channel order.
    ///
    /// Several 4-D files are stacked: all channels of the first, then of the next, as nnU-Net does. Spacings that differ by
    /// rounding are equal, and the first file's is taken.
    ///
    /// # Errors
    /// There is no file; shapes differ, or spacings by more than 1e-5 of their size.
    pub(crate) fn new(files: Vec<VolumeFile>) -> Result<Self, FormatError> {
        let Some((first, others)) = files.split_first() else {
            return Err(FormatError::NoFiles);
        };
        let mut warnings: Vec<String> = files.iter().flat_map(|file| file.about().warnings.iter().cloned()).collect();
        for other in others {
            let differ = |what, first_has: String, second_has: String| FormatError::Mismatch {
                what,
                first: first.path().to_path_buf(),
                first_has,
                second: other.path().to_path_buf(),
                second_has,
            };
            let (a, b) = (first.geometry().grid(), other.geometry().grid());
            if shape(first) != shape(other) {
                return Err(differ("shape", shape(first), shape(other)));
            }
            if !close(&a.spacing_mm, &b.spacing_mm) {
                let spacing = |[z, y, x]: [f64; 3]| format!("{x} x {y} x {z} mm");
                return Err(differ("voxel spacing", spacing(a.spacing_mm), spacing(b.spacing_mm)));
            }
            for (what, same, one, two) in [
                ("origin", close(&a.origin, &b.origin), format!("{:?} mm", a.origin), format!("{:?} mm", b.origin)),
                (
                    "direction",
                    close(a.direction.iter().flatten(), b.direction.iter().flatten()),
                    format!("{:?}", a.direction),
                    format!("{:?}", b.direction),
                ),
            ] {
                if !same {
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

    /// Where the voxels of the first file lie: there labels are written.
    pub(crate) fn geometry(&self) -> &Geometry {
        self.files[0].geometry()
    }

    /// Shape, spacing, origin and direction of the first file.
    pub(crate) fn grid(&self) -> &Grid {
        self.geometry().grid()
    }

    /// The files in the order given.
    pub(crate) fn files(&self) -> &[VolumeFile] {
        &self.files
    }

    /// Number of channels.
    pub(crate) fn channels(&self) -> usize {
        self.files.len() * self.files[0].channels()
    }

    /// Bytes of all voxels of all channels in their stored types, uncompressed: what
    /// [`ResidentSource`](crate::resident::ResidentSource) keeps.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.files.iter().map(VolumeFile::data_bytes).fold(0, u64::saturating_add)
    }

    /// What is odd about the files without being an error, and which voxels were read as 0 so far.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let repaired = self.files.iter().filter(|file| file.repaired() > 0).map(|file| {
            format!(
                "{}: voxels that are NaN or infinite are read as 0, as ITK reads them; there are {}",
                file.path().display(),
                file.repaired()
            )
        });
        self.warnings.iter().cloned().chain(repaired).collect()
    }

    /// The file a channel lies in, and the voxel at which it starts there.
    pub(crate) fn place(&self, channel: usize) -> (usize, usize) {
        let each = self.files[0].channels();
        let voxels: usize = self.grid().shape_zyx.iter().product();
        (channel / each, (channel % each) * voxels)
    }
}

/// The shape as messages say it.
fn shape(file: &VolumeFile) -> String {
    let [z, y, x] = file.shape_zyx();
    let channels = if file.channels() > 1 { format!(" x {} channels", file.channels()) } else { String::new() };
    let axes = if file.geometry().is_planar() { format!("{x} x {y}") } else { format!("{x} x {y} x {z}") };
    axes + &channels
}

#[cfg(test)]
mod tests {
    use super::close;

    #[test]
    fn numbers_are_compared_as_numpy_does() {
        assert!(close(&[0.7, 0.5], &[0.7 * (1.0 + 9e-6), 0.5]));
        assert!(!close(&[0.7, 0.5], &[0.7 * (1.0 + 2e-5), 0.5]));
        assert!(close(&[0.0], &[9e-9]) && !close(&[0.0], &[2e-8]));
        assert!(!close(&[f64::NAN], &[f64::NAN]));
    }
}
