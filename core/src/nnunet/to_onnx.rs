//! A network and its weights as an ONNX model of standard operators.

use super::architecture::{Activation, Norm, UNet};
use super::error::NnUnetError;
use super::layers::{Affine, Block, DecoderStage, Expected, Layers, Role, Unit};
use super::walk::{LayerVisitor, Operation};
use crate::onnx::OnnxModel;
use half::f16;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

/// The file format's version: the newest that tract reads.
const IR_VERSION: i64 = 8;
/// The operators' version: the last one in which all of ours are as they have been since.
const OPSET: i64 = 17;
/// Name of the graph's input.
pub const INPUT: &str = "input";

/// Where a network's weights come from.
pub trait Weights {
    /// The tensor of this name in row-major order.
    ///
    /// # Errors
    /// The tensor cannot be read.
    fn read_f32(&mut self, name: &str) -> Result<Vec<f32>, NnUnetError>;
}

impl<R: std::io::Read + std::io::Seek> Weights for super::checkpoint::Checkpoint<R> {
    fn read_f32(&mut self, name: &str) -> Result<Vec<f32>, NnUnetError> {
        super::checkpoint::Checkpoint::read_f32(self, name)
    }
}

/// Builds a model fold by fold. The folds share the input and nothing else.
#[derive(Debug)]
pub struct ModelBuilder {
    layers: Layers,
    half: bool,
    input_shape: Vec<usize>,
    output_shape: Vec<usize>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    outputs: Vec<ValueInfoProto>,
}

impl ModelBuilder {
    /// Starts a model of `unet` for tiles of `patch` voxels.
    pub fn new(unet: &UNet, patch: &[usize]) -> ModelBuilder {
        ModelBuilder {
            layers: Layers::of(unet),
            half: false,
            input_shape: [&[1, unet.input_channels], patch].concat(),
            output_shape: [&[1, unet.heads], patch].concat(),
            nodes: Vec::new(),
            initializers: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// Stores the kernels of convolutions in half precision and widens them where they are read: everything is computed
    /// in single precision. Biases and norms, which are few, stay as they are. Values beyond 65504 become infinite.
    pub fn half_kernels(self) -> ModelBuilder {
        ModelBuilder { half: true, ..self }
    }

    /// Adds a network with these weights; its output is `logits_0`, `logits_1` and so on.
    ///
    /// # Errors
    /// A weight cannot be read.
    pub fn add_fold(&mut self, weights: &mut dyn Weights) -> Result<(), NnUnetError> {
        let number = self.outputs.len();
        let name = format!("logits_{number}");
        let mut fold = Fold {
            prefix: format!("fold{number}."),
            output: &name,
            joins: 0,
            half: self.half,
            nodes: &mut self.nodes,
            initializers: &mut self.initializers,
            weights,
        };
        self.layers.walk(&mut fold, INPUT.to_string())?;
        self.outputs.push(value_info(&name, &self.output_shape));
        Ok(())
    }

    /// The finished model; `name` is the graph's.
    pub fn finish(self, name: &str) -> OnnxModel {
        let proto = ModelProto {
            ir_version: IR_VERSION,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
            producer_name: "scanside".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(GraphProto {
                node: self.nodes,
                name: name.into(),
                initializer: self.initializers,
                input: vec![value_info(INPUT, &self.input_shape)],
                output: self.outputs,
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        };
        OnnxModel { proto }
    }
}

/// One network being written. Values are named by the node that makes them.
struct Fold<'a> {
    prefix: String,
    /// Name of the network's output.
    output: &'a str,
    /// Decoder stages so far.
    joins: usize,
    half: bool,
    nodes: &'a mut Vec<NodeProto>,
    initializers: &'a mut Vec<TensorProto>,
    weights: &'a mut dyn Weights,
}

impl LayerVisitor for Fold<'_> {
    /// The tensor's name.
    type Value = String;
    type Error = NnUnetError;

    fn unit(&mut self, unit: &Unit, input: &String) -> Result<String, NnUnetError> {
        let tensors = unit.tensors();
        let mut value = input.clone();
        for operation in unit.operations() {
            value = match operation {
                Operation::Convolution => self.convolve(unit, &tensors, value)?,
                Operation::Norm(norm) => self.normalize(unit, norm, &tensors, value)?,
                Operation::Activation(activation) => self.activate(&unit.path, activation, value),
            };
        }
        Ok(value)
    }

    fn pool(&mut self, block: &Block, stride: &[usize], input: &String) -> Result<String, NnUnetError> {
        let attributes = vec![ints("kernel_shape", stride), ints("strides", stride)];
        Ok(self.node("AveragePool", &format!("{}.skip.pool", block.path), vec![input.clone()], attributes))
    }

    fn add(&mut self, block: &Block, main: String, skip: String) -> Result<String, NnUnetError> {
        let sum = self.node("Add", &format!("{}.add", block.path), vec![main, skip], Vec::new());
        Ok(self.activate(&block.path, block.activation, sum))
    }

    fn upsample(&mut self, stage: &DecoderStage, input: &String) -> Result<String, NnUnetError> {
        let stride = &stage.upsample_stride;
        let attributes = vec![ints("kernel_shape", stride), ints("strides", stride)];
        self.affine("ConvTranspose", &stage.upsample, input, attributes)
    }

    fn join(&mut self, _: &DecoderStage, upsampled: String, skip: &String) -> Result<String, NnUnetError> {
        let name = format!("decoder.concat.{}", self.joins);
        self.joins += 1;
        Ok(self.node("Concat", &name, vec![upsampled, skip.clone()], vec![int("axis", 1)]))
    }

    /// The output alone: the heads of deep supervision are not written.
    fn head(&mut self, stage: &DecoderStage, output: &String) -> Result<(), NnUnetError> {
        if stage.level == 0 {
            let ones = vec![1; stage.upsample_stride.len()];
            self.affine("Conv", &stage.head, output, vec![ints("kernel_shape", &ones)])?;
            if let Some(node) = self.nodes.last_mut() {
                node.output = vec![self.output.into()];
            }
        }
        Ok(())
    }
}

impl Fold<'_> {
    fn convolve(&mut self, unit: &Unit, tensors: &[Expected], input: String) -> Result<String, NnUnetError> {
        let padding: Vec<usize> = unit.kernel.iter().map(|k| (k - 1) / 2).collect();
        let attributes = vec![
            ints("kernel_shape", &unit.kernel),
            ints("strides", &unit.stride),
            ints("pads", &[padding.clone(), padding].concat()),
        ];
        let mut inputs = vec![input];
        for tensor in tensors.iter().filter(|t| matches!(t.role, Role::Weight | Role::Bias)) {
            inputs.push(self.weight(tensor)?);
        }
        Ok(self.node("Conv", &format!("{}.conv", unit.path), inputs, attributes))
    }

    fn normalize(
        &mut self,
        unit: &Unit,
        norm: Norm,
        tensors: &[Expected],
        value: String,
    ) -> Result<String, NnUnetError> {
        let (operator, epsilon, roles): (_, _, &[Role]) = match norm {
            Norm::Off => return Ok(value),
            Norm::Instance { epsilon, .. } => ("InstanceNormalization", epsilon, &[Role::Scale, Role::Shift]),
            Norm::Batch { epsilon, .. } => {
                ("BatchNormalization", epsilon, &[Role::Scale, Role::Shift, Role::Mean, Role::Variance])
            }
        };
        let mut inputs = vec![value];
        for role in roles {
            inputs.push(match tensors.iter().find(|t| t.role == *role) {
                Some(tensor) => self.weight(tensor)?,
                // Without learned scale and shift; the operators want both nevertheless.
                None => {
                    let channels = tensors.first().map_or(0, |conv| conv.shape[0]);
                    let (leaf, fill) = if *role == Role::Scale { ("ones", 1.0) } else { ("zeros", 0.0) };
                    self.constant(&format!("{}.norm.{leaf}", unit.path), &[channels], &vec![fill; channels])
                }
            });
        }
        Ok(self.node(operator, &format!("{}.norm", unit.path), inputs, vec![float("epsilon", epsilon)]))
    }

    fn activate(&mut self, path: &str, activation: Activation, value: String) -> String {
        let (operator, attributes) = match activation {
            Activation::None => return value,
            Activation::Relu => ("Relu", Vec::new()),
            Activation::Leaky(slope) => ("LeakyRelu", vec![float("alpha", slope)]),
        };
        self.node(operator, &format!("{path}.nonlin"), vec![value], attributes)
    }

    fn affine(
        &mut self,
        operator: &str,
        affine: &Affine,
        input: &str,
        attributes: Vec<AttributeProto>,
    ) -> Result<String, NnUnetError> {
        let mut inputs = vec![input.to_string()];
        for tensor in affine.tensors() {
            inputs.push(self.weight(&tensor)?);
        }
        Ok(self.node(operator, &affine.path, inputs, attributes))
    }

    fn weight(&mut self, tensor: &Expected) -> Result<String, NnUnetError> {
        let values = self.weights.read_f32(tensor.name())?;
        // The first name is the short one.
        let name = tensor.names.first().map_or("", String::as_str);
        if self.half && tensor.role == Role::Weight {
            let bytes = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes());
            let stored = self.initializer(name, &tensor.shape, DataType::Float16, 2 * values.len(), bytes);
            // Not the initializer's name: readers keep both in one list.
            return Ok(self.node(
                "Cast",
                &format!("{name}.wide"),
                vec![stored],
                vec![int("to", DataType::Float as i64)],
            ));
        }
        Ok(self.constant(name, &tensor.shape, &values))
    }

    fn constant(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes());
        self.initializer(name, shape, DataType::Float, 4 * values.len(), bytes)
    }

    fn initializer(
        &mut self,
        name: &str,
        shape: &[usize],
        kind: DataType,
        len: usize,
        bytes: impl Iterator<Item = u8>,
    ) -> String {
        let name = format!("{}{name}", self.prefix);
        // Sized before it is filled: growing would leave up to half of every weight's memory unused.
        let mut raw_data = Vec::with_capacity(len);
        raw_data.extend(bytes);
        self.initializers.push(TensorProto {
            dims: shape.iter().map(|n| *n as i64).collect(),
            data_type: kind as i32,
            name: name.clone(),
            raw_data,
            ..TensorProto::default()
        });
        name
    }

    fn node(&mut self, operator: &str, name: &str, inputs: Vec<String>, attributes: Vec<AttributeProto>) -> String {
        let name = format!("{}{name}", self.prefix);
        // A suffix keeps values apart from initializers, which carry the modules' names.
        let output = format!("{name}:out");
        self.nodes.push(NodeProto {
            input: inputs,
            output: vec![output.clone()],
            name,
            op_type: operator.into(),
            attribute: attributes,
            ..NodeProto::default()
        });
        output
    }
}

fn value_info(name: &str, shape: &[usize]) -> ValueInfoProto {
    let dim = shape
        .iter()
        .map(|n| Dimension { denotation: String::new(), value: Some(dimension::Value::DimValue(*n as i64)) })
        .collect();
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { denotation: String::new(), value: Some(type_proto::Value::TensorType(tensor)) }),
        doc_string: String::new(),
    }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: values.iter().map(|n| *n as i64).collect(),
        ..AttributeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i: value, ..AttributeProto::default() }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Float as i32, f: value, ..AttributeProto::default() }
}
