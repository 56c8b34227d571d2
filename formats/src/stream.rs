//! The bytes of a file: plain or compressed, read forwards.

use crate::error::FormatError;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of each buffer between the disk, the decompressor and the voxels.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

/// Deflate's window of 32 KiB, its tables, and what a decompressor keeps beside them, rounded up.
pub(crate) const INFLATE_BYTES: usize = 64 * 1024;

/// How bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Not at all.
    Plain,
    /// gzip, in one member or several.
    Gzip,
    /// One zlib stream.
    Zlib,
}

/// Where packed bytes are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The file.
    pub(crate) path: PathBuf,
    /// Bytes of the file before the packed ones.
    pub(crate) before: u64,
    /// How they are packed.
    pub(crate) packing: Packing,
    /// Unpacked bytes before the first voxel.
    pub(crate) skipped: u64,
}

/// Opens a file that has an end. A pipe would keep the caller waiting, and cannot be read twice.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64), FormatError> {
    let fault = |e| FormatError::reading(path, e);
    let kind = std::fs::metadata(path).map_err(fault)?.file_type();
    if !kind.is_file() {
        let what = if kind.is_dir() { "a folder" } else { "a pipe or a device" };
        return Err(FormatError::NotAFile { path: path.to_path_buf(), what });
    }
    let file = File::open(path).map_err(fault)?;
    let bytes = file.metadata().map_err(fault)?.len();
    Ok((file, bytes))
}

/// By what a file is known again: its length and its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) file_bytes: u64,
    crc: u32,
}

/// The first bytes of a file that are compared.
const SEALED_BYTES: u64 = 4096;

impl Seal {
    fn of(file: &mut File, file_bytes: u64) -> io::Result<Seal> {
        let mut start = Vec::with_capacity(SEALED_BYTES as usize);
        file.take(SEALED_BYTES).read_to_end(&mut start)?;
        file.rewind()?;
        let mut crc = flate2::Crc::new();
        crc.update(&start);
        Ok(Seal { file_bytes, crc: crc.sum() })
    }

    /// The seal of a file.
    pub(crate) fn of_path(path: &Path) -> Result<Seal, FormatError> {
        let (mut file, bytes) = open_file(path)?;
        Seal::of(&mut file, bytes).map_err(|e| FormatError::reading(path, e))
    }
}

enum Bytes {
    Plain(BufReader<File>),
    Gzip(Box<BufReader<MultiGzDecoder<BufReader<File>>>>),
    Zlib(Box<BufReader<ZlibDecoder<BufReader<File>>>>),
}

/// The unpacked bytes of a place, from the first on.
pub(crate) struct Stream {
    bytes: Bytes,
    packing: Packing,
}

impl Stream {
    /// The bytes of a file from its start, decompressed if they begin as gzip does.
    pub(crate) fn of_start(path: &Path) -> Result<Stream, FormatError> {
        let (file, _) = open_file(path)?;
        let mut disk = BufReader::with_capacity(BUFFER_BYTES, file);
        let start = disk.fill_buf().map_err(|e| FormatError::reading(path, e))?;
        let packing = if start.starts_with(&[0x1f, 0x8b]) { Packing::Gzip } else { Packing::Plain };
        Ok(Stream::unpacking(disk, packing))
    }

    /// The voxels of a place, if its file still has this seal.
    pub(crate) fn of_voxels(place: &Place, seal: Seal) -> Result<Stream, FormatError> {
        let fault = |e| FormatError::reading(&place.path, e);
        let (mut file, bytes) = open_file(&place.path)?;
        if Seal::of(&mut file, bytes).map_err(fault)? != seal {
            return Err(FormatError::Changed { path: place.path.clone() });
        }
        file.seek(SeekFrom::Start(place.before)).map_err(fault)?;
        let disk = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut stream = Stream::unpacking(disk, place.packing);
        stream.skip(place.skipped).map_err(fault)?;
        Ok(stream)
    }

    fn unpacking(disk: BufReader<File>, packing: Packing) -> Stream {
        let bytes = match packing {
            Packing::Plain => Bytes::Plain(disk),
            Packing::Gzip => Bytes::Gzip(Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(disk)))),
            Packing::Zlib => Bytes::Zlib(Box::new(BufReader::with_capacity(BUFFER_BYTES, ZlibDecoder::new(disk)))),
        };
        Stream { bytes, packing }
    }

    /// How the bytes are packed.
    pub(crate) fn packing(&self) -> Packing {
        self.packing
    }

    /// Adds bytes to `start` until it has `length`, or as many as there are. Not one more: what follows a small volume
    /// need not be gzip.
    pub(crate) fn extend(&mut self, start: &mut Vec<u8>, length: usize, path: &Path) -> Result<(), FormatError> {
        let more = length.saturating_sub(start.len());
        match self.bytes().take(more as u64).read_to_end(start) {
            // What there is of a cut-off file is judged by the header's parser.
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => Err(FormatError::reading(path, e)),
            _ => Ok(()),
        }
    }

    fn bytes(&mut self) -> &mut dyn BufRead {
        match &mut self.bytes {
            Bytes::Plain(disk) => disk,
            Bytes::Gzip(inflated) => inflated,
            Bytes::Zlib(inflated) => inflated,
        }
    }

    /// Reads what there is, up to the length of `out`.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.bytes().read(out)
    }

    /// Leaves bytes out.
    pub(crate) fn skip(&mut self, mut bytes: u64) -> io::Result<()> {
        if let Bytes::Plain(disk) = &mut self.bytes {
            // Stays in the buffer where it can.
            return match i64::try_from(bytes) {
                Ok(bytes) => disk.seek_relative(bytes),
                Err(_) => disk.seek(SeekFrom::End(0)).map(drop),
            };
        }
        let inflated = self.bytes();
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

    /// Called behind the last voxel. Compressed data carry a checksum behind their last byte; reading one byte further
    /// has it compared. Whatever else follows is ignored, as ITK does.
    pub(crate) fn check_end(&mut self) -> io::Result<()> {
        match &mut self.bytes {
            Bytes::Plain(_) => Ok(()),
            Bytes::Gzip(inflated) => match inflated.fill_buf() {
                // flate2 has one kind of error for a wrong checksum and for padding behind the data that is no gzip.
                Err(e) if e.to_string().contains("checksum") => Err(e),
                _ => Ok(()),
            },
            Bytes::Zlib(inflated) => inflated.fill_buf().map(drop),
        }
    }
}
