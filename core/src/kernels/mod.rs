//! The layers of a network as loops over tiles: convolution, transposed convolution, interpolation, pooling, sums,
//! probabilities.
//!
//! A tensor is stored raw, in single or half precision or in bytes; what follows it (the scale and shift of an instance
//! norm, an activation, a quantisation) is pending and applied to each row as the next layer reads it. So a full-size
//! tensor is written once and read once. Every layer is cut into tiles by its shape alone; each tile is computed by one
//! thread, and partial statistics are added in the order of the tiles: the result is the same at any thread count.
//!
//! Tensors are `[channels, z, y, x]`, `x` fastest, where a caller hands them in or takes them, and `[z, channels, y, x]` in
//! between: then some planes of all channels are one piece of memory, which a layer may write over what it has read.

mod conv;
#[cfg(feature = "train")]
mod gradient;
mod norm;
mod output;
mod pool;
mod resample;
mod source;
mod spread;
mod squash;
mod stored;
mod sum;
mod upsample;

pub use conv::{Conv, ConvGeometry, ConvWeights, MOST_INT_PRODUCTS, Precision};
#[cfg(feature = "train")]
pub use gradient::{DataGradient, GradientTarget, Update, WeightGradient};
pub use norm::{Norm, Statistics};
pub use output::{OutTile, Output};
pub use pool::{Pool, PoolGeometry};
pub use resample::{Between, Resample};
pub use source::{ByteTarget, Read, Rows, Source, Target};
pub use spread::Spread;
pub use squash::Squash;
pub use stored::{Data, Op, Stored};
pub use sum::Sum;
pub use upsample::{Upsample, UpsampleWeights};

use crate::arch::{Block, Isa, Plain, blocks_for, numbers_mut};

/// What a layer runs with.
pub struct Pass<'p, 's, E> {
    /// The instruction set.
    pub isa: Isa,
    /// Where threads come from.
    pub executor: &'p E,
    /// One slice of scratch for each worker. What they hold does not matter.
    pub scratch: &'p mut [&'s mut [Block]],
}

/// Splits blocks for so many numbers off the front.
fn split<'a, T: Plain>(rest: &mut &'a mut [Block], elements: usize) -> &'a mut [T] {
    let (front, tail) = core::mem::take(rest).split_at_mut(blocks::<T>(elements));
    *rest = tail;
    &mut numbers_mut(front)[..elements]
}

/// Blocks that hold so many numbers.
const fn blocks<T>(elements: usize) -> usize {
    blocks_for(elements * size_of::<T>())
}
