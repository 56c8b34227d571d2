//! A patch's voxels and logits on their way between the pipeline and a network, in single or half precision.
//!
//! A network that stores its tensors in half precision gains nothing from a patch in single, and the logits of a patch
//! can be larger than any tensor inside.

use crate::arch::Plain;
use crate::half_float::{F16_MAX, f16_to_f32, f32_to_f16};

/// How a patch's numbers are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PatchPrecision {
    /// Single precision.
    #[default]
    F32,
    /// Half precision; what is too large becomes the largest finite value.
    F16,
}

impl PatchPrecision {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            PatchPrecision::F32 => 4,
            PatchPrecision::F16 => 2,
        }
    }
}

/// A patch to be read.
#[derive(Clone, Copy, Debug)]
pub enum Patch<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Bits of half precision.
    F16(&'a [u16]),
}

/// A patch to be written.
#[derive(Debug)]
pub enum PatchMut<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// Bits of half precision.
    F16(&'a mut [u16]),
}

impl Patch<'_> {
    /// Numbers.
    pub fn len(&self) -> usize {
        match self {
            Patch::F32(p) => p.len(),
            Patch::F16(p) => p.len(),
        }
    }

    /// No numbers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PatchMut<'_> {
    /// Numbers.
    pub fn len(&self) -> usize {
        match self {
            PatchMut::F32(p) => p.len(),
            PatchMut::F16(p) => p.len(),
        }
    }

    /// No numbers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A number of a patch: `f32`, or a `u16` with the bits of half precision.
pub trait PatchNumber: Plain + Default + Send + Sync {
    /// Rounds to nearest even.
    fn narrow(value: f32) -> Self;
    /// The value.
    fn widen(self) -> f32;
    /// A patch of these.
    fn patch(numbers: &[Self]) -> Patch<'_>;
    /// A patch of these, to be written.
    fn patch_mut(numbers: &mut [Self]) -> PatchMut<'_>;
}

impl PatchNumber for f32 {
    #[inline(always)]
    fn narrow(value: f32) -> f32 {
        value
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    fn patch(numbers: &[f32]) -> Patch<'_> {
        Patch::F32(numbers)
    }
    fn patch_mut(numbers: &mut [f32]) -> PatchMut<'_> {
        PatchMut::F32(numbers)
    }
}

impl PatchNumber for u16 {
    #[inline(always)]
    fn narrow(value: f32) -> u16 {
        // NaN stays NaN.
        f32_to_f16(value.clamp(-F16_MAX, F16_MAX))
    }
    #[inline(always)]
    fn widen(self) -> f32 {
        f16_to_f32(self)
    }
    fn patch(numbers: &[u16]) -> Patch<'_> {
        Patch::F16(numbers)
    }
    fn patch_mut(numbers: &mut [u16]) -> PatchMut<'_> {
        PatchMut::F16(numbers)
    }
}
