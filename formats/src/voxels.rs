//! Stored voxels: decoding, scaling, and volumes kept in their stored type.

use scanside_core::volume::{Reader, VoxelType};
use std::collections::TryReserveError;

/// What stored values are multiplied by and what is then added.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Scaling {
    pub slope: f64,
    pub inter: f64,
}

/// What the bytes of voxels stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Coding {
    /// The stored type.
    pub(crate) voxel_type: VoxelType,
    /// Most significant byte first.
    pub(crate) big_endian: bool,
    /// What stored numbers become.
    pub(crate) values: Values,
}

/// What stored numbers become.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Values {
    /// The scaling that applies; `None` where values are taken as stored.
    pub(crate) scaling: Option<Scaling>,
    /// Where numbers are rounded.
    pub(crate) reader: Reader,
    /// Stored numbers that are not finite count as 0, before scaling.
    pub(crate) zero_for_non_finite: bool,
}

/// A number as files store it.
pub(crate) trait Element: Copy + Default {
    /// The elements of `bytes`; what is left after the last whole one is ignored.
    fn decode(bytes: &[u8], big_endian: bool) -> impl ExactSizeIterator<Item = Self> + Clone;

    /// The value as stored, cast to `f32`.
    fn plain(self) -> f32;

    /// The scaled value, rounded where ITK rounds.
    fn scaled(self, by: Scaling) -> f32;

    /// The value in double precision, in which nibabel calculates.
    fn wide(self) -> f64;

    /// Neither NaN nor infinite.
    fn finite(self) -> bool;

    /// The value, or 0 where it is not finite.
    fn repaired(self) -> Self {
        if self.finite() { self } else { Self::default() }
    }

    /// The label this value stands for, or the value that is none.
    fn label(self, by: Option<Scaling>) -> Result<u32, f64>;
}

fn whole(value: f64) -> Result<u32, f64> {
    // Also false for NaN; -0.0 is 0.
    if value >= 0.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0 { Ok(value as u32) } else { Err(value) }
}

macro_rules! element {
    ($type:ty, $scaled:expr, $finite:expr, $label:expr) => {
        impl Element for $type {
            #[inline]
            fn decode(bytes: &[u8], big_endian: bool) -> impl ExactSizeIterator<Item = Self> + Clone {
                let (whole, _) = bytes.as_chunks::<{ size_of::<$type>() }>();
                whole.iter().map(
                    move |b| {
                        if big_endian { <$type>::from_be_bytes(*b) } else { <$type>::from_le_bytes(*b) }
                    },
                )
            }

            #[inline]
            fn plain(self) -> f32 {
                self as f32
            }

            #[inline]
            fn scaled(self, by: Scaling) -> f32 {
                let scaled: fn($type, Scaling) -> f32 = $scaled;
                scaled(self, by)
            }

            #[inline]
            fn wide(self) -> f64 {
                self as f64
            }

            #[inline]
            fn finite(self) -> bool {
                let finite: fn($type) -> bool = $finite;
                finite(self)
            }

            #[inline]
            fn label(self, by: Option<Scaling>) -> Result<u32, f64> {
                match by {
                    None => {
                        let label: fn($type) -> Result<u32, f64> = $label;
                        label(self)
                    }
                    Some(by) => whole(f64::from(self.scaled(by))),
                }
            }
        }
    };
}

macro_rules! integers {
    ($($type:ty),*) => { $(element!(
        $type,
        // ITK widens integers to float before it scales, which rounds those past 2^24.
        |v, by| (f64::from(v as f32) * by.slope + by.inter) as f32,
        |_| true,
        |v| u32::try_from(v).map_err(|_| v as f64)
    );)* };
}

integers!(u8, i8, u16, i16, u32, i32, u64, i64);
element!(f32, |v, by| (f64::from(v) * by.slope + by.inter) as f32, f32::is_finite, |v| whole(f64::from(v)));
element!(f64, |v, by| (v * by.slope + by.inter) as f32, f64::is_finite, whole);

impl Values {
    /// Writes what stored numbers become to `out`, one each.
    fn put<T: Element>(self, stored: impl Iterator<Item = T>, out: &mut [f32]) {
        let pairs = out.iter_mut().zip(stored);
        match (self.reader, self.scaling) {
            (Reader::SimpleItk, None) => pairs.for_each(|(o, v)| *o = v.plain()),
            (Reader::SimpleItk, Some(by)) => pairs.for_each(|(o, v)| *o = v.scaled(by)),
            (Reader::Nibabel, None) => pairs.for_each(|(o, v)| *o = v.wide() as f32),
            (Reader::Nibabel, Some(by)) => pairs.for_each(|(o, v)| *o = (v.wide() * by.slope + by.inter) as f32),
        }
    }
}

/// Runs `$body` with `$t` naming the Rust type of a [`VoxelType`].
macro_rules! with_type {
    ($voxel_type:expr, $t:ident => $body:expr) => {{
        use scanside_core::volume::VoxelType as V;
        match $voxel_type {
            V::U8 => {
                type $t = u8;
                $body
            }
            V::I8 => {
                type $t = i8;
                $body
            }
            V::U16 => {
                type $t = u16;
                $body
            }
            V::I16 => {
                type $t = i16;
                $body
            }
            V::U32 => {
                type $t = u32;
                $body
            }
            V::I32 => {
                type $t = i32;
                $body
            }
            V::U64 => {
                type $t = u64;
                $body
            }
            V::I64 => {
                type $t = i64;
                $body
            }
            V::F32 => {
                type $t = f32;
                $body
            }
            V::F64 => {
                type $t = f64;
                $body
            }
        }
    }};
}
pub(crate) use with_type;

/// Counts the numbers in `bytes` that are not finite.
pub(crate) fn non_finite(coding: Coding, bytes: &[u8]) -> u64 {
    with_type!(coding.voxel_type, T => {
        T::decode(bytes, coding.big_endian).filter(|v| !v.finite()).count() as u64
    })
}

/// Decodes `bytes` into `out`, one value per element, scaled. Lengths agree.
pub(crate) fn decode_into(coding: Coding, bytes: &[u8], out: &mut [f32]) {
    with_type!(coding.voxel_type, T => {
        let stored = T::decode(bytes, coding.big_endian);
        if coding.values.zero_for_non_finite {
            coding.values.put(stored.map(T::repaired), out);
        } else {
            coding.values.put(stored, out);
        }
    })
}

/// A volume in its stored type and the machine's byte order.
pub(crate) enum Stored {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

macro_rules! with_stored {
    ($stored:expr, $v:ident => $body:expr) => {
        match $stored {
            Stored::U8($v) => $body,
            Stored::I8($v) => $body,
            Stored::U16($v) => $body,
            Stored::I16($v) => $body,
            Stored::U32($v) => $body,
            Stored::I32($v) => $body,
            Stored::U64($v) => $body,
            Stored::I64($v) => $body,
            Stored::F32($v) => $body,
            Stored::F64($v) => $body,
        }
    };
}

impl Stored {
    pub(crate) fn new(voxel_type: VoxelType) -> Self {
        match voxel_type {
            VoxelType::U8 => Stored::U8(Vec::new()),
            VoxelType::I8 => Stored::I8(Vec::new()),
            VoxelType::U16 => Stored::U16(Vec::new()),
            VoxelType::I16 => Stored::I16(Vec::new()),
            VoxelType::U32 => Stored::U32(Vec::new()),
            VoxelType::I32 => Stored::I32(Vec::new()),
            VoxelType::U64 => Stored::U64(Vec::new()),
            VoxelType::I64 => Stored::I64(Vec::new()),
            VoxelType::F32 => Stored::F32(Vec::new()),
            VoxelType::F64 => Stored::F64(Vec::new()),
        }
    }

    /// Makes room for `more` further voxels without rounding the amount up.
    pub(crate) fn reserve(&mut self, more: usize) -> Result<(), TryReserveError> {
        with_stored!(self, v => v.try_reserve_exact(more))
    }

    /// Voxels that fit without growing, and voxels there.
    pub(crate) fn room(&self) -> (usize, usize) {
        with_stored!(self, v => (v.capacity(), v.len()))
    }

    /// Adds the numbers in `bytes`.
    pub(crate) fn extend(&mut self, bytes: &[u8], coding: Coding) {
        fn push<T: Element>(to: &mut Vec<T>, bytes: &[u8], coding: Coding) {
            let stored = T::decode(bytes, coding.big_endian);
            if coding.values.zero_for_non_finite {
                to.extend(stored.map(T::repaired));
            } else {
                to.extend(stored);
            }
        }
        with_stored!(self, v => push(v, bytes, coding))
    }

    pub(crate) fn bytes(&self) -> usize {
        fn held<T>(v: &Vec<T>) -> usize {
            v.capacity() * size_of::<T>()
        }
        with_stored!(self, v => held(v))
    }

    /// Writes the voxels from `start` on to `out`, scaled.
    pub(crate) fn copy_row(&self, start: usize, values: Values, out: &mut [f32]) {
        with_stored!(self, v => values.put(v[start..start + out.len()].iter().copied(), out))
    }
}
