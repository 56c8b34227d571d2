//! A compiled model opened beside ONNX files: the same engine, with no graph library and no copy of the weights.

use super::OnnxError;
use super::engine::OnnxEngine;
use super::graph::Summary;
use crate::arch::Isa;
use crate::manifest::Manifest;
use crate::network::{ConvSpec, Form, Image, ImageError, Kind, NativeEngine, Network, PartSpec, Step, ValueSpec};
use std::collections::BTreeMap;

impl OnnxEngine {
    /// Whether these are the first bytes of a compiled model.
    pub fn is_compiled(start: &[u8]) -> bool {
        Image::is_image(start)
    }

    /// Opens a compiled model where it lies; `bytes` start at an address divisible by 64.
    ///
    /// # Errors
    /// Bytes that are damaged or of another version, or a manifest that disagrees with the networks.
    pub fn compiled(bytes: &'static [u8], isa: Isa) -> Result<(Manifest, OnnxEngine), OnnxError> {
        let file = |e: ImageError| OnnxError::Compiled(e.to_string());
        let image = Image::open(bytes).map_err(file)?;
        let manifest = image.manifest().map_err(file)?;
        let networks = image.networks(isa).map_err(file)?;
        let summary = summarise(&networks);
        let native = NativeEngine::new(networks);
        let native = native.ok_or_else(|| OnnxError::Compiled("its folds differ in shape".into()))?;
        Ok((manifest, OnnxEngine::native_only(native, summary)))
    }
}

fn summarise(networks: &[Network<'_>]) -> Summary {
    let mut operators = BTreeMap::new();
    let mut parameters = 0u64;
    let (mut floats, mut halves, mut ints) = (0, 0, 0);
    for step in networks.iter().flat_map(|n| &n.graph().steps) {
        let name = match &step.kind {
            Kind::Conv(g, spec) => {
                parameters += (g.cout * g.cin * g.taps() + g.cout) as u64;
                match spec {
                    ConvSpec::Float { form: Form::F32, .. } => floats += 1,
                    ConvSpec::Float { form: Form::F16, .. } => halves += 1,
                    ConvSpec::Int { .. } => ints += 1,
                }
                "convolution"
            }
            Kind::Pool(_) => "pooling",
            Kind::Squash(_) => "probabilities",
            Kind::Sum { .. } => "sum",
        };
        *operators.entry(name.into()).or_default() += 1;
        if step.norm.is_some() {
            parameters += 2 * step.channels as u64;
            *operators.entry("instance norm".into()).or_default() += 1;
        }
        let upsampled = upsampled(step);
        parameters += upsampled.iter().sum::<u64>();
        if !upsampled.is_empty() {
            *operators.entry("transposed convolution".into()).or_default() += upsampled.len();
        }
    }
    let precision = match (ints > floats + halves, halves > floats) {
        (true, _) => "int8",
        (_, true) => "f16",
        _ => "f32",
    };
    Summary { operators, parameters, precision }
}

/// Parameters of each transposed convolution that a step reads through.
fn upsampled(step: &Step) -> Vec<u64> {
    fn collect(value: &ValueSpec, all: &mut Vec<u64>) {
        for part in &value.parts {
            match part {
                PartSpec::Stored { .. } => {}
                PartSpec::Upsampled { low, cout, kernel, .. } => {
                    all.push((cout * (low.channels() * kernel.iter().product::<usize>() + 1)) as u64);
                    collect(low, all);
                }
                PartSpec::Spread { low, .. } | PartSpec::Resampled { low, .. } => collect(low, all),
            }
        }
    }
    let mut all = Vec::new();
    step.inputs.iter().for_each(|v| collect(v, &mut all));
    all
}
