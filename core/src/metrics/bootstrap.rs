//! How far a mean over cases could be off: percentile bootstrap.
//!
//! Cases are drawn with replacement, as many as there are, and the statistic is taken anew; the middle 95 % of many such
//! results is the interval. It says what other cases of the same kind would give, not what another hospital's would.
//! With fewer than about ten cases it is too narrow.

use alloc::vec;
use alloc::vec::Vec;

/// A statistic over cases with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The statistic of the cases themselves.
    pub mean: f64,
    /// The 2.5th percentile of the resamples.
    pub low: f64,
    /// The 97.5th percentile of the resamples.
    pub high: f64,
    /// Cases with a value.
    pub cases: usize,
}

/// How to resample. The same numbers give the same intervals, on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Number of resamples.
    pub resamples: usize,
    /// Where the random numbers start.
    pub seed: u64,
}

impl Default for Bootstrap {
    /// 10 000 resamples: the ends of the interval then vary by about 2 % of its width with the seed.
    fn default() -> Self {
        Bootstrap { resamples: 10_000, seed: 0 }
    }
}

impl Bootstrap {
    /// The mean of `values`, one per case; `None` where there are none or one is not finite.
    pub fn mean(&self, values: &[f64]) -> Option<Interval> {
        if values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        self.interval(values.len(), |cases| mean(cases.iter().map(|case| values[*case])))
    }

    /// The mean of `a - b` over the same cases. Resampling pairs takes out what makes a case hard for both, so the interval
    /// is narrower than the two means suggest. `None` as for [`Self::mean`], or where the numbers of cases differ.
    pub fn mean_difference(&self, a: &[f64], b: &[f64]) -> Option<Interval> {
        if a.len() != b.len() {
            return None;
        }
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        self.mean(&differences)
    }

    /// The mean over classes of the mean over cases, as nnU-Net's `foreground_mean`. `table[case][class]` is `None` where a
    /// case says nothing about a class; a class without any value does not count. Whole cases are resampled, since the
    /// classes of one case go together.
    ///
    /// `None` where no value is there, one is not finite, or rows differ in length. [`Interval::cases`] counts the rows
    /// with a value.
    pub fn mean_over_classes(&self, table: &[Vec<Option<f64>>]) -> Option<Interval> {
        let classes = classes_of(table)?;
        let rows: Vec<&[Option<f64>]> = table.iter().filter(|row| says_something(row)).map(Vec::as_slice).collect();
        let mut sums = vec![(0.0, 0); classes];
        self.interval(rows.len(), |cases| over_classes(&rows, cases, &mut sums))
    }

    /// The difference `a - b` of what [`Self::mean_over_classes`] says of two tables of the same cases and classes; both
    /// are taken over the same drawn cases, as in [`Self::mean_difference`].
    ///
    /// `None` as for [`Self::mean_over_classes`], or where the tables differ in size. [`Interval::cases`] counts the cases
    /// with a value in either.
    pub fn difference_over_classes(&self, a: &[Vec<Option<f64>>], b: &[Vec<Option<f64>>]) -> Option<Interval> {
        self.pair_over_classes(a, b, |a, b| Some(a - b))
    }

    /// The ratio `a / b` of what [`Self::mean_over_classes`] says of two tables of the same cases and classes: a ratio of
    /// means, not a mean of ratios, so that no single case with a `b` near zero decides it. Both are taken over the same
    /// drawn cases; a resample where `b` is zero is left out.
    ///
    /// `None` as for [`Self::difference_over_classes`], or where `b` is zero.
    pub fn ratio_over_classes(&self, a: &[Vec<Option<f64>>], b: &[Vec<Option<f64>>]) -> Option<Interval> {
        self.pair_over_classes(a, b, |a, b| (b != 0.0).then(|| a / b))
    }

    fn pair_over_classes(
        &self,
        a: &[Vec<Option<f64>>],
        b: &[Vec<Option<f64>>],
        combine: impl Fn(f64, f64) -> Option<f64>,
    ) -> Option<Interval> {
        let classes = classes_of(a)?;
        if a.len() != b.len() || classes_of(b)? != classes {
            return None;
        }
        let pairs = a.iter().zip(b).filter(|(a, b)| says_something(a) || says_something(b));
        let (rows_a, rows_b): (Vec<_>, Vec<_>) = pairs.map(|(a, b)| (a.as_slice(), b.as_slice())).unzip();
        let mut sums = vec![(0.0, 0); classes];
        self.interval(rows_a.len(), |cases| {
            let of_a = over_classes(&rows_a, cases, &mut sums)?;
            combine(of_a, over_classes(&rows_b, cases, &mut sums)?)
        })
    }

    /// Any statistic of cases `0..cases`, given the drawn ones. A resample without a result is left out.
    ///
    /// Memory: 8 bytes per case and per resample.
    pub fn interval(&self, cases: usize, mut statistic: impl FnMut(&[usize]) -> Option<f64>) -> Option<Interval> {
        let mut drawn: Vec<usize> = (0..cases).collect();
        let observed = statistic(&drawn)?;
        let mut random = SplitMix64(self.seed);
        let mut results = Vec::with_capacity(self.resamples);
        for _ in 0..self.resamples {
            drawn.fill_with(|| random.below(cases));
            results.extend(statistic(&drawn));
        }
        results.sort_by(f64::total_cmp);
        let [low, high] = [2.5, 97.5].map(|percent| percentile(&results, percent).unwrap_or(observed));
        Some(Interval { mean: observed, low, high, cases })
    }
}

/// Number of classes of a table; `None` where rows differ in length or a value is not finite.
fn classes_of(table: &[Vec<Option<f64>>]) -> Option<usize> {
    let classes = table.first()?.len();
    let even = table.iter().all(|row| row.len() == classes);
    let finite = table.iter().flatten().flatten().all(|value| value.is_finite());
    (even && finite).then_some(classes)
}

fn says_something(row: &[Option<f64>]) -> bool {
    row.iter().any(Option::is_some)
}

/// The mean over classes of the mean over the drawn cases. `sums` has room for sum and count of each class.
fn over_classes(rows: &[&[Option<f64>]], cases: &[usize], sums: &mut [(f64, usize)]) -> Option<f64> {
    sums.fill((0.0, 0));
    for case in cases {
        for ((sum, count), value) in sums.iter_mut().zip(rows[*case]) {
            if let Some(value) = value {
                *sum += value;
                *count += 1;
            }
        }
    }
    mean(sums.iter().filter(|(_, count)| *count > 0).map(|(sum, count)| sum / *count as f64))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// Percentile of ascending values with linear interpolation between ranks.
fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let rank = percent / 100.0 * (sorted.len().checked_sub(1)? as f64);
    let lower = rank as usize;
    let upper = (lower + 1).min(sorted.len() - 1);
    Some(sorted[lower] + (sorted[upper] - sorted[lower]) * (rank - lower as f64))
}

/// Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014. Two lines, and good enough to
/// draw cases.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `n`; the bias is `n / 2^64`.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn random_numbers_are_the_published_ones() {
        let mut random = SplitMix64(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.next(), random.next(), random.next()], expected);
    }

    #[test]
    fn percentiles_interpolate() {
        assert_eq!(percentile(&[], 50.0), None);
        assert_eq!(percentile(&[3.0], 97.5), Some(3.0));
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 75.0), Some(3.0));
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 100.0), Some(4.0));
    }

    #[test]
    fn the_interval_agrees_with_the_normal_approximation() {
        // 400 values spread evenly over 0..1: standard error of the mean = 1 / sqrt(12 * 400).
        let values: Vec<f64> = (0..400).map(|i| (f64::from(i) + 0.5) / 400.0).collect();
        let found = Bootstrap::default().mean(&values).unwrap();
        let half = 1.959_96 / (12.0f64 * 400.0).sqrt();
        assert!((found.mean - 0.5).abs() < 1e-12);
        assert!((found.low - (0.5 - half)).abs() < 0.05 * half, "{found:?}");
        assert!((found.high - (0.5 + half)).abs() < 0.05 * half, "{found:?}");
    }

    #[test]
    fn two_cases_have_all_their_resamples_counted() {
        // Means 0, 0.5 and 1 with chances 1/4, 1/2, 1/4: both tails hold more than 2.5 %.
        let found = Bootstrap::default().mean(&[0.0, 1.0]).unwrap();
        assert_eq!(found, Interval { mean: 0.5, low: 0.0, high: 1.0, cases: 2 });
    }

    #[test]
    fn pairs_take_out_what_both_share() {
        let a = [0.1, 0.5, 0.9, 0.3];
        let b = a.map(|value| value - 0.05);
        let found = Bootstrap::default().mean_difference(&a, &b).unwrap();
        assert!((found.low - 0.05).abs() < 1e-12 && (found.high - 0.05).abs() < 1e-12);
        assert_eq!(Bootstrap::default().mean_difference(&a, &b[..3]), None);
    }

    #[test]
    fn pairs_of_tables_are_drawn_together() {
        let teacher = [vec![Some(0.9), Some(0.8)], vec![Some(0.5), None], vec![Some(0.7), Some(0.6)]];
        let scaled = |by: f64| -> Vec<Vec<Option<f64>>> {
            teacher.iter().map(|row| row.iter().map(|value| value.map(|v| v * by)).collect()).collect()
        };
        let bootstrap = Bootstrap::default();
        // Of every draw the student keeps the same share, so there is no doubt about it.
        let kept = bootstrap.ratio_over_classes(&scaled(0.98), &teacher).unwrap();
        assert!([kept.mean, kept.low, kept.high].iter().all(|v| (v - 0.98).abs() < 1e-12), "{kept:?}");
        let less = bootstrap.difference_over_classes(&scaled(0.98), &teacher).unwrap();
        // ((0.9 + 0.5 + 0.7) / 3 + (0.8 + 0.6) / 2) / 2 = 0.7
        assert!((less.mean + 0.02 * 0.7).abs() < 1e-12 && less.low < less.mean && less.mean < less.high, "{less:?}");
        // A ratio of means, not a mean of ratios.
        let (a, b) = ([vec![Some(1.0)], vec![Some(0.0)]], [vec![Some(0.5)], vec![Some(0.5)]]);
        assert_eq!(bootstrap.ratio_over_classes(&a, &b).unwrap().mean, 1.0);
        assert_eq!(bootstrap.ratio_over_classes(&a, &[vec![Some(0.0)], vec![Some(0.0)]]), None);
        assert_eq!(bootstrap.ratio_over_classes(&a, &b[..1]), None);
    }

    #[test]
    fn missing_and_infinite_values() {
        let bootstrap = Bootstrap::default();
        assert_eq!(bootstrap.mean(&[]), None);
        assert_eq!(bootstrap.mean(&[1.0, f64::INFINITY]), None);
        assert_eq!(bootstrap.mean_over_classes(&[]), None);
        assert_eq!(bootstrap.mean_over_classes(&[vec![None], vec![None]]), None);
        assert_eq!(bootstrap.mean_over_classes(&[vec![Some(1.0)], vec![]]), None);
        assert_eq!(bootstrap.mean_over_classes(&[vec![Some(f64::INFINITY)]]), None);
    }

    #[test]
    fn each_class_counts_the_same_however_often_it_occurs() {
        let table = [vec![Some(1.0), None, None], vec![Some(1.0), Some(0.0), None], vec![None, None, None]];
        let found = Bootstrap::default().mean_over_classes(&table).unwrap();
        // Where the second class is not drawn, with chance 1/4, the first stands alone.
        assert_eq!(found, Interval { mean: 0.5, low: 0.5, high: 1.0, cases: 2 });
    }

    #[test]
    fn a_pair_of_tables_is_resampled_together() {
        let bootstrap = Bootstrap::default();
        let whole = [vec![Some(0.9), Some(0.5)], vec![Some(0.6), None], vec![Some(0.3), Some(0.7)]];
        let scaled = whole.each_ref().map(|row| row.iter().map(|value| value.map(|v| 0.8 * v)).collect::<Vec<_>>());
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        // Whatever is drawn, the ratio is the same: the tables vary, their ratio does not.
        let ratio = bootstrap.ratio_over_classes(&scaled, &whole).unwrap();
        assert!(near(ratio.mean, 0.8) && near(ratio.low, 0.8) && near(ratio.high, 0.8), "{ratio:?}");
        assert_eq!(ratio.cases, 3);
        // (0.6 + 0.6) / 2 over classes, times 0.2.
        let difference = bootstrap.difference_over_classes(&scaled, &whole).unwrap();
        assert!(near(difference.mean, -0.12), "{difference:?}");
        // A ratio of means: (0.1 + 0.9) / (0.2 + 0.8), where the mean of ratios is 0.8125.
        let ratio =
            bootstrap.ratio_over_classes(&[vec![Some(0.1)], vec![Some(0.9)]], &[vec![Some(0.2)], vec![Some(0.8)]]);
        let ratio = ratio.unwrap();
        assert!(near(ratio.mean, 1.0) && near(ratio.low, 0.5) && near(ratio.high, 1.125), "{ratio:?}");
    }

    #[test]
    fn tables_that_are_no_pair_have_no_ratio() {
        let bootstrap = Bootstrap::default();
        let (one, two) = (vec![vec![Some(1.0)]], vec![vec![Some(1.0)], vec![Some(1.0)]]);
        assert_eq!(bootstrap.ratio_over_classes(&one, &two), None);
        assert_eq!(bootstrap.ratio_over_classes(&one, &[vec![Some(1.0), Some(1.0)]]), None);
        assert_eq!(bootstrap.ratio_over_classes(&one, &[vec![Some(0.0)]]), None);
        assert_eq!(bootstrap.ratio_over_classes(&one, &[vec![None]]), None);
        assert_eq!(bootstrap.difference_over_classes(&one, &[vec![Some(f64::NAN)]]), None);
        assert_eq!(bootstrap.difference_over_classes(&[], &[]), None);
    }

    proptest! {
        #[test]
        fn differences_of_one_class_are_those_of_plain_values(
            pairs in proptest::collection::vec((0.0f64..1.0, 0.0f64..1.0), 1..12),
            seed: u64,
        ) {
            let bootstrap = Bootstrap { resamples: 200, seed };
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let table = |values: &[f64]| values.iter().map(|value| vec![Some(*value)]).collect::<Vec<_>>();
            let plain = bootstrap.mean_difference(&a, &b).unwrap();
            let found = bootstrap.difference_over_classes(&table(&a), &table(&b)).unwrap();
            for (found, plain) in [(found.mean, plain.mean), (found.low, plain.low), (found.high, plain.high)] {
                prop_assert!((found - plain).abs() < 1e-12);
            }
        }

        #[test]
        fn one_class_is_a_plain_mean(values in proptest::collection::vec(0.0f64..1.0, 1..12), seed: u64) {
            let bootstrap = Bootstrap { resamples: 200, seed };
            let table: Vec<Vec<Option<f64>>> = values.iter().map(|value| vec![Some(*value)]).collect();
            let plain = bootstrap.mean(&values).unwrap();
            prop_assert_eq!(bootstrap.mean_over_classes(&table), Some(plain));
            prop_assert!(plain.low <= plain.high);
            let (least, most) = values.iter().fold((1.0f64, 0.0f64), |(l, m), v| (l.min(*v), m.max(*v)));
            prop_assert!(plain.low >= least - 1e-12 && plain.high <= most + 1e-12);
        }
    }
}
