//! Headers that are lines of text, as NRRD and MetaImage have them.

use crate::error::FormatError;
use crate::stream::{BUFFER_BYTES, open_file};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::str::FromStr;

/// The most bytes of a header. Segmentations with hundreds of named structures have some hundred kB.
const MOST_BYTES: u64 = 1 << 20;

/// Lines of the start of a file, read one after the other.
pub(crate) struct Lines<'a> {
    path: &'a Path,
    from: std::io::Take<BufReader<std::fs::File>>,
    /// Bytes of the lines read so far.
    pub(crate) bytes: u64,
}

impl<'a> Lines<'a> {
    /// The lines of a file from its start.
    pub(crate) fn of(path: &'a Path) -> Result<Self, FormatError> {
        let (file, _) = open_file(path)?;
        Ok(Lines { path, from: BufReader::with_capacity(BUFFER_BYTES, file).take(MOST_BYTES), bytes: 0 })
    }

    /// What the file starts with, of which nothing is taken away: up to 64 KiB.
    pub(crate) fn peek(&mut self) -> Result<&[u8], FormatError> {
        self.from.fill_buf().map_err(|e| FormatError::reading(self.path, e))
    }

    /// The next line without its end; `None` at the end of the file.
    ///
    /// # Errors
    /// The file cannot be read, or the header is longer than any that is one.
    pub(crate) fn next(&mut self) -> Result<Option<String>, FormatError> {
        let mut line = Vec::new();
        let read = self.from.read_until(b'\n', &mut line).map_err(|e| FormatError::reading(self.path, e))?;
        self.bytes += read as u64;
        if self.from.limit() == 0 {
            let problem = format!("its header does not end within {MOST_BYTES} bytes; the file is damaged");
            return Err(FormatError::header(self.path, problem));
        }
        if read == 0 {
            return Ok(None);
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        Ok(Some(String::from_utf8_lossy(text).into_owned()))
    }
}

/// Exactly `count` numbers separated by blanks.
pub(crate) fn list<T: FromStr>(text: &str, count: usize) -> Option<Vec<T>> {
    let mut words = text.split_whitespace();
    let numbers = words.by_ref().take(count).map(|word| word.parse().ok()).collect::<Option<Vec<T>>>()?;
    (numbers.len() == count && words.next().is_none()).then_some(numbers)
}
