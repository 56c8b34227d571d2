//! Memory in aligned blocks, seen as numbers of one kind or another.

use core::mem::size_of;

/// 64 bytes at an address divisible by 64: a cache line, and the widest vector.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Block([u8; 64]);

impl Block {
    /// All bytes zero.
    pub const ZERO: Block = Block([0; 64]);
}

/// Blocks that hold `bytes`.
pub const fn blocks_for(bytes: usize) -> usize {
    bytes.div_ceil(size_of::<Block>())
}

/// Numbers of which every bit pattern is a value, and that hold no pointers and no padding.
pub trait Plain: Copy + private::Sealed {}

mod private {
    pub trait Sealed {}
}

macro_rules! plain {
    ($($t:ty),*) => { $(impl private::Sealed for $t {} impl Plain for $t {})* };
}
plain!(u8, i8, u16, i32, f32, f64, [u8; 256]);

/// Blocks as numbers.
pub fn numbers<T: Plain>(blocks: &[Block]) -> &[T] {
    // SAFETY: a block is 64 plain bytes, its alignment and size are multiples of those of any Plain type, and every bit
    // pattern is a value of T.
    unsafe { core::slice::from_raw_parts(blocks.as_ptr().cast(), size_of_val(blocks) / size_of::<T>()) }
}

/// Blocks as numbers to be written.
pub fn numbers_mut<T: Plain>(blocks: &mut [Block]) -> &mut [T] {
    // SAFETY: as for `numbers`, and the borrow is exclusive: nobody sees the bytes as another type while it lasts.
    unsafe { core::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast(), size_of_val(blocks) / size_of::<T>()) }
}

/// Bytes as numbers, where their address allows it.
pub fn numbers_in<T: Plain>(bytes: &[u8]) -> Option<&[T]> {
    let aligned = bytes.as_ptr().align_offset(align_of::<T>()) == 0;
    // SAFETY: the address is aligned, the length is cut to whole numbers, and every bit pattern is a value of T.
    aligned.then(|| unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) })
}
