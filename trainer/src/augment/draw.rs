//! The parameters of one patch, drawn at random.

use super::plan::{Plan, Rotation};
use super::spatial::Matrix;
use rand::{Rng, RngExt};

/// Noise to be added: the same standard deviation for all channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// In units of the normalised intensities.
    pub standard_deviation: f32,
    /// Seed of the values.
    pub seed: u64,
}

/// The parameters of every step for one patch; `None` where a step is left out. Vectors have one entry per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// From offsets about the patch's centre to offsets about the source's; `None`: the centre is cut out.
    pub matrix: Option<Matrix>,
    /// Gaussian noise.
    pub noise: Option<Noise>,
    /// Gaussian blur: sigma along `z, y, x`, voxels.
    pub blur: Vec<Option<[f64; 3]>>,
    /// Factor of the intensities.
    pub brightness: Vec<Option<f32>>,
    /// Factor of the intensities' distance from their mean.
    pub contrast: Vec<Option<f32>>,
    /// Sampling density along `z, y, x`, relative to the patch.
    pub low_resolution: Vec<Option<[f32; 3]>>,
    /// Exponent for the negated image.
    pub gamma_inverted: Vec<Option<f32>>,
    /// Exponent.
    pub gamma: Vec<Option<f32>>,
    /// Which of `z, y, x` are mirrored.
    pub mirror: [bool; 3],
}

impl Draw {
    /// A draw that changes nothing for `channels` channels: the centre is cut out.
    pub fn none(channels: usize) -> Draw {
        Draw {
            matrix: None,
            noise: None,
            blur: vec![None; channels],
            brightness: vec![None; channels],
            contrast: vec![None; channels],
            low_resolution: vec![None; channels],
            gamma_inverted: vec![None; channels],
            gamma: vec![None; channels],
            mirror: [false; 3],
        }
    }

    /// Draws with nnU-Net's probabilities and ranges.
    pub fn random(plan: &Plan, rng: &mut impl Rng) -> Draw {
        let channels = plan.channels();
        let mut draw = Draw::none(channels);
        draw.matrix = spatial(plan.rotation, rng);
        if rng.random_bool(0.1) {
            let standard_deviation = rng.random_range(0.0..0.1_f64) as f32;
            draw.noise = Some(Noise { standard_deviation, seed: rng.random() });
        }
        if rng.random_bool(0.2) {
            draw.blur = per_channel(channels, 0.5, rng, |rng| std::array::from_fn(|_| rng.random_range(0.5..1.0)));
        }
        if rng.random_bool(0.15) {
            draw.brightness = per_channel(channels, 1.0, rng, |rng| about_one(0.75, 1.25, rng));
        }
        if rng.random_bool(0.15) {
            draw.contrast = per_channel(channels, 1.0, rng, |rng| about_one(0.75, 1.25, rng));
        }
        if rng.random_bool(0.25) {
            let z_kept = plan.rotation == Rotation::InPlane;
            draw.low_resolution = per_channel(channels, 0.5, rng, |rng| {
                let scale = rng.random_range(0.5..1.0_f64) as f32;
                [if z_kept { 1.0 } else { scale }, scale, scale]
            });
        }
        if rng.random_bool(0.1) {
            draw.gamma_inverted = per_channel(channels, 1.0, rng, |rng| about_one(0.7, 1.5, rng));
        }
        if rng.random_bool(0.3) {
            draw.gamma = per_channel(channels, 1.0, rng, |rng| about_one(0.7, 1.5, rng));
        }
        draw.mirror = plan.mirror_zyx.map(|allowed| allowed && rng.random_bool(0.5));
        draw
    }
}

/// Rotation and scaling are drawn independently of each other.
fn spatial(rotation: Rotation, rng: &mut impl Rng) -> Option<Matrix> {
    let (turned, scaled) = (rng.random_bool(0.2), rng.random_bool(0.2));
    let mut angles_zyx = [0.0; 3];
    if turned {
        let largest = rotation.largest_angle();
        let drawn = std::array::from_fn(|_| rng.random_range(-largest..largest));
        angles_zyx = match rotation {
            Rotation::Volume => drawn,
            Rotation::InPlane => [drawn[0], 0.0, 0.0],
        };
    }
    let scale = if scaled { rng.random_range(0.7..1.4) } else { 1.0 };
    (turned || scaled).then(|| match rotation {
        Rotation::Volume => Matrix::of_volume(angles_zyx, scale),
        Rotation::InPlane => Matrix::in_plane(angles_zyx[0], scale),
    })
}

fn per_channel<T: Clone, R: Rng>(
    channels: usize,
    probability: f64,
    rng: &mut R,
    mut one: impl FnMut(&mut R) -> T,
) -> Vec<Option<T>> {
    (0..channels).map(|_| rng.random_bool(probability).then(|| one(rng))).collect()
}

/// Half of the numbers are below 1 and half above, independent of the distances of the ends from 1.
fn about_one(low: f64, high: f64, rng: &mut impl Rng) -> f32 {
    (if rng.random_bool(0.5) { rng.random_range(low..1.0) } else { rng.random_range(1.0..high) }) as f32
}
