//! From a patch and its spacing to stages: where the network pools, and with which kernels it convolves.

/// Feature maps do not become shorter than this along a pooled axis.
const SHORTEST: f64 = 4.0;

/// Axes whose voxels are less than this many times longer than the shortest ones are treated as those.
const SIMILAR: f64 = 2.0;

/// Stages of a U-Net.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topology {
    /// Strides per stage and axis, the first all 1.
    pub(super) strides: Vec<Vec<usize>>,
    /// Kernels per stage and axis.
    pub(super) kernels: Vec<Vec<usize>>,
    /// The patch, enlarged to what the strides divide.
    pub(super) patch: Vec<usize>,
    /// What they divide by, per axis.
    pub(super) divisor: Vec<usize>,
}

impl Topology {
    /// The stages for a patch of `size`, which may be a median between two whole numbers.
    pub(super) fn new(spacing: &[f64], size: &[f64]) -> Topology {
        let axes = spacing.len();
        let (mut spacing, mut current) = (spacing.to_vec(), size.to_vec());
        let mut divisor = vec![1; axes];
        let mut kernel = vec![1; axes];
        let (mut strides, mut kernels) = (vec![vec![1; axes]], Vec::new());
        loop {
            let long: Vec<usize> = (0..axes).filter(|&k| current[k] >= 2.0 * SHORTEST).collect();
            let finest = long.iter().map(|&k| spacing[k]).fold(f64::INFINITY, f64::min);
            let pooled: Vec<usize> = long.into_iter().filter(|&k| spacing[k] / finest < SIMILAR).collect();
            match pooled[..] {
                [] => break,
                [k] if current[k] < 3.0 * SHORTEST => break,
                _ => {}
            }
            let finest = spacing.iter().copied().fold(f64::INFINITY, f64::min);
            for (kernel, mm) in kernel.iter_mut().zip(&spacing) {
                if mm / finest < SIMILAR {
                    *kernel = 3;
                }
            }
            let mut stride = vec![1; axes];
            for k in pooled {
                stride[k] = 2;
                divisor[k] *= 2;
                spacing[k] *= 2.0;
                current[k] = (current[k] / 2.0).ceil();
            }
            strides.push(stride);
            kernels.push(kernel.clone());
        }
        kernels.push(vec![3; axes]);
        let patch = size.iter().zip(&divisor).map(|(n, d)| padded(*n, *d)).collect();
        Topology { strides, kernels, patch, divisor }
    }

    /// Number of stages.
    pub(super) fn stages(&self) -> usize {
        self.strides.len()
    }
}

/// The next multiple of `divisor`.
fn padded(size: f64, divisor: usize) -> usize {
    let divisor = divisor as f64;
    ((size / divisor).ceil() * divisor) as usize
}

/// Voxels of a feature map of `features` channels.
fn elements(features: usize, size: &[usize]) -> u64 {
    size.iter().fold(features as u64, |n, &k| n * k as u64)
}

/// Elements of all feature maps of one patch: what nnU-Net takes as a measure of the memory that training needs.
pub(super) struct FeatureMaps<'a> {
    pub(super) topology: &'a Topology,
    pub(super) features: &'a [usize],
    /// Convolutions or residual blocks per stage of the encoder.
    pub(super) encoder: &'a [usize],
    pub(super) residual: bool,
    /// Convolutions per stage of the decoder.
    pub(super) decoder: &'a [usize],
    pub(super) heads: usize,
}

impl FeatureMaps<'_> {
    pub(super) fn elements(&self) -> u64 {
        let mut size = self.topology.patch.clone();
        let mut total = if self.residual { elements(self.features[0], &size) } else { 0 };
        let mut skips = Vec::new();
        for (s, stride) in self.topology.strides.iter().enumerate() {
            let before = size.clone();
            size.iter_mut().zip(stride).for_each(|(n, by)| *n /= by);
            let map = elements(self.features[s], &size);
            total += if self.residual {
                // Two convolutions per block; the first block's skip has one where it changes channels or size.
                let changes = size != before || s > 0 && self.features[s] != self.features[s - 1];
                2 * self.encoder[s] as u64 * map + if changes { map } else { 0 }
            } else {
                self.encoder[s] as u64 * map
            };
            skips.push(size.clone());
        }
        // Bottom up: the convolutions of a stage, and the transposed one before them.
        for (i, convs) in self.decoder.iter().enumerate() {
            let s = skips.len() - 2 - i;
            total += (*convs as u64 + 1) * elements(self.features[s], &skips[s]);
        }
        // Only the finest stage has its head counted.
        total + if skips.len() > 1 { elements(self.heads, &skips[0]) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_axes_wait_until_the_others_have_caught_up() {
        let t = Topology::new(&[5.0, 1.0, 1.0], &[14.0, 200.0, 180.5]);
        assert_eq!(t.strides[..4], [vec![1, 1, 1], vec![1, 2, 2], vec![1, 2, 2], vec![2, 2, 2]]);
        assert_eq!(t.kernels[..4], [vec![1, 3, 3], vec![1, 3, 3], vec![3, 3, 3], vec![3, 3, 3]]);
        assert_eq!(t.patch, [14, 224, 192]);
        assert_eq!(t.divisor, [2, 32, 32]);
    }

    #[test]
    fn a_single_axis_needs_twelve_voxels() {
        assert_eq!(Topology::new(&[1.0; 3], &[4.0, 4.0, 11.0]).stages(), 1);
        assert_eq!(Topology::new(&[1.0; 3], &[4.0, 4.0, 12.0]).strides, [vec![1, 1, 1], vec![1, 1, 2]]);
    }

    #[test]
    fn feature_maps_add_up_as_measured() {
        // dynamic_network_architectures 0.4.4, compute_conv_feature_map_size of a 128^3 patch, three heads.
        let size = [128.0; 3];
        let topology = Topology::new(&[1.0; 3], &size);
        let features = [32, 64, 128, 256, 320, 320];
        assert_eq!(topology.stages(), 6);
        let plain = FeatureMaps {
            topology: &topology,
            features: &features,
            encoder: &[2; 6],
            residual: false,
            decoder: &[2; 5],
            heads: 3,
        };
        assert_eq!(plain.elements(), 452_796_416);
        let residual = FeatureMaps { encoder: &[1, 3, 4, 6, 6, 6], residual: true, decoder: &[1; 5], ..plain };
        assert_eq!(residual.elements(), 557_420_544);
    }
}
