//! Logits at the lower resolutions, computed from those of the full resolution: a coarse voxel has the mean probability of the
//! voxels that it covers.

use crate::targets::Heads;
use scanside_core::nnunet::architecture::UNet;
use tch::{Kind, TchError, Tensor};

/// Least probability, so that one that is rounded to 0 has a logarithm.
const LEAST: f64 = 1e-12;

/// The resolutions of deep supervision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Voxels along `z, y, x` that one voxel of each resolution covers, the full one first.
    strides: Vec<[i64; 3]>,
}

impl Levels {
    /// Those of a network.
    pub fn of(unet: &UNet) -> Levels {
        let mut covered = [1i64; 3];
        // The deepest stage has no logits of its own.
        let stages = &unet.stages[..unet.stages.len() - 1];
        let stride = stages.iter().map(|stage| {
            for (covered, stride) in covered.iter_mut().zip(&stage.stride) {
                *covered *= *stride as i64;
            }
            covered
        });
        Levels { strides: stride.collect() }
    }

    /// Logits of all resolutions from those of the full one, `[n, heads, z, y, x]`.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn from_logits(&self, heads: &Heads, full: &Tensor) -> Result<Vec<Tensor>, TchError> {
        let probabilities = match heads {
            Heads::Labels(_) => full.f_softmax(1, Kind::Float)?,
            Heads::Regions(_) => full.f_sigmoid()?,
        };
        let mut levels = self.from_probabilities(heads, &probabilities)?;
        // Unchanged: logits of probabilities that are rounded to 1 would be lost.
        levels[0] = full.shallow_clone();
        Ok(levels)
    }

    /// Logits of all resolutions from probabilities of the full one, `[n, heads, z, y, x]`.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn from_probabilities(&self, heads: &Heads, full: &Tensor) -> Result<Vec<Tensor>, TchError> {
        let logarithm = |p: &Tensor| p.f_clamp_min(LEAST)?.f_log();
        self.strides
            .iter()
            .map(|stride| {
                let mean = full.f_avg_pool3d(stride, stride, [0; 3], false, true, None::<i64>)?;
                match heads {
                    Heads::Labels(_) => logarithm(&mean),
                    Heads::Regions(_) => logarithm(&mean)?.f_sub(&logarithm(&mean.f_neg()?.f_add_scalar(1.0)?)?),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn coarse_logits_are_those_of_mean_probabilities() {
        let levels = Levels { strides: vec![[1; 3], [2, 1, 3]] };
        let logits = Tensor::randn([2, 3, 4, 2, 6], (Kind::Float, Device::Cpu)) * 4;
        let boxes = |p: &Tensor| {
            let split = p.view([2i64, 3, 2, 2, 2, 1, 2, 3].as_slice());
            split.mean_dim([3i64, 5, 7].as_slice(), false, Kind::Float)
        };
        let difference = |a: &Tensor, b: &Tensor| f64::try_from((a - b).abs().max()).unwrap();
        let labels = levels.from_logits(&Heads::Labels(3), &logits).unwrap();
        assert_eq!(difference(&labels[0], &logits), 0.0);
        assert!(difference(&labels[1].softmax(1, Kind::Float), &boxes(&logits.softmax(1, Kind::Float))) < 1e-6);
        let heads = Heads::Regions(vec![vec![1]; 3]);
        let regions = levels.from_logits(&heads, &logits).unwrap();
        assert!(difference(&regions[1].sigmoid(), &boxes(&logits.sigmoid())) < 1e-5);
        let again = levels.from_probabilities(&heads, &logits.sigmoid()).unwrap();
        assert!(difference(&again[0].sigmoid(), &logits.sigmoid()) < 1e-6);
    }
}
