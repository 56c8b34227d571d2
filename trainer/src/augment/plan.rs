//! The augmentation settings of a plan's patch.

/// A patch whose longest axis is more than this many times its first has thick slices.
const ANISOTROPIC: f64 = 3.0;
/// Enlargement of the window for scaling.
const SMALLEST_SCALE: f64 = 0.85;

/// The rotation axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// About all three axes, up to 30 degrees each.
    Volume,
    /// In the plane of slices only, by any angle; the first axis is neither rotated nor scaled.
    InPlane,
}

impl Rotation {
    /// The largest angle about one axis, radians.
    pub fn largest_angle(self) -> f64 {
        match self {
            Rotation::Volume => 30_f64.to_radians(),
            Rotation::InPlane => 180_f64.to_radians(),
        }
    }
}

/// How the patches of a plan are augmented.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The network's patch: `z, y, x`.
    pub patch_zyx: [usize; 3],
    /// The rotation axes.
    pub rotation: Rotation,
    /// Which of `z, y, x` may be mirrored.
    pub mirror_zyx: [bool; 3],
    /// Per channel: whether it is 0 outside the nonzero mask (`use_mask_for_norm` of nnU-Net's plans).
    pub masked: Vec<bool>,
}

impl Plan {
    /// nnU-Net's choice for a patch: in-plane rotation if its longest axis is more than three times its first, mirroring
    /// along all axes. `masked` has one entry per channel.
    pub fn new(patch_zyx: [usize; 3], masked: &[bool]) -> Plan {
        let longest = patch_zyx.into_iter().max().unwrap_or(0);
        let anisotropic = longest as f64 / patch_zyx[0] as f64 > ANISOTROPIC;
        let rotation = if anisotropic { Rotation::InPlane } else { Rotation::Volume };
        Plan { patch_zyx, rotation, mirror_zyx: [true; 3], masked: masked.to_vec() }
    }

    /// Channels of the image.
    pub fn channels(&self) -> usize {
        self.masked.len()
    }

    /// Shape of the window from which a patch is sampled: large enough for a rotation about any one axis. The corners of a patch
    /// are empty where several rotations and a scaling together exceed it.
    pub fn initial_zyx(&self) -> [usize; 3] {
        let (sin, cos) = self.rotation.largest_angle().min(90_f64.to_radians()).sin_cos();
        let [z, y, x] = self.patch_zyx.map(|n| n as f64);
        let turned = [
            [z, cos * y + sin * x, cos * x - sin * y],
            [cos * z - sin * x, y, sin * z + cos * x],
            [cos * z + sin * y, cos * y - sin * z, x],
        ];
        let mut initial = [z, y, x];
        for extents in turned {
            for (largest, extent) in initial.iter_mut().zip(extents) {
                *largest = largest.max(extent.abs());
            }
        }
        let mut initial = initial.map(|n| (n / SMALLEST_SCALE) as usize);
        if self.rotation == Rotation::InPlane {
            initial[0] = self.patch_zyx[0];
        }
        initial
    }
}
