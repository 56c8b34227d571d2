//! Where written bytes go: compressed or not.

use super::error::NiftiError;
use flate2::{Compression, GzBuilder, write::GzEncoder};
use std::io::{BufWriter, IntoInnerError, Write};

/// Labels shrink a hundredfold at any level; higher ones take several times as long for a few per cent.
const LEVEL: u32 = 4;

pub(super) enum Sink<W: Write> {
    Plain(BufWriter<W>),
    Gzip(Box<GzEncoder<BufWriter<W>>>),
}

impl<W: Write> Sink<W> {
    pub(super) fn new(out: W, gz: bool) -> Self {
        let out = BufWriter::with_capacity(64 * 1024, out);
        if gz {
            // No name and no time: the same labels give the same bytes.
            Sink::Gzip(Box::new(GzBuilder::new().mtime(0).write(out, Compression::new(LEVEL))))
        } else {
            Sink::Plain(out)
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), NiftiError> {
        match self {
            Sink::Plain(out) => out.write_all(bytes),
            Sink::Gzip(out) => out.write_all(bytes),
        }
        .map_err(NiftiError::writing)
    }

    pub(super) fn finish(self) -> Result<W, NiftiError> {
        let out = match self {
            Sink::Plain(out) => out,
            Sink::Gzip(out) => out.finish().map_err(NiftiError::writing)?,
        };
        let mut inner = out.into_inner().map_err(IntoInnerError::into_error).map_err(NiftiError::writing)?;
        inner.flush().map_err(NiftiError::writing)?;
        Ok(inner)
    }
}
