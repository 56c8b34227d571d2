//! nnU-Net's default augmentations.
//!
//! There are three parts: [`Plan`] has the settings of nnU-Net's plan, [`Draw`] the randomly drawn parameters of one patch, and
//! [`Augmenter`] applies them. Every step is a function with its parameters as arguments. The order of steps, their probabilities and ranges are those of nnU-Net's default trainer.
//!
//! | step | probability | parameters |
//! |---|---|---|
//! | [`spatial`] | rotation 0.2, scaling 0.2 | angles up to 30 degrees (180 in the plane of thick slices), one scale in 0.7..1.4 |
//! | [`intensity::add_noise`] | 0.1 | standard deviation in 0..0.1 |
//! | [`blur`] | 0.2, per channel 0.5 | sigma in 0.5..1 voxels, per axis |
//! | [`intensity::multiply`] | 0.15 | factor about 1 in 0.75..1.25 |
//! | [`intensity::change_contrast`] | 0.15 | factor about 1 in 0.75..1.25 |
//! | [`low_resolution`] | 0.25, per channel 0.5 | scale in 0.5..1 |
//! | [`intensity::change_gamma`] | inverted 0.1, then plain 0.3 | exponent about 1 in 0.7..1.5 |
//! | [`finish`] | mirroring 0.5 per axis | then zeros outside the nonzero mask, and label -1 becomes 0 |

pub mod blur;
mod draw;
pub mod finish;
pub mod intensity;
pub mod low_resolution;
mod plan;
mod power;
pub mod spatial;

pub use draw::{Draw, Noise};
pub use plan::{Plan, Rotation};

use crate::dataset::soft::SoftLabels;
use spatial::{PatchMut, Source, Window};

/// Applies the augmentations. Has the buffers that the steps need, so that a thread needs one for all its patches.
#[derive(Debug)]
pub struct Augmenter {
    plan: Plan,
    rows: spatial::Rows,
    scratch: Vec<f32>,
}

impl Augmenter {
    /// An augmenter of `plan`.
    pub fn new(plan: Plan) -> Augmenter {
        Augmenter { plan, rows: spatial::Rows::default(), scratch: Vec::new() }
    }

    /// Its plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The window from which a patch is sampled, given its first voxel.
    pub fn window(&self, start_zyx: [i64; 3]) -> Window {
        Window { start_zyx, shape_zyx: self.plan.initial_zyx() }
    }

    /// Writes the augmented patch of the window of `source` at `start_zyx`: intensities to `image` (`[channels, z, y, x]`), label
    /// values to `labels` (`[z, y, x]`), both with the shape of the plan's patch.
    ///
    /// # Panics
    ///
    /// If the lengths of `image` or `labels` are not those of the patch.
    pub fn apply(&mut self, source: &Source, start_zyx: [i64; 3], draw: &Draw, image: &mut [f32], labels: &mut [i16]) {
        let Plan { patch_zyx, .. } = self.plan;
        let voxels: usize = patch_zyx.iter().product();
        assert_eq!(labels.len(), voxels, "labels of another shape than the patch");
        assert_eq!(image.len(), voxels * source.channels, "an image of another shape than the patch");
        let window = self.window(start_zyx);
        match &draw.matrix {
            Some(matrix) => {
                let mut patch = PatchMut { shape_zyx: patch_zyx, image: &mut *image, labels: &mut *labels };
                spatial::resample(source, &window, matrix, &mut self.rows, &mut patch);
            }
            None => spatial::crop(source, window.centre_start(patch_zyx), patch_zyx, image, labels),
        }
        if let Some(noise) = &draw.noise {
            intensity::add_noise(image, noise);
        }
        for (channel, image) in image.chunks_exact_mut(voxels).enumerate() {
            if let Some(sigmas) = draw.blur[channel] {
                blur::gaussian(image, patch_zyx, sigmas, &mut self.scratch);
            }
            if let Some(factor) = draw.brightness[channel] {
                intensity::multiply(image, factor);
            }
            if let Some(factor) = draw.contrast[channel] {
                intensity::change_contrast(image, factor);
            }
            if let Some(scales) = draw.low_resolution[channel] {
                low_resolution::simulate(image, patch_zyx, scales, &mut self.scratch);
            }
            if let Some(exponent) = draw.gamma_inverted[channel] {
                intensity::change_gamma(image, exponent, true);
            }
            if let Some(exponent) = draw.gamma[channel] {
                intensity::change_gamma(image, exponent, false);
            }
        }
        finish::mirror(image, patch_zyx, draw.mirror);
        finish::mirror(labels, patch_zyx, draw.mirror);
        for (channel, image) in image.chunks_exact_mut(voxels).enumerate() {
            if self.plan.masked[channel] {
                finish::mask(image, labels);
            }
        }
        finish::clear_outside(labels);
    }
}

impl Augmenter {
    /// Writes the probabilities, `[heads, z, y, x]`, of the patch of [`Self::apply`] with the same arguments.
    ///
    /// # Panics
    ///
    /// If the length of `to` is not that of the patch.
    pub fn apply_soft(&self, soft: &SoftLabels, start_zyx: [i64; 3], draw: &Draw, to: &mut [f32]) {
        let patch_zyx = self.plan.patch_zyx;
        spatial::soft::sample(soft, &self.window(start_zyx), draw.matrix.as_ref(), patch_zyx, to);
        finish::mirror(to, patch_zyx, draw.mirror);
    }
}

/// Writes the patch of extents `patch_zyx` whose first voxel is `start_zyx`, without augmentation, for validation.
/// Intensities outside of the case are 0, and so are labels outside of the case and of the nonzero mask.
///
/// # Panics
///
/// If the lengths of `image` or `labels` are not those of the patch.
pub fn plain(source: &Source, start_zyx: [i64; 3], patch_zyx: [usize; 3], image: &mut [f32], labels: &mut [i16]) {
    spatial::crop(source, start_zyx, patch_zyx, image, labels);
    finish::clear_outside(labels);
}
