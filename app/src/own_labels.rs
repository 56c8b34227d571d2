//! Label files that this program wrote: how they are marked, and how they are recognised later.

use scanside_core::volume::Reader;
use scanside_formats::{Scan, is_complete};
use std::path::Path;

/// How the free text of a label file begins.
const MARK: &str = "scanside ";

/// Hex digits of the key in a label file: what fits into the eighty bytes that NIfTI has for free text.
const KEY_DIGITS: usize = 48;

/// The free text of a label file: enough of the key to recognise it.
pub(crate) fn description(key: &str) -> String {
    format!("{MARK}{}", &key[..key.len().min(KEY_DIGITS)])
}

/// Labels have the axes of their scan, which this reader takes even where they are sheared.
fn open(path: &Path) -> Option<Scan> {
    Scan::open_as(&[path], Reader::Nibabel).ok()
}

/// Whether the label file at `path` is complete and was made with this key. Read plane by plane.
pub fn is_result_of(path: &Path, key: &str) -> bool {
    open(path).is_some_and(|scan| scan.description() == description(key) && is_complete(&scan))
}

/// Whether the file at `path` is a label file of this program, made from whatever scan. Its header is read.
pub fn is_own(path: &Path) -> bool {
    let is_key = |text: &str| text.len() == KEY_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
    open(path).is_some_and(|scan| scan.description().strip_prefix(MARK).is_some_and(is_key))
}
