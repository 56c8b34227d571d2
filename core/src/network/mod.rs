//! The compiled network: a flat list of fused steps over numbered buffers, and the weights beside it.
//!
//! A [`Graph`] says what is computed and holds no large numbers; [`Weights`] are one run of bytes, packed the way the
//! kernels read them, so they are used where they lie, be it memory or flash. [`Network`] puts both together with an
//! instruction set, checks every index and size once, and lays out the memory of a run. [`NativeEngine`] runs it.

mod arena;
mod bind;
mod builder;
mod check;
mod engine;
mod image;
mod layout;
mod prepare;
mod run;
mod spec;
mod weights;

pub use builder::GraphBuilder;
pub use engine::NativeEngine;
#[doc(hidden)]
pub use image::Aligned;
pub use image::{Image, ImageError, write_image};
pub use layout::Network;
pub use run::StepObserver;
pub use spec::{
    ConvSpec, Form, Graph, Kind, NormSpec, OpSpec, PartSpec, Place, Span, SpecError, Step, Storage, ValueSpec,
};
pub use weights::Weights;

pub use crate::arch::{Activation, Isa, Quant};
pub use crate::kernels::{Between, ConvGeometry, PoolGeometry, Squash};
