//! What the fields of an NRRD header mean, by ITK's rules.

use super::fields::Fields;
use crate::geometry::Geometry;
use crate::text_header::list;
use scanside_core::volume::{Grid, VoxelType};

/// The fields that say where voxels lie, in the spelling in which they are written. Copied as they are into label maps of
/// the same format.
const PLACE: [&str; 8] = [
    "space",
    "space dimension",
    "space directions",
    "space origin",
    "space units",
    "spacings",
    "axis mins",
    "centerings",
];

/// The lines of a header that say where voxels lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlaceLines(pub(super) String);

/// A usable header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) geometry: Geometry,
    pub(super) channels: usize,
    pub(super) voxel_type: VoxelType,
    pub(super) big_endian: bool,
    pub(super) gzip: bool,
    pub(super) warnings: Vec<String>,
}

/// A known orientation of space: its names, its dimension, and whether x and y run against LPS.
const SPACES: [(&[&str], usize, [bool; 2]); 10] = [
    (&["right-anterior-superior", "ras"], 3, [true, true]),
    (&["left-anterior-superior", "las"], 3, [false, true]),
    (&["left-posterior-superior", "lps"], 3, [false, false]),
    (&["scanner-xyz"], 3, [false, false]),
    (&["3d-right-handed"], 3, [false, false]),
    (&["3d-left-handed"], 3, [false, false]),
    (&["right-anterior-superior-time", "rast"], 4, [true, true]),
    (&["left-anterior-superior-time", "last"], 4, [false, true]),
    (&["left-posterior-superior-time", "lpst"], 4, [false, false]),
    (&["scanner-xyz-time", "3d-right-handed-time", "3d-left-handed-time"], 4, [false, false]),
];

impl Header {
    /// # Errors
    /// A sentence: which field is refused, what it holds and what to do.
    pub(super) fn new(fields: &Fields) -> Result<Header, String> {
        let need = |name: &str| fields.get(name).ok_or_else(|| format!("its header has no field {name:?}"));
        let voxel_type = voxel_type(need("type")?)?;
        let big_endian = match (fields.get("endian").map(str::to_ascii_lowercase).as_deref(), voxel_type.bytes()) {
            (Some("little"), _) | (_, 1) => false,
            (Some("big"), _) => true,
            (other, _) => return Err(format!("its byte order (field \"endian\") is {other:?}, not little or big")),
        };
        let encoding = need("encoding")?.to_ascii_lowercase();
        let gzip = match encoding.as_str() {
            "raw" => false,
            "gzip" | "gz" => true,
            _ => return Err(format!("its voxels are encoded as {encoding}; save it with the encoding raw or gzip")),
        };
        let axes = Axes::new(fields)?;
        let mut warnings = Vec::new();
        let (grid, place) = axes.placed(fields, &mut warnings)?;
        let geometry = if axes.domain.len() == 2 { Geometry::of_plane(grid) } else { Geometry::of_grid(grid) };
        // A label map has the scan's own lines where it has the scan's axes.
        let same_axes = axes.domain.len() == axes.all && axes.all < 4;
        let geometry = if same_axes { geometry.with_own(place) } else { geometry };
        let channels = axes.domain.get(3).map_or(1, |(_, size)| *size);
        Ok(Header { geometry, channels, voxel_type, big_endian, gzip, warnings })
    }
}

fn voxel_type(name: &str) -> Result<VoxelType, String> {
    Ok(match name.trim().to_ascii_lowercase().as_str() {
        "signed char" | "int8" | "int8_t" => VoxelType::I8,
        "uchar" | "unsigned char" | "uint8" | "uint8_t" => VoxelType::U8,
        "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => VoxelType::I16,
        "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => VoxelType::U16,
        "int" | "signed int" | "int32" | "int32_t" => VoxelType::I32,
        "uint" | "unsigned int" | "uint32" | "uint32_t" => VoxelType::U32,
        "longlong"
        | "long long"
        | "long long int"
        | "signed long long"
        | "signed long long int"
        | "int64"
        | "int64_t" => VoxelType::I64,
        "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => VoxelType::U64,
        "float" => VoxelType::F32,
        "double" => VoxelType::F64,
        "block" => return Err("its voxels are blocks of bytes; convert them to integers or floats".into()),
        other => return Err(format!("its voxel type is {other:?}, which NRRD does not define")),
    })
}

/// The axes of the array.
struct Axes {
    /// Their number.
    all: usize,
    /// Those that are places, not values of one voxel: number and size, the fastest first.
    domain: Vec<(usize, usize)>,
}

impl Axes {
    fn new(fields: &Fields) -> Result<Axes, String> {
        let text = fields.get("dimension").ok_or("its header has no field \"dimension\"")?;
        let all = text.parse().ok().filter(|n| (1..=16).contains(n));
        let all: usize = all.ok_or_else(|| format!("its dimension is {text:?}; NRRD allows 1 to 16"))?;
        let text = fields.get("sizes").ok_or("its header has no field \"sizes\"")?;
        let sizes = list::<usize>(text, all).filter(|sizes| sizes.iter().all(|n| *n > 0));
        let sizes = sizes.ok_or_else(|| format!("its sizes are {text:?}; {all} numbers of at least 1 are needed"))?;
        let mut domain = Vec::new();
        let kinds = fields.get("kinds").map(|kinds| list::<String>(kinds, all));
        let kinds = match kinds {
            Some(None) => return Err(format!("its header has not {all} kinds of axes")),
            Some(Some(kinds)) => kinds,
            None => Vec::new(),
        };
        for (axis, size) in sizes.into_iter().enumerate() {
            let kind = kinds.get(axis).map_or("???", String::as_str);
            let place = matches!(kind.to_ascii_lowercase().as_str(), "domain" | "space" | "time" | "???" | "none");
            match (place, size) {
                (true, _) => domain.push((axis, size)),
                // A value of its own axis is one value.
                (false, 1) => {}
                (false, _) => {
                    return Err(format!(
                        "it has {size} values for each voxel (an axis of kind {kind}); save each as an image of its own"
                    ));
                }
            }
        }
        match domain.len() {
            2..=4 => Ok(Axes { all, domain }),
            n => Err(format!("it has {n} axes of places; x, y, z and one axis of channels are read")),
        }
    }

    /// The grid, and the lines of the header that say it.
    fn placed(&self, fields: &Fields, warnings: &mut Vec<String>) -> Result<(Grid, PlaceLines), String> {
        let lines = PLACE.iter().filter_map(|field| {
            let name = field.replace(' ', "");
            let value = fields.get(&name).or_else(|| fields.get("centers").filter(|_| name == "centerings"))?;
            Some(format!("{field}: {value}\n"))
        });
        let lines = PlaceLines(lines.collect());
        let space = space_of(fields)?;
        let mut grid = Grid {
            shape_zyx: [1; 3],
            spacing_mm: [1.0; 3],
            origin: [0.0; 3],
            direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        };
        for (k, (_, size)) in self.domain.iter().take(3).enumerate() {
            grid.shape_zyx[2 - k] = *size;
        }
        match space {
            Some((dimension, flipped)) => self.in_space(fields, dimension, flipped, &mut grid)?,
            None => self.by_spacing(fields, &mut grid, warnings)?,
        }
        let finite = grid.origin.iter().chain(grid.direction.iter().flatten()).all(|v| v.is_finite());
        let spaced = grid.spacing_mm.iter().all(|mm| mm.is_finite() && *mm > 0.0);
        if !(finite && spaced) || crate::geometry::determinant(&grid.direction) == 0.0 {
            return Err("its space directions or its origin span no volume; set them from the original scan".into());
        }
        Ok((grid, lines))
    }

    fn in_space(&self, fields: &Fields, dimension: usize, flipped: [bool; 2], grid: &mut Grid) -> Result<(), String> {
        if self.domain.len() != dimension {
            return Err(format!(
                "it has {} axes of places in a space of {dimension} dimensions; save it with as many axes as dimensions",
                self.domain.len()
            ));
        }
        let to_lps = |r: usize| if flipped.get(r).is_some_and(|flipped| *flipped) { -1.0 } else { 1.0 };
        if let Some(text) = fields.get("spacedirections") {
            let wrong =
                || format!("its space directions are {text:?}; {dimension} vectors of {dimension} numbers are needed");
            let vectors = vectors(text).filter(|vectors| vectors.len() == self.all).ok_or_else(wrong)?;
            for (k, (axis, _)) in self.domain.iter().take(3).enumerate() {
                let vector = vectors[*axis].as_ref().filter(|v| v.len() == dimension).ok_or_else(wrong)?;
                let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
                grid.spacing_mm[2 - k] = length;
                for (r, v) in vector.iter().enumerate().take(3) {
                    grid.direction[r][k] = to_lps(r) * v / length;
                }
            }
        } else {
            // ITK takes 1 mm and the axes of the space.
            grid.direction[0][0] = to_lps(0);
            grid.direction[1][1] = to_lps(1);
        }
        if let Some(text) = fields.get("spaceorigin").filter(|text| *text != "none") {
            let origin = vectors(text).and_then(|mut all| if all.len() == 1 { all.pop()? } else { None });
            let origin = origin.filter(|origin| origin.len() == dimension);
            let origin =
                origin.ok_or_else(|| format!("its space origin is {text:?}; {dimension} numbers are needed"))?;
            if origin.iter().all(|v| v.is_finite()) {
                for (r, v) in origin.iter().enumerate().take(3) {
                    grid.origin[r] = to_lps(r) * v;
                }
            }
        }
        Ok(())
    }

    /// Without a space: spacings and the lowest place of each axis.
    fn by_spacing(&self, fields: &Fields, grid: &mut Grid, warnings: &mut Vec<String>) -> Result<(), String> {
        let per_axis = |name: &str| -> Result<Option<Vec<f64>>, String> {
            let Some(text) = fields.get(name) else { return Ok(None) };
            let wrong = || format!("its {name} are {text:?}; {} numbers are needed", self.all);
            list::<f64>(text, self.all).map(Some).ok_or_else(wrong)
        };
        let spacings = per_axis("spacings")?;
        let mins = per_axis("axismins")?;
        let centers = fields.get("centers").or_else(|| fields.get("centerings"));
        let at_nodes =
            centers.is_some_and(|centers| centers.split_whitespace().all(|c| c.eq_ignore_ascii_case("node")));
        for (k, (axis, _)) in self.domain.iter().take(3).enumerate() {
            let spacing = spacings.as_ref().map(|all| all[*axis]).filter(|mm| !mm.is_nan());
            if spacing.is_none() {
                let name = ["x", "y", "z"][k];
                warnings.push(format!("its header has no voxel spacing along {name}; 1 mm is taken, as ITK does"));
            }
            let mm = spacing.unwrap_or(1.0);
            grid.spacing_mm[2 - k] = mm.abs();
            if mm < 0.0 {
                grid.direction[k][k] = -1.0;
            }
            if let (Some(mins), Some(mm)) = (&mins, spacing) {
                // The lowest place of a cell is half a voxel below its centre.
                grid.origin[k] = mins[*axis] + if at_nodes { 0.0 } else { mm / 2.0 };
            }
        }
        Ok(())
    }
}

/// The dimension of the space, and which of x and y run against LPS.
fn space_of(fields: &Fields) -> Result<Option<(usize, [bool; 2])>, String> {
    match (fields.get("space"), fields.get("spacedimension")) {
        (Some(name), _) => {
            let lower = name.to_ascii_lowercase();
            let known = SPACES.iter().find(|(names, ..)| names.contains(&lower.as_str()));
            let (_, dimension, flipped) =
                known.ok_or_else(|| format!("its space is {name:?}, which NRRD does not define"))?;
            Ok(Some((*dimension, *flipped)))
        }
        (None, Some(text)) => match text.parse() {
            Ok(dimension @ 2..=4) => Ok(Some((dimension, [false; 2]))),
            _ => Err(format!("its space dimension is {text:?}; 2 to 4 are read")),
        },
        (None, None) => Ok(None),
    }
}

/// Vectors as `(1,0,0) none (0, 1, 0)`.
fn vectors(text: &str) -> Option<Vec<Option<Vec<f64>>>> {
    let mut rest = text.trim_start();
    let mut all = Vec::new();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('(') {
            let (numbers, behind) = inside.split_once(')')?;
            all.push(Some(numbers.split(',').map(|n| n.trim().parse().ok()).collect::<Option<Vec<f64>>>()?));
            rest = behind.trim_start();
        } else {
            rest = rest.strip_prefix("none")?.trim_start();
            all.push(None);
        }
    }
    Some(all)
}
