//! Intensities of the foreground, sampled as nnU-Net samples them.
//!
//! nnU-Net draws a hundred million voxels with replacement and keeps their values. The draws are the same here, but they are
//! only counted: per voxel while a case is read, per value afterwards.

use super::random::RandomState;
use crate::plan::fingerprint::{Intensities, lerp};
use scanside_core::volume::{Box3, SourceError, VoxelSource};

/// Seed of every case.
const SEED: u32 = 1234;

/// Values and how often each was drawn, ascending.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sampled(Vec<(f32, u64)>);

/// Draws `samples` voxels per channel from the foreground inside `bounds`. `foreground` covers the whole scan.
pub(super) fn sample<S: VoxelSource + ?Sized>(
    source: &mut S,
    bounds: &Box3,
    foreground: &[bool],
    samples: u64,
) -> Result<Vec<Sampled>, SourceError> {
    let [_, n1, n2] = source.shape_zyx();
    let [zs, ys, xs] = bounds.0.clone();
    let mut random = RandomState::new(SEED);
    let mut plane = vec![0.0; ys.len() * xs.len()];
    let mut sampled = Vec::new();
    for channel in 0..source.channels() {
        let mut values = Vec::new();
        for z in zs.clone() {
            source.read(channel, &Box3([z..z + 1, ys.clone(), xs.clone()]), &mut plane)?;
            for (y, row) in ys.clone().zip(plane.chunks_exact(xs.len())) {
                let inside = &foreground[(z * n1 + y) * n2..][xs.clone()];
                values.extend(row.iter().zip(inside).filter(|(_, inside)| **inside).map(|(v, _)| *v));
            }
        }
        sampled.push(draw(values, samples, &mut random));
    }
    Ok(sampled)
}

/// Without foreground nothing is drawn, and no random numbers are used.
fn draw(values: Vec<f32>, samples: u64, random: &mut RandomState) -> Sampled {
    let Some(last) = values.len().checked_sub(1) else {
        return Sampled::default();
    };
    let counts = random.tally(last as u32, samples);
    let drawn = values.into_iter().zip(counts).filter(|(_, count)| *count > 0);
    Sampled::collect(drawn.map(|(value, count)| (value, u64::from(count))).collect())
}

impl Sampled {
    fn collect(mut pairs: Vec<(f32, u64)>) -> Sampled {
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        pairs.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        Sampled(pairs)
    }

    /// The sum of several samples.
    pub(super) fn merge(parts: Vec<Sampled>) -> Sampled {
        Sampled::collect(parts.into_iter().flat_map(|part| part.0).collect())
    }

    /// Their statistics, in double precision.
    pub(super) fn intensities(&self) -> Intensities {
        let pairs = &self.0;
        let total: u64 = pairs.iter().map(|(_, count)| count).sum();
        let weighted = |f: &dyn Fn(f64) -> f64| {
            pairs.iter().map(|(value, count)| f(f64::from(*value)) * *count as f64).sum::<f64>() / total as f64
        };
        let mean = weighted(&|v| v);
        let std = weighted(&|v| (v - mean) * (v - mean)).sqrt();
        let ends = (pairs.first().map_or(f32::NAN, |p| p.0), pairs.last().map_or(f32::NAN, |p| p.0));
        Intensities {
            max: f64::from(ends.1),
            mean,
            median: self.percentile(total, 50.0),
            min: f64::from(ends.0),
            percentile_00_5: self.percentile(total, 0.5),
            percentile_99_5: self.percentile(total, 99.5),
            std,
        }
    }

    fn percentile(&self, total: u64, percent: f64) -> f64 {
        let rank = total.saturating_sub(1) as f64 * (percent / 100.0);
        let below = rank.floor();
        let at = |rank: u64| {
            let mut passed = 0;
            let place = self.0.iter().find(|(_, count)| {
                passed += count;
                passed > rank
            });
            place.or(self.0.last()).map_or(f64::NAN, |(value, _)| f64::from(*value))
        };
        lerp(at(below as u64), at(below as u64 + 1), rank - below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_as_numpy_draws_them() {
        // numpy: v = np.float32([3, 1, 4, 1, 5]); x = RandomState(1234).choice(v, 1000).
        let sampled = draw(vec![3.0, 1.0, 4.0, 1.0, 5.0], 1000, &mut RandomState::new(SEED));
        assert_eq!(sampled.0, [(1.0, 432), (3.0, 182), (4.0, 204), (5.0, 182)]);
        let i = sampled.intensities();
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(close(i.mean, 2.704) && close(i.std, 1.603865331005069), "{i:?}");
        assert_eq!((i.min, i.percentile_00_5, i.median, i.percentile_99_5, i.max), (1.0, 1.0, 3.0, 5.0, 5.0));
    }

    #[test]
    fn several_cases_are_pooled() {
        let a = Sampled(vec![(1.0, 2), (3.0, 1)]);
        let b = Sampled(vec![(2.0, 1), (3.0, 6)]);
        assert_eq!(Sampled::merge(vec![a, Sampled::default(), b]).0, [(1.0, 2), (2.0, 1), (3.0, 7)]);
    }
}
