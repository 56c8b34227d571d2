//! SHA-256 of files and facts, by which a result is recognised.

use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// The hash of a file's bytes, lower-case hex.
///
/// # Errors
/// The system's error on reading the file.
pub fn file_sha256(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..count]);
    }
}

/// The hash of bytes in memory, lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The hash of several facts; each is preceded by its length, so that no two lists of facts run together.
pub fn facts_sha256<'a>(facts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for fact in facts {
        hash.update((fact.len() as u64).to_le_bytes());
        hash.update(fact);
    }
    hex(&hash.finalize())
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
