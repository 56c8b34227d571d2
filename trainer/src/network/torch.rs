//! The walk over the layers in libtorch's operations, which autograd records.

use super::{Answer, Feature, Parameters, Precision};
use scanside_core::nnunet::architecture::{Activation, Norm};
use scanside_core::nnunet::layers::{Affine, Block, EncoderStage, Layers, Unit};
use tch::{Kind, TchError, Tensor};

/// PyTorch's default slope, which its binding takes no other for.
const DEFAULT_SLOPE: f32 = 0.01;

pub(super) struct Forward<'a> {
    pub(super) parameters: &'a Parameters,
    pub(super) activation: Activation,
    /// What convolutions multiply, and activations are stored in.
    pub(super) precision: Precision,
}

impl Forward<'_> {
    pub(super) fn answer(&self, layers: &Layers, images: &Tensor, features: &[Feature]) -> Result<Answer, TchError> {
        let mut value = images.shallow_clone();
        if let Some(stem) = &layers.stem {
            value = self.unit(stem, &value)?;
        }
        let mut skips = Vec::with_capacity(layers.encoder.len());
        for stage in &layers.encoder {
            match stage {
                EncoderStage::Plain(units) => {
                    for unit in units {
                        value = self.unit(unit, &value)?;
                    }
                }
                EncoderStage::Residual(blocks) => {
                    for block in blocks {
                        value = self.block(block, &value)?;
                    }
                }
            }
            skips.push(value.shallow_clone());
        }
        // The deepest stage is where the decoder starts, not a skip.
        let mut places = vec![(Feature::Bottleneck, value.shallow_clone())];
        skips.pop();
        let mut logits = Vec::with_capacity(layers.decoder.len());
        for (i, (stage, skip)) in layers.decoder.iter().zip(skips.iter().rev()).enumerate() {
            let stride = lengths(&stage.upsample_stride);
            let zero = vec![0; stride.len()];
            let (weight, bias) = self.affine(&stage.upsample)?;
            let ones = vec![1; stride.len()];
            let up = self.rounded(&value)?.f_conv_transpose3d(&weight, bias, &stride, &zero, &zero, 1, &ones)?;
            value = Tensor::f_cat(&[&up, skip], 1)?;
            for unit in &stage.convs {
                value = self.unit(unit, &value)?;
            }
            places.push((Feature::Decoder(layers.decoder.len() - 1 - i), value.shallow_clone()));
            let (weight, bias) = self.affine(&stage.head)?;
            logits.push(self.rounded(&value)?.f_conv3d(&weight, bias, &ones, &zero, &ones, 1)?.f_to_kind(Kind::Float)?);
        }
        logits.reverse();
        let of = |feature: &Feature| {
            let place = places.iter().find(|(place, _)| place == feature);
            let place = place.ok_or_else(|| TchError::Torch(format!("the network has no {feature:?}")))?;
            place.1.f_to_kind(Kind::Float)
        };
        let features = features.iter().map(of).collect::<Result<_, TchError>>()?;
        Ok(Answer { logits, features })
    }

    fn unit(&self, unit: &Unit, input: &Tensor) -> Result<Tensor, TchError> {
        let padding: Vec<i64> = unit.kernel.iter().map(|k| (*k as i64 - 1) / 2).collect();
        let ones = vec![1; padding.len()];
        let weight = self.rounded(self.named(&unit.path, "conv.weight")?)?;
        let bias = self.optional(&format!("{}.conv.bias", unit.path))?;
        let mut value = self.rounded(input)?.f_conv3d(&weight, bias, lengths(&unit.stride), padding, ones, 1)?;
        if unit.active && unit.activation_first {
            value = self.activate(&value)?;
        }
        if let Norm::Instance { epsilon, .. } = unit.norm() {
            let scale = self.parameters.get(&format!("{}.norm.weight", unit.path));
            let shift = self.parameters.get(&format!("{}.norm.bias", unit.path));
            let running: Option<&Tensor> = None;
            value = value.f_instance_norm(scale, shift, running, running, true, 0.1, epsilon.into(), false)?;
        }
        if unit.active && !unit.activation_first {
            value = self.activate(&value)?;
        }
        Ok(value)
    }

    fn block(&self, block: &Block, input: &Tensor) -> Result<Tensor, TchError> {
        let mut value = input.shallow_clone();
        for unit in &block.main {
            value = self.unit(unit, &value)?;
        }
        let mut skip = input.shallow_clone();
        if let Some(stride) = &block.pool {
            let stride = lengths(stride);
            // Which no CPU does in bfloat16.
            skip = skip.f_to_kind(Kind::Float)?.f_avg_pool3d(
                &stride,
                &stride,
                vec![0; stride.len()],
                false,
                true,
                None,
            )?;
        }
        if let Some(projection) = &block.projection {
            skip = self.unit(projection, &skip)?;
        }
        self.activate(&value.f_add(&skip)?)
    }

    fn activate(&self, value: &Tensor) -> Result<Tensor, TchError> {
        match self.activation {
            Activation::Off => Ok(value.shallow_clone()),
            Activation::Relu => value.f_relu(),
            Activation::LeakyRelu { slope: DEFAULT_SLOPE } => value.f_leaky_relu(),
            Activation::LeakyRelu { slope } => {
                value.f_relu()?.f_sub(&value.f_neg()?.f_relu()?.f_mul_scalar(f64::from(slope))?)
            }
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

fn lengths(values: &[usize]) -> Vec<i64> {
    values.iter().map(|n| *n as i64).collect()
}
