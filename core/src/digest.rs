//! SHA-256 as text: how this project writes hashes of files, graphs and facts.

use alloc::string::String;
use core::fmt::Write as _;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::path::Path;

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// SHA-256 of a file's bytes, lower-case hex. The file is read block by block.
///
/// # Errors
/// The file cannot be opened or read.
pub fn file_sha256(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut io::BufReader::with_capacity(1 << 18, File::open(path)?), &mut hash)?;
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_hash_that_the_standard_gives() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abc").unwrap();
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(file_sha256(file.path()).unwrap(), known);
        assert!(file_sha256(Path::new("/nonexistent")).is_err());
    }
}
