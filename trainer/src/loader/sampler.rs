//! Where patches are cut from a case.

use rand::{Rng, RngExt};

/// The fraction of a batch that must contain foreground.
const FOREGROUND: f64 = 0.33;

/// Chooses where patches are cut from a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchSampler {
    /// Extents of the network's patch: `z, y, x`.
    pub patch_zyx: [usize; 3],
    /// Extents of the window that the patch is resampled from, at least those of the patch.
    pub window_zyx: [usize; 3],
    /// Which of the locations are those of all annotated voxels, where the dataset has an ignore label.
    pub annotated: Option<usize>,
}

impl PatchSampler {
    /// Whether sample `index` of a batch of `batch` must contain foreground: the last ones must.
    pub fn foreground(index: usize, batch: usize) -> bool {
        index >= (batch as f64 * (1.0 - FOREGROUND)).round_ties_even() as usize
    }

    /// The first voxel of a window in a case of extents `shape_zyx`, whose classes have voxels at the flat indices
    /// `locations`; it may lie beyond the case. With `foreground`, the window is centred on a voxel of a class, each class
    /// that the case has being as likely as the others.
    ///
    /// As in nnU-Net, such a window is moved inwards from the lower borders of the case, but not from the upper ones.
    pub fn choose(
        &self,
        shape_zyx: [usize; 3],
        locations: &[Vec<u32>],
        foreground: bool,
        rng: &mut impl Rng,
    ) -> [i64; 3] {
        let bounds: [(i64, i64); 3] = std::array::from_fn(|d| self.bounds(d, shape_zyx[d] as i64));
        let list = if foreground { self.class(locations, rng) } else { self.annotated };
        match list.map(|list| &locations[list]).filter(|list| !list.is_empty()) {
            Some(list) => {
                let index = list[rng.random_range(0..list.len())] as usize;
                let [_, height, width] = shape_zyx;
                let voxel = [index / width / height, index / width % height, index % width];
                std::array::from_fn(|d| bounds[d].0.max(voxel[d] as i64 - (self.window_zyx[d] / 2) as i64))
            }
            None => bounds.map(|(low, high)| rng.random_range(low..=high)),
        }
    }

    /// One of the lists that are not empty; that of all annotated voxels only if there is no other.
    fn class(&self, locations: &[Vec<u32>], rng: &mut impl Rng) -> Option<usize> {
        let present = |&list: &usize| !locations[list].is_empty();
        let classes: Vec<usize> =
            (0..locations.len()).filter(present).filter(|&list| Some(list) != self.annotated).collect();
        match classes.len() {
            0 => self.annotated,
            count => Some(classes[rng.random_range(0..count)]),
        }
    }

    /// The least and the largest start along an axis of `extent` voxels: windows may reach so far beyond the case that
    /// patches in their middle reach its border.
    fn bounds(&self, axis: usize, extent: i64) -> (i64, i64) {
        let window = self.window_zyx[axis] as i64;
        let beyond = (window - self.patch_zyx[axis] as i64).max(window - extent);
        let below = beyond / 2 + beyond % 2;
        (-below, extent + below - window)
    }
}
