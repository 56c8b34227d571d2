//! A NIfTI header: parsed, checked, and kept as it was.

use super::error::HeaderError;
use super::fields::Version;
use super::geometry;
use super::layout::{self, MARK_1, MARK_2};
use scanside_core::volume::{Grid, VoxelType};

/// What stored values are multiplied by and what is then added.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Scaling {
    pub slope: f64,
    pub inter: f64,
}

/// A single-file NIfTI header whose sizes, type, offset and geometry are usable.
///
/// Sizes are checked for overflow, not against a file: [`NiftiFile`](super::NiftiFile) does that.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    raw: Vec<u8>,
    version: Version,
    big_endian: bool,
    planar: bool,
    channels: usize,
    voxel_type: VoxelType,
    voxels_at: u64,
    data_bytes: u64,
    scaling: Option<Scaling>,
    grid: Grid,
}

impl Header {
    /// The most bytes [`Self::parse`] looks at.
    pub const MOST_BYTES: usize = 540;

    /// Parses the start of an uncompressed file; bytes after the header are ignored.
    ///
    /// # Errors
    /// Says which field is refused, what it holds and what to do.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let Some(&first) = bytes.first_chunk::<4>() else {
            return Err(HeaderError::TooShort { got: bytes.len(), needed: 348 });
        };
        let (version, big_endian) = match (i32::from_le_bytes(first), i32::from_be_bytes(first)) {
            (348, _) => (Version::One, false),
            (_, 348) => (Version::One, true),
            (540, _) => (Version::Two, false),
            (_, 540) => (Version::Two, true),
            (first, _) => return Err(HeaderError::NotNifti { first }),
        };
        let needed = version.layout().header_bytes;
        let raw = bytes.get(..needed).ok_or(HeaderError::TooShort { got: bytes.len(), needed })?;
        check_mark(raw, version)?;
        let fields = match version {
            Version::One => {
                // Checked before the crate parses: it guesses the byte order from this number.
                let count = [raw[40], raw[41]];
                let count = if big_endian { i16::from_be_bytes(count) } else { i16::from_le_bytes(count) };
                check_count(i64::from(count))?;
                layout::fields_1(raw)?
            }
            Version::Two => layout::fields_2(raw, big_endian),
        };
        check_count(fields.dim[0])?;
        let (axes, shape_zyx, channels) = sizes(&fields.dim)?;
        let voxel_type = voxel_type(fields.datatype, fields.bitpix)?;

        let too_many = || HeaderError::TooManyVoxels { sizes: tail(&fields.dim) };
        let data_bytes = scanside_core::volume::checked_voxels(shape_zyx)
            .and_then(|n| n.checked_mul(channels)?.checked_mul(voxel_type.bytes()))
            // A vector holds at most this many bytes; below it no later product of positions overflows.
            .filter(|&n| isize::try_from(n).is_ok())
            .ok_or_else(too_many)? as u64;

        let least = version.layout().voxels_at;
        let got = fields.vox_offset;
        // 2^53 bounds what a double counts exactly.
        if !(got >= least as f64 && got < 9e15 && got.fract() == 0.0) {
            return Err(HeaderError::VoxelOffset { got, least });
        }

        let placed = geometry::placement(&fields, version, axes)?;
        let [x, y, mut z] = placed.spacing_xyz;
        if axes == 2 {
            // nnU-Net's spacing for the axis that a 2-D image lacks: large enough to keep it apart from the others.
            z = 999.0 * x.max(y);
        }
        Ok(Header {
            raw: raw.to_vec(),
            version,
            big_endian,
            planar: axes == 2,
            channels,
            voxel_type,
            voxels_at: got as u64,
            data_bytes,
            scaling: scaling(fields.slope, fields.inter),
            grid: Grid { shape_zyx, spacing_mm: [z, y, x], origin: placed.origin, direction: placed.direction },
        })
    }

    /// The header's bytes as read: 348 or 540.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The format's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The free text of the file's maker.
    pub fn description(&self) -> String {
        layout::description(&self.raw, self.version)
    }

    /// The code of what the voxels mean; 1002 marks label maps.
    pub fn intent_code(&self) -> i32 {
        layout::intent_code(&self.raw, self.version, self.big_endian)
    }

    /// Whether numbers are stored most significant byte first.
    pub fn big_endian(&self) -> bool {
        self.big_endian
    }

    /// Whether the image has no z axis; its [`Grid`] then has one plane and 999 times the larger spacing.
    pub fn is_planar(&self) -> bool {
        self.planar
    }

    /// Shape, spacing, origin and direction as ITK reads them.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Volumes along the fourth axis, 1 without it.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The stored type.
    pub fn voxel_type(&self) -> VoxelType {
        self.voxel_type
    }

    /// Bytes of all voxels of all channels, uncompressed.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// The byte at which voxels start, uncompressed.
    pub fn voxels_at(&self) -> u64 {
        self.voxels_at
    }

    /// The scaling that applies, `None` where values are taken as stored.
    pub fn scaling(&self) -> Option<Scaling> {
        self.scaling
    }
}

fn tail(dim: &[i64; 8]) -> [i64; 7] {
    std::array::from_fn(|k| dim[k + 1])
}

fn check_mark(raw: &[u8], version: Version) -> Result<(), HeaderError> {
    let mark: [u8; 8] = match version {
        Version::One => std::array::from_fn(|k| if k < 4 { raw[344 + k] } else { 0 }),
        Version::Two => std::array::from_fn(|k| raw[4 + k]),
    };
    match (version, &mark[..4]) {
        (Version::One, m) if m == MARK_1 => Ok(()),
        (Version::Two, _) if &mark == MARK_2 => Ok(()),
        (Version::One, b"ni1\0") | (Version::Two, b"ni2\0") => Err(HeaderError::TwoFiles),
        (Version::One, _) => Err(HeaderError::Analyze),
        (Version::Two, _) => Err(HeaderError::DamagedMark { mark }),
    }
}

fn check_count(got: i64) -> Result<(), HeaderError> {
    if (1..=7).contains(&got) { Ok(()) } else { Err(HeaderError::DimensionCount { got }) }
}

/// Number of spatial axes (2 or 3), their sizes and the channels. Trailing axes of size 1 beyond z do not count, as in ITK.
fn sizes(dim: &[i64; 8]) -> Result<(usize, [usize; 3], usize), HeaderError> {
    let mut count = dim[0] as usize;
    let mut size = [1usize; 8];
    for axis in 1..=count {
        size[axis] = usize::try_from(dim[axis])
            .ok()
            .filter(|&n| n > 0)
            .ok_or(HeaderError::EmptyAxis { axis, size: dim[axis] })?;
    }
    while count > 3 && size[count] == 1 {
        count -= 1;
    }
    match count {
        1 => Err(HeaderError::OneDimension { size: dim[1] }),
        2 => Ok((2, [1, size[2], size[1]], 1)),
        3 => Ok((3, [size[3], size[2], size[1]], 1)),
        4 => Ok((3, [size[3], size[2], size[1]], size[4])),
        _ => {
            let used = dim[0] as usize;
            Err(HeaderError::TooManyAxes { sizes: std::array::from_fn(|k| if k < used { dim[k + 1] } else { 1 }) })
        }
    }
}

/// The type codes that are read.
pub(super) const TYPE_CODES: [(i16, VoxelType); 10] = [
    (2, VoxelType::U8),
    (256, VoxelType::I8),
    (512, VoxelType::U16),
    (4, VoxelType::I16),
    (768, VoxelType::U32),
    (8, VoxelType::I32),
    (1280, VoxelType::U64),
    (1024, VoxelType::I64),
    (16, VoxelType::F32),
    (64, VoxelType::F64),
];

fn voxel_type(code: i16, bitpix: i16) -> Result<VoxelType, HeaderError> {
    let unsupported = |name| Err(HeaderError::UnsupportedType { code, name });
    let Some(&(_, found)) = TYPE_CODES.iter().find(|(known, _)| *known == code) else {
        return match code {
            1 => unsupported("single bits"),
            32 => unsupported("complex numbers of 64 bits"),
            128 => unsupported("RGB colours"),
            1536 => unsupported("floats of 128 bits"),
            1792 => unsupported("complex numbers of 128 bits"),
            2048 => unsupported("complex numbers of 256 bits"),
            2304 => unsupported("RGBA colours"),
            _ => Err(HeaderError::UnknownType { code }),
        };
    };
    let expected = 8 * found.bytes();
    if usize::try_from(bitpix) == Ok(expected) {
        Ok(found)
    } else {
        Err(HeaderError::BitsPerVoxel { got: bitpix, expected, code })
    }
}

/// ITK's reading of slope and intercept: no number counts as 0, and a slope of 0 as 1 - the intercept is still added.
///
/// nibabel drops the intercept as well when the slope is 0 or NaN; the reference reads through ITK.
fn scaling(slope: f64, inter: f64) -> Option<Scaling> {
    let fixed = |v: f64| if v.is_finite() { v } else { 0.0 };
    let (mut slope, inter) = (fixed(slope), fixed(inter));
    if slope.abs() < f64::EPSILON {
        slope = 1.0;
    }
    let needed = (slope - 1.0).abs() > f64::EPSILON || inter.abs() > f64::EPSILON;
    needed.then_some(Scaling { slope, inter })
}
