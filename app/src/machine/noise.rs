//! Made-up patches, for measuring.

use scanside_core::patch::PatchNumber;

/// Values like those of a normalised scan, the same each time.
pub(crate) fn noise<T: PatchNumber>(n: usize) -> Vec<T> {
    let mut state = 1u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            T::narrow((state >> 8) as f32 / (1 << 22) as f32 * 0.85 - 1.7)
        })
        .collect()
}
