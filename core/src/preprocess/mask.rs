//! The nonzero mask with its holes filled, one bit per voxel.

use crate::volume::{Index3, product};
use alloc::vec;
use alloc::vec::Vec;

/// Which voxels of a box are nonzero in some channel, or enclosed by such voxels. Rows start on whole words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonzeroMask {
    shape: Index3,
    words_per_row: usize,
    bits: Vec<u64>,
}

impl NonzeroMask {
    /// An empty mask of this shape.
    pub fn new(shape: Index3) -> Self {
        let words_per_row = shape[2].div_ceil(64);
        NonzeroMask { shape, words_per_row, bits: vec![0; shape[0] * shape[1] * words_per_row] }
    }

    /// Bytes of a mask of this shape while its holes are being filled.
    pub(crate) fn bytes(shape: Index3) -> Option<usize> {
        product([2 * 8, shape[0], shape[1], shape[2].div_ceil(64)])
    }

    /// Marks the nonzero voxels of row `(z, y)`.
    pub fn mark_row(&mut self, z: usize, y: usize, values: &[f32]) {
        let row = (z * self.shape[1] + y) * self.words_per_row;
        for (word, chunk) in self.bits[row..row + self.words_per_row].iter_mut().zip(values.chunks(64)) {
            for (bit, &value) in chunk.iter().enumerate() {
                *word |= ((value != 0.0) as u64) << bit;
            }
        }
    }

    /// Whether a voxel is inside.
    pub fn contains(&self, z: usize, y: usize, x: usize) -> bool {
        let row = (z * self.shape[1] + y) * self.words_per_row;
        self.bits[row + x / 64] >> (x % 64) & 1 == 1
    }

    /// Number of voxels inside.
    pub fn count(&self) -> usize {
        self.bits.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// Fills holes: background that no path over faces connects with the border of the box.
    ///
    /// The box is tight around the nonzero voxels, so beyond its faces there is only background, and its border
    /// counts as outside. Sweeps up and down the volume spread the outside row by row until nothing changes.
    pub fn fill_holes(&mut self) {
        let [n0, n1, n2] = self.shape;
        let words = self.words_per_row;
        let mut outside = vec![0u64; self.bits.len()];
        let last_word = if n2 % 64 == 0 { u64::MAX } else { (1 << (n2 % 64)) - 1 };
        let mut changed = true;
        while changed {
            changed = false;
            for downwards in [false, true] {
                for step in 0..n0 * n1 {
                    let row = if downwards { n0 * n1 - 1 - step } else { step };
                    let (z, y) = (row / n1, row % n1);
                    let border = z == 0 || y == 0 || z == n0 - 1 || y == n1 - 1;
                    let mut next: u64 = 0;
                    for w in 0..words {
                        let valid = if w == words - 1 { last_word } else { u64::MAX };
                        let background = !self.bits[row * words + w] & valid;
                        let mut seed = outside[row * words + w];
                        if border {
                            seed = u64::MAX;
                        } else {
                            for other in [row - 1, row + 1, row - n1, row + n1] {
                                seed |= outside[other * words + w];
                            }
                        }
                        seed |= next;
                        if w == 0 {
                            seed |= 1;
                        } else {
                            seed |= outside[row * words + w - 1] >> 63;
                        }
                        if w == words - 1 {
                            seed |= 1 << ((n2 - 1) % 64);
                        } else {
                            seed |= (outside[row * words + w + 1] & 1) << 63;
                        }
                        let grown = spread(seed & background, background);
                        next = grown >> 63;
                        changed |= grown != outside[row * words + w];
                        outside[row * words + w] = grown;
                    }
                }
            }
        }
        for (row, line) in self.bits.chunks_exact_mut(words).zip(outside.chunks_exact(words)) {
            for (w, (bits, out)) in row.iter_mut().zip(line).enumerate() {
                *bits = !out & if w == words - 1 { last_word } else { u64::MAX };
            }
        }
    }
}

/// Grows `seed` to both sides as far as `free` reaches.
fn spread(mut seed: u64, free: u64) -> u64 {
    loop {
        let grown = seed | ((seed << 1 | seed >> 1) & free);
        if grown == seed {
            return seed;
        }
        seed = grown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(shape: Index3, nonzero: &[bool]) -> Vec<bool> {
        let [n0, n1, n2] = shape;
        let mut outside = vec![false; nonzero.len()];
        let mut stack = Vec::new();
        for z in 0..n0 {
            for y in 0..n1 {
                for x in 0..n2 {
                    if z == 0 || y == 0 || x == 0 || z == n0 - 1 || y == n1 - 1 || x == n2 - 1 {
                        stack.push([z, y, x]);
                    }
                }
            }
        }
        while let Some([z, y, x]) = stack.pop() {
            let i = (z * n1 + y) * n2 + x;
            if nonzero[i] || outside[i] {
                continue;
            }
            outside[i] = true;
            if z > 0 {
                stack.push([z - 1, y, x]);
            }
            if y > 0 {
                stack.push([z, y - 1, x]);
            }
            if x > 0 {
                stack.push([z, y, x - 1]);
            }
            if z + 1 < n0 {
                stack.push([z + 1, y, x]);
            }
            if y + 1 < n1 {
                stack.push([z, y + 1, x]);
            }
            if x + 1 < n2 {
                stack.push([z, y, x + 1]);
            }
        }
        outside.iter().map(|o| !o).collect()
    }

    proptest! {
        #[test]
        fn equals_a_flood_fill_from_the_border(shape in [1usize..9, 1usize..9, 1usize..140], seed: u64, density in 1u64..10) {
            let count = shape.iter().product::<usize>();
            let mut state = seed | 1;
            let values: Vec<f32> = (0..count).map(|_| {
                state ^= state << 13; state ^= state >> 7; state ^= state << 17;
                if state % 10 < density { 1.0 } else { 0.0 }
            }).collect();
            let mut mask = NonzeroMask::new(shape);
            for z in 0..shape[0] {
                for y in 0..shape[1] {
                    mask.mark_row(z, y, &values[(z * shape[1] + y) * shape[2]..][..shape[2]]);
                }
            }
            mask.fill_holes();
            let nonzero: Vec<bool> = values.iter().map(|&v| v != 0.0).collect();
            let expected = naive(shape, &nonzero);
            for z in 0..shape[0] { for y in 0..shape[1] { for x in 0..shape[2] {
                prop_assert_eq!(mask.contains(z, y, x), expected[(z * shape[1] + y) * shape[2] + x]);
            } } }
            prop_assert_eq!(mask.count(), expected.iter().filter(|&&e| e).count());
        }
    }
}
