//! Steps that change each intensity independently, given at most the channel's statistics.

use super::draw::Noise;
use super::power::power;
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Least divisor for ranges and standard deviations.
const LEAST: f32 = 1e-7;

/// Adds independent normal values to all voxels.
pub fn add_noise(image: &mut [f32], noise: &Noise) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(noise.seed);
    for value in image {
        let normal: f32 = StandardNormal.sample(&mut rng);
        *value += noise.standard_deviation * normal;
    }
}

/// Multiplies by `factor`.
pub fn multiply(channel: &mut [f32], factor: f32) {
    for value in channel {
        *value *= factor;
    }
}

/// Multiplies distances from the channel's mean by `factor`; values stay in the channel's former range.
pub fn change_contrast(channel: &mut [f32], factor: f32) {
    let before = Statistics::of(channel);
    let mean = before.mean as f32;
    for value in channel {
        *value = ((*value - mean) * factor + mean).clamp(before.least, before.largest);
    }
}

/// Raises the channel, scaled to 0..1, to a power, and restores its range, mean and standard deviation. `inverted` does
/// so with the negated channel.
pub fn change_gamma(channel: &mut [f32], exponent: f32, inverted: bool) {
    let sign = if inverted { -1.0 } else { 1.0 };
    let before = Statistics::of(channel);
    let (low, high) = if inverted { (-before.largest, -before.least) } else { (before.least, before.largest) };
    let range = high - low;
    let divisor = range.max(LEAST);
    for value in channel.iter_mut() {
        *value = power((sign * *value - low) / divisor, exponent) * range + low;
    }
    let after = Statistics::of(channel);
    let factor = sign * (before.deviation() / after.deviation().max(LEAST));
    let (mean, restored) = (after.mean as f32, before.mean as f32);
    for value in channel {
        *value = (*value - mean) * factor + restored;
    }
}

/// Statistics of a channel.
#[derive(Clone, Copy, Debug)]
struct Statistics {
    least: f32,
    largest: f32,
    mean: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
    count: usize,
}

impl Statistics {
    /// In one pass: sums over short blocks are kept in single precision about the channel's first value, and added up in
    /// double precision.
    fn of(channel: &[f32]) -> Statistics {
        const LANES: usize = 16;
        const BLOCK: usize = 32 * LANES;
        let origin = channel.first().copied().unwrap_or(0.0);
        let (mut least, mut largest) = ([origin; LANES], [origin; LANES]);
        let (mut sum, mut squares) = (0.0_f64, 0.0_f64);
        for block in channel.chunks(BLOCK) {
            let (mut sums, mut square_sums) = ([0.0_f32; LANES], [0.0_f32; LANES]);
            let mut lines = block.chunks_exact(LANES);
            for line in &mut lines {
                for lane in 0..LANES {
                    let value = line[lane];
                    let distance = value - origin;
                    sums[lane] += distance;
                    square_sums[lane] += distance * distance;
                    least[lane] = if value < least[lane] { value } else { least[lane] };
                    largest[lane] = if value > largest[lane] { value } else { largest[lane] };
                }
            }
            for (lane, &value) in lines.remainder().iter().enumerate() {
                let distance = value - origin;
                sums[lane] += distance;
                square_sums[lane] += distance * distance;
                least[lane] = least[lane].min(value);
                largest[lane] = largest[lane].max(value);
            }
            sum += sums.iter().map(|&v| f64::from(v)).sum::<f64>();
            squares += square_sums.iter().map(|&v| f64::from(v)).sum::<f64>();
        }
        let count = channel.len();
        let offset = sum / count.max(1) as f64;
        Statistics {
            least: least.into_iter().fold(origin, f32::min),
            largest: largest.into_iter().fold(origin, f32::max),
            mean: f64::from(origin) + offset,
            squares: (squares - sum * offset).max(0.0),
            count,
        }
    }

    /// The unbiased standard deviation.
    fn deviation(&self) -> f32 {
        (self.squares / (self.count.max(2) - 1) as f64).sqrt() as f32
    }
}
