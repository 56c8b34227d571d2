//! Where a header's fields lie, for both versions, and how to set them.
//!
//! Reading NIfTI-1 is left to the `nifti` crate; NIfTI-2, and writing either, needs the byte positions.

use super::error::HeaderError;
use super::fields::{Fields, Version};
use ::nifti::NiftiHeader;
use std::ops::Range;

/// The marks of a single file and of a pair; those of NIfTI-1 have four bytes, and those of NIfTI-2 end so that a transfer
/// in text mode shows.
pub(super) fn marks(version: Version) -> ([u8; 8], [u8; 8]) {
    match version {
        Version::One => (*b"n+1\0\0\0\0\0", *b"ni1\0\0\0\0\0"),
        Version::Two => (*b"n+2\0\r\n\x1a\n", *b"ni2\0\r\n\x1a\n"),
    }
}

/// Byte positions of the fields that are set one by one.
pub(super) struct Layout {
    pub(super) header_bytes: usize,
    /// Where voxels start when there are no extensions: the header and four bytes that say so.
    pub(super) voxels_at: u64,
    mark: usize,
    datatype: usize,
    bitpix: usize,
    dim: usize,
    pixdim: usize,
    vox_offset: usize,
    slope: usize,
    descrip: usize,
    intent: usize,
    units: Range<usize>,
    /// `qform_code` to the end of `srow_z`: contiguous in both versions.
    transforms: Range<usize>,
}

const LAYOUT_1: Layout = Layout {
    header_bytes: 348,
    voxels_at: 352,
    mark: 344,
    datatype: 70,
    bitpix: 72,
    dim: 40,
    pixdim: 76,
    vox_offset: 108,
    slope: 112,
    descrip: 148,
    intent: 68,
    units: 123..124,
    transforms: 252..328,
};

const LAYOUT_2: Layout = Layout {
    header_bytes: 540,
    voxels_at: 544,
    mark: 4,
    datatype: 12,
    bitpix: 14,
    dim: 16,
    pixdim: 104,
    vox_offset: 168,
    slope: 176,
    descrip: 240,
    intent: 504,
    units: 500..504,
    transforms: 344..496,
};

impl Version {
    pub(super) fn layout(self) -> &'static Layout {
        match self {
            Version::One => &LAYOUT_1,
            Version::Two => &LAYOUT_2,
        }
    }
}

/// Bytes of the free text of both versions.
const DESCRIPTION_BYTES: usize = 80;

/// The free text of a header, up to its first zero.
pub(super) fn description(raw: &[u8], version: Version) -> String {
    let at = version.layout().descrip;
    let field = &raw[at..at + DESCRIPTION_BYTES];
    let text = field.split(|&b| b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// The code of what the voxels mean.
pub(super) fn intent_code(raw: &[u8], version: Version, big_endian: bool) -> i32 {
    let at = version.layout().intent;
    match (version, big_endian) {
        (Version::One, true) => i16::from_be_bytes(array(raw, at)).into(),
        (Version::One, false) => i16::from_le_bytes(array(raw, at)).into(),
        (Version::Two, true) => i32::from_be_bytes(array(raw, at)),
        (Version::Two, false) => i32::from_le_bytes(array(raw, at)),
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// NIfTI-1 fields from 348 bytes whose byte order and `dim[0]` were checked.
pub(super) fn fields_1(bytes: &[u8]) -> Result<Fields, HeaderError> {
    let h = NiftiHeader::from_reader(bytes).map_err(|_| HeaderError::Analyze)?;
    let wide = |v: [f32; 4]| v.map(f64::from);
    Ok(Fields {
        // The crate holds sizes unsigned; a negative one must stay visible.
        dim: h.dim.map(|n| i64::from(n as i16)),
        datatype: h.datatype,
        bitpix: h.bitpix,
        pixdim: h.pixdim.map(f64::from),
        vox_offset: f64::from(h.vox_offset),
        slope: f64::from(h.scl_slope),
        inter: f64::from(h.scl_inter),
        units: i32::from(h.xyzt_units),
        qform_code: i32::from(h.qform_code),
        sform_code: i32::from(h.sform_code),
        quatern: [h.quatern_b, h.quatern_c, h.quatern_d].map(f64::from),
        qoffset: [h.quatern_x, h.quatern_y, h.quatern_z].map(f64::from),
        srow: [wide(h.srow_x), wide(h.srow_y), wide(h.srow_z)],
    })
}

/// NIfTI-2 fields from 540 bytes.
pub(super) fn fields_2(bytes: &[u8], big_endian: bool) -> Fields {
    let i16_at = |at| {
        if big_endian { i16::from_be_bytes(array(bytes, at)) } else { i16::from_le_bytes(array(bytes, at)) }
    };
    let i32_at = |at| {
        if big_endian { i32::from_be_bytes(array(bytes, at)) } else { i32::from_le_bytes(array(bytes, at)) }
    };
    let i64_at = |at| {
        if big_endian { i64::from_be_bytes(array(bytes, at)) } else { i64::from_le_bytes(array(bytes, at)) }
    };
    let f64_at = |at| {
        if big_endian { f64::from_be_bytes(array(bytes, at)) } else { f64::from_le_bytes(array(bytes, at)) }
    };
    let l = &LAYOUT_2;
    let quatern = l.transforms.start + 8;
    Fields {
        dim: std::array::from_fn(|k| i64_at(l.dim + 8 * k)),
        datatype: i16_at(l.datatype),
        bitpix: i16_at(l.bitpix),
        pixdim: std::array::from_fn(|k| f64_at(l.pixdim + 8 * k)),
        vox_offset: i64_at(l.vox_offset) as f64,
        slope: f64_at(l.slope),
        inter: f64_at(l.slope + 8),
        units: i32_at(l.units.start),
        qform_code: i32_at(l.transforms.start),
        sform_code: i32_at(l.transforms.start + 4),
        quatern: std::array::from_fn(|k| f64_at(quatern + 8 * k)),
        qoffset: std::array::from_fn(|k| f64_at(quatern + 24 + 8 * k)),
        srow: std::array::from_fn(|r| std::array::from_fn(|c| f64_at(quatern + 48 + 8 * (4 * r + c)))),
    }
}

/// A header under construction: zeros where nothing was set.
pub(super) struct Draft {
    bytes: Vec<u8>,
    version: Version,
    big_endian: bool,
}

impl Draft {
    pub(super) fn new(version: Version, big_endian: bool) -> Self {
        let l = version.layout();
        let mut draft = Draft { bytes: vec![0; l.voxels_at as usize], version, big_endian };
        draft.put_i32(0, l.header_bytes as i32);
        let (mark, _) = marks(version);
        // Behind the four bytes of NIfTI-1 come the four of the extensions, zeros too.
        draft.bytes[l.mark..l.mark + 8].copy_from_slice(&mark);
        if version == Version::One {
            draft.bytes[38] = b'r'; // "regular": unused, but ANALYZE readers look for it.
        }
        draft.set_description("scanside");
        match version {
            Version::One => draft.put_real(l.vox_offset, l.voxels_at as f64),
            Version::Two => draft.put_int(l.vox_offset, l.voxels_at as i64),
        }
        draft.put_real(l.slope, 1.0);
        draft
    }

    /// The free text of the header; what does not fit is cut off.
    pub(super) fn set_description(&mut self, text: &str) {
        let at = self.version.layout().descrip;
        let field = &mut self.bytes[at..at + DESCRIPTION_BYTES];
        field.fill(0);
        for (byte, &letter) in field.iter_mut().zip(text.as_bytes()) {
            *byte = letter;
        }
    }

    /// Voxel sizes, units and both transforms as another header of the same version and byte order has them.
    pub(super) fn copy_geometry(&mut self, from: &[u8]) {
        let l = self.version.layout();
        let pixdim = l.pixdim..l.pixdim + 8 * self.real_bytes();
        for range in [pixdim, l.units.clone(), l.transforms.clone()] {
            self.bytes[range.clone()].copy_from_slice(&from[range]);
        }
    }

    /// Sizes, x first; the rest of the seven are 1.
    pub(super) fn set_sizes(&mut self, sizes_xyz: &[usize]) {
        let l = self.version.layout();
        let step = match self.version {
            Version::One => 2,
            Version::Two => 8,
        };
        self.put_int(l.dim, sizes_xyz.len() as i64);
        for k in 0..7 {
            self.put_int(l.dim + step * (k + 1), sizes_xyz.get(k).map_or(1, |&n| n as i64));
        }
    }

    pub(super) fn set_type(&mut self, code: i16, bytes: usize) {
        let l = self.version.layout();
        self.put_i16(l.datatype, code);
        self.put_i16(l.bitpix, 8 * bytes as i16);
    }

    /// Both transforms with code 1 (scanner), spacing in millimetres; rows are RAS.
    pub(super) fn set_geometry(&mut self, pixdim: [f64; 4], quatern: [f64; 3], srow: [[f64; 4]; 3]) {
        let l = self.version.layout();
        let real = self.real_bytes();
        for (k, v) in pixdim.into_iter().chain([1.0; 4]).enumerate() {
            self.put_real(l.pixdim + real * k, v);
        }
        const MILLIMETRE: u8 = 2;
        let units = if self.big_endian { l.units.end - 1 } else { l.units.start };
        self.bytes[units] = MILLIMETRE;
        let code_bytes = match self.version {
            Version::One => 2,
            Version::Two => 4,
        };
        for at in [l.transforms.start, l.transforms.start + code_bytes] {
            match self.version {
                Version::One => self.put_i16(at, 1),
                Version::Two => self.put_i32(at, 1),
            }
        }
        let offset = srow.map(|row| row[3]);
        let reals = quatern.into_iter().chain(offset).chain(srow.into_iter().flatten());
        for (k, v) in reals.enumerate() {
            self.put_real(l.transforms.start + 2 * code_bytes + real * k, v);
        }
    }

    /// The header and the four bytes that say "no extensions".
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn real_bytes(&self) -> usize {
        match self.version {
            Version::One => 4,
            Version::Two => 8,
        }
    }

    fn put(&mut self, at: usize, little_endian: &[u8]) {
        let field = &mut self.bytes[at..at + little_endian.len()];
        field.copy_from_slice(little_endian);
        if self.big_endian {
            field.reverse();
        }
    }

    fn put_i16(&mut self, at: usize, v: i16) {
        self.put(at, &v.to_le_bytes());
    }

    fn put_i32(&mut self, at: usize, v: i32) {
        self.put(at, &v.to_le_bytes());
    }

    fn put_int(&mut self, at: usize, v: i64) {
        match self.version {
            Version::One => self.put_i16(at, v as i16),
            Version::Two => self.put(at, &v.to_le_bytes()),
        }
    }

    fn put_real(&mut self, at: usize, v: f64) {
        match self.version {
            Version::One => self.put(at, &(v as f32).to_le_bytes()),
            Version::Two => self.put(at, &v.to_le_bytes()),
        }
    }
}
