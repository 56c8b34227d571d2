//! Simulates a scanner of lower resolution.

/// Samples one channel at `scales_zyx` of its density, taking the nearest voxel, and interpolates it linearly back to
/// its shape.
pub fn simulate(channel: &mut [f32], shape_zyx: [usize; 3], scales_zyx: [f32; 3], scratch: &mut Vec<f32>) {
    let coarse: [usize; 3] = std::array::from_fn(|d| coarse_extent(shape_zyx[d], scales_zyx[d]));
    let nearest: [Vec<usize>; 3] = std::array::from_fn(|d| nearest(shape_zyx[d], coarse[d]));
    let between: [Vec<Between>; 3] = std::array::from_fn(|d| between(shape_zyx[d], coarse[d]));
    let [_, height, width] = shape_zyx;
    let plane = coarse[1] * coarse[2];

    scratch.clear();
    for &z in &nearest[0] {
        for &y in &nearest[1] {
            let row = &channel[(z * height + y) * width..][..width];
            scratch.extend(nearest[2].iter().map(|&x| row[x]));
        }
    }
    let volume = scratch.len();
    scratch.resize(volume + coarse[2], 0.0);
    let (volume, merged) = scratch.split_at_mut(volume);
    for (row, to) in channel.chunks_exact_mut(width).enumerate() {
        let (z, y) = (&between[0][row / height], &between[1][row % height]);
        let from = |z: usize, y: usize| &volume[z * plane + y * coarse[2]..][..coarse[2]];
        let rows = from(z.low, y.low).iter().zip(from(z.low, y.high));
        let rows = rows.zip(from(z.high, y.low)).zip(from(z.high, y.high));
        for (merged, (((&a, &b), &c), &d)) in merged.iter_mut().zip(rows) {
            let (low, high) = (a + y.fraction * (b - a), c + y.fraction * (d - c));
            *merged = low + z.fraction * (high - low);
        }
        for (to, x) in to.iter_mut().zip(&between[2]) {
            *to = merged[x.low] + x.fraction * (merged[x.high] - merged[x.low]);
        }
    }
}

/// Rounded half to even, at least one voxel.
fn coarse_extent(extent: usize, scale: f32) -> usize {
    ((extent as f64 * f64::from(scale)).round_ties_even() as usize).max(1)
}

/// For each coarse voxel, the fine voxel at its centre.
fn nearest(fine: usize, coarse: usize) -> Vec<usize> {
    let step = fine as f32 / coarse as f32;
    (0..coarse).map(|i| (((i as f32 + 0.5) * step) as usize).min(fine - 1)).collect()
}

/// Two coarse voxels, and the relative position of a fine voxel between them.
struct Between {
    low: usize,
    high: usize,
    fraction: f32,
}

/// For each fine voxel, the coarse voxels around its centre; beyond the outermost centres their values are constant.
fn between(fine: usize, coarse: usize) -> Vec<Between> {
    let step = coarse as f32 / fine as f32;
    let one = |i: usize| {
        let position = ((i as f32 + 0.5) * step - 0.5).max(0.0);
        let low = (position as usize).min(coarse - 1);
        Between { low, high: (low + 1).min(coarse - 1), fraction: (position - low as f32).min(1.0) }
    };
    (0..fine).map(one).collect()
}
