//! Intensities of one channel brought to the network's range, in float32.

use crate::manifest::Normalization;

/// Guards divisions, as the reference does.
const EPSILON: f32 = 1e-8;

/// Smallest and largest value of some voxels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueRange {
    /// Smallest; larger than `high` when no voxel was seen.
    pub low: f32,
    /// Largest.
    pub high: f32,
}

impl ValueRange {
    /// No voxel seen yet.
    pub const EMPTY: ValueRange = ValueRange { low: f32::INFINITY, high: f32::NEG_INFINITY };

    /// Takes one more value in.
    #[inline]
    pub fn include(&mut self, value: f32) {
        self.low = self.low.min(value);
        self.high = self.high.max(value);
    }

    /// Takes the values of another range in.
    pub fn merge(&mut self, other: ValueRange) {
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
    }

    /// No voxel was seen.
    pub fn is_empty(self) -> bool {
        self.low > self.high
    }
}

/// Count, mean and squared deviations of some voxels, combined in double precision.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// Voxels.
    pub count: f64,
    /// Their mean.
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub deviation: f64,
}

impl Moments {
    /// The moments of a row.
    pub fn of(values: impl Iterator<Item = f32> + Clone) -> Moments {
        let (count, sum) = values.clone().fold((0.0, 0.0), |(n, s), v| (n + 1.0, s + v as f64));
        if count == 0.0 {
            return Moments::default();
        }
        let mean = sum / count;
        let deviation = values.fold(0.0, |d, v| {
            let r = v as f64 - mean;
            d + r * r
        });
        Moments { count, mean, deviation }
    }

    /// Both together (Chan, Golub, LeVeque's pairwise update).
    pub fn merge(self, other: Moments) -> Moments {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let delta = other.mean - self.mean;
        Moments {
            count,
            mean: self.mean + delta * other.count / count,
            deviation: self.deviation + other.deviation + delta * delta * self.count * other.count / count,
        }
    }

    /// Population standard deviation.
    pub fn std(self) -> f64 {
        if self.count == 0.0 { 0.0 } else { libm::sqrt(self.deviation / self.count) }
    }
}

/// The map from stored to network intensities of one channel. It never decreases, so ranges map to ranges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalizer {
    clip: Option<(f32, f32)>,
    /// `(x - offset) / scale`, or nothing.
    affine: Option<(f32, f32)>,
    /// Only inside the nonzero mask.
    pub masked: bool,
}

impl Normalizer {
    /// The map for a channel with these facts: moments and range of the voxels that count, and for percentile
    /// normalisation the two percentiles.
    pub fn new(kind: &Normalization, moments: Moments, range: ValueRange, percentiles: Option<(f32, f32)>) -> Self {
        let plain = Normalizer { clip: None, affine: None, masked: false };
        match *kind {
            Normalization::None => plain,
            Normalization::ZScore { masked } => {
                Normalizer { affine: Some((moments.mean as f32, (moments.std() as f32).max(EPSILON))), masked, ..plain }
            }
            Normalization::Ct { mean, std, lower, upper } => {
                Normalizer { clip: Some((lower, upper)), affine: Some((mean, std.max(EPSILON))), ..plain }
            }
            Normalization::RescaleTo01 => {
                Normalizer { affine: Some((range.low, (range.high - range.low).max(EPSILON))), ..plain }
            }
            Normalization::RgbTo01 => Normalizer { affine: Some((0.0, 255.0)), ..plain },
            Normalization::PercentileTo01 { .. } => {
                let (low, high) = percentiles.unwrap_or((range.low, range.high));
                Normalizer { clip: Some((low, high)), affine: Some((low, (high - low).max(EPSILON))), ..plain }
            }
        }
    }

    /// One value.
    #[inline(always)]
    pub fn apply(&self, value: f32) -> f32 {
        let mut v = value;
        if let Some((low, high)) = self.clip {
            v = v.max(low).min(high);
        }
        if let Some((offset, scale)) = self.affine {
            v = (v - offset) / scale;
        }
        v
    }

    /// The range that `range` maps to; voxels outside the mask are zero and stay so.
    pub fn apply_range(&self, range: ValueRange, any_outside: bool) -> ValueRange {
        let mut mapped = if range.is_empty() {
            ValueRange::EMPTY
        } else {
            ValueRange { low: self.apply(range.low), high: self.apply(range.high) }
        };
        if self.masked && any_outside {
            mapped.include(0.0);
        }
        mapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_moments_equal_those_of_the_whole() {
        let values: alloc::vec::Vec<f32> = (0..1000).map(|i| 1e6 + ((i * 7919) % 1009) as f32).collect();
        let whole = Moments::of(values.iter().copied());
        let parts = values.chunks(37).fold(Moments::default(), |m, c| m.merge(Moments::of(c.iter().copied())));
        assert!((whole.mean - parts.mean).abs() < 1e-9 * whole.mean);
        assert!((whole.std() - parts.std()).abs() < 1e-9 * whole.std());
    }
}
