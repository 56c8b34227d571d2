//! A NIfTI header: parsed, checked, and kept as it was.

use super::error::HeaderError;
use super::fields::{Fields, Version};
use super::geometry;
use super::layout;
use crate::volume_file::voxel_bytes;
use crate::voxels::Scaling;
use scanside_core::volume::{Grid, Reader, VoxelType};

/// Which files a header belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Files {
    /// Header and voxels in one file, `.nii`.
    #[default]
    One,
    /// The header in a file `.hdr`, the voxels in a file `.img`.
    Pair,
}

/// A NIfTI header whose sizes, type, offset and geometry are usable.
///
/// Sizes are checked for overflow, not against a file.
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
    warnings: Vec<String>,
}

impl Header {
    /// The most bytes [`Self::parse`] looks at.
    pub const MOST_BYTES: usize = 540;

    /// Parses the start of an uncompressed file by ITK's rules; bytes after the header are ignored.
    ///
    /// # Errors
    /// Says which field is refused, what it holds and what to do.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        Header::parse_as(bytes, Files::One, Reader::SimpleItk)
    }

    /// As [`Self::parse`], for the header of `files`, by the rules of `reader`.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_as(bytes: &[u8], files: Files, reader: Reader) -> Result<Self, HeaderError> {
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
        let mark = mark(raw, version)?;
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

        let data_bytes = voxel_bytes(shape_zyx, channels, voxel_type)
            .ok_or_else(|| HeaderError::TooManyVoxels { sizes: tail(&fields.dim) })?;
        let mut warnings = Vec::new();
        let voxels_at = voxels_at(&fields, version, (files, mark), reader, &mut warnings)?;
        let placed = match reader {
            Reader::SimpleItk => geometry::placement(&fields, version, axes)?,
            Reader::Nibabel => geometry::placement_by_nibabel(&fields, version, axes)?,
        };
        let [x, y, z] = placed.spacing_xyz;
        Ok(Header {
            raw: raw.to_vec(),
            version,
            big_endian,
            planar: axes == 2,
            channels,
            voxel_type,
            voxels_at,
            data_bytes,
            scaling: match reader {
                Reader::SimpleItk => scaling(fields.slope, fields.inter),
                Reader::Nibabel => scaling_by_nibabel(fields.slope, fields.inter)?,
            },
            grid: Grid { shape_zyx, spacing_mm: [z, y, x], origin: placed.origin, direction: placed.direction },
            warnings,
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

    /// Whether the image has no z axis; its [`Grid`] then has one plane, and a spacing of 1 mm for that axis.
    pub fn is_planar(&self) -> bool {
        self.planar
    }

    /// Shape, spacing, origin and direction as the reader takes them.
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

    /// What was repaired in the header, a sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

fn tail(dim: &[i64; 8]) -> [i64; 7] {
    std::array::from_fn(|k| dim[k + 1])
}

/// What a header says of its files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    One,
    Pair,
}

fn mark(raw: &[u8], version: Version) -> Result<Mark, HeaderError> {
    let mark: [u8; 8] = match version {
        Version::One => std::array::from_fn(|k| if k < 4 { raw[344 + k] } else { 0 }),
        Version::Two => std::array::from_fn(|k| raw[4 + k]),
    };
    let (one, pair) = layout::marks(version);
    if mark == one {
        Ok(Mark::One)
    } else if mark == pair {
        Ok(Mark::Pair)
    } else {
        Err(match version {
            Version::One => HeaderError::Analyze,
            Version::Two => HeaderError::DamagedMark { mark },
        })
    }
}

/// The byte at which voxels start.
///
/// ITK takes an offset inside the header for one right behind it, if the header is marked as that of a single file; so do
/// files of old writers, which have no four bytes for extensions. nibabel refuses such files. One file that is marked as
/// half of a pair is read where it says, and so is the second file of a pair.
fn voxels_at(
    fields: &Fields,
    version: Version,
    (files, mark): (Files, Mark),
    reader: Reader,
    warnings: &mut Vec<String>,
) -> Result<u64, HeaderError> {
    let l = version.layout();
    let header_bytes = l.header_bytes as u64;
    let got = fields.vox_offset;
    // 2^53 bounds what a double counts exactly.
    let whole = got.abs() < 9e15 && got.fract() == 0.0;
    let least = match (files, reader) {
        (Files::Pair, _) => 0,
        (Files::One, Reader::SimpleItk) => header_bytes,
        (Files::One, Reader::Nibabel) => l.voxels_at,
    };
    if whole && got >= least as f64 {
        return Ok(got as u64);
    }
    if whole && mark == Mark::One && (files, reader) == (Files::One, Reader::SimpleItk) {
        warnings.push(format!(
            "its header says that voxels start at byte {got}, inside the header of {header_bytes} bytes; \
             they are read from byte {header_bytes}, as ITK does"
        ));
        return Ok(header_bytes);
    }
    Err(HeaderError::VoxelOffset { got, least })
}

fn check_count(got: i64) -> Result<(), HeaderError> {
    if (1..=7).contains(&got) { Ok(()) } else { Err(HeaderError::DimensionCount { got }) }
}

/// Number of spatial axes (2 or 3), their sizes and the channels. Axes beyond z of size 0 or less have size 1, and trailing
/// ones of size 1 do not count, as in ITK.
fn sizes(dim: &[i64; 8]) -> Result<(usize, [usize; 3], usize), HeaderError> {
    let mut count = dim[0] as usize;
    let mut size = [1usize; 8];
    for axis in 1..=count {
        size[axis] = match usize::try_from(dim[axis]) {
            Ok(n) if n > 0 => n,
            _ if axis > 3 => 1,
            _ => return Err(HeaderError::EmptyAxis { axis, size: dim[axis] }),
        };
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
fn scaling(slope: f64, inter: f64) -> Option<Scaling> {
    let fixed = |v: f64| if v.is_finite() { v } else { 0.0 };
    let (mut slope, inter) = (fixed(slope), fixed(inter));
    if slope.abs() < f64::EPSILON {
        slope = 1.0;
    }
    let needed = (slope - 1.0).abs() > f64::EPSILON || inter.abs() > f64::EPSILON;
    needed.then_some(Scaling { slope, inter })
}

/// nibabel's reading: a slope of 0 or that is no number means no scaling at all.
fn scaling_by_nibabel(slope: f64, inter: f64) -> Result<Option<Scaling>, HeaderError> {
    if !slope.is_finite() || slope == 0.0 {
        return Ok(None);
    }
    if !inter.is_finite() {
        return Err(HeaderError::Intercept { slope, inter });
    }
    Ok((slope != 1.0 || inter != 0.0).then_some(Scaling { slope, inter }))
}
