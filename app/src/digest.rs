//! SHA-256 of files and facts, by which a result is recognised.

pub use scanside_core::digest::{file_sha256, hex};

use sha2::{Digest, Sha256};

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
