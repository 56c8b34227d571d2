//! The network's layers in libtorch's operations, which autograd records.

use super::{Answer, Feature, Parameters, Precision};
use scanside_core::nnunet::architecture::{Activation, Norm};
use scanside_core::nnunet::layers::{Affine, Block, DecoderStage, Layers, Unit};
use scanside_core::nnunet::walk::{LayerVisitor, Operation};
use std::rc::Rc;
use tch::{Kind, TchError, Tensor};

/// PyTorch's default slope, which its binding takes no other for.
const DEFAULT_SLOPE: f32 = 0.01;

/// One forward pass.
pub(super) struct Forward<'a> {
    parameters: &'a Parameters,
    /// What convolutions multiply, and activations are stored in.
    precision: Precision,
    /// The lowest resolution first.
    logits: Vec<Tensor>,
    bottleneck: Option<Rc<Tensor>>,
    /// Outputs of decoder stages with their levels.
    decoded: Vec<(usize, Rc<Tensor>)>,
}

impl<'a> Forward<'a> {
    pub(super) fn new(parameters: &'a Parameters, precision: Precision) -> Forward<'a> {
        Forward { parameters, precision, logits: Vec::new(), bottleneck: None, decoded: Vec::new() }
    }

    pub(super) fn answer(mut self, layers: &Layers, images: &Tensor, features: &[Feature]) -> Result<Answer, TchError> {
        layers.walk(&mut self, Rc::new(images.shallow_clone()))?;
        self.logits.reverse();
        let features = features.iter().map(|feature| self.feature(*feature)).collect::<Result<_, TchError>>()?;
        Ok(Answer { logits: self.logits, features })
    }

    fn feature(&self, feature: Feature) -> Result<Tensor, TchError> {
        let place = match feature {
            Feature::Bottleneck => self.bottleneck.as_ref(),
            Feature::Decoder(level) => self.decoded.iter().find(|(l, _)| *l == level).map(|(_, tensor)| tensor),
        };
        let place = place.ok_or_else(|| TchError::Torch(format!("the network has no {feature:?}")))?;
        place.f_to_kind(Kind::Float)
    }
}

impl LayerVisitor for Forward<'_> {
    /// Shared, for a tensor has no `Clone` of its own.
    type Value = Rc<Tensor>;
    type Error = TchError;

    fn unit(&mut self, unit: &Unit, input: &Rc<Tensor>) -> Result<Rc<Tensor>, TchError> {
        let mut value = input.clone();
        for operation in unit.operations() {
            value = Rc::new(match operation {
                Operation::Convolution => self.convolve(unit, &value)?,
                Operation::Norm(norm) => self.normalise(&unit.path, norm, &value)?,
                Operation::Activation(activation) => activate(activation, &value)?,
            });
        }
        Ok(value)
    }

    fn pool(&mut self, _: &Block, stride: &[usize], input: &Rc<Tensor>) -> Result<Rc<Tensor>, TchError> {
        let stride = lengths(stride);
        // Which no CPU does in bfloat16.
        let input = input.f_to_kind(Kind::Float)?;
        Ok(Rc::new(input.f_avg_pool3d(&stride, &stride, vec![0; stride.len()], false, true, None)?))
    }

    fn add(&mut self, block: &Block, main: Rc<Tensor>, skip: Rc<Tensor>) -> Result<Rc<Tensor>, TchError> {
        Ok(Rc::new(activate(block.activation, &main.f_add(&skip)?)?))
    }

    /// The last call is that of the deepest stage.
    fn encoded(&mut self, _: usize, output: &Rc<Tensor>) {
        self.bottleneck = Some(output.clone());
    }

    fn upsample(&mut self, stage: &DecoderStage, input: &Rc<Tensor>) -> Result<Rc<Tensor>, TchError> {
        let stride = lengths(&stage.upsample_stride);
        let (zero, ones) = (vec![0; stride.len()], vec![1; stride.len()]);
        let (weight, bias) = self.affine(&stage.upsample)?;
        let input = self.rounded(input)?;
        Ok(Rc::new(input.f_conv_transpose3d(&weight, bias, &stride, &zero, &zero, 1, &ones)?))
    }

    fn join(&mut self, _: &DecoderStage, upsampled: Rc<Tensor>, skip: &Rc<Tensor>) -> Result<Rc<Tensor>, TchError> {
        Ok(Rc::new(Tensor::f_cat(&[&*upsampled, &**skip], 1)?))
    }

    fn head(&mut self, stage: &DecoderStage, output: &Rc<Tensor>) -> Result<(), TchError> {
        self.decoded.push((stage.level, output.clone()));
        let axes = stage.upsample_stride.len();
        let (zero, ones) = (vec![0; axes], vec![1; axes]);
        let (weight, bias) = self.affine(&stage.head)?;
        let logits = self.rounded(output)?.f_conv3d(&weight, bias, &ones, &zero, &ones, 1)?;
        self.logits.push(logits.f_to_kind(Kind::Float)?);
        Ok(())
    }
}

impl Forward<'_> {
    fn convolve(&self, unit: &Unit, input: &Tensor) -> Result<Tensor, TchError> {
        let padding: Vec<i64> = unit.kernel.iter().map(|k| (*k as i64 - 1) / 2).collect();
        let ones = vec![1; padding.len()];
        let weight = self.rounded(self.named(&unit.path, "conv.weight")?)?;
        let bias = self.optional(&format!("{}.conv.bias", unit.path))?;
        self.rounded(input)?.f_conv3d(&weight, bias, lengths(&unit.stride), padding, ones, 1)
    }

    fn normalise(&self, path: &str, norm: Norm, value: &Tensor) -> Result<Tensor, TchError> {
        match norm {
            Norm::Off => Ok(value.shallow_clone()),
            Norm::Instance { epsilon, .. } => {
                let scale = self.parameters.get(&format!("{path}.norm.weight"));
                let shift = self.parameters.get(&format!("{path}.norm.bias"));
                let running: Option<&Tensor> = None;
                value.f_instance_norm(scale, shift, running, running, true, 0.1, epsilon.into(), false)
            }
            // `Network::new` refuses such networks.
            Norm::Batch { .. } => Err(TchError::Torch("batch normalisation is not trained here".into())),
        }
    }

    fn affine(&self, affine: &Affine) -> Result<(Tensor, Option<Tensor>), TchError> {
        let weight = self.rounded(self.named(&affine.path, "weight")?)?;
        Ok((weight, self.optional(&format!("{}.bias", affine.path))?))
    }

    fn optional(&self, name: &str) -> Result<Option<Tensor>, TchError> {
        self.parameters.get(name).map(|tensor| self.rounded(tensor)).transpose()
    }

    /// A tensor as convolutions take it; where that is as it is, the tensor itself.
    fn rounded(&self, tensor: &Tensor) -> Result<Tensor, TchError> {
        match self.precision {
            Precision::F32 => Ok(tensor.shallow_clone()),
            Precision::Bf16 => tensor.f_to_kind(Kind::BFloat16),
        }
    }

    fn named(&self, path: &str, leaf: &str) -> Result<&Tensor, TchError> {
        let name = format!("{path}.{leaf}");
        self.parameters.get(&name).ok_or_else(|| TchError::Torch(format!("the network has no tensor {name}")))
    }
}

fn activate(activation: Activation, value: &Tensor) -> Result<Tensor, TchError> {
    match activation {
        Activation::None => Ok(value.shallow_clone()),
        Activation::Relu => value.f_relu(),
        Activation::Leaky(DEFAULT_SLOPE) => value.f_leaky_relu(),
        Activation::Leaky(slope) => value.f_relu()?.f_sub(&value.f_neg()?.f_relu()?.f_mul_scalar(f64::from(slope))?),
    }
}

fn lengths(values: &[usize]) -> Vec<i64> {
    values.iter().map(|n| *n as i64).collect()
}
