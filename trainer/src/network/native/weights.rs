//! Weights in the order in which the kernels take them.

use super::NativeNet;
use scanside_core::arch::Isa;
use scanside_core::kernels::{Conv, ConvGeometry, Upsample};

/// The weights of a network, packed for forward and turned round for backward.
#[derive(Debug)]
pub struct WeightSet {
    pub(super) units: Vec<UnitWeights>,
    pub(super) stages: Vec<StageWeights>,
}

#[derive(Debug, Default)]
pub(super) struct UnitWeights {
    pub(super) forward: Vec<f32>,
    pub(super) data_gradient: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

#[derive(Debug, Default)]
pub(super) struct StageWeights {
    pub(super) upsample: Vec<f32>,
    pub(super) upsample_data_gradient: Vec<f32>,
    pub(super) upsample_bias: Vec<f32>,
    pub(super) head: Vec<f32>,
    pub(super) head_data_gradient: Vec<f32>,
    pub(super) head_bias: Vec<f32>,
}

/// Packed weights, transformed where the layer wants them so.
fn packed(isa: Isa, conv: &Conv, g: &ConvGeometry, w: &[f32], out: &mut Vec<f32>) {
    let packed = g.pack(w);
    match conv.prepared_weights() {
        0 => *out = packed,
        n => {
            out.resize(n, 0.0);
            conv.prepare_weights(isa, &packed, out);
        }
    }
}

impl NativeNet {
    /// Packs the weights of all tensors, in the order of [`Self::tensors`].
    ///
    /// # Panics
    /// If there are more or fewer tensors, or one has another size.
    pub fn prepare(&self, tensors: &[&[f32]]) -> WeightSet {
        assert_eq!(tensors.len(), self.tensors.len());
        for (values, tensor) in tensors.iter().zip(&self.tensors) {
            assert_eq!(values.len() as u64, tensor.values(), "{}", tensor.name());
        }
        let isa = self.isa;
        let or = |tensor: Option<usize>, channels: usize, value: f32| match tensor {
            Some(i) => tensors[i].to_vec(),
            None => vec![value; channels],
        };
        let units = self.units.iter().map(|unit| {
            let (w, channels) = (tensors[unit.tensors.weight], unit.g.cout);
            let mut made = UnitWeights {
                bias: or(unit.tensors.bias, channels, 0.0),
                scale: or(unit.tensors.scale, channels, 1.0),
                shift: or(unit.tensors.shift, channels, 0.0),
                ..UnitWeights::default()
            };
            packed(isa, &unit.forward, &unit.g, w, &mut made.forward);
            if let Some(gradient) = &unit.data_gradient {
                made.data_gradient.resize(gradient.weight_elements(), 0.0);
                gradient.prepare_weights(isa, w, &mut made.data_gradient);
            }
            made
        });
        let stages = self.decoder.iter().map(|stage| {
            let (up, head) = (&stage.upsample, &stage.head);
            let w = tensors[up.weight];
            let mut made = StageWeights {
                upsample: Upsample::pack(up.g.cout, up.g.cin, up.g.kernel, w),
                upsample_bias: or(up.bias, up.g.cin, 0.0),
                head_bias: tensors[head.bias].to_vec(),
                head_data_gradient: vec![0.0; head.data_gradient.weight_elements()],
                ..StageWeights::default()
            };
            packed(isa, &up.data_gradient, &up.g, w, &mut made.upsample_data_gradient);
            packed(isa, &head.forward, &head.g, tensors[head.weight], &mut made.head);
            head.data_gradient.prepare_weights(isa, tensors[head.weight], &mut made.head_data_gradient);
            made
        });
        WeightSet { units: units.collect(), stages: stages.collect() }
    }
}
