//! Trained networks as files.
//!
//! | module | writes |
//! |---|---|
//! | [`nnunet`] | a model folder that nnU-Net's own programs load |
//! | [`onnx`] | one self-describing ONNX file for the inference core, checked after it was written |
//! | [`tensors`] | safetensors: weights for other programs, and the training's own checkpoints |
//! | [`plans`] | the network's own sizes into `plans.json`, and out of it |
//! | [`reference`](mod@reference) | nothing: it brings a network back to libtorch |
//! | [`pickle`] | the pickle inside a PyTorch checkpoint |

pub mod nnunet;
pub mod onnx;
pub mod pickle;
pub mod plans;
pub mod reference;
pub mod tensors;

use scanside_app::error::{Error, ErrorKind};
use scanside_core::manifest::{FamilyMember, Measurement};
use scanside_core::nnunet::FoldName;
use scanside_core::nnunet::NnUnetError;
use scanside_core::nnunet::architecture::UNet;
use scanside_core::nnunet::layers::{Expected, Layers, Role};
use scanside_core::nnunet::to_onnx::Weights;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A tensor: its extents and its values in row-major order.
pub type Tensor = (Vec<usize>, Vec<f32>);

/// A network with all its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedNetwork {
    unet: UNet,
    weights: BTreeMap<String, Tensor>,
}

/// What files say about a network beside its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFacts {
    /// nnU-Net's `plans.json`, the text.
    pub plans: String,
    /// nnU-Net's `dataset.json`, the text: the order of its labels counts.
    pub dataset: String,
    /// The configuration of the plans that was trained.
    pub configuration: String,
    /// The class nnU-Net builds the network with.
    pub trainer_name: String,
    /// The fold trained.
    pub fold: FoldName,
    /// Axes along which predictions may be mirrored: spatial axes of the network.
    pub mirror_axes: Vec<usize>,
    /// Where the model comes from, by key.
    pub provenance: BTreeMap<String, String>,
    /// Measured accuracy by name.
    pub accuracy: BTreeMap<String, f64>,
    /// Measured speed and memory.
    pub measured: Vec<Measurement>,
    /// The models that were made together with this one and that none of the others beats.
    pub family: Vec<FamilyMember>,
}

impl TrainedNetwork {
    /// A network with the weights that its layers ask for, each under the short one of its names.
    ///
    /// # Errors
    /// Tensors are missing, superfluous, of another shape, or hold what is not a number; or the network has batch
    /// normalisation, whose statistics this program does not train.
    pub fn new(unet: UNet, weights: BTreeMap<String, Tensor>) -> Result<TrainedNetwork, Error> {
        let wrong = |sentence: String| Err(Error::new(ErrorKind::Model, sentence));
        let expected = Layers::of(&unet).expected();
        if expected.iter().any(|tensor| tensor.role == Role::Mean) {
            return wrong("networks with batch normalisation cannot be exported".into());
        }
        for tensor in &expected {
            let name = short_name(tensor);
            let Some((shape, values)) = weights.get(name) else {
                return wrong(format!("the weights have no `{name}`"));
            };
            if *shape != tensor.shape || values.len() as u64 != tensor.values() {
                return wrong(format!(
                    "`{name}` has the shape {shape:?} and {} values; the network needs {:?}",
                    values.len(),
                    tensor.shape
                ));
            }
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return wrong(format!("`{name}` holds {value}: the training diverged"));
            }
        }
        if weights.len() > expected.len() {
            let known: std::collections::BTreeSet<&str> = expected.iter().map(short_name).collect();
            let other = weights.keys().find(|name| !known.contains(name.as_str())).map_or("", String::as_str);
            return wrong(format!("the weights have a `{other}` that the network does not know"));
        }
        Ok(TrainedNetwork { unet, weights })
    }

    /// The network.
    pub fn unet(&self) -> &UNet {
        &self.unet
    }

    /// Its weights by their short names.
    pub fn weights(&self) -> &BTreeMap<String, Tensor> {
        &self.weights
    }
}

/// The name without copies' prefixes.
fn short_name(tensor: &Expected) -> &str {
    tensor.names.first().map_or("", String::as_str)
}

/// Weights looked up by the name that counts, as model builders and [`Parameters`](crate::network::Parameters) ask for
/// them.
pub(crate) struct ByLastName<'a> {
    network: &'a TrainedNetwork,
    short: BTreeMap<String, String>,
}

impl<'a> ByLastName<'a> {
    pub(crate) fn new(network: &'a TrainedNetwork) -> ByLastName<'a> {
        let expected = Layers::of(&network.unet).expected();
        let short = expected.iter().map(|tensor| (tensor.name().to_owned(), short_name(tensor).to_owned())).collect();
        ByLastName { network, short }
    }
}

impl Weights for ByLastName<'_> {
    fn read_f32(&mut self, name: &str) -> Result<Vec<f32>, NnUnetError> {
        let tensor = self.short.get(name).and_then(|short| self.network.weights.get(short));
        tensor.map(|(_, values)| values.clone()).ok_or_else(|| NnUnetError::Checkpoint {
            path: PathBuf::from("the trained network"),
            problem: format!("it has no tensor `{name}`"),
        })
    }
}
