//! One file: its header at once, its voxels as a stream that is read forwards.

use super::error::NiftiError;
use super::fields::Version;
use super::header::Header;
use super::voxels::decode_into;
use flate2::bufread::MultiGzDecoder;
use scanside_core::volume::{Grid, VoxelType};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of each buffer between the disk, the decompressor and the voxels.
const BUFFER_BYTES: usize = 64 * 1024;

/// Deflate's window of 32 KiB, its tables, and what a decompressor keeps beside them, rounded up.
const INFLATE_BYTES: usize = 64 * 1024;

/// Deflate makes at most 1032 bytes from one; a header that asks for more than its file can hold is refused unread.
const MOST_INFLATION: u64 = 1032;

/// Up to this ratio a compressed file's voxels are given room at once; beyond it, room grows with what arrives.
const TRUSTED_INFLATION: u64 = 64;

/// A NIfTI file whose header was read and found usable.
#[derive(Clone, Debug)]
pub struct NiftiFile {
    path: PathBuf,
    header: Header,
    file_bytes: u64,
    gzipped: bool,
}

impl NiftiFile {
    /// Reads and checks the header of a `.nii` or `.nii.gz` file. Compression is recognised by content, not by name.
    ///
    /// Reads a few kB; voxels are not touched, but their number is checked against the file's length.
    ///
    /// # Errors
    /// A file that is missing, denied or too short, and every [`HeaderError`](super::HeaderError).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NiftiError> {
        let path = path.as_ref();
        let mut stream = Stream::open(path)?;
        let start = stream.head(path)?;
        let header =
            Header::parse(&start).map_err(|problem| NiftiError::Header { path: path.to_path_buf(), problem })?;
        let (file_bytes, gzipped) = (stream.file_bytes, matches!(stream.bytes, Bytes::Gzip(_)));
        let expected = header.data_bytes();
        let most = if gzipped { file_bytes.saturating_mul(MOST_INFLATION) } else { file_bytes };
        let got = most.saturating_sub(header.voxels_at());
        if got < expected {
            return Err(NiftiError::Truncated { path: path.to_path_buf(), expected, got, at_most: gzipped });
        }
        Ok(NiftiFile { path: path.to_path_buf(), header, file_bytes, gzipped })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Shape, spacing, origin and direction as ITK reads them.
    pub fn grid(&self) -> &Grid {
        self.header.grid()
    }

    /// Volumes in the file: the size of its fourth axis, or 1.
    pub fn channels(&self) -> usize {
        self.header.channels()
    }

    /// The stored type.
    pub fn voxel_type(&self) -> VoxelType {
        self.header.voxel_type()
    }

    /// Bytes of all voxels of all channels, uncompressed.
    pub fn data_bytes(&self) -> u64 {
        self.header.data_bytes()
    }

    /// Voxels of all channels.
    pub(super) fn voxels(&self) -> usize {
        self.data_bytes() as usize / self.voxel_type().bytes()
    }

    /// The bytes for which room may be made before any has arrived.
    pub(super) fn backed_bytes(&self) -> u64 {
        if self.gzipped { self.file_bytes.saturating_mul(TRUSTED_INFLATION) } else { self.file_bytes }
    }

    /// Hands over all voxel bytes in pieces of whole voxels, then checks the checksum of compressed data.
    pub(super) fn read_all(&self, mut each: impl FnMut(&[u8]) -> Result<(), NiftiError>) -> Result<(), NiftiError> {
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
pub(super) struct Cursor {
    stream: Option<Stream>,
    /// Voxel bytes before the position.
    at: u64,
}

impl Cursor {
    /// The most bytes that a cursor and the piece it is read through take.
    pub(super) const BYTES: usize = 3 * BUFFER_BYTES + INFLATE_BYTES;

    pub(super) fn new() -> Self {
        Cursor { stream: None, at: 0 }
    }

    /// Moves to a voxel, counted from the file's first. Going back in compressed data reads them from their start.
    pub(super) fn seek(&mut self, file: &NiftiFile, voxel: usize) -> Result<(), NiftiError> {
        let to = (voxel * file.voxel_type().bytes()) as u64;
        if to < self.at || self.stream.is_none() {
            self.stream = None;
            let mut stream = Stream::open(&file.path)?;
            let start = stream.head(&file.path)?;
            if start != file.header.raw() {
                return Err(NiftiError::Changed { path: file.path.clone() });
            }
            let gap = file.header.voxels_at() - start.len() as u64;
            stream.skip(gap).map_err(|e| NiftiError::reading(&file.path, e))?;
            self.at = 0;
            self.stream = Some(stream);
        }
        if let Some(stream) = &mut self.stream {
            stream.skip(to - self.at).map_err(|e| self.fault(file, e, 0))?;
        }
        self.at = to;
        Ok(())
    }

    /// Reads the next voxels, scaled; the position moves on.
    pub(super) fn read(&mut self, file: &NiftiFile, scratch: &mut Vec<u8>, out: &mut [f32]) -> Result<(), NiftiError> {
        let header = &file.header;
        let each = header.voxel_type().bytes();
        scratch.resize(BUFFER_BYTES, 0);
        for part in out.chunks_mut(BUFFER_BYTES / each) {
            let bytes = &mut scratch[..part.len() * each];
            self.fill(file, bytes)?;
            decode_into(header.voxel_type(), bytes, header.big_endian(), header.scaling(), part);
        }
        Ok(())
    }

    fn fill(&mut self, file: &NiftiFile, out: &mut [u8]) -> Result<(), NiftiError> {
        let Some(stream) = &mut self.stream else {
            return Err(NiftiError::Changed { path: file.path.clone() });
        };
        let mut done = 0;
        while done < out.len() {
            match stream.bytes().read(&mut out[done..]) {
                Ok(0) => return Err(self.fault(file, io::ErrorKind::UnexpectedEof.into(), done)),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.fault(file, e, done)),
            }
        }
        self.at += out.len() as u64;
        if self.at == file.data_bytes() {
            stream.check_end().map_err(|e| NiftiError::reading(&file.path, e))?;
        }
        Ok(())
    }

    /// Sorts an error and forgets the stream, whose position is no longer known.
    fn fault(&mut self, file: &NiftiFile, error: io::Error, done: usize) -> NiftiError {
        self.stream = None;
        if error.kind() == io::ErrorKind::UnexpectedEof {
            let (expected, got) = (file.data_bytes(), self.at + done as u64);
            NiftiError::Truncated { path: file.path.clone(), expected, got, at_most: false }
        } else {
            NiftiError::reading(&file.path, error)
        }
    }
}

enum Bytes {
    Plain(BufReader<File>),
    Gzip(Box<BufReader<MultiGzDecoder<BufReader<File>>>>),
}

/// A file's uncompressed bytes from the start.
struct Stream {
    bytes: Bytes,
    file_bytes: u64,
}

impl Stream {
    fn open(path: &Path) -> Result<Self, NiftiError> {
        let fault = |e| NiftiError::reading(path, e);
        let file = File::open(path).map_err(fault)?;
        let about = file.metadata().map_err(fault)?;
        if about.is_dir() {
            return Err(fault(io::ErrorKind::IsADirectory.into()));
        }
        let mut disk = BufReader::with_capacity(BUFFER_BYTES, file);
        let gzipped = disk.fill_buf().map_err(fault)?.starts_with(&[0x1f, 0x8b]);
        let bytes = if gzipped {
            Bytes::Gzip(Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(disk))))
        } else {
            Bytes::Plain(disk)
        };
        Ok(Stream { bytes, file_bytes: about.len() })
    }

    /// The bytes of the header, or as many as there are. Not one more: what follows a small volume need not be gzip.
    fn head(&mut self, path: &Path) -> Result<Vec<u8>, NiftiError> {
        let mut start = Vec::with_capacity(Header::MOST_BYTES);
        for version in [Version::One, Version::Two] {
            let more = version.layout().header_bytes - start.len();
            match self.bytes().take(more as u64).read_to_end(&mut start) {
                // What there is of a cut-off file is judged by the header's parser.
                Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(NiftiError::reading(path, e));
                }
                _ => {}
            }
            if !matches!(start[..], [0x1c, 2, 0, 0, ..] | [0, 0, 2, 0x1c, ..]) {
                break;
            }
        }
        Ok(start)
    }

    fn bytes(&mut self) -> &mut dyn Read {
        match &mut self.bytes {
            Bytes::Plain(disk) => disk,
            Bytes::Gzip(inflated) => inflated,
        }
    }

    fn skip(&mut self, mut bytes: u64) -> io::Result<()> {
        match &mut self.bytes {
            // Stays in the buffer where it can.
            Bytes::Plain(disk) => match i64::try_from(bytes) {
                Ok(bytes) => disk.seek_relative(bytes),
                Err(_) => disk.seek(SeekFrom::End(0)).map(drop),
            },
            Bytes::Gzip(inflated) => {
                while bytes > 0 {
                    let there = match inflated.fill_buf() {
                        Ok(there) => there.len(),
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                        Err(e) => return Err(e),
                    };
                    if there == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    let step = bytes.min(there as u64);
                    inflated.consume(step as usize);
                    bytes -= step;
                }
                Ok(())
            }
        }
    }

    /// Called behind the last voxel. Compressed data carry a checksum behind their last byte; reading one byte further
    /// has it compared. Whatever else follows is ignored, as ITK does.
    fn check_end(&mut self) -> io::Result<()> {
        let Bytes::Gzip(inflated) = &mut self.bytes else {
            return Ok(());
        };
        match inflated.fill_buf() {
            // flate2 has one kind of error for a wrong checksum and for padding behind the data that is no gzip.
            Err(e) if e.to_string().contains("checksum") => Err(e),
            _ => Ok(()),
        }
    }
}
