//! The networks nnU-Net builds: U-Nets with a plain or a residual encoder.

use super::error::NnUnetError;
use super::json::Field;
use super::plans::Configuration;
use super::trainers::Trainer;

pub use crate::network::Activation;

// More than any sensible plan. They keep the number of layers and the sizes of tensors far from overflow.
const MAX_STAGES: usize = 16;
const MAX_REPEATS: usize = 64;
const MAX_FEATURES: usize = 1 << 14;
const MAX_KERNEL: usize = 31;
const MAX_STRIDE: usize = 16;

/// A U-Net as nnU-Net describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct UNet {
    /// Channels of the input.
    pub input_channels: usize,
    /// Channels of the output.
    pub heads: usize,
    /// Encoder stages from full resolution down.
    pub stages: Vec<Stage>,
    /// What a stage is made of.
    pub encoder: Encoder,
    /// Convolutions of each decoder stage, the deepest first.
    pub decoder_convs: Vec<usize>,
    /// Convolutions have a bias. Heads always have one, projections of skips never.
    pub conv_bias: bool,
    /// Normalisation after each convolution but the heads.
    pub norm: Norm,
    /// What follows the normalisation.
    pub activation: Activation,
    /// There is a dropout module: it does nothing here, but shifts the numbers in tensor names.
    pub dropout: bool,
    /// The activation precedes the normalisation.
    pub activation_first: bool,
}

/// Size of an encoder stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Channels.
    pub features: usize,
    /// Convolution kernel per spatial axis.
    pub kernel: Vec<usize>,
    /// Stride of its first convolution, per spatial axis.
    pub stride: Vec<usize>,
}

/// What the encoder's stages are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// Convolutions in a row: how many per stage.
    Plain {
        /// One number per stage.
        convs: Vec<usize>,
    },
    /// A stem and residual blocks.
    Residual {
        /// Blocks per stage.
        blocks: Vec<usize>,
        /// Channels of the stem.
        stem_features: usize,
        /// Channels inside each stage's bottleneck blocks; `None` for basic blocks.
        bottleneck: Option<Vec<usize>>,
    },
}

/// Normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// None.
    Off,
    /// With the statistics of each channel of the input.
    Instance {
        /// Added to the variance.
        epsilon: f32,
        /// Followed by a learned scale and shift.
        affine: bool,
    },
    /// With the statistics of the training.
    Batch {
        /// Added to the variance.
        epsilon: f32,
        /// Followed by a learned scale and shift.
        affine: bool,
    },
}

impl UNet {
    /// The network of a configuration, as its trainer builds it.
    ///
    /// # Errors
    /// The network is none of the known ones, or its description has a gap or a contradiction.
    pub fn from_plans(
        configuration: &Configuration,
        trainer: Trainer,
        input_channels: usize,
        heads: usize,
    ) -> Result<UNet, NnUnetError> {
        let place = format!("configurations.{}.architecture.arch_kwargs", configuration.name);
        let arguments = Field::new(&configuration.path, &place, &configuration.network_arguments);
        let axes = configuration.patch.len();
        // The class's module has moved over time, and nnU-Net finds it by its last name. A class of the same name in
        // somebody else's package is another class.
        let class = match configuration.network_class.rsplit_once('.') {
            Some((module, class)) if module.starts_with("dynamic_network_architectures.") => class,
            Some(_) => "",
            None => &configuration.network_class,
        };
        let residual = match class {
            "PlainConvUNet" => false,
            "ResidualEncoderUNet" => true,
            _ => {
                return Err(arguments.unsupported(format!(
                    "the network {} is not supported; PlainConvUNet and ResidualEncoderUNet are",
                    configuration.network_class
                )));
            }
        };
        check_names(&arguments, residual)?;
        class_name(&arguments.require("conv_op")?, &[&format!("Conv{axes}d")])?;

        let count = arguments.require("n_stages")?.whole(2..=MAX_STAGES)?;
        let features = per_stage(&arguments.require("features_per_stage")?, count, 1..=MAX_FEATURES)?;
        let kernels = per_stage_and_axis(&arguments.require("kernel_sizes")?, count, axes, MAX_KERNEL)?;
        let strides = per_stage_and_axis(&arguments.require("strides")?, count, axes, MAX_STRIDE)?;
        for (stage, kernel) in kernels.iter().enumerate() {
            // Their padding is one-sided in effect: sizes shrink, and no plan has them.
            if kernel.iter().any(|k| k % 2 == 0) {
                return Err(
                    arguments.unsupported(format!("stage {stage} has kernels {kernel:?}; only odd ones are supported"))
                );
            }
        }
        let stages = features
            .into_iter()
            .zip(kernels)
            .zip(strides)
            .map(|((features, kernel), stride)| Stage { features, kernel, stride })
            .collect::<Vec<_>>();

        let encoder = if residual {
            Encoder::Residual {
                blocks: per_stage(&arguments.require("n_blocks_per_stage")?, count, 1..=MAX_REPEATS)?,
                stem_features: match arguments.get_set("stem_channels")? {
                    Some(channels) => channels.whole(1..=MAX_FEATURES)?,
                    None => stages[0].features,
                },
                bottleneck: bottleneck(&arguments, count)?,
            }
        } else {
            Encoder::Plain { convs: per_stage(&arguments.require("n_conv_per_stage")?, count, 1..=MAX_REPEATS)? }
        };
        let unet = UNet {
            input_channels,
            heads,
            stages,
            encoder,
            decoder_convs: per_stage(&arguments.require("n_conv_per_stage_decoder")?, count - 1, 1..=MAX_REPEATS)?,
            conv_bias: arguments.get("conv_bias")?.map_or(Ok(false), |bias| bias.truth())?,
            norm: norm(&arguments, axes, trainer)?,
            activation: activation(&arguments)?,
            dropout: arguments.get_set("dropout_op")?.is_some(),
            activation_first: arguments.get("nonlin_first")?.map_or(Ok(false), |first| first.truth())?,
        };
        unet.check_patch(&configuration.patch, &arguments)?;
        Ok(unet)
    }

    /// Number of spatial axes.
    pub fn axes(&self) -> usize {
        self.stages.first().map_or(0, |stage| stage.kernel.len())
    }

    /// Each upsampled tensor must have the size of the skip it joins, so strides must divide the patch all the way down.
    fn check_patch(&self, patch: &[usize], arguments: &Field<'_>) -> Result<(), NnUnetError> {
        let mut size = patch.to_vec();
        for (s, stage) in self.stages.iter().enumerate() {
            if s == 0 && stage.stride.iter().any(|stride| *stride != 1) {
                return Err(arguments.wrong("has a first stage with a stride, so the output is smaller than the patch"));
            }
            if size.iter().zip(&stage.stride).any(|(n, stride)| n % stride != 0) {
                return Err(arguments.wrong(format!(
                    "has strides that do not divide the patch {patch:?}: stage {s} gets {size:?} and divides by {:?}",
                    stage.stride
                )));
            }
            for (n, stride) in size.iter_mut().zip(&stage.stride) {
                *n /= stride;
            }
        }
        if matches!(self.norm, Norm::Instance { .. }) && size.iter().product::<usize>() == 1 {
            return Err(arguments.wrong(format!(
                "reduces the patch {patch:?} to one voxel, where instance normalisation is not defined"
            )));
        }
        Ok(())
    }
}

/// Python would refuse an argument it does not know; an unknown one may also change the arithmetic.
fn check_names(arguments: &Field<'_>, residual: bool) -> Result<(), NnUnetError> {
    const BOTH: &[&str] = &[
        "n_stages",
        "features_per_stage",
        "conv_op",
        "kernel_sizes",
        "strides",
        "n_conv_per_stage_decoder",
        "conv_bias",
        "norm_op",
        "norm_op_kwargs",
        "dropout_op",
        "dropout_op_kwargs",
        "nonlin",
        "nonlin_kwargs",
        "deep_supervision",
    ];
    const PLAIN: &[&str] = &["n_conv_per_stage", "nonlin_first"];
    const RESIDUAL: &[&str] = &["n_blocks_per_stage", "block", "bottleneck_channels", "stem_channels"];
    let own = if residual { RESIDUAL } else { PLAIN };
    for (name, argument) in arguments.entries()? {
        if !BOTH.contains(&name) && !own.contains(&name) {
            return Err(argument.unsupported(format!("the network's argument {name} is not supported")));
        }
    }
    Ok(())
}

/// The last part of a dotted class name, which must be one of `allowed`.
fn class_name<'a>(field: &Field<'a>, allowed: &[&str]) -> Result<&'a str, NnUnetError> {
    let name = field.text()?;
    let class = name.rsplit('.').next().unwrap_or_default();
    if allowed.contains(&class) {
        Ok(class)
    } else {
        Err(field.unsupported(format!("{name} is not supported here; {} is", allowed.join(" or "))))
    }
}

/// One number per stage; a single number stands for all stages.
fn per_stage(
    field: &Field<'_>,
    count: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<Vec<usize>, NnUnetError> {
    if field.value().is_number() {
        return Ok(vec![field.whole(range)?; count]);
    }
    let items = field.items()?;
    if items.len() != count {
        return Err(field.wrong(format!("has {} entries where {count} are needed", items.len())));
    }
    items.iter().map(|item| item.whole(range.clone())).collect()
}

/// One number per stage and axis; a single number stands for all stages, or for all axes of a stage.
fn per_stage_and_axis(
    field: &Field<'_>,
    count: usize,
    axes: usize,
    most: usize,
) -> Result<Vec<Vec<usize>>, NnUnetError> {
    if field.value().is_number() {
        return Ok(vec![vec![field.whole(1..=most)?; axes]; count]);
    }
    let items = field.items()?;
    if items.len() != count {
        return Err(field.wrong(format!("has {} entries where {count} are needed", items.len())));
    }
    items.iter().map(|item| per_stage(item, axes, 1..=most)).collect()
}

fn bottleneck(arguments: &Field<'_>, count: usize) -> Result<Option<Vec<usize>>, NnUnetError> {
    let Some(block) = arguments.get("block")? else {
        return Ok(None);
    };
    if class_name(&block, &["BasicBlockD", "BottleneckD"])? == "BasicBlockD" {
        return Ok(None);
    }
    per_stage(&arguments.require("bottleneck_channels")?, count, 1..=MAX_FEATURES).map(Some)
}

fn norm(arguments: &Field<'_>, axes: usize, trainer: Trainer) -> Result<Norm, NnUnetError> {
    if trainer == Trainer::BatchNorm {
        arguments.require("norm_op")?;
        return Ok(Norm::Batch { epsilon: 1e-5, affine: true });
    }
    let Some(operator) = arguments.get_set("norm_op")? else {
        return Ok(Norm::Off);
    };
    let (instance, batch) = (format!("InstanceNorm{axes}d"), format!("BatchNorm{axes}d"));
    let is_instance = class_name(&operator, &[&instance, &batch])? == instance;
    // PyTorch's own defaults.
    let (mut epsilon, mut affine) = (1e-5, !is_instance);
    if let Some(options) = arguments.get_set("norm_op_kwargs")? {
        for (key, option) in options.entries()? {
            match key {
                "eps" => epsilon = option.number()? as f32,
                "affine" => affine = option.truth()?,
                "momentum" => {}
                "track_running_stats" if option.truth()? != is_instance => {}
                _ => {
                    return Err(
                        option.unsupported(format!("the normalisation's {key} {} is not supported", option.value()))
                    );
                }
            }
        }
    }
    Ok(if is_instance { Norm::Instance { epsilon, affine } } else { Norm::Batch { epsilon, affine } })
}

fn activation(arguments: &Field<'_>) -> Result<Activation, NnUnetError> {
    let Some(operator) = arguments.get_set("nonlin")? else {
        return Ok(Activation::None);
    };
    let class = class_name(&operator, &["LeakyReLU", "ReLU"])?;
    let mut slope = 0.01;
    if let Some(options) = arguments.get_set("nonlin_kwargs")? {
        for (key, option) in options.entries()? {
            match key {
                "inplace" => {}
                "negative_slope" if class == "LeakyReLU" => slope = option.number()? as f32,
                _ => {
                    return Err(option.unsupported(format!("the activation's {key} is not supported")));
                }
            }
        }
    }
    Ok(match class {
        "ReLU" => Activation::Relu,
        "LeakyReLU" => Activation::Leaky(slope),
        other => return Err(operator.unsupported(format!("the activation {other} is not supported"))),
    })
}
