//! Weights in the order in which the kernels take them.

use super::NativeNet;
use scanside_core::raw::{Conv, ConvGeometry, DataGradient, Isa, Upsample};

/// The weights of a network, packed for forward and turned round for backward.
#[derive(Debug)]
pub struct WeightSet {
    pub(super) units: Vec<UnitWeights>,
    pub(super) stages: Vec<StageWeights>,
    /// One layer's weights before they are transformed.
    packed: Vec<f32>,
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

impl NativeNet {
    /// Memory for weights.
    pub fn weight_set(&self) -> WeightSet {
        let elements = |conv: &Conv, g: &ConvGeometry| match conv.prepared_weights() {
            0 => g.weight_elements(),
            n => n,
        };
        // What no tensor gives stays: no bias, a factor of 1, a summand of 0.
        let units = self.units.iter().map(|unit| UnitWeights {
            forward: vec![0.0; elements(&unit.forward, &unit.g)],
            data_gradient: vec![0.0; unit.data_gradient.as_ref().map_or(0, DataGradient::weight_elements)],
            bias: vec![0.0; unit.g.cout],
            scale: vec![1.0; unit.g.cout],
            shift: vec![0.0; unit.g.cout],
        });
        let stages = self.decoder.iter().map(|stage| {
            let (up, head) = (&stage.upsample, &stage.head);
            StageWeights {
                upsample: Vec::new(),
                upsample_data_gradient: vec![0.0; elements(&up.data_gradient, &up.g)],
                upsample_bias: vec![0.0; up.g.cin],
                head: vec![0.0; elements(&head.forward, &head.g)],
                head_data_gradient: vec![0.0; head.data_gradient.weight_elements()],
                head_bias: vec![0.0; head.g.cout],
            }
        });
        WeightSet { units: units.collect(), stages: stages.collect(), packed: Vec::new() }
    }

    /// Packs the weights of all tensors, in the order of [`Self::tensors`].
    ///
    /// # Panics
    /// If there are more or fewer tensors, or one has another size.
    pub fn prepare(&self, tensors: &[&[f32]], set: &mut WeightSet) {
        assert_eq!(tensors.len(), self.tensors.len());
        for (values, tensor) in tensors.iter().zip(&self.tensors) {
            assert_eq!(values.len() as u64, tensor.values(), "{}", tensor.name());
        }
        let (isa, packed) = (self.isa, &mut set.packed);
        let copy = |tensor: Option<usize>, to: &mut [f32]| {
            if let Some(i) = tensor {
                to.copy_from_slice(tensors[i]);
            }
        };
        for (unit, made) in self.units.iter().zip(&mut set.units) {
            let numbers = &unit.tensors;
            copy(numbers.bias, &mut made.bias);
            copy(numbers.scale, &mut made.scale);
            copy(numbers.shift, &mut made.shift);
            let w = tensors[numbers.weight];
            pack(isa, &unit.forward, &unit.g, w, &mut made.forward, packed);
            if let Some(gradient) = &unit.data_gradient {
                gradient.prepare_weights(isa, w, &mut made.data_gradient, packed);
            }
        }
        for (stage, made) in self.decoder.iter().zip(&mut set.stages) {
            let (up, head) = (&stage.upsample, &stage.head);
            let w = tensors[up.weight];
            made.upsample = Upsample::pack(up.g.cout, up.g.cin, up.g.kernel, w);
            copy(up.bias, &mut made.upsample_bias);
            pack(isa, &up.data_gradient, &up.g, w, &mut made.upsample_data_gradient, packed);
            let w = tensors[head.weight];
            copy(Some(head.bias), &mut made.head_bias);
            pack(isa, &head.forward, &head.g, w, &mut made.head, packed);
            head.data_gradient.prepare_weights(isa, w, &mut made.head_data_gradient, packed);
        }
    }
}

/// Packs weights, and transforms them where the layer wants them so.
fn pack(isa: Isa, conv: &Conv, g: &ConvGeometry, w: &[f32], out: &mut [f32], packed: &mut Vec<f32>) {
    if conv.prepared_weights() == 0 {
        return g.pack_into(w, out);
    }
    packed.resize(g.weight_elements(), 0.0);
    g.pack_into(w, packed);
    conv.prepare_weights(isa, packed, out);
}
