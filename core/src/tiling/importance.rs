//! The Gaussian weight of a tile's voxels.

use crate::half_float::{f16_to_f32, f32_to_f16, round_f64_to_f16};
use crate::volume::Index3;
use alloc::vec::Vec;

/// The importance map of a tile, fp16 bits, `x` fastest.
///
/// `10 * prod exp(-((i - p/2) / (p/8))^2 / 2)` in double precision, cut at four standard deviations, rounded to fp16
/// once; zeros become the smallest nonzero weight so that every voxel of a tile counts.
pub fn importance_map(patch: Index3) -> Vec<u16> {
    let axes: [Vec<f64>; 3] = patch.map(gaussian);
    let mut map = Vec::with_capacity(patch.iter().product());
    for z in &axes[0] {
        for y in &axes[1] {
            for x in &axes[2] {
                map.push(f32_to_f16(round_f64_to_f16(10.0 * (z * y * x))));
            }
        }
    }
    let smallest = map.iter().copied().filter(|&w| w != 0).min_by(|a, b| f16_to_f32(*a).total_cmp(&f16_to_f32(*b)));
    // The centre has weight 10, so there is one; a zero weight would divide by zero where only one tile reaches.
    let smallest = smallest.unwrap_or(1);
    for w in &mut map {
        if *w == 0 {
            *w = smallest;
        }
    }
    map
}

/// One axis, scaled to 1 at the centre `p / 2`. An axis of one voxel has no spread.
fn gaussian(p: usize) -> Vec<f64> {
    let sigma = p as f64 / 8.0;
    let reach = (4.0 * sigma + 0.5) as i64;
    let centre = (p / 2) as i64;
    (0..p as i64)
        .map(|i| {
            let d = i - centre;
            if d.abs() > reach {
                0.0
            } else {
                let t = d as f64 / sigma;
                libm::exp(-0.5 * t * t)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_is_ten_at_the_centre_and_nothing_is_zero() {
        for patch in [[32, 24, 40], [5, 7, 9], [1, 16, 16], [1, 1, 1]] {
            let map = importance_map(patch);
            let centre = (patch[0] / 2 * patch[1] + patch[1] / 2) * patch[2] + patch[2] / 2;
            assert_eq!(f16_to_f32(map[centre]), 10.0);
            assert!(map.iter().all(|&w| w > 0 && f16_to_f32(w) <= 10.0));
        }
    }
}
