//! One file with voxels of any format: what its header says, and its voxels as a stream that is read forwards.

use crate::error::FormatError;
use crate::geometry::Geometry;
use crate::stream::{BUFFER_BYTES, INFLATE_BYTES, Packing, Place, Seal, Stream};
use crate::voxels::{Coding, decode_into, non_finite};
use scanside_core::volume::{Index3, VoxelType};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Deflate makes at most 1032 bytes from one; a header that asks for more than its file can hold is refused unread.
const MOST_INFLATION: u64 = 1032;

/// Up to this ratio a compressed file's voxels are given room at once; beyond it, room grows with what arrives.
const TRUSTED_INFLATION: u64 = 64;

/// Bytes of all voxels, or `None` where they are more than a vector can hold. Below that, no later product of positions
/// overflows.
pub(crate) fn voxel_bytes(shape_zyx: Index3, channels: usize, voxel_type: VoxelType) -> Option<u64> {
    scanside_core::volume::checked_voxels(shape_zyx)?
        .checked_mul(channels)?
        .checked_mul(voxel_type.bytes())
        .filter(|&bytes| isize::try_from(bytes).is_ok())
        .map(|bytes| bytes as u64)
}

/// [`voxel_bytes`] of the file at `path`.
///
/// # Errors
/// They are more than a vector can hold.
pub(crate) fn voxel_bytes_of(
    path: &Path,
    shape_zyx: Index3,
    channels: usize,
    voxel_type: VoxelType,
) -> Result<u64, FormatError> {
    voxel_bytes(shape_zyx, channels, voxel_type).ok_or_else(|| {
        FormatError::header(path, "its sizes multiply to more bytes than can be addressed; the header is damaged")
    })
}

/// What a header says beside where voxels lie and how they are stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    /// What is odd about the file without being an error, a sentence each; [`VolumeFile`] names the file in front of it.
    pub(crate) warnings: Vec<String>,
    /// The free text of the file's maker.
    pub(crate) description: String,
    /// The file says that it holds labels: what says so.
    pub(crate) marked_as_labels: Option<&'static str>,
}

/// Voxels that were read as 0 because they are not finite, each counted once.
#[derive(Debug, Default)]
struct Repairs {
    /// Voxels from the file's first that were looked at without a gap.
    looked_at: u64,
    count: u64,
}

/// A file whose header was read and found usable.
#[derive(Clone, Debug)]
pub(crate) struct VolumeFile {
    path: PathBuf,
    place: Place,
    seal: Seal,
    geometry: Geometry,
    channels: usize,
    coding: Coding,
    about: About,
    repairs: Arc<Mutex<Repairs>>,
}

impl VolumeFile {
    /// A file with this header: `path` names it, `place` has its voxels.
    ///
    /// # Errors
    /// The file with the voxels is missing or denied, or cannot hold as many as the header asks for.
    pub(crate) fn new(
        path: &Path,
        place: Place,
        geometry: Geometry,
        channels: usize,
        coding: Coding,
        mut about: About,
    ) -> Result<Self, FormatError> {
        about.warnings.iter_mut().for_each(|warning| *warning = format!("{}: {warning}", path.display()));
        let seal = Seal::of_path(&place.path)?;
        let file = VolumeFile {
            path: path.to_path_buf(),
            place,
            seal,
            geometry,
            channels,
            coding,
            about,
            repairs: Arc::default(),
        };
        let Place { before, packing, skipped, .. } = file.place;
        let packed = file.seal.file_bytes.saturating_sub(before);
        let at_most = packing != Packing::Plain;
        let most = if at_most { packed.saturating_mul(MOST_INFLATION) } else { packed };
        let (expected, got) = (file.data_bytes(), most.saturating_sub(skipped));
        if got < expected {
            return Err(FormatError::Truncated { path: file.place.path, expected, got, at_most });
        }
        Ok(file)
    }

    /// The path it was opened by.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// That file, and the one that holds the voxels, where that is another one.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let voxels = Some(self.place.path.as_path()).filter(|path| *path != self.path);
        std::iter::once(self.path.as_path()).chain(voxels)
    }

    /// Where its voxels lie in the patient.
    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Voxels per axis of each channel.
    pub(crate) fn shape_zyx(&self) -> Index3 {
        self.geometry.grid().shape_zyx
    }

    /// Volumes in the file.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// What the bytes of voxels stand for.
    pub(crate) fn coding(&self) -> Coding {
        self.coding
    }

    /// What the header says beside.
    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    /// Voxels of all channels.
    pub(crate) fn voxels(&self) -> usize {
        self.shape_zyx().iter().product::<usize>() * self.channels
    }

    /// Bytes of all voxels of all channels, unpacked.
    pub(crate) fn data_bytes(&self) -> u64 {
        (self.voxels() * self.coding.voxel_type.bytes()) as u64
    }

    /// The bytes for which room may be made before any has arrived.
    pub(crate) fn backed_bytes(&self) -> u64 {
        match self.place.packing {
            Packing::Plain => self.seal.file_bytes,
            Packing::Gzip | Packing::Zlib => self.seal.file_bytes.saturating_mul(TRUSTED_INFLATION),
        }
    }

    /// Voxels that were read as 0 so far because they are not finite.
    pub(crate) fn repaired(&self) -> u64 {
        self.repairs.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Counts what is repaired in the voxels from `first` on, unless they were looked at before or lie behind a gap.
    fn count_repairs(&self, first: u64, bytes: &[u8]) {
        if !self.coding.values.zero_for_non_finite {
            return;
        }
        let each = self.coding.voxel_type.bytes() as u64;
        let mut repairs = self.repairs.lock().unwrap_or_else(PoisonError::into_inner);
        let end = first + bytes.len() as u64 / each;
        if (first..end).contains(&repairs.looked_at) {
            let new = &bytes[((repairs.looked_at - first) * each) as usize..];
            repairs.count += non_finite(self.coding, new);
            repairs.looked_at = end;
        }
    }

    /// Hands over all voxel bytes in pieces of whole voxels, then checks the checksum of compressed data.
    pub(crate) fn read_all(&self, mut each: impl FnMut(&[u8]) -> Result<(), FormatError>) -> Result<(), FormatError> {
        let mut cursor = Cursor::new();
        cursor.seek(self, 0)?;
        let mut scratch = vec![0; BUFFER_BYTES];
        let mut left = self.data_bytes() as usize;
        while left > 0 {
            let piece = &mut scratch[..left.min(BUFFER_BYTES)];
            cursor.fill(self, piece)?;
            each(piece)?;
            left -= piece.len();
        }
        Ok(())
    }
}

/// A position in a file's voxels that moves forwards cheaply.
pub(crate) struct Cursor {
    stream: Option<Stream>,
    /// Voxel bytes before the position.
    at: u64,
}

impl Cursor {
    /// The most bytes that a cursor and the piece it is read through take.
    pub(crate) const BYTES: usize = 3 * BUFFER_BYTES + INFLATE_BYTES;

    pub(crate) fn new() -> Self {
        Cursor { stream: None, at: 0 }
    }

    /// Moves to a voxel, counted from the file's first. Going back in compressed data reads them from their start.
    pub(crate) fn seek(&mut self, file: &VolumeFile, voxel: usize) -> Result<(), FormatError> {
        let to = (voxel * file.coding.voxel_type.bytes()) as u64;
        if to < self.at || self.stream.is_none() {
            self.stream = None;
            self.stream = Some(Stream::of_voxels(&file.place, file.seal)?);
            self.at = 0;
        }
        if let Some(stream) = &mut self.stream {
            stream.skip(to - self.at).map_err(|e| self.fault(file, e, 0))?;
        }
        self.at = to;
        Ok(())
    }

    /// Reads the next voxels, scaled; the position moves on.
    pub(crate) fn read(
        &mut self,
        file: &VolumeFile,
        scratch: &mut Vec<u8>,
        out: &mut [f32],
    ) -> Result<(), FormatError> {
        let each = file.coding.voxel_type.bytes();
        scratch.resize(BUFFER_BYTES, 0);
        for part in out.chunks_mut(BUFFER_BYTES / each) {
            let bytes = &mut scratch[..part.len() * each];
            self.fill(file, bytes)?;
            decode_into(file.coding, bytes, part);
        }
        Ok(())
    }

    fn fill(&mut self, file: &VolumeFile, out: &mut [u8]) -> Result<(), FormatError> {
        let Some(stream) = &mut self.stream else {
            return Err(FormatError::Changed { path: file.place.path.clone() });
        };
        let mut done = 0;
        while done < out.len() {
            match stream.read(&mut out[done..]) {
                Ok(0) => return Err(self.fault(file, io::ErrorKind::UnexpectedEof.into(), done)),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.fault(file, e, done)),
            }
        }
        file.count_repairs(self.at / file.coding.voxel_type.bytes() as u64, out);
        self.at += out.len() as u64;
        if self.at == file.data_bytes() {
            stream.check_end().map_err(|e| FormatError::reading(&file.place.path, e))?;
        }
        Ok(())
    }

    /// Sorts an error and forgets the stream, whose position is no longer known.
    fn fault(&mut self, file: &VolumeFile, error: io::Error, done: usize) -> FormatError {
        self.stream = None;
        let path = file.place.path.clone();
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let (expected, got) = (file.data_bytes(), self.at + done as u64);
            FormatError::Truncated { path, expected, got, at_most: false }
        } else {
            FormatError::reading(&path, error)
        }
    }
}
