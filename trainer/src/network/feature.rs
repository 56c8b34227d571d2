//! Features: activations inside a network.

use scanside_core::nnunet::architecture::UNet;

/// Activations inside the network that can be read and have gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// The output of the deepest encoder stage.
    Bottleneck,
    /// The output of a decoder stage; 0 is the highest resolution.
    Decoder(usize),
}

impl Feature {
    /// Channels of the feature in a network.
    pub fn channels(self, unet: &UNet) -> usize {
        let stage = match self {
            Feature::Bottleneck => unet.stages.len() - 1,
            Feature::Decoder(level) => level,
        };
        unet.stages[stage].features
    }
}
