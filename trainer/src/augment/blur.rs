//! Gaussian blur.

/// The kernel reaches over this many sigmas in all.
const WIDTH_IN_SIGMAS: f64 = 6.0;

/// Blurs one channel along each axis; `sigmas_zyx` in voxels. Edges are mirrored about their outermost voxels.
pub fn gaussian(channel: &mut [f32], shape_zyx: [usize; 3], sigmas_zyx: [f64; 3], scratch: &mut Vec<f32>) {
    let [z, y, x] = shape_zyx;
    if channel.is_empty() {
        return;
    }
    scratch.clear();
    scratch.resize(channel.len(), 0.0);
    along_blocks(channel, z, &half_kernel(sigmas_zyx[0]), scratch);
    let kernel = half_kernel(sigmas_zyx[1]);
    for (from, to) in scratch.chunks_exact(y * x).zip(channel.chunks_exact_mut(y * x)) {
        along_blocks(from, y, &kernel, to);
    }
    along_rows(channel, x, &half_kernel(sigmas_zyx[2]), scratch);
}

/// Weights from the centre outwards.
fn half_kernel(sigma: f64) -> Vec<f32> {
    // The nearest odd number of taps; exactly half-way, the larger one.
    let taps = sigma * WIDTH_IN_SIGMAS + 0.5;
    let reach = ((taps - 1.0) / 2.0 + 0.5).floor().max(0.0) as usize;
    let weight = |i: usize| (-0.5 * (i as f64 / sigma).powi(2)).exp();
    let sum: f64 = weight(0) + 2.0 * (1..=reach).map(weight).sum::<f64>();
    (0..=reach).map(|i| (weight(i) / sum) as f32).collect()
}

/// The index within `count` that `index` is mirrored to.
fn mirrored(index: i64, count: usize) -> usize {
    let last = count as i64 - 1;
    if last == 0 {
        return 0;
    }
    let place = index.rem_euclid(2 * last);
    (if place > last { 2 * last - place } else { place }) as usize
}

/// Blurs across `count` blocks of equal length, each value with those at its place in the neighbouring blocks.
fn along_blocks(from: &[f32], count: usize, kernel: &[f32], to: &mut [f32]) {
    let length = from.len() / count;
    let block = |index: i64| {
        let index = mirrored(index, count);
        &from[index * length..][..length]
    };
    for (index, to) in to.chunks_exact_mut(length).enumerate() {
        let index = index as i64;
        for (to, &value) in to.iter_mut().zip(block(index)) {
            *to = kernel[0] * value;
        }
        for (distance, &weight) in kernel.iter().enumerate().skip(1) {
            let (below, above) = (block(index - distance as i64), block(index + distance as i64));
            for ((to, &below), &above) in to.iter_mut().zip(below).zip(above) {
                *to += weight * (below + above);
            }
        }
    }
}

/// Blurs each row of `length` within itself.
fn along_rows(channel: &mut [f32], length: usize, kernel: &[f32], scratch: &mut Vec<f32>) {
    let reach = kernel.len() - 1;
    scratch.resize(length + 2 * reach, 0.0);
    for row in channel.chunks_exact_mut(length) {
        scratch[reach..reach + length].copy_from_slice(row);
        for i in 1..=reach {
            scratch[reach - i] = row[mirrored(-(i as i64), length)];
            scratch[reach + length - 1 + i] = row[mirrored((length - 1 + i) as i64, length)];
        }
        for (to, &value) in row.iter_mut().zip(&scratch[reach..]) {
            *to = kernel[0] * value;
        }
        for (distance, &weight) in kernel.iter().enumerate().skip(1) {
            let (below, above) = (&scratch[reach - distance..], &scratch[reach + distance..]);
            for ((to, &below), &above) in row.iter_mut().zip(below).zip(above) {
                *to += weight * (below + above);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{half_kernel, mirrored};

    #[test]
    fn taps_are_the_nearest_odd_number() {
        for (sigma, taps) in [(0.5, 3), (0.58, 3), (0.584, 5), (0.7, 5), (0.9, 5), (0.917, 7), (1.0, 7)] {
            let kernel = half_kernel(sigma);
            assert_eq!(2 * kernel.len() - 1, taps, "sigma {sigma}");
            let sum = kernel[0] + 2.0 * kernel[1..].iter().sum::<f32>();
            assert!((sum - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn mirrors_about_the_outermost_voxel() {
        let indices: Vec<usize> = (-3..8).map(|i| mirrored(i, 4)).collect();
        assert_eq!(indices, [3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(mirrored(-2, 1), 0);
        assert_eq!((-3..5).map(|i| mirrored(i, 2)).collect::<Vec<_>>(), [1, 0, 1, 0, 1, 0, 1, 0]);
    }
}
