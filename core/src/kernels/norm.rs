//! Instance norm: statistics gathered while a layer writes, turned into a scale and a shift for who reads.

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

/// Sums and sums of squares of the tiles one worker did, `[tile][channel]`; the others stay zero.
pub struct Statistics {
    channels: usize,
    sums: Vec<(f64, f64)>,
}

impl Statistics {
    /// Nothing seen yet. Without channels nothing is kept.
    pub fn new(tiles: usize, channels: usize) -> Statistics {
        Statistics { channels, sums: vec![(0.0, 0.0); tiles * channels] }
    }

    /// Adds a row's `(sum, squares)`.
    pub fn add(&mut self, tile: usize, channel: usize, (sum, squares): (f64, f64)) {
        let s = &mut self.sums[tile * self.channels + channel];
        *s = (s.0 + sum, s.1 + squares);
    }

    /// Bytes of one worker's sums.
    pub fn bytes(tiles: usize, channels: usize) -> usize {
        tiles * channels * size_of::<(f64, f64)>()
    }
}

impl Norm<'_> {
    /// The scale and shift of each channel of `voxels` voxels, from all workers' sums.
    ///
    /// Every tile was done by one worker; adding the zeros of the others changes nothing, so the order of the sum is
    /// that of the tiles alone.
    pub fn resolve(&self, workers: &[&Statistics], voxels: usize, scale: &mut [f32], shift: &mut [f32]) {
        for c in 0..self.scale.len() {
            let (mut sum, mut squares) = (0f64, 0f64);
            let tiles = workers.first().map_or(0, |w| w.sums.len() / w.channels.max(1));
            for tile in 0..tiles {
                let mut t = (0f64, 0f64);
                for w in workers {
                    let s = w.sums[tile * w.channels + c];
                    t = (t.0 + s.0, t.1 + s.1);
                }
                sum += t.0;
                squares += t.1;
            }
            (scale[c], shift[c]) = Self::affine((sum, squares), voxels, self.scale[c], self.shift[c], self.epsilon[c]);
        }
    }

    /// The scale and shift of one channel from its sum and sum of squares.
    pub fn affine((sum, squares): (f64, f64), voxels: usize, scale: f32, shift: f32, epsilon: f32) -> (f32, f32) {
        let n = voxels as f64;
        let mean = sum / n;
        // Squares of f32 are exact in f64, so the difference is good to about 1e-16 of the mean square.
        let var = (squares / n - mean * mean).max(0.0);
        let s = f64::from(scale) / libm::sqrt(var + f64::from(epsilon));
        (s as f32, (f64::from(shift) - mean * s) as f32)
    }
}
