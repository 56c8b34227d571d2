//! What can be wrong with a header, as sentences with the numbers and what to do.

use std::fmt;

/// Why a header is refused. Axes are named as the file counts them: 1 is x.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum HeaderError {
    /// Fewer bytes than a header has.
    TooShort { got: usize, needed: usize },
    /// The first number is not a NIfTI header's size in either byte order.
    NotNifti { first: i32 },
    /// ANALYZE 7.5: the size fits but the NIfTI mark is missing.
    Analyze,
    /// A NIfTI-2 mark whose line ends were rewritten on the way.
    DamagedMark { mark: [u8; 8] },
    /// `dim[0]` outside 1 to 7.
    DimensionCount { got: i64 },
    /// An axis without voxels.
    EmptyAxis { axis: usize, size: i64 },
    /// A line, not an image.
    OneDimension { size: i64 },
    /// More than x, y, z and one axis of channels.
    TooManyAxes { sizes: [i64; 7] },
    /// The sizes multiply to more bytes than this computer can count.
    TooManyVoxels { sizes: [i64; 7] },
    /// A known element type that is no single number up to 64 bits.
    UnsupportedType { code: i16, name: &'static str },
    /// An element type the format does not have.
    UnknownType { code: i16 },
    /// `bitpix` contradicts `datatype`.
    BitsPerVoxel { got: i16, expected: usize, code: i16 },
    /// Voxels that start inside the header or at no whole byte.
    VoxelOffset { got: f64, least: u64 },
    /// A slope that applies, and an intercept that is no number.
    Intercept { slope: f64, inter: f64 },
    /// A voxel spacing that is zero or no number.
    Spacing { axis: usize, got: f64 },
    /// Neither transform gives perpendicular axes.
    NotOrthonormal { sform_code: i32, qform_code: i32 },
    /// A transform that leaves no finite position.
    NotFinite,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::TooShort { got, needed } => {
                write!(f, "it holds {got} bytes and a NIfTI header takes {needed}; the file is cut off or is another format")
            }
            HeaderError::NotNifti { first } => write!(
                f,
                "it is not a NIfTI file: it starts with {first} where NIfTI-1 has 348 and NIfTI-2 has 540; convert it to .nii.gz"
            ),
            HeaderError::Analyze => f.write_str(
                "it is an ANALYZE 7.5 file, which does not say where the patient's left is; convert it to .nii.gz with its orientation checked",
            ),
            HeaderError::DamagedMark { mark } => write!(
                f,
                "its NIfTI-2 mark is damaged ({mark:02x?}), as after a transfer in text mode; copy the file again in binary mode"
            ),
            HeaderError::DimensionCount { got } => {
                write!(f, "its header counts {got} dimensions and NIfTI allows 1 to 7; the header is damaged")
            }
            HeaderError::EmptyAxis { axis, size } => {
                write!(f, "its header gives axis {axis} a size of {size}; every size must be at least 1")
            }
            HeaderError::OneDimension { size } => {
                write!(f, "it holds one line of {size} voxels; an image needs two or three dimensions")
            }
            HeaderError::TooManyAxes { sizes } => write!(
                f,
                "its sizes are {sizes:?} and only x, y, z and one axis of channels are read; save the intended image as a 3-D or 4-D file"
            ),
            HeaderError::TooManyVoxels { sizes } => {
                write!(f, "its sizes {sizes:?} multiply to more bytes than can be addressed; the header is damaged")
            }
            HeaderError::UnsupportedType { code, name } => write!(
                f,
                "its voxels are {name} (type code {code}); convert them to integers or floats of at most 64 bits"
            ),
            HeaderError::UnknownType { code } => {
                write!(f, "its voxel type code is {code}, which NIfTI does not define; the header is damaged")
            }
            HeaderError::BitsPerVoxel { got, expected, code } => write!(
                f,
                "its header says {got} bits per voxel and type code {code} has {expected}; save it again with a tool that writes both alike"
            ),
            HeaderError::VoxelOffset { got, least } => write!(
                f,
                "its header says that voxels start at byte {got}; that must be a whole number of at least {least}"
            ),
            HeaderError::Intercept { slope, inter } => write!(
                f,
                "its voxels are scaled by {slope} and shifted by {inter}, which is no number; set scl_inter from the original scan"
            ),
            HeaderError::Spacing { axis, got } => write!(
                f,
                "its voxel spacing along axis {axis} is {got}; it must be a number other than zero, so set it from the original scan"
            ),
            HeaderError::NotOrthonormal { sform_code, qform_code } => write!(
                f,
                "it has no orthonormal direction cosines: sform (code {sform_code}) is sheared or empty and qform has code {qform_code}; \
                 resample the image to perpendicular axes or give it a qform"
            ),
            HeaderError::NotFinite => f.write_str(
                "its position or direction is not a finite number; set its sform or qform from the original scan",
            ),
        }
    }
}

impl std::error::Error for HeaderError {}
