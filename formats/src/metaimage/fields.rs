//! The lines of a MetaImage header.

use crate::error::FormatError;
use crate::text_header::{Lines, list};
use std::path::Path;
use std::str::FromStr;

/// The key that ends a header.
const LAST: &str = "ElementDataFile";

/// Keys and values in the order of the file.
#[derive(Debug)]
pub(super) struct Fields {
    lines: Vec<(String, String)>,
    /// Bytes of the header.
    pub(super) bytes: u64,
}

/// Key and value of a line: `Key = value` or `Key: value`.
fn split(line: &str) -> Option<(&str, &str)> {
    let at = line.find(['=', ':'])?;
    Some((line[..at].trim(), line[at + 1..].trim()))
}

impl Fields {
    /// Reads the header of a file; `None` where the file is none of this format.
    ///
    /// # Errors
    /// The file cannot be read; the header has no end.
    pub(super) fn read(path: &Path) -> Result<Option<Fields>, FormatError> {
        let mut lines = Lines::of(path)?;
        let start = lines.peek()?;
        let first = &start[..start.iter().position(|b| *b == b'\n').unwrap_or(start.len())];
        let known = ["ObjectType", "ObjectSubType", "NDims", "Comment"];
        let key = std::str::from_utf8(first).ok().and_then(split).map(|(key, _)| key);
        if !key.is_some_and(|key| known.contains(&key)) {
            return Ok(None);
        }
        let mut fields = Fields { lines: Vec::new(), bytes: 0 };
        while let Some(line) = lines.next()? {
            // Blank lines and words without a value mean nothing, as to ITK.
            let Some((key, value)) = split(&line) else { continue };
            fields.lines.push((key.to_owned(), value.to_owned()));
            if key == LAST {
                fields.bytes = lines.bytes;
                return Ok(Some(fields));
            }
        }
        Err(FormatError::header(path, format!("its header has no {LAST}; the file is cut off")))
    }

    /// The value of the first of these keys that is there. Where a key comes twice, the last value counts.
    pub(super) fn get(&self, keys: &[&str]) -> Option<&str> {
        let value = |key: &&str| self.lines.iter().rev().find(|(name, _)| name == key);
        keys.iter().find_map(value).map(|(_, value)| value.as_str())
    }

    /// So many numbers of the first of these keys that is there.
    ///
    /// # Errors
    /// A sentence: the value is none.
    pub(super) fn numbers<T: FromStr>(&self, keys: &[&str], count: usize) -> Result<Option<Vec<T>>, String> {
        let Some(text) = self.get(keys) else { return Ok(None) };
        let wrong = || format!("its {} is {text:?}; {count} numbers are needed", keys[0]);
        list(text, count).map(Some).ok_or_else(wrong)
    }

    /// Whether a key is true; nothing where it is not there.
    pub(super) fn flag(&self, keys: &[&str]) -> Option<bool> {
        self.get(keys).map(|value| matches!(value.as_bytes().first(), Some(b'T' | b't' | b'1')))
    }
}
