//! A memory-mapped file, as numbers.
//!
//! Training reads small patches of many cases in random order, and all cases together may be larger than memory. Mapped files
//! stay in the system's page cache as far as they fit, are shared by all workers, and are not copied.

use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ops::Range;

#[cfg(target_endian = "big")]
compile_error!("cached cases are little endian and used in place");

/// A mapped file.
#[derive(Debug)]
pub(super) struct Mapping(Mmap);

impl Mapping {
    /// Maps a file.
    ///
    /// # Safety
    /// The bytes of the file do not change while it is mapped.
    #[allow(unsafe_code)]
    pub(super) unsafe fn new(file: &File) -> io::Result<Mapping> {
        // SAFETY: the caller promises that the bytes do not change.
        unsafe { Mmap::map(file) }.map(Mapping)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The `f32` in a range of bytes; empty where the range is not aligned.
    pub(super) fn floats(&self, bytes: Range<usize>) -> &[f32] {
        self.cast(bytes)
    }

    /// As [`Self::floats`].
    pub(super) fn shorts(&self, bytes: Range<usize>) -> &[i16] {
        self.cast(bytes)
    }

    #[allow(unsafe_code)]
    fn cast<T: Number>(&self, bytes: Range<usize>) -> &[T] {
        // SAFETY: every pattern of bits is a value of T, by the contract of `Number`.
        let (before, numbers, after) = unsafe { self.0[bytes].align_to::<T>() };
        if before.is_empty() && after.is_empty() { numbers } else { &[] }
    }
}

/// Numbers that bytes are reinterpreted as.
///
/// # Safety
/// Every pattern of bits is a value of the type, and it has no padding.
#[allow(unsafe_code)]
unsafe trait Number {}
// SAFETY: every pattern of 32 bits is an `f32`.
#[allow(unsafe_code)]
unsafe impl Number for f32 {}
// SAFETY: every pattern of 16 bits is an `i16`.
#[allow(unsafe_code)]
unsafe impl Number for i16 {}
