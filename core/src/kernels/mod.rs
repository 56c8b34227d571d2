//! The layers of a network as loops over tiles: convolution, transposed convolution, pooling, sums, probabilities.
//!
//! A tensor is stored raw, in single or half precision or in bytes; what follows it (the scale and shift of an instance
//! norm, an activation, a quantisation) is pending and applied to each row as the next layer reads it. So a full-size
//! tensor is written once and read once. Every layer is cut into tiles by its shape alone; each tile is computed by one
//! thread, and partial statistics are added in the order of the tiles: the result is the same at any thread count.
//!
//! Tensors are `[channels, z, y, x]`, `x` fastest.

mod conv;
mod data_gradient;
mod norm;
mod output;
mod pool;
mod source;
mod squash;
mod sum;
mod upsample;
mod weight_gradient;

pub use conv::{Conv, ConvGeometry, ConvWeights, Precision};
pub use data_gradient::{DataGradient, Into};
pub use norm::{Norm, Statistics};
pub use output::{OutTile, Output};
pub use pool::{Pool, PoolGeometry};
pub use source::{Data, Op, Part, Source, Stored, Target};
pub use squash::Squash;
pub use sum::Sum;
pub use upsample::{Upsample, UpsampleWeights};
pub use weight_gradient::WeightGradient;

use crate::arch::Block;

/// Splits `bytes` worth of blocks off the front.
fn split<'a, T: crate::arch::Plain>(rest: &mut &'a mut [Block], elements: usize) -> &'a mut [T] {
    let (front, tail) = core::mem::take(rest).split_at_mut(blocks::<T>(elements));
    *rest = tail;
    &mut crate::arch::numbers_mut(front)[..elements]
}

/// Blocks that hold so many numbers.
const fn blocks<T>(elements: usize) -> usize {
    crate::arch::blocks_for(elements * size_of::<T>())
}
