//! Places inside a network whose activations are looked at.

use scanside_core::nnunet::architecture::UNet;

/// A place inside the network whose activations may be read and given gradients.
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
