//! The lines of an NRRD header.

use crate::error::FormatError;
use crate::text_header::Lines;
use std::collections::BTreeMap;
use std::path::Path;

/// What the first line starts with; a digit from 1 to 5 follows.
const MAGIC: &str = "NRRD000";

/// Fields by name, in lower case and without blanks: `datafile` and `data file` are the same field.
#[derive(Debug)]
pub(super) struct Fields {
    by_name: BTreeMap<String, String>,
    /// The maker marked a segmentation, as 3D Slicer does.
    pub(super) segments: bool,
    /// Bytes of the header, its empty line included.
    pub(super) bytes: u64,
}

impl Fields {
    /// Reads the header of a file; `None` where the file is none of this format.
    ///
    /// # Errors
    /// The file cannot be read; a line is no field; a field comes twice; the header has no end.
    pub(super) fn read(path: &Path) -> Result<Option<Fields>, FormatError> {
        let mut lines = Lines::of(path)?;
        if !lines.peek()?.starts_with(MAGIC.as_bytes()) {
            return Ok(None);
        }
        let refuse = |problem: String| Err(FormatError::header(path, problem));
        let first = lines.next()?.unwrap_or_default();
        if !matches!(first.strip_prefix(MAGIC), Some("1" | "2" | "3" | "4" | "5")) {
            return refuse(format!("its first line is {first:?}; NRRD0001 to NRRD0005 are read, so save it again"));
        }
        let mut fields = Fields { by_name: BTreeMap::new(), segments: false, bytes: 0 };
        loop {
            let Some(line) = lines.next()? else {
                if fields.get("datafile").is_none() {
                    return refuse("its header has no end (an empty line); the file is cut off".into());
                }
                break;
            };
            if line.is_empty() {
                break;
            }
            if line.starts_with('#') {
                continue;
            }
            let (colon, key) = (line.find(": "), line.find(":="));
            match (colon, key) {
                (_, Some(key)) if colon.is_none_or(|colon| key < colon) => {
                    fields.segments |= line.starts_with("Segment0_") || line.starts_with("Segmentation_");
                }
                (Some(colon), _) => {
                    let name = line[..colon].to_ascii_lowercase().replace(' ', "");
                    if fields.by_name.insert(name, line[colon + 2..].trim().to_owned()).is_some() {
                        return refuse(format!("its header has the field {:?} twice", &line[..colon]));
                    }
                }
                (None, _) => return refuse(format!("a line of its header is no field: {line:?}")),
            }
        }
        fields.bytes = lines.bytes;
        Ok(Some(fields))
    }

    /// The value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.by_name.get(name).map(String::as_str)
    }
}
