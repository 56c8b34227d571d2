//! Instance norm: statistics gathered while a layer writes, turned into a scale and a shift for the
//! layer that reads.

use crate::arch::Moments;
use alloc::vec;
use alloc::vec::Vec;

/// What an instance norm does with its statistics.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Learned factors, one a channel.
    pub scale: &'a [f32],
    /// Learned summands.
    pub shift: &'a [f32],
    /// Added to the variance, one a channel: a layer whose weights were scaled scales it along.
    pub epsilon: &'a [f32],
}

/// Sums of a step's output, `[tile][channel]`; of a step without a norm none.
pub struct Statistics {
    channels: usize,
    sums: Vec<Moments>,
}

impl Statistics {
    /// Nothing seen yet.
    pub fn new(tiles: usize, channels: usize) -> Statistics {
        Statistics { channels, sums: vec![(0.0, 0.0); tiles * channels] }
    }

    /// What [`crate::arch::Tiles`] takes.
    pub fn sums(&mut self) -> &mut [Moments] {
        &mut self.sums
    }

    /// Bytes of the sums.
    pub fn bytes(tiles: usize, channels: usize) -> usize {
        tiles * channels * size_of::<Moments>()
    }
}

impl Norm<'_> {
    /// The scale and shift of each channel of `voxels` voxels. Tiles are added in their order,
    /// whichever thread computed them.
    pub fn resolve(&self, statistics: &Statistics, voxels: usize, scale: &mut [f32], shift: &mut [f32]) {
        for c in 0..self.scale.len() {
            let tiles = statistics.sums.chunks_exact(statistics.channels.max(1)).map(|tile| tile[c]);
            let moments = tiles.fold((0.0, 0.0), |all, tile| (all.0 + tile.0, all.1 + tile.1));
            (scale[c], shift[c]) = Self::affine(moments, voxels, self.scale[c], self.shift[c], self.epsilon[c]);
        }
    }

    /// The scale and shift of one channel from its sum and sum of squares.
    pub fn affine((sum, squares): Moments, voxels: usize, scale: f32, shift: f32, epsilon: f32) -> (f32, f32) {
        let n = voxels as f64;
        let mean = sum / n;
        // Squares of f32 are exact in f64, so the difference is good to about 1e-16 of the mean square.
        let var = (squares / n - mean * mean).max(0.0);
        let s = f64::from(scale) / libm::sqrt(var + f64::from(epsilon));
        (s as f32, (f64::from(shift) - mean * s) as f32)
    }
}
