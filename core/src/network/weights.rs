//! The weights of a compiled network: one run of bytes, owned or lying elsewhere.

use super::spec::Span;
use crate::arch::{Block, Plain, blocks_for, numbers, numbers_in, numbers_mut};
use alloc::vec::Vec;

/// Bytes whose start is aligned to 64.
pub enum Weights<'a> {
    /// In memory of our own.
    Owned(Vec<Block>),
    /// Where the caller has them, such as flash.
    Borrowed(&'a [u8]),
}

impl Weights<'_> {
    /// Bytes in all.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Weights::Owned(blocks) => numbers(blocks),
            Weights::Borrowed(bytes) => bytes,
        }
    }

    /// Numbers of one kind; empty where the span lies outside, which a checked graph excludes.
    pub(super) fn get<T: Plain>(&self, span: Span) -> &[T] {
        let end = span.offset.saturating_add(span.len * size_of::<T>());
        self.bytes().get(span.offset..end).and_then(numbers_in).unwrap_or_default()
    }

    /// Heap bytes held.
    pub fn held_bytes(&self) -> usize {
        match self {
            Weights::Owned(blocks) => size_of::<Block>() * blocks.capacity(),
            Weights::Borrowed(_) => 0,
        }
    }
}

/// Weights being collected.
#[derive(Default)]
pub(super) struct WeightsBuilder(Vec<Block>);

impl WeightsBuilder {
    /// Adds numbers, aligned to 64 bytes.
    pub(super) fn push<T: Plain>(&mut self, values: &[T]) -> Span {
        let offset = size_of::<Block>() * self.0.len();
        let start = self.0.len();
        self.0.resize(start + blocks_for(size_of_val(values)), Block::ZERO);
        numbers_mut(&mut self.0[start..])[..values.len()].copy_from_slice(values);
        Span { offset, len: values.len() }
    }

    pub(super) fn finish(mut self) -> Weights<'static> {
        self.0.shrink_to_fit();
        Weights::Owned(self.0)
    }
}
