//! Primitives for training: gradients back through norms, and the products that weights' gradients are sums of.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod correlate;
mod norm;
mod spread;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::correlate_4x3;
pub use correlate::{Correlation, CorrelationRows};
pub use norm::NormedRow;
