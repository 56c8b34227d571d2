//! What several fuzz targets need.

pub mod scan_file;

use std::io::{Seek, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// A file that holds the current input, for parsers that open files by name. It is created in `TMPDIR`; a file system in
/// memory is fastest.
#[derive(Debug)]
pub struct InputFile(NamedTempFile);

impl InputFile {
    /// An empty file whose name ends in `ending`: parsers recognise formats by it.
    ///
    /// # Panics
    /// It cannot be created.
    pub fn new(ending: &str) -> InputFile {
        InputFile(tempfile::Builder::new().suffix(ending).tempfile().expect("a temporary file"))
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes `bytes` its content.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn replace(&mut self, bytes: &[u8]) -> &Path {
        let file = self.0.as_file_mut();
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(bytes)).expect("space for an input");
        self.path()
    }
}
