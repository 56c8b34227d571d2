//! The fields of a header, whichever version it has.

/// The version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 348 bytes, sizes of 16 bits, single precision.
    One,
    /// 540 bytes, sizes of 64 bits, double precision.
    Two,
}

/// The fields that are judged, in the widest type of both versions.
pub(super) struct Fields {
    pub(super) dim: [i64; 8],
    pub(super) datatype: i16,
    pub(super) bitpix: i16,
    pub(super) pixdim: [f64; 8],
    pub(super) vox_offset: f64,
    pub(super) slope: f64,
    pub(super) inter: f64,
    pub(super) units: i32,
    pub(super) qform_code: i32,
    pub(super) sform_code: i32,
    pub(super) quatern: [f64; 3],
    pub(super) qoffset: [f64; 3],
    pub(super) srow: [[f64; 4]; 3],
}
