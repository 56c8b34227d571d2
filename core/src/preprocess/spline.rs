//! The cubic B-spline prefilter along one line or plane stack, as scipy computes it.
//!
//! The filter is recursive: a causal pass, then an anticausal one. The line is taken as mirrored about its outer
//! sample edges, which gives the first causal value as a sum over the whole line; its terms fade as `0.268^k`, so a
//! bounded window of about thirty samples decides it to double precision.

use super::axis::SPLINE_PAD;

/// The pole `sqrt(3) - 2` of the cubic B-spline.
pub(crate) const POLE: f64 = -0.267_949_192_431_122_7;
/// `(1 - pole) * (1 - 1 / pole)`.
pub(crate) const GAIN: f64 = 6.0;
/// `|POLE|^28 = 1e-16`: what lies further away than this many samples does not reach double precision.
pub(crate) const MEMORY: usize = 28;

/// The factor that turns the last causal value into the last coefficient of a mirrored line.
pub(crate) const LAST: f64 = POLE / (POLE - 1.0);

/// The weights with which the samples of a line of `n` add up to its first causal value, gain included, for as many
/// samples as matter.
pub(crate) fn initial_weights(n: usize) -> impl Iterator<Item = f64> {
    let power = |k: usize| libm::pow(POLE, k as f64);
    let tail = power(n);
    let scale = GAIN * POLE / (1.0 - tail * tail);
    // f_0 counts once by itself; every sample k counts with z^k going out and z^(2N-1-k) coming back.
    (0..n.min(2 * MEMORY + SPLINE_PAD)).map(move |k| {
        let there = power(k);
        let back = power(2 * n - 1 - k);
        if k == 0 { GAIN + scale * (there + back) } else { scale * (there + back) }
    })
}

/// Filters one padded line in place.
pub(crate) fn filter_line(line: &mut [f64]) {
    let n = line.len();
    let mut previous = initial_weights(n).zip(line.iter()).map(|(w, f)| w * f).sum::<f64>();
    line[0] = previous;
    for value in &mut line[1..] {
        previous = GAIN * *value + POLE * previous;
        *value = previous;
    }
    previous *= LAST;
    line[n - 1] = previous;
    for value in line[..n - 1].iter_mut().rev() {
        previous = POLE * (previous - *value);
        *value = previous;
    }
}

/// Filters a stack of `rows` of `width` values in place, along the stack.
pub(crate) fn filter_rows(rows: &mut [f64], width: usize, first: &mut [f64]) {
    let n = rows.len() / width;
    first.fill(0.0);
    for (weight, row) in initial_weights(n).zip(rows.chunks_exact(width)) {
        for (sum, value) in first.iter_mut().zip(row) {
            *sum += weight * value;
        }
    }
    rows[..width].copy_from_slice(first);
    for r in 1..n {
        let (done, rest) = rows.split_at_mut(r * width);
        causal(&mut rest[..width], &done[(r - 1) * width..]);
    }
    for value in &mut rows[(n - 1) * width..] {
        *value *= LAST;
    }
    for r in (0..n - 1).rev() {
        let (head, tail) = rows.split_at_mut((r + 1) * width);
        anticausal(&mut head[r * width..], &tail[..width]);
    }
}

/// One causal step: `current = gain * current + pole * previous`.
pub(crate) fn causal(current: &mut [f64], previous: &[f64]) {
    for (c, p) in current.iter_mut().zip(previous) {
        *c = GAIN * *c + POLE * p;
    }
}

/// One anticausal step: `current = pole * (next - current)`.
pub(crate) fn anticausal(current: &mut [f64], next: &[f64]) {
    for (c, n) in current.iter_mut().zip(next) {
        *c = POLE * (n - *c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// Coefficients of a mirrored line must give its samples back: `(c[k-1] + 4 c[k] + c[k+1]) / 6 = f[k]`.
    #[test]
    fn coefficients_interpolate_the_samples() {
        for n in [2usize, 3, 10, 25, 40, 200] {
            let samples: Vec<f64> = (0..n).map(|i| libm::sin(i as f64 * 1.7) + 0.3 * i as f64).collect();
            let mut line = samples.clone();
            filter_line(&mut line);
            let at = |k: isize| {
                let k = if k < 0 { -k - 1 } else { k };
                let k = if k >= n as isize { 2 * n as isize - 1 - k } else { k };
                line[k as usize]
            };
            for k in 0..n as isize {
                let value = (at(k - 1) + 4.0 * at(k) + at(k + 1)) / 6.0;
                assert!((value - samples[k as usize]).abs() < 1e-12, "n {n} k {k}");
            }
            let mut rows: Vec<f64> = samples.iter().flat_map(|&v| [v, -v, 2.0 * v]).collect();
            filter_rows(&mut rows, 3, &mut [0.0; 3]);
            for k in 0..n {
                assert!((rows[3 * k] - line[k]).abs() < 1e-13 && (rows[3 * k + 1] + line[k]).abs() < 1e-13);
            }
        }
    }
}
