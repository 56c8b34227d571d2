//! A MGH header: parsed, checked, and built from a grid.

use scanside_core::volume::{Grid, VoxelType};

/// Bytes before the voxels.
pub(super) const HEADER_BYTES: usize = 284;

/// Delta, directions and centre: all that says where voxels lie, behind the flag that says whether they do.
const PLACE: std::ops::Range<usize> = 28..90;

/// The bytes that no reader looks at. Label maps have their free text here.
const UNUSED: std::ops::Range<usize> = 90..HEADER_BYTES;

/// A usable header.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub(super) grid: Grid,
    pub(super) channels: usize,
    pub(super) voxel_type: VoxelType,
    pub(super) description: String,
    pub(super) warnings: Vec<String>,
    pub(super) place: PlaceBytes,
}

/// What a header says of the place of its voxels, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlaceBytes(Vec<u8>);

/// Where FreeSurfer puts a volume that does not say: its first axis runs to the left, the second down, the third forwards.
const UNPLACED: [[f64; 3]; 3] = [[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]];

/// The voxel types that are read. FreeSurfer's code, and ours.
fn voxel_type(code: i32) -> Result<VoxelType, String> {
    let refused = match code {
        0 => return Ok(VoxelType::U8),
        1 => return Ok(VoxelType::I32),
        3 => return Ok(VoxelType::F32),
        4 => return Ok(VoxelType::I16),
        10 => return Ok(VoxelType::U16),
        2 => "long integers",
        5 => "single bits",
        6 => "tensors",
        7 | 8 => "complex numbers",
        9 => "RGB colours",
        _ => return Err(format!("its voxel type code is {code}, which MGH does not define; the header is damaged")),
    };
    Err(format!("its voxels are {refused} (type code {code}); convert them to integers or floats of 32 bits"))
}

impl Header {
    /// Parses the first 284 bytes of an uncompressed file; `None` where they are none of this format.
    ///
    /// # Errors
    /// A sentence: which field is refused, what it holds and what to do.
    pub(super) fn parse(bytes: &[u8]) -> Option<Result<Header, String>> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        (i32_at(bytes, 0) == 1).then(|| Header::of(bytes))
    }

    fn of(bytes: &[u8; HEADER_BYTES]) -> Result<Header, String> {
        let sizes: [i32; 4] = std::array::from_fn(|k| i32_at(bytes, 4 + 4 * k));
        let [x, y, z, channels] = sizes.map(|n| usize::try_from(n).ok().filter(|n| *n > 0));
        let (Some(x), Some(y), Some(z), Some(channels)) = (x, y, z, channels) else {
            return Err(format!("its sizes are {sizes:?}; every size must be at least 1"));
        };
        let voxel_type = voxel_type(i32_at(bytes, 20))?;
        let placed = i16::from_be_bytes([bytes[28], bytes[29]]) != 0;
        let reals: [f64; 15] = std::array::from_fn(|k| f64::from(f32::from_bits(i32_at(bytes, 30 + 4 * k) as u32)));
        let mut warnings = Vec::new();
        let (mut delta, mut direction, mut centre) = ([1.0; 3], UNPLACED, [0.0; 3]);
        if placed {
            delta.copy_from_slice(&reals[..3]);
            // Three numbers of each axis: right, anterior, superior.
            direction = std::array::from_fn(|r| std::array::from_fn(|k| reals[3 + 3 * k + r]));
            centre.copy_from_slice(&reals[12..]);
        } else {
            warnings.push(
                "its header does not say where it lies; voxels of 1 mm in FreeSurfer's coronal order are taken".into(),
            );
        }
        if let Some(mm) = delta.iter().find(|mm| !(mm.is_finite() && **mm > 0.0)) {
            return Err(format!(
                "its voxel spacing is {mm}; it must be greater than zero, so set it from the original scan"
            ));
        }
        let half = [x, y, z].map(|n| n as f64 / 2.0);
        let to_lps = [-1.0, -1.0, 1.0];
        let origin = std::array::from_fn(|r| {
            to_lps[r] * (centre[r] - (0..3).map(|k| direction[r][k] * delta[k] * half[k]).sum::<f64>())
        });
        let direction: [[f64; 3]; 3] = std::array::from_fn(|r| direction[r].map(|v| to_lps[r] * v));
        let finite = direction.iter().flatten().chain(&origin).all(|v: &f64| v.is_finite());
        if !finite || crate::geometry::determinant(&direction) == 0.0 {
            return Err("its directions or its centre span no volume; set them from the original scan".into());
        }
        let [dx, dy, dz] = delta;
        let text = bytes[UNUSED].split(|b| *b == 0).next().unwrap_or_default();
        Ok(Header {
            grid: Grid { shape_zyx: [z, y, x], spacing_mm: [dz, dy, dx], origin, direction },
            channels,
            voxel_type,
            description: String::from_utf8_lossy(text).into_owned(),
            warnings,
            place: PlaceBytes(bytes[PLACE].to_vec()),
        })
    }
}

fn i32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> i32 {
    i32::from_be_bytes(std::array::from_fn(|k| bytes[at + k]))
}

impl PlaceBytes {
    /// What a header says of a grid.
    ///
    /// # Errors
    /// A sentence: a number is beyond the range of single precision.
    pub(super) fn of_grid(grid: &Grid) -> Result<PlaceBytes, String> {
        let [z, y, x] = grid.shape_zyx;
        let half = [x, y, z].map(|n| n as f64 / 2.0);
        let to_ras = [-1.0, -1.0, 1.0];
        // An axis whose direction is not of length 1 has its length in its spacing.
        let lengths: [f64; 3] =
            std::array::from_fn(|k| (0..3).map(|r| grid.direction[r][k].powi(2)).sum::<f64>().sqrt());
        let delta: [f64; 3] = std::array::from_fn(|k| grid.spacing_mm[2 - k] * lengths[k]);
        let along: [[f64; 3]; 3] =
            std::array::from_fn(|k| std::array::from_fn(|r| to_ras[r] * grid.direction[r][k] / lengths[k]));
        let centre: [f64; 3] = std::array::from_fn(|r| {
            to_ras[r] * grid.origin[r] + (0..3).map(|k| along[k][r] * delta[k] * half[k]).sum::<f64>()
        });
        let mut bytes = 1i16.to_be_bytes().to_vec();
        for v in delta.into_iter().chain(along.into_iter().flatten()).chain(centre) {
            let single = v as f32;
            if !single.is_finite() {
                return Err(format!("its place has the number {v}, which is beyond the range of single precision"));
            }
            bytes.extend(single.to_be_bytes());
        }
        Ok(PlaceBytes(bytes))
    }
}

/// The header of a label map.
pub(super) fn label_header(
    shape_zyx: [usize; 3],
    code: i32,
    place: &PlaceBytes,
    text: &str,
) -> Result<Vec<u8>, String> {
    let [z, y, x] = shape_zyx;
    let mut bytes = 1i32.to_be_bytes().to_vec();
    for n in [x, y, z, 1] {
        let n = i32::try_from(n).map_err(|_| format!("an axis of {n} voxels is longer than MGH can hold"))?;
        bytes.extend(n.to_be_bytes());
    }
    bytes.extend(code.to_be_bytes());
    bytes.extend(0i32.to_be_bytes());
    bytes.extend(&place.0);
    bytes.extend(text.bytes().take(UNUSED.len()));
    bytes.resize(HEADER_BYTES, 0);
    Ok(bytes)
}
