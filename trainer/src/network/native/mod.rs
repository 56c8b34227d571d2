//! Forward and backward of a plain U-Net by the core's kernels, on a CPU.
//!
//! One sample at a time, in single precision. A layer's result is stored as the convolution wrote it; its instance norm
//! and activation are pending, and applied by whoever reads it. Backward goes through both in two passes over a tensor,
//! in place, and then needs two products: the gradient of the weights and that of the input. Every sum has an order of
//! its own, so results are the same at any number of workers.
//!
//! | part | holds |
//! |---|---|
//! | [`NativeNet`] | the layers, laid out for a patch |
//! | [`WeightSet`] | weights in the order in which the kernels take them, made once per step of the optimiser |
//! | [`Tape`] | what forward leaves for backward, and all memory that both need |
//! | [`GradientSet`] | gradients of all tensors |

mod backward;
mod forward;
mod layout;
mod plan;
mod tape;
mod weights;

pub use tape::Tape;
pub use weights::WeightSet;

use super::Feature;
use layout::{Layout, Place};
use plan::{StagePlan, UnitPlan};
use scanside_core::network::Isa;
use scanside_core::nnunet::architecture::UNet;
use scanside_core::nnunet::layers::{Expected, Layers};

/// Why the core's kernels cannot compute a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(String);

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsupported {}

/// A plain U-Net, laid out for one patch size and number of workers.
#[derive(Debug)]
pub struct NativeNet {
    isa: Isa,
    workers: usize,
    channels: usize,
    heads: usize,
    /// Grids from full resolution down.
    grids: Vec<[usize; 3]>,
    /// In the order in which they run, the encoder's first.
    units: Vec<UnitPlan>,
    /// Units of each encoder stage, as numbers.
    encoder: Vec<core::ops::Range<usize>>,
    /// The deepest first.
    decoder: Vec<StagePlan>,
    /// Names, shapes and roles of all tensors, in the order of [`Layers::expected`].
    tensors: Vec<Expected>,
}

/// Gradients of all tensors, in the order of [`Layers::expected`].
#[derive(Clone, Debug, PartialEq)]
pub struct GradientSet {
    tensors: Vec<(String, Vec<f32>)>,
}

impl GradientSet {
    /// Sets all to zero.
    pub fn clear(&mut self) {
        self.tensors.iter_mut().for_each(|(_, values)| values.fill(0.0));
    }

    /// Names, without the copies of a checkpoint, and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[f32])> {
        self.tensors.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// Values of tensor `i`, to be changed.
    pub fn values_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.tensors[i].1
    }

    fn of(&mut self, i: usize) -> &mut [f32] {
        self.values_mut(i)
    }

    /// Values of two tensors.
    fn pair(&mut self, i: usize, j: usize) -> (&mut [f32], &mut [f32]) {
        let (front, back) = self.tensors.split_at_mut(j);
        (&mut front[i].1, &mut back[0].1)
    }
}

/// Extents of the last axes of three, the others 1: networks of two axes work on one plane.
fn three(extents: &[usize]) -> [usize; 3] {
    let mut all = [1; 3];
    all[3 - extents.len()..].copy_from_slice(extents);
    all
}

impl NativeNet {
    /// Lays out a network for patches of `patch` voxels (`z, y, x`; one plane for networks of two axes).
    ///
    /// # Errors
    /// The network has something that only libtorch does here: residual blocks, batch norm, an activation before the
    /// norm, even kernels. Or its strides do not divide the patch.
    pub fn new(unet: &UNet, patch: [usize; 3], workers: usize) -> Result<NativeNet, Unsupported> {
        if unet.axes() != 3 && patch[0] != 1 {
            return Err(Unsupported(format!("a network of two axes takes patches of one plane, not {patch:?}")));
        }
        let layers = Layers::of(unet);
        let mut net = NativeNet {
            isa: Isa::detect(),
            workers: workers.max(1),
            channels: unet.input_channels,
            heads: unet.heads,
            grids: Vec::new(),
            units: Vec::new(),
            encoder: Vec::new(),
            decoder: Vec::new(),
            tensors: layers.expected(),
        };
        let mut layout = Layout { net: &mut net, tensors: 0 };
        layers.walk(&mut layout, Place::image(patch))?;
        let tensors = layout.tensors;
        if tensors != net.tensors.len() {
            return Err(Unsupported(format!("{tensors} tensors are used, the network has {}", net.tensors.len())));
        }
        Ok(net)
    }

    /// Names, shapes and roles of all tensors: the order of weights and gradients.
    pub fn tensors(&self) -> &[Expected] {
        &self.tensors
    }

    /// Levels of deep supervision.
    pub fn levels(&self) -> usize {
        self.decoder.len()
    }

    /// The grid of a level of deep supervision; 0 is the highest resolution.
    pub fn grid(&self, level: usize) -> [usize; 3] {
        self.grids[level]
    }

    /// Channels and grid of a feature.
    ///
    /// # Panics
    /// If there is no such decoder stage; so for all that take one.
    pub fn feature_shape(&self, feature: Feature) -> (usize, [usize; 3]) {
        let g = &self.units[self.feature_unit(feature)].g;
        (g.cout, g.output)
    }

    /// The unit whose output a feature is.
    fn feature_unit(&self, feature: Feature) -> usize {
        match feature {
            Feature::Bottleneck => self.encoder[self.encoder.len() - 1].end - 1,
            Feature::Decoder(level) => self.decoder[self.decoder.len() - 1 - level].units.end - 1,
        }
    }

    /// Gradients, all zero.
    pub fn gradients(&self) -> GradientSet {
        let tensor = |t: &Expected| (t.names[0].clone(), vec![0.0; t.values() as usize]);
        GradientSet { tensors: self.tensors.iter().map(tensor).collect() }
    }
}
