//! Narrower networks of the same shape. Stages, strides, kernels and patch are those of the teacher.

use crate::training::settings::RunSpec;
use scanside_core::nnunet::architecture::{Encoder, UNet};

/// A student to be trained.
#[derive(Clone, Debug)]
pub struct StudentSpec {
    /// Its run: name and network.
    pub run: RunSpec,
    /// It learns from the teachers, too, not from the labels alone.
    pub distilled: bool,
}

/// How narrow a student is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StudentWidth {
    /// The teacher's channels are divided by this number.
    pub divisor: usize,
    /// Fewest channels of a stage, unless the teacher has fewer.
    pub floor: usize,
    /// The decoder stage of full resolution, which costs a quarter of the network, has a single convolution.
    pub light_top: bool,
}

impl StudentWidth {
    /// The network of a student of `teacher`.
    pub fn of(&self, teacher: &UNet) -> UNet {
        let narrow = |features: usize| (features / self.divisor).max(self.floor.min(features));
        let mut unet = teacher.clone();
        for stage in &mut unet.stages {
            stage.features = narrow(stage.features);
        }
        if let Encoder::Residual { stem_features, bottleneck, .. } = &mut unet.encoder {
            *stem_features = narrow(*stem_features);
            for features in bottleneck.iter_mut().flatten() {
                *features = narrow(*features);
            }
        }
        if let (true, Some(last)) = (self.light_top, unet.decoder_convs.last_mut()) {
            *last = 1;
        }
        unet
    }

    /// A short name: `r4`; `r8f4` where the floor is not 8; `r4-light`.
    pub fn name(&self) -> String {
        let floor = if self.floor == 8 { String::new() } else { format!("f{}", self.floor) };
        format!("r{}{floor}{}", self.divisor, if self.light_top { "-light" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Cost;
    use scanside_core::nnunet::architecture::{Activation, Norm, Stage};

    fn teacher() -> UNet {
        let stage = |features: usize, stride: usize| Stage { features, kernel: vec![3; 3], stride: vec![stride; 3] };
        UNet {
            input_channels: 1,
            heads: 14,
            stages: vec![stage(32, 1), stage(64, 2), stage(128, 2), stage(256, 2), stage(320, 2), stage(320, 2)],
            encoder: Encoder::Plain { convs: vec![2; 6] },
            decoder_convs: vec![2; 5],
            conv_bias: true,
            norm: Norm::Instance { epsilon: 1e-5, affine: true },
            activation: Activation::Leaky(0.01),
            dropout: false,
            activation_first: false,
        }
    }

    fn features(student: StudentWidth) -> Vec<usize> {
        student.of(&teacher()).stages.iter().map(|stage| stage.features).collect()
    }

    #[test]
    fn channels_are_divided_down_to_a_floor() {
        let student = |divisor, floor| StudentWidth { divisor, floor, light_top: false };
        assert_eq!(features(student(1, 8)), [32, 64, 128, 256, 320, 320]);
        assert_eq!(features(student(4, 8)), [8, 16, 32, 64, 80, 80]);
        assert_eq!(features(student(8, 8)), [8, 8, 16, 32, 40, 40]);
        assert_eq!(features(student(8, 4)), [4, 8, 16, 32, 40, 40]);
        assert_eq!(student(8, 4).name(), "r8f4");
    }

    #[test]
    fn a_quarter_of_the_channels_saves_94_percent() {
        let student = StudentWidth { divisor: 4, floor: 8, light_top: false };
        let of = |unet: &UNet| Cost::of(unet, &[128; 3]);
        let (whole, quarter) = (of(&teacher()), of(&student.of(&teacher())));
        assert_eq!((whole.parameters / 10_000, quarter.parameters / 1000), (3120, 1954));
        assert!(quarter.macs * 100 < whole.macs * 7, "{quarter:?} of {whole:?}");
        let light = of(&StudentWidth { light_top: true, ..student }.of(&teacher()));
        assert!(light.macs * 10 < quarter.macs * 9, "{light:?} of {quarter:?}");
    }
}
