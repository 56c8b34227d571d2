//! Cuts soft labels out in the same way as the image: rotated and scaled, with linear interpolation of probabilities.

use super::{FRACTION_BITS, Line, Matrix, Window, fraction, lines};
use crate::dataset::soft::SoftLabels;

/// Writes the probabilities of the patch of extents `patch_zyx` in the middle of `window` or, with a `matrix`, of the
/// patch sampled through it: `[heads, z, y, x]`. Outside of the window and the case is background.
///
/// # Panics
///
/// If the length of `to` is not that of the patch.
pub fn sample(soft: &SoftLabels, window: &Window, matrix: Option<&Matrix>, patch_zyx: [usize; 3], to: &mut [f32]) {
    let voxels: usize = patch_zyx.iter().product();
    let heads = soft.heads;
    assert_eq!(to.len(), voxels * heads.count(), "a buffer of another shape");
    let (outside, bytes) = (heads.outside(), heads.record_bytes());
    let shape = soft.shape_zyx.map(|n| n as i64);
    // Without a matrix, a patch may extend beyond the window but within the case; with one, it must not.
    let (low, high) = match matrix {
        Some(_) => {
            let end = |d: usize| window.start_zyx[d] + window.shape_zyx[d] as i64;
            (window.start_zyx.map(|n| n.max(0)), std::array::from_fn(|d| end(d).min(shape[d])))
        }
        None => ([0; 3], shape),
    };
    let record = |[z, y, x]: [i64; 3]| {
        let inside = (0..3).all(|d| [z, y, x][d] >= low[d] && [z, y, x][d] < high[d]);
        if !inside {
            return &outside[..];
        }
        let at = ((z * shape[1] + y) * shape[2] + x) as usize * bytes;
        &soft.records[at..at + bytes]
    };
    let mut sums = vec![0.0; heads.count()];
    let mut put = |at: usize, sums: &mut [f32]| {
        for (to, sum) in to.chunks_exact_mut(voxels).zip(sums) {
            to[at] = std::mem::take(sum);
        }
    };
    let Some(matrix) = matrix else {
        let start = window.centre_start(patch_zyx);
        for at in 0..voxels {
            let [_, height, width] = patch_zyx;
            let offset = [at / width / height, at / width % height, at % width];
            heads.add(record(std::array::from_fn(|d| start[d] + offset[d] as i64)), 1.0, &mut sums);
            put(at, &mut sums);
        }
        return;
    };
    for (row, line) in lines(window, matrix, patch_zyx).enumerate() {
        for i in 0..patch_zyx[2] {
            let position = Line::at(&line, i);
            let corner = position.map(|p| p >> FRACTION_BITS);
            let corners: [&[u8]; 8] = std::array::from_fn(|k| {
                record([corner[0] + (k as i64 >> 2), corner[1] + (k as i64 >> 1 & 1), corner[2] + (k as i64 & 1)])
            });
            if corners[1..].iter().all(|other| *other == corners[0]) {
                heads.add(corners[0], 1.0, &mut sums);
            } else {
                let part = position.map(fraction);
                let side = |d: usize, upper: usize| if upper == 1 { part[d] } else { 1.0 - part[d] };
                for (k, corner) in corners.iter().enumerate() {
                    heads.add(corner, side(0, k >> 2) * side(1, k >> 1 & 1) * side(2, k & 1), &mut sums);
                }
            }
            put(row * patch_zyx[2] + i, &mut sums);
        }
    }
}
