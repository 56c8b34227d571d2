//! An ONNX model in memory: a graph, its weights, and the manifest that may travel with them.

use std::fmt;
use std::io::Write;

use prost::Message;
use sha2::{Digest, Sha256};
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto};

use super::error::OnnxError;
use crate::digest::hex;

/// An ONNX model: its graph and weights, and perhaps a manifest.
///
/// It is made by [`OnnxModel::from_bytes`], by [`load`](super::load) or by
/// [`import_folder`](crate::nnunet::import_folder), written by [`OnnxModel::write`], and run by
/// [`OnnxEngine`](super::OnnxEngine). It holds all weights: a clone takes as much memory again.
#[derive(Clone)]
pub struct OnnxModel {
    pub(crate) proto: ModelProto,
}

impl fmt::Debug for OnnxModel {
    /// The name and the numbers of operators and weight tensors; the weights would fill books.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graph = self.proto.graph.as_ref();
        f.debug_struct("OnnxModel")
            .field("name", &graph.map_or("", |g| g.name.as_str()))
            .field("nodes", &graph.map_or(0, |g| g.node.len()))
            .field("weights", &graph.map_or(0, |g| g.initializer.len()))
            .finish()
    }
}

impl OnnxModel {
    /// Writes the bytes of the ONNX file. They are assembled in memory first.
    ///
    /// # Errors
    /// What the writer reports.
    pub fn write(&self, mut to: impl Write) -> std::io::Result<()> {
        to.write_all(&self.proto.encode_to_vec())
    }

    /// SHA-256 over the graph, its weights and the operator sets, lower-case hex. Names, documentation and
    /// the metadata of the file do not count.
    pub fn graph_sha256(&self) -> String {
        let mut hash = GraphHash::of_operators(&self.proto);
        if let Some(graph) = &self.proto.graph {
            graph.initializer.iter().for_each(|weight| hash.weight(weight));
        }
        hash.finish(&self.proto)
    }

    /// The graph; files without one are refused where they are read.
    pub(super) fn graph(&self) -> Result<&GraphProto, OnnxError> {
        self.proto.graph.as_ref().ok_or_else(|| OnnxError::File("it holds no network graph".into()))
    }
}

/// [`OnnxModel::graph_sha256`] in the making: operators, then weights one by one, then inputs and outputs.
///
/// One message at a time, so that hashing needs no second copy of all weights. Each is preceded by its list's tag and its
/// length: moving bytes from one message to the next changes the hash.
pub(crate) struct GraphHash {
    hash: Sha256,
    buffer: Vec<u8>,
}

impl GraphHash {
    /// Starts with the operator sets and the nodes of the graph.
    pub(crate) fn of_operators(proto: &ModelProto) -> GraphHash {
        let mut hash = GraphHash { hash: Sha256::new(), buffer: Vec::new() };
        proto.opset_import.iter().for_each(|opset| hash.add(1, opset));
        proto.graph.iter().flat_map(|graph| &graph.node).for_each(|node| hash.add(2, node));
        hash
    }

    /// Adds the next weight of the graph.
    pub(crate) fn weight(&mut self, weight: &TensorProto) {
        self.add(3, weight);
    }

    /// Adds what comes after the weights.
    pub(crate) fn finish(mut self, proto: &ModelProto) -> String {
        if let Some(graph) = &proto.graph {
            graph.input.iter().for_each(|input| self.add(4, input));
            graph.output.iter().for_each(|output| self.add(5, output));
        }
        proto.functions.iter().for_each(|function| self.add(6, function));
        hex(&self.hash.finalize())
    }

    fn add(&mut self, tag: u8, message: &impl Message) {
        self.buffer.clear();
        // Writing to a `Vec` cannot fail.
        message.encode(&mut self.buffer).unwrap_or_default();
        self.hash.update([tag]);
        self.hash.update((self.buffer.len() as u64).to_le_bytes());
        self.hash.update(&self.buffer);
    }
}
