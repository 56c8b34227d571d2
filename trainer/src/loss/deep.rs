//! Losses at several resolutions.

use tch::{Kind, TchError, Tensor};

/// Weights of the resolutions, the full one first: halved from one to the next, the lowest left out, of sum 1.
///
/// A network of a single resolution has weight 1 there; without it, nothing would remain.
pub fn deep_supervision_weights(levels: usize) -> Vec<f64> {
    let mut weights: Vec<f64> = (0..levels).map(|i| 0.5f64.powi(i as i32)).collect();
    if let [.., _, last] = weights.as_mut_slice() {
        *last = 0.0;
    }
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= sum);
    weights
}

/// Labels `[n, z, y, x]` at the voxels of a coarser grid of `shape`: the one whose centre is nearest.
///
/// # Errors
/// libtorch fails.
pub fn downsample(labels: &Tensor, shape: &[i64]) -> Result<Tensor, TchError> {
    let mut result = labels.shallow_clone();
    for (axis, &new) in shape.iter().enumerate() {
        let axis = axis as i64 + 1;
        let old = labels.size()[axis as usize];
        if old != new {
            // PyTorch computes `nearest-exact` in single precision.
            let scale = old as f32 / new as f32;
            let index: Vec<i64> = (0..new).map(|i| (((i as f32 + 0.5) * scale) as i64).min(old - 1)).collect();
            let index = Tensor::f_from_slice(&index)?.f_to_kind(Kind::Int64)?.f_to_device(labels.device())?;
            result = result.f_index_select(axis, &index)?;
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_halved_and_the_lowest_left_out() {
        assert_eq!(deep_supervision_weights(1), [1.0]);
        assert_eq!(deep_supervision_weights(2), [1.0, 0.0]);
        let [a, b, c] = deep_supervision_weights(3)[..] else { panic!("three weights") };
        assert_eq!((a, b, c), (2.0 / 3.0, 1.0 / 3.0, 0.0));
    }

    #[test]
    fn the_nearest_voxel_of_a_coarser_grid_is_taken() {
        let labels = Tensor::from_slice(&[0i64, 1, 2, 3, 4, 5]).view([1, 1, 1, 6]);
        let coarse = downsample(&labels, &[1, 1, 3]).unwrap();
        assert_eq!(Vec::<i64>::try_from(&coarse.view([-1])).unwrap(), [1, 3, 5]);
    }
}
