//! The random generator of each sample.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use sha2::{Digest, Sha256};

/// The purpose of samples. The streams of one seed are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Training steps: augmented patches.
    Training,
    /// Validation patches: not augmented.
    Validation,
}

/// The generator of one sample of a run.
pub(super) fn generator(seed: u64, stream: Stream, iteration: u64, sample: usize) -> Xoshiro256PlusPlus {
    let stream: &[u8] = match stream {
        Stream::Training => b"training",
        Stream::Validation => b"validation",
    };
    let digest = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(iteration.to_le_bytes())
        .chain_update((sample as u64).to_le_bytes())
        .chain_update(stream)
        .finalize();
    Xoshiro256PlusPlus::from_seed(digest.into())
}
