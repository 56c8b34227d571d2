//! Exact percentiles of a channel in two passes over its voxels and half a megabyte of counters.
//!
//! Float values order as their bits do once the sign is folded in, so the first pass counts the upper sixteen bits and
//! the second the lower sixteen of the bins that hold a wanted rank.

use alloc::vec;
use alloc::vec::Vec;

/// Orders like the value.
fn key(value: f32) -> u32 {
    // -0.0 and 0.0 are one value.
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 0x8000_0000 } else { !bits }
}

fn value(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & 0x7fff_ffff } else { !key })
}

/// Finds order statistics: first [`Self::count`] every value, then [`Self::refine`] and count every value again.
#[derive(Debug)]
pub(crate) struct RankFinder {
    total: u64,
    upper: Vec<u64>,
    /// Per wanted rank: its bin, and its rank inside the bin.
    wanted: Vec<(u32, u64)>,
    /// Per distinct bin: counts of the lower bits.
    lower: Vec<(u32, Vec<u64>)>,
}

impl RankFinder {
    pub(crate) fn new() -> Self {
        RankFinder { total: 0, upper: vec![0; 1 << 16], wanted: Vec::new(), lower: Vec::new() }
    }

    /// Bytes at most: the upper counters and those of up to four bins.
    pub(crate) const BYTES: usize = 5 * 8 * (1 << 16);

    pub(crate) fn count(&mut self, v: f32) {
        let key = key(v);
        if self.wanted.is_empty() {
            self.total += 1;
            self.upper[(key >> 16) as usize] += 1;
        } else if let Some((_, counts)) = self.lower.iter_mut().find(|(bin, _)| *bin == key >> 16) {
            counts[(key & 0xffff) as usize] += 1;
        }
    }

    /// Prepares the second pass for these ranks (from 0).
    fn refine(&mut self, ranks: &[u64]) {
        for &rank in ranks {
            let mut below = 0;
            for (bin, &count) in self.upper.iter().enumerate() {
                if rank < below + count {
                    self.wanted.push((bin as u32, rank - below));
                    if self.lower.iter().all(|(b, _)| *b != bin as u32) {
                        self.lower.push((bin as u32, vec![0; 1 << 16]));
                    }
                    break;
                }
                below += count;
            }
        }
    }

    /// The ranks next to each percentile, and how far the percentile lies between them.
    pub(crate) fn refine_percentiles(&mut self, percents: [f64; 2]) -> [f64; 2] {
        let last = self.total.saturating_sub(1);
        let mut fractions = [0.0; 2];
        let mut ranks = [0; 4];
        for (i, percent) in percents.into_iter().enumerate() {
            let position = percent / 100.0 * last as f64;
            let low = libm::floor(position) as u64;
            fractions[i] = position - low as f64;
            ranks[2 * i] = low.min(last);
            ranks[2 * i + 1] = (low + 1).min(last);
        }
        self.refine(&ranks);
        fractions
    }

    /// The values at the wanted ranks, after the second pass.
    fn values(&self) -> impl Iterator<Item = f32> + '_ {
        self.wanted.iter().map(|&(bin, rank)| {
            let counts = self.lower.iter().find(|(b, _)| *b == bin).map_or(&[][..], |(_, c)| c);
            let mut below = 0;
            let low = counts.iter().position(|&c| {
                below += c;
                rank < below
            });
            value(bin << 16 | low.unwrap_or(0) as u32)
        })
    }

    /// Both percentiles, linear between ranks.
    pub(crate) fn percentiles(&self, fractions: [f64; 2]) -> (f32, f32) {
        let mut values = self.values();
        let mut between = |t: f64| {
            let (a, b) = (values.next().unwrap_or(0.0) as f64, values.next().unwrap_or(0.0) as f64);
            (a + (b - a) * t) as f32
        };
        let low = between(fractions[0]);
        (low, between(fractions[1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_sorting(mut values in proptest::collection::vec(-1e6f32..1e6, 1..300), low in 0.0f64..50.0, high in 50.0f64..=100.0) {
            let mut finder = RankFinder::new();
            for &v in &values { finder.count(v); }
            let fractions = finder.refine_percentiles([low, high]);
            for &v in &values { finder.count(v); }
            let got = finder.percentiles(fractions);
            values.sort_by(f32::total_cmp);
            let expected = |p: f64| {
                let position = p / 100.0 * (values.len() - 1) as f64;
                let i = position as usize;
                let (a, b) = (values[i] as f64, values[(i + 1).min(values.len() - 1)] as f64);
                (a + (b - a) * (position - i as f64)) as f32
            };
            prop_assert_eq!(got, (expected(low), expected(high)));
        }
    }
}
