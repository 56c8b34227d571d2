//! The last steps: mirroring, the nonzero mask, and the label outside it.

use crate::targets::OUTSIDE;

/// Mirrors `volumes` (any number of `[z, y, x]` blocks, one after the other) along the chosen ones of `z, y, x`.
pub fn mirror<T>(volumes: &mut [T], shape_zyx: [usize; 3], axes: [bool; 3]) {
    let [z, y, x] = shape_zyx;
    let plane = y * x;
    if z * plane == 0 {
        return;
    }
    for volume in volumes.chunks_exact_mut(z * plane) {
        if axes[0] {
            swap_ends(volume, plane);
        }
        if axes[1] {
            volume.chunks_exact_mut(plane).for_each(|plane| swap_ends(plane, x));
        }
        if axes[2] {
            volume.chunks_exact_mut(x).for_each(<[T]>::reverse);
        }
    }
}

/// Reverses the order of blocks of `length`.
fn swap_ends<T>(values: &mut [T], length: usize) {
    let half = values.len() / length / 2 * length;
    let (low, high) = values.split_at_mut(half);
    for (a, b) in low.chunks_exact_mut(length).zip(high.rchunks_exact_mut(length)) {
        a.swap_with_slice(b);
    }
}

/// Sets one channel to 0 where the label marks voxels outside of the nonzero mask.
pub fn mask(channel: &mut [f32], labels: &[i16]) {
    for (value, &label) in channel.iter_mut().zip(labels) {
        *value = if label < 0 { 0.0 } else { *value };
    }
}

/// Sets the label of voxels outside of the mask and the case to background.
pub fn clear_outside(labels: &mut [i16]) {
    for label in labels {
        *label = if *label == OUTSIDE { 0 } else { *label };
    }
}
