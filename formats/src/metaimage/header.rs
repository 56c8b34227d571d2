//! What the keys of a MetaImage header mean, by ITK's rules.

use super::fields::Fields;
use crate::geometry::{Geometry, determinant};
use scanside_core::volume::{Grid, VoxelType};

/// The keys that say where voxels lie. Copied as they are into label maps of the same format.
const PLACE: [&str; 11] = [
    "TransformMatrix",
    "Rotation",
    "Orientation",
    "Offset",
    "Position",
    "Origin",
    "CenterOfRotation",
    "AnatomicalOrientation",
    "DistanceUnits",
    "ElementSpacing",
    "ElementSize",
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
    pub(super) compressed: bool,
    pub(super) warnings: Vec<String>,
}

impl Header {
    /// # Errors
    /// A sentence: which key is refused, what it holds and what to do.
    pub(super) fn new(fields: &Fields) -> Result<Header, String> {
        if let Some(kind) = fields.get(&["ObjectType"]).filter(|kind| *kind != "Image") {
            return Err(format!("it holds an object of type {kind:?}, not an image"));
        }
        if fields.flag(&["BinaryData"]) == Some(false) {
            return Err("its voxels are written as text; save it with BinaryData = True".into());
        }
        let text = fields.get(&["ElementType"]).ok_or("its header has no ElementType")?;
        let voxel_type = voxel_type(text)?;
        let each = fields.numbers::<usize>(&["ElementNumberOfChannels"], 1)?.map_or(1, |n| n[0]);
        if each != 1 {
            return Err(format!("it has {each} values for each voxel; save each as an image of its own"));
        }
        let (shape, axes) = shape(fields)?;
        let mut warnings = Vec::new();
        let grid = grid(fields, &shape, axes, &mut warnings)?;
        for key in ["ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"] {
            if let Some(value) = fields.get(&[key]) {
                warnings
                    .push(format!("its {key} of {value} is not applied, as ITK does not; voxels are taken as stored"));
            }
        }
        let lines = PLACE.iter().filter_map(|key| Some(format!("{key} = {}\n", fields.get(&[key])?)));
        let place = PlaceLines(lines.collect());
        let geometry = if axes == 2 { Geometry::of_plane(grid) } else { Geometry::of_grid(grid) };
        Ok(Header {
            geometry: if axes < 4 { geometry.with_own(place) } else { geometry },
            channels: if axes == 4 { shape[3] } else { 1 },
            voxel_type,
            big_endian: fields.flag(&["BinaryDataByteOrderMSB", "ElementByteOrderMSB"]).unwrap_or(false),
            compressed: fields.flag(&["CompressedData"]).unwrap_or(false),
            warnings,
        })
    }
}

/// Sizes, x first, and the number of axes.
fn shape(fields: &Fields) -> Result<(Vec<usize>, usize), String> {
    let axes = fields.numbers::<usize>(&["NDims"], 1)?.ok_or("its header has no NDims")?[0];
    if !(2..=4).contains(&axes) {
        return Err(format!("it has {axes} axes; x, y, z and one axis of channels are read"));
    }
    let sizes = fields.numbers::<usize>(&["DimSize"], axes)?.ok_or("its header has no DimSize")?;
    if sizes.contains(&0) {
        return Err(format!("its DimSize is {sizes:?}; every size must be at least 1"));
    }
    Ok((sizes, axes))
}

fn grid(fields: &Fields, shape: &[usize], axes: usize, warnings: &mut Vec<String>) -> Result<Grid, String> {
    let mut grid = Grid {
        shape_zyx: [1; 3],
        spacing_mm: [1.0; 3],
        origin: [0.0; 3],
        direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    };
    let spacing = fields.numbers::<f64>(&["ElementSpacing", "ElementSize"], axes)?;
    if spacing.is_none() {
        warnings.push("its header has no ElementSpacing; 1 mm is taken, as ITK does".into());
    }
    let origin = fields.numbers::<f64>(&["Offset", "Position", "Origin"], axes)?;
    // Each row of the file is the direction of an axis.
    let rows = fields.numbers::<f64>(&["TransformMatrix", "Rotation", "Orientation"], axes * axes)?;
    for k in 0..axes.min(3) {
        grid.shape_zyx[2 - k] = shape[k];
        let mm = spacing.as_ref().map_or(1.0, |spacing| spacing[k]);
        grid.spacing_mm[2 - k] = mm.abs();
        grid.origin[k] = origin.as_ref().map_or(0.0, |origin| origin[k]);
        for r in 0..axes.min(3) {
            let along = rows.as_ref().map_or(grid.direction[r][k], |rows| rows[axes * k + r]);
            grid.direction[r][k] = if mm < 0.0 { -along } else { along };
        }
    }
    let finite = grid.origin.iter().chain(grid.direction.iter().flatten()).all(|v| v.is_finite());
    if let Some(mm) = grid.spacing_mm.iter().find(|mm| !(mm.is_finite() && **mm > 0.0)) {
        return Err(format!(
            "its ElementSpacing holds {mm}; it must be other than zero, so set it from the original scan"
        ));
    }
    if !finite || determinant(&grid.direction) == 0.0 {
        return Err("its TransformMatrix or its Offset span no volume; set them from the original scan".into());
    }
    Ok(grid)
}

fn voxel_type(name: &str) -> Result<VoxelType, String> {
    Ok(match name {
        "MET_CHAR" | "MET_ASCII_CHAR" => VoxelType::I8,
        "MET_UCHAR" => VoxelType::U8,
        "MET_SHORT" => VoxelType::I16,
        "MET_USHORT" => VoxelType::U16,
        "MET_INT" | "MET_LONG" => VoxelType::I32,
        "MET_UINT" | "MET_ULONG" => VoxelType::U32,
        "MET_LONG_LONG" => VoxelType::I64,
        "MET_ULONG_LONG" => VoxelType::U64,
        "MET_FLOAT" => VoxelType::F32,
        "MET_DOUBLE" => VoxelType::F64,
        other => return Err(format!("its voxels are {other}; convert them to integers or floats of at most 64 bits")),
    })
}
