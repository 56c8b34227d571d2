//! Tensors of a checkpoint: where their values lie, and how they become `f32`.

use half::{bf16, f16};

/// The number type of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DType {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 16-bit float with the exponent of a 32-bit one.
    Bf16,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 16-bit integer.
    I16,
    /// 8-bit integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// Truth value, one byte.
    Bool,
}

impl DType {
    /// The type that a PyTorch storage class holds, for example `FloatStorage`.
    pub fn from_storage_class(name: &str) -> Option<DType> {
        Some(match name {
            "DoubleStorage" => DType::F64,
            "FloatStorage" => DType::F32,
            "HalfStorage" => DType::F16,
            "BFloat16Storage" => DType::Bf16,
            "LongStorage" => DType::I64,
            "IntStorage" => DType::I32,
            "ShortStorage" => DType::I16,
            "CharStorage" => DType::I8,
            "ByteStorage" => DType::U8,
            "BoolStorage" => DType::Bool,
            _ => return None,
        })
    }

    /// Bytes per value.
    pub fn bytes(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::Bf16 | DType::I16 => 2,
            DType::I8 | DType::U8 | DType::Bool => 1,
        }
    }

    /// One little-endian value of [`DType::bytes`] bytes as `f32`, rounded to nearest.
    fn to_f32(self, b: &[u8]) -> f32 {
        match self {
            DType::F64 => f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32,
            DType::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            DType::F16 => f16::from_le_bytes([b[0], b[1]]).to_f32(),
            DType::Bf16 => bf16::from_le_bytes([b[0], b[1]]).to_f32(),
            DType::I64 => i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32,
            DType::I32 => i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32,
            DType::I16 => i16::from_le_bytes([b[0], b[1]]).into(),
            DType::I8 => i8::from_le_bytes([b[0]]).into(),
            DType::U8 => b[0].into(),
            DType::Bool => f32::from(b[0] != 0),
        }
    }
}

/// A tensor of a checkpoint: a view of a storage, not yet read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Number type.
    pub dtype: DType,
    /// Values per axis; empty for a single value.
    pub shape: Vec<usize>,
    /// The storage's key in the archive.
    pub(super) storage: String,
    /// Values in the whole storage.
    pub(super) storage_len: u64,
    /// Place of the first value in the storage.
    pub(super) offset: u64,
    /// Steps between neighbours per axis, in values.
    pub(super) stride: Vec<u64>,
}

impl TensorInfo {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if it holds no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values between the first and the last that the view touches, both included; `None` if the numbers overflow,
    /// leave the storage, if the storage is so sparsely used that reading it would cost far more than it gives, or if its
    /// values are repeated so often that they would take far more memory than the file has bytes.
    pub(super) fn span(&self) -> Option<u64> {
        // Transposed and channels-last tensors have a factor of 1, slices with a step of 2 per axis at most 8.
        const SPARSE: u64 = 16;
        const REPEATED: u64 = 16;
        let count = self.shape.iter().try_fold(1u64, |n, s| n.checked_mul(*s as u64))?;
        usize::try_from(count).ok()?.checked_mul(8)?;
        if count == 0 {
            return (self.offset <= self.storage_len).then_some(0);
        }
        let mut last = 0u64;
        for (size, stride) in self.shape.iter().zip(&self.stride) {
            last = last.checked_add((*size as u64 - 1).checked_mul(*stride)?)?;
        }
        let span = last.checked_add(1)?;
        let end = self.offset.checked_add(span)?;
        let in_proportion = span <= count.saturating_mul(SPARSE) && count <= span.saturating_mul(REPEATED);
        (end <= self.storage_len && in_proportion).then_some(span)
    }

    /// The values in row-major order, from the bytes of the view's span.
    pub(super) fn gather(&self, span: &[u8]) -> Vec<f32> {
        // Without values, the product of the other extents may be anything.
        if self.is_empty() {
            return Vec::new();
        }
        let bytes = self.dtype.bytes();
        if self.is_contiguous() {
            return span.chunks_exact(bytes).map(|b| self.dtype.to_f32(b)).collect();
        }
        let mut values = Vec::with_capacity(self.len());
        let mut index = vec![0usize; self.shape.len()];
        for _ in 0..self.len() {
            let at: usize = index.iter().zip(&self.stride).map(|(i, s)| i * *s as usize).sum();
            values.push(self.dtype.to_f32(&span[at * bytes..(at + 1) * bytes]));
            for (i, size) in index.iter_mut().zip(&self.shape).rev() {
                *i += 1;
                if *i < *size {
                    break;
                }
                *i = 0;
            }
        }
        values
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        for (size, stride) in self.shape.iter().zip(&self.stride).rev() {
            if *size != 1 && *stride != expected {
                return false;
            }
            expected *= *size as u64;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[usize], stride: &[u64], offset: u64, storage_len: u64) -> TensorInfo {
        TensorInfo {
            dtype: DType::F32,
            shape: shape.to_vec(),
            storage: String::new(),
            storage_len,
            offset,
            stride: stride.to_vec(),
        }
    }

    #[test]
    fn a_transposed_view_is_gathered_in_row_major_order() {
        let bytes: Vec<u8> = (0..6u8).flat_map(|v| f32::from(v).to_le_bytes()).collect();
        let tensor = view(&[3, 2], &[1, 3], 0, 6);
        assert_eq!(tensor.span(), Some(6));
        assert_eq!(tensor.gather(&bytes), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    #[test]
    fn an_expanded_view_repeats_its_value() {
        let tensor = view(&[2, 2], &[0, 0], 3, 4);
        assert_eq!(tensor.span(), Some(1));
        assert_eq!(tensor.gather(&7f32.to_le_bytes()), [7.0; 4]);
    }

    #[test]
    fn views_that_leave_their_storage_have_no_span() {
        assert_eq!(view(&[4], &[1], 0, 4).span(), Some(4));
        assert_eq!(view(&[4], &[1], 1, 4).span(), None);
        assert_eq!(view(&[4], &[2], 0, 4).span(), None);
        assert_eq!(view(&[4], &[u64::MAX], 0, 4).span(), None);
        assert_eq!(view(&[usize::MAX, 8], &[0, 0], 0, 4).span(), None);
        assert_eq!(view(&[2], &[1 << 40], 0, 1 << 41).span(), None);
        assert_eq!(view(&[0, 8], &[8, 1], 0, 0).span(), Some(0));
        assert_eq!(view(&[0, 8], &[8, 1], u64::MAX, 4).span(), None);
    }

    #[test]
    fn memory_stays_in_proportion_to_the_storage() {
        assert_eq!(view(&[16], &[0], 0, 1).span(), Some(1));
        assert_eq!(view(&[17], &[0], 0, 1).span(), None);
        assert_eq!(view(&[1 << 40], &[0], 0, 1).span(), None);
        assert_eq!(view(&[1 << 40, 4], &[0, 1], 0, 4).span(), None);
    }

    #[test]
    fn an_empty_view_may_have_extents_of_any_size() {
        let tensor = view(&[0, 1 << 40, 1 << 40], &[0, 1 << 40, 1], 0, 0);
        assert_eq!(tensor.span(), Some(0));
        assert_eq!(tensor.gather(&[]), [] as [f32; 0]);
    }

    #[test]
    fn every_number_type_becomes_f32() {
        assert_eq!(DType::F64.to_f32(&(-1.5f64).to_le_bytes()), -1.5);
        assert_eq!(DType::F16.to_f32(&f16::from_f32(-1.5).to_le_bytes()), -1.5);
        assert_eq!(DType::Bf16.to_f32(&bf16::from_f32(-1.5).to_le_bytes()), -1.5);
        assert_eq!(DType::I64.to_f32(&(-7i64).to_le_bytes()), -7.0);
        assert_eq!(DType::I32.to_f32(&(-7i32).to_le_bytes()), -7.0);
        assert_eq!(DType::I16.to_f32(&(-7i16).to_le_bytes()), -7.0);
        assert_eq!(DType::I8.to_f32(&[0xf9]), -7.0);
        assert_eq!(DType::U8.to_f32(&[249]), 249.0);
        assert_eq!(DType::Bool.to_f32(&[1]), 1.0);
    }
}
