//! Memory that a caller hands in: aligned blocks of bytes, which are seen as numbers of one kind or another.
//!
//! Engines take their workspace as [`Block`]s, so that a caller allocates it once, from where it likes:
//!
//! ```
//! use scanside_core::workspace::{Block, blocks_for, numbers_mut};
//!
//! let mut memory = vec![Block::ZERO; blocks_for(1000 * size_of::<f32>())];
//! let floats: &mut [f32] = numbers_mut(&mut memory);
//! assert!(floats.len() >= 1000);
//! ```

pub use crate::arch::{Block, Plain, blocks_for, numbers, numbers_in, numbers_mut};
