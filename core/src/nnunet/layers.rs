//! A network's layers in the order they run, with the names of their tensors. [`Layers::walk`] leads a
//! [`LayerVisitor`](super::walk::LayerVisitor) through them.
//!
//! PyTorch's modules are reachable on several paths, and a checkpoint holds every tensor once per path: each
//! convolution unit keeps its parts twice, and the decoder holds the whole encoder. Loading is strict (each name must
//! be there, and no other), and where copies disagree the last one in module order wins.

use super::architecture::{Activation, Encoder, Norm, UNet};

/// A convolution with its normalisation and activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// Module path without the decoder's copy.
    pub path: String,
    in_encoder: bool,
    /// Input channels.
    pub input: usize,
    /// Output channels.
    pub output: usize,
    /// Kernel per spatial axis.
    pub kernel: Vec<usize>,
    /// Stride per spatial axis.
    pub stride: Vec<usize>,
    bias: bool,
    norm: Norm,
    dropout: bool,
    /// Its activation; none at the end of a residual block's main path and in projections.
    pub activation: Activation,
    /// The activation precedes the normalisation.
    pub activation_first: bool,
}

/// A residual block: the skip goes through the pool and the projection where they exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Module path.
    pub path: String,
    /// The units in a row; the last ends without activation.
    pub main: Vec<Unit>,
    /// Average pooling of the skip: kernel and stride.
    pub pool: Option<Vec<usize>>,
    /// A 1x1x1 convolution of the skip.
    pub projection: Option<Unit>,
    /// What follows the sum of both.
    pub activation: Activation,
}

/// An encoder stage.
#[derive(Clone, Debug, PartialEq)]
pub enum EncoderStage {
    /// Units in a row.
    Plain(Vec<Unit>),
    /// Blocks in a row.
    Residual(Vec<Block>),
}

/// A decoder stage: upsample, join with the skip, convolve. The head is there for deep supervision and runs in the
/// last stage only.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderStage {
    /// Its resolution: that of this encoder stage, 0 for the full one.
    pub level: usize,
    /// The transposed convolution: kernel and stride are equal.
    pub upsample: Affine,
    /// Its stride per spatial axis.
    pub upsample_stride: Vec<usize>,
    /// Units after the join of `[upsampled, skip]`.
    pub convs: Vec<Unit>,
    /// 1x1x1 convolution to logits at this stage's resolution.
    pub head: Affine,
}

/// A weight and perhaps a bias under a path that has no copies.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// Module path.
    pub path: String,
    /// Output channels.
    pub output: usize,
    weight: Vec<usize>,
    bias: bool,
}

/// A network's layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Layers {
    /// The unit before a residual encoder.
    pub stem: Option<Unit>,
    /// From full resolution down.
    pub encoder: Vec<EncoderStage>,
    /// The deepest first.
    pub decoder: Vec<DecoderStage>,
}

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A convolution's kernel: `[out, in, z, y, x]`, transposed `[in, out, z, y, x]`.
    Weight,
    /// A convolution's bias.
    Bias,
    /// A normalisation's learned factor.
    Scale,
    /// A normalisation's learned summand.
    Shift,
    /// Mean over the training.
    Mean,
    /// Variance over the training.
    Variance,
    /// A counter that only training reads.
    Counter,
}

/// A tensor the checkpoint must hold, under all its names in module order.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// What it is for.
    pub role: Role,
    /// Values per axis.
    pub shape: Vec<usize>,
    /// All its names, in module order.
    pub names: Vec<String>,
}

impl Expected {
    /// The name whose value counts.
    pub fn name(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }

    /// Number of values.
    pub fn values(&self) -> u64 {
        self.shape.iter().map(|n| *n as u64).product()
    }
}

impl Unit {
    /// What follows the convolution.
    pub fn norm(&self) -> Norm {
        self.norm
    }

    /// Its tensors, the convolution's first.
    pub fn tensors(&self) -> Vec<Expected> {
        let weight = [&[self.output, self.input], self.kernel.as_slice()].concat();
        let channels = vec![self.output];
        let mut tensors = vec![self.tensor(Role::Weight, "conv", 0, "weight", weight)];
        if self.bias {
            tensors.push(self.tensor(Role::Bias, "conv", 0, "bias", channels.clone()));
        }
        let (affine, running) = match self.norm {
            Norm::Off => return tensors,
            Norm::Instance { affine, .. } => (affine, false),
            Norm::Batch { affine, .. } => (affine, true),
        };
        let activation_before = self.activation_first && self.activation != Activation::None;
        let place = 1 + usize::from(self.dropout) + usize::from(activation_before);
        let mut add = |role, leaf, shape| tensors.push(self.tensor(role, "norm", place, leaf, shape));
        if affine {
            add(Role::Scale, "weight", channels.clone());
            add(Role::Shift, "bias", channels.clone());
        }
        if running {
            add(Role::Mean, "running_mean", channels.clone());
            add(Role::Variance, "running_var", channels);
            add(Role::Counter, "num_batches_tracked", Vec::new());
        }
        tensors
    }

    fn tensor(&self, role: Role, module: &str, place: usize, leaf: &str, shape: Vec<usize>) -> Expected {
        let copies: &[&str] = if self.in_encoder { &["", "decoder."] } else { &[""] };
        let names = copies
            .iter()
            .flat_map(|copy| {
                let path = &self.path;
                [format!("{copy}{path}.{module}.{leaf}"), format!("{copy}{path}.all_modules.{place}.{leaf}")]
            })
            .collect();
        Expected { role, shape, names }
    }
}

impl Affine {
    /// Weight, then bias.
    pub fn tensors(&self) -> Vec<Expected> {
        let tensor = |role, leaf, shape| Expected { role, shape, names: vec![format!("{}.{leaf}", self.path)] };
        let mut tensors = vec![tensor(Role::Weight, "weight", self.weight.clone())];
        if self.bias {
            tensors.push(tensor(Role::Bias, "bias", vec![self.output]));
        }
        tensors
    }
}

impl Layers {
    /// The layers of a network.
    pub fn of(unet: &UNet) -> Layers {
        let ones = vec![1; unet.axes()];
        let unit = |path: String, input, output, kernel: &[usize], stride: &[usize]| Unit {
            in_encoder: path.starts_with("encoder."),
            path,
            input,
            output,
            kernel: kernel.to_vec(),
            stride: stride.to_vec(),
            bias: unet.conv_bias,
            norm: unet.norm,
            dropout: unet.dropout,
            activation: unet.activation,
            // The modules change places only where both exist.
            activation_first: unet.activation_first && unet.norm != Norm::Off,
        };
        // Units inside and beside residual blocks that end without activation, and never have dropout.
        let bare = |unit: Unit| Unit { activation: Activation::None, dropout: false, ..unit };

        let mut channels = unet.input_channels;
        let mut stem = None;
        if let Encoder::Residual { stem_features, .. } = &unet.encoder {
            let kernel = &unet.stages[0].kernel;
            stem = Some(unit("encoder.stem.convs.0".into(), channels, *stem_features, kernel, &ones));
            channels = *stem_features;
        }
        let mut encoder = Vec::new();
        for (s, stage) in unet.stages.iter().enumerate() {
            let features = stage.features;
            encoder.push(match &unet.encoder {
                Encoder::Plain { convs } => EncoderStage::Plain(
                    (0..convs[s])
                        .map(|j| {
                            let (input, stride) = if j == 0 { (channels, &stage.stride) } else { (features, &ones) };
                            unit(format!("encoder.stages.{s}.0.convs.{j}"), input, features, &stage.kernel, stride)
                        })
                        .collect(),
                ),
                Encoder::Residual { blocks, bottleneck, .. } => EncoderStage::Residual(
                    (0..blocks[s])
                        .map(|b| {
                            let (input, stride) = if b == 0 { (channels, &stage.stride) } else { (features, &ones) };
                            let path = format!("encoder.stages.{s}.blocks.{b}");
                            let kernel = &stage.kernel;
                            let conv = |n: usize| format!("{path}.conv{n}");
                            let main = match bottleneck {
                                None => vec![
                                    unit(conv(1), input, features, kernel, stride),
                                    bare(unit(conv(2), features, features, kernel, &ones)),
                                ],
                                Some(inner) => vec![
                                    Unit { dropout: false, ..unit(conv(1), input, inner[s], &ones, &ones) },
                                    unit(conv(2), inner[s], inner[s], kernel, stride),
                                    bare(unit(conv(3), inner[s], features, &ones, &ones)),
                                ],
                            };
                            let pool = stride.iter().any(|n| *n != 1).then(|| stride.clone());
                            let projection = (input != features).then(|| {
                                let skip = format!("{path}.skip.{}", usize::from(pool.is_some()));
                                Unit { bias: false, ..bare(unit(skip, input, features, &ones, &ones)) }
                            });
                            Block { path, main, pool, projection, activation: unet.activation }
                        })
                        .collect(),
                ),
            });
            channels = features;
        }

        let last = unet.stages.len() - 1;
        let decoder = (0..last)
            .map(|i| {
                let (below, skip) = (&unet.stages[last - i], &unet.stages[last - i - 1]);
                let features = skip.features;
                DecoderStage {
                    level: last - i - 1,
                    upsample: Affine {
                        path: format!("decoder.transpconvs.{i}"),
                        output: features,
                        weight: [&[below.features, features], below.stride.as_slice()].concat(),
                        bias: unet.conv_bias,
                    },
                    upsample_stride: below.stride.clone(),
                    convs: (0..unet.decoder_convs[i])
                        .map(|j| {
                            let input = if j == 0 { 2 * features } else { features };
                            unit(format!("decoder.stages.{i}.convs.{j}"), input, features, &skip.kernel, &ones)
                        })
                        .collect(),
                    head: Affine {
                        path: format!("decoder.seg_layers.{i}"),
                        output: unet.heads,
                        weight: [&[unet.heads, features], ones.as_slice()].concat(),
                        bias: true,
                    },
                }
            })
            .collect();
        Layers { stem, encoder, decoder }
    }

    /// Bytes of all tensors as `f32`.
    pub fn bytes(&self) -> u64 {
        self.expected().iter().map(Expected::values).sum::<u64>().saturating_mul(4)
    }
}
