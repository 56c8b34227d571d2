//! Where written bytes go: compressed or not.

use crate::error::FormatError;
use crate::stream::Packing;
use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compression, GzBuilder};
use std::io::{BufWriter, IntoInnerError, Write};

/// Labels shrink a hundredfold at any level; higher ones take several times as long for a few per cent.
const LEVEL: u32 = 4;

pub(crate) enum Sink<W: Write> {
    Plain(BufWriter<W>),
    Gzip(Box<GzEncoder<BufWriter<W>>>),
    Zlib(Box<ZlibEncoder<BufWriter<W>>>),
}

impl<W: Write> Sink<W> {
    pub(crate) fn new(out: W, packing: Packing) -> Self {
        let out = BufWriter::with_capacity(64 * 1024, out);
        let level = Compression::new(LEVEL);
        match packing {
            Packing::Plain => Sink::Plain(out),
            // No name and no time: the same labels give the same bytes.
            Packing::Gzip => Sink::Gzip(Box::new(GzBuilder::new().mtime(0).write(out, level))),
            Packing::Zlib => Sink::Zlib(Box::new(ZlibEncoder::new(out, level))),
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        match self {
            Sink::Plain(out) => out.write_all(bytes),
            Sink::Gzip(out) => out.write_all(bytes),
            Sink::Zlib(out) => out.write_all(bytes),
        }
        .map_err(FormatError::writing)
    }

    pub(crate) fn finish(self) -> Result<W, FormatError> {
        let out = match self {
            Sink::Plain(out) => out,
            Sink::Gzip(out) => out.finish().map_err(FormatError::writing)?,
            Sink::Zlib(out) => out.finish().map_err(FormatError::writing)?,
        };
        let mut inner = out.into_inner().map_err(IntoInnerError::into_error).map_err(FormatError::writing)?;
        inner.flush().map_err(FormatError::writing)?;
        Ok(inner)
    }
}
