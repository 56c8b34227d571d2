//! Reproducible numbers.

/// `n` numbers in `[-1, 1]` that depend on `seed` alone.
pub fn values(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 200_003) as f32 / 100_001.0 - 1.0).collect()
}

/// The bit patterns, for comparisons in which `-0` differs from `0` and NaN equals itself.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
