//! The engine for a model file: our compiled network where the graph can be lowered, tract's executor elsewhere.

use super::graph::{Summary, TypedFolds, guarded};
use super::lower::{Lowered, lower};
use super::tract_engine::TractEngine;
use super::{OnnxError, OnnxModel};
use crate::arch::{Block, Isa};
use crate::engine::{Engine, EngineError, EngineFootprint, EngineShape};
use crate::executor::Executor;
use crate::manifest::Manifest;
use crate::network::{NativeEngine, Network};
use crate::patch::{Patch, PatchMut};

/// How a model is prepared for running.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Instruction set of the kernels.
    pub isa: Isa,
    /// Weights and unquantised tensors in half precision; by default, as the file stores its weights.
    pub half: Option<bool>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { isa: Isa::detect(), half: None }
    }
}

/// The network of a model file, ready to run.
pub struct OnnxEngine {
    inner: Inner,
    summary: Summary,
    not_lowered: Option<String>,
    float_convolutions: Vec<String>,
}

enum Inner {
    Native(NativeEngine<'static>),
    Tract(TractEngine),
}

impl OnnxEngine {
    /// Prepares the graph of `model` for the patch that `manifest` names.
    ///
    /// # Panics inside the graph library
    /// Files are checked before tract sees them, and tract may still panic on a hostile one. Such a panic is caught
    /// and becomes an error, which needs `panic = "unwind"`: in a program built with `panic = "abort"` it ends the
    /// process. The panic's message goes through the program's panic hook first, so by default it also appears on
    /// stderr; the hook belongs to the whole process, and a library does not change it. Compiled models
    /// ([`Self::compiled`]) do not involve tract.
    ///
    /// # Errors
    /// An operator without an implementation (by name), shapes that disagree with the manifest, or a graph that tract
    /// refuses.
    pub fn new(model: OnnxModel, manifest: &Manifest, settings: Settings) -> Result<OnnxEngine, OnnxError> {
        guarded(|| {
            let typed = TypedFolds::new(model, manifest)?;
            let summary = typed.summary.clone();
            let half = settings.half.unwrap_or(summary.precision != "f32");
            let mut float_convolutions = Vec::new();
            let mut networks = Vec::new();
            let mut not_lowered = None;
            for fold in &typed.folds {
                let made = lower(fold, manifest, &typed.quantised, half).and_then(|lowered| {
                    let Lowered { graph, weights, floats } = lowered;
                    float_convolutions.extend(floats);
                    Network::new(settings.isa, graph, weights).map_err(|e| super::lower::NotLowered(e.0))
                });
                match made {
                    Ok(network) => networks.push(network),
                    Err(why) => {
                        not_lowered = Some(why.0);
                        break;
                    }
                }
            }
            let native = if not_lowered.is_none() { NativeEngine::new(networks) } else { None };
            let inner = match native {
                Some(engine) => Inner::Native(engine),
                None => {
                    not_lowered.get_or_insert("a model without folds".into());
                    Inner::Tract(TractEngine::from_typed(typed, manifest)?)
                }
            };
            Ok(OnnxEngine { inner, summary, not_lowered, float_convolutions })
        })
    }

    /// The graph in tract's executor whether or not it could be lowered.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn tract(model: OnnxModel, manifest: &Manifest) -> Result<OnnxEngine, OnnxError> {
        guarded(|| {
            let typed = TypedFolds::new(model, manifest)?;
            let summary = typed.summary.clone();
            let inner = Inner::Tract(TractEngine::from_typed(typed, manifest)?);
            Ok(OnnxEngine {
                inner,
                summary,
                not_lowered: Some("tract was requested".into()),
                float_convolutions: vec![],
            })
        })
    }

    /// An engine of networks that were compiled elsewhere.
    pub(crate) fn native_only(native: NativeEngine<'static>, summary: Summary) -> OnnxEngine {
        OnnxEngine { inner: Inner::Native(native), summary, not_lowered: None, float_convolutions: vec![] }
    }

    /// Operators, parameters and precision, for `inspect`.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The compiled networks; none where tract runs the graph.
    pub fn native(&self) -> Option<&NativeEngine<'static>> {
        match &self.inner {
            Inner::Native(engine) => Some(engine),
            Inner::Tract(_) => None,
        }
    }

    /// The first operator that keeps the graph in tract's executor.
    pub fn not_lowered(&self) -> Option<&str> {
        self.not_lowered.as_deref()
    }

    /// Convolutions that the file quantises and that run in floats all the same, with the reason.
    pub fn float_convolutions(&self) -> &[String] {
        &self.float_convolutions
    }

    /// Bytes of weights, wherever they lie.
    pub fn weights_bytes(&self) -> usize {
        match &self.inner {
            Inner::Native(e) => e.networks().iter().map(|n| n.weights().bytes().len()).sum(),
            Inner::Tract(e) => e.footprint(1).shared_bytes,
        }
    }

    /// Multiply-accumulates of convolutions for one patch of one fold; none where tract runs the graph.
    pub fn macs_per_patch(&self) -> Option<u64> {
        Some(self.native()?.networks().first()?.graph().macs())
    }
}

impl Engine for OnnxEngine {
    fn name(&self) -> &'static str {
        match &self.inner {
            Inner::Native(e) => e.name(),
            Inner::Tract(e) => e.name(),
        }
    }

    fn shape(&self) -> EngineShape {
        match &self.inner {
            Inner::Native(e) => e.shape(),
            Inner::Tract(e) => e.shape(),
        }
    }

    fn footprint(&self, workers: usize) -> EngineFootprint {
        match &self.inner {
            Inner::Native(e) => e.footprint(workers),
            Inner::Tract(e) => e.footprint(workers),
        }
    }

    fn infer<X: Executor>(
        &self,
        fold: usize,
        input: Patch<'_>,
        output: PatchMut<'_>,
        workspace: &mut [Block],
        executor: &X,
    ) -> Result<(), EngineError> {
        match &self.inner {
            Inner::Native(e) => e.infer(fold, input, output, workspace, executor),
            Inner::Tract(e) => e.infer(fold, input, output, workspace, executor),
        }
    }
}
