//! The shape of a convolution, and its weights in the order in which the inner loops take them.

use crate::arch::BLOCK_ROWS;
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Shape of a convolution; axes `z, y, x`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvGeometry {
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// Input grid.
    pub input: [usize; 3],
    /// Output grid.
    pub output: [usize; 3],
    /// Kernel.
    pub kernel: [usize; 3],
    /// Stride.
    pub stride: [usize; 3],
    /// Dilation.
    pub dilation: [usize; 3],
    /// Padding before the first voxel.
    pub pad: [usize; 3],
}

impl ConvGeometry {
    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Multiply-accumulates, padding included.
    pub fn macs(&self) -> u64 {
        (self.cin * self.taps() * self.cout) as u64 * self.output.iter().map(|&n| n as u64).product::<u64>()
    }

    /// Elements of packed float weights.
    pub fn weight_elements(&self) -> usize {
        self.cout.div_ceil(BLOCK_ROWS) * BLOCK_ROWS * self.cin * self.taps()
    }

    /// Bytes of packed integer weights.
    pub fn int_weight_bytes(&self) -> usize {
        self.cout.div_ceil(BLOCK_ROWS) * BLOCK_ROWS * self.cin.next_multiple_of(4) * self.taps()
    }

    /// Packs `[cout, cin, kz, ky, kx]` into `[block][cin][tap][BLOCK_ROWS]`, filled up with zeros.
    pub fn pack(&self, w: &[f32]) -> Vec<f32> {
        let mut packed = vec![0f32; self.weight_elements()];
        self.pack_into(w, &mut packed);
        packed
    }

    /// As [`Self::pack`], into memory that is there.
    ///
    /// # Panics
    /// If a slice has another length than the geometry says.
    pub fn pack_into(&self, w: &[f32], packed: &mut [f32]) {
        let per_row = self.cin * self.taps();
        assert_eq!((w.len(), packed.len()), (self.cout * per_row, self.weight_elements()));
        for (rows, packed) in w.chunks(BLOCK_ROWS * per_row).zip(packed.chunks_exact_mut(BLOCK_ROWS * per_row)) {
            for (k, packed) in packed.chunks_exact_mut(BLOCK_ROWS).enumerate() {
                packed.fill(0.0);
                for (to, row) in packed.iter_mut().zip(rows.chunks_exact(per_row)) {
                    *to = row[k];
                }
            }
        }
    }

    /// Packs signed bytes `[cout, cin, kz, ky, kx]` into `[block][cin / 4][tap][BLOCK_ROWS][4]`, filled up with zeros.
    pub fn pack_int(&self, w: &[i8]) -> Vec<i8> {
        let taps = self.taps();
        let groups = self.cin.div_ceil(4);
        let mut packed = vec![0i8; self.int_weight_bytes()];
        for o in 0..self.cout {
            for c in 0..self.cin {
                for t in 0..taps {
                    let word = ((o / BLOCK_ROWS * groups + c / 4) * taps + t) * BLOCK_ROWS + o % BLOCK_ROWS;
                    packed[word * 4 + c % 4] = w[(o * self.cin + c) * taps + t];
                }
            }
        }
        packed
    }
}
