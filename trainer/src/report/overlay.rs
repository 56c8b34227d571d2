//! Pictures of a case: three planes through the centre of its labels, with the outlines of reference and prediction.

use super::chart::COLOURS;
use super::outline;
use super::svg::Svg;
use crate::validate::ValidationCase;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::evaluate::Class;
use scanside_app::preview::{Cut, Plane};
use scanside_core::volume::{Grid, VoxelSource};
use scanside_formats::{LabelMap, Scan, read_labels};
use std::path::Path;

/// Quantiles of a slice's intensities that become black and white.
const DARKEST: f64 = 0.01;
const BRIGHTEST: f64 = 0.99;
/// Slices with more pixels along an axis are subsampled; outlines are not.
const MAX_PIXELS: usize = 512;

/// A picture of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its plane and slice.
    pub caption: String,
    /// An `svg` element with the slice as a PNG inside.
    pub svg: String,
}

/// The pictures of a case. `classes` have the colours in their order.
///
/// # Errors
/// A file cannot be read, or scan, reference and prediction have different grids.
pub fn pictures(case: &ValidationCase, prediction: &Path, classes: &[Class]) -> Result<Vec<Picture>, Error> {
    let mut scene = Scene::open(case, classes)?;
    let predicted = scene.prediction(prediction)?;
    let middle = scene.middle(&[&predicted]);
    Plane::ALL.into_iter().map(|plane| scene.picture(plane, middle, &predicted)).collect()
}

/// One slice of a case, once for each of two predictions. Of the three planes, the one in which the reference covers the
/// largest area is chosen, because small structures may be tiny in the others.
///
/// # Errors
/// As [`pictures`].
pub fn side_by_side(case: &ValidationCase, predictions: [&Path; 2], classes: &[Class]) -> Result<[Picture; 2], Error> {
    let mut scene = Scene::open(case, classes)?;
    let (left, right) = (scene.prediction(predictions[0])?, scene.prediction(predictions[1])?);
    let middle = scene.middle(&[&left, &right]);
    let covered = Plane::ALL.map(|plane| (plane, scene.covered_mm2(plane, middle)));
    // The first of equals.
    let (plane, _) = covered.into_iter().rev().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(covered[0]);
    Ok([scene.picture(plane, middle, &left)?, scene.picture(plane, middle, &right)?])
}

/// A case's scan and reference.
struct Scene<'a> {
    scan: Box<dyn VoxelSource + Send>,
    grid: Grid,
    reference: LabelMap,
    classes: &'a [Class],
}

impl<'a> Scene<'a> {
    fn open(case: &ValidationCase, classes: &'a [Class]) -> Result<Scene<'a>, Error> {
        let reference = labels(&case.label)?;
        let scan = Scan::open(&case.images).or_error(ErrorKind::Input)?;
        let grid = scan.grid().clone();
        if reference.grid().shape_zyx != grid.shape_zyx {
            return Err(other_grid("reference"));
        }
        Ok(Scene { scan: scan.stream(), grid, reference, classes })
    }

    fn prediction(&self, path: &Path) -> Result<LabelMap, Error> {
        let volume = labels(path)?;
        if volume.grid().shape_zyx != self.grid.shape_zyx {
            return Err(other_grid("prediction"));
        }
        Ok(volume)
    }

    /// The voxel through which planes are cut: the centre of the reference, else of the first prediction with foreground, else
    /// of the scan.
    fn middle(&self, predicted: &[&LabelMap]) -> [usize; 3] {
        let place =
            [&self.reference].into_iter().chain(predicted.iter().copied()).find_map(|v| middle(v, self.classes));
        place.unwrap_or(self.grid.shape_zyx.map(|n| n / 2))
    }

    /// Area of the reference's classes in a slice.
    fn covered_mm2(&self, plane: Plane, middle: [usize; 3]) -> f64 {
        let cut = plane.of(&self.grid);
        let (row_mm, column_mm) = cut.spacing_mm();
        let labels = slice_of(&self.reference, &cut, middle[cut.through()]);
        let inside = |label: &&u32| **label != 0 && self.classes.iter().any(|class| class.values.contains(label));
        labels.iter().filter(inside).count() as f64 * row_mm * column_mm
    }

    fn picture(&mut self, plane: Plane, middle: [usize; 3], predicted: &LabelMap) -> Result<Picture, Error> {
        let cut = plane.of(&self.grid);
        let slice = middle[cut.through()];
        let bounds = cut.bounds(slice);
        let mut voxels = vec![0.0; bounds.voxels()];
        self.scan.read(0, &bounds, &mut voxels).or_error(ErrorKind::Input)?;
        let labels = [&self.reference, predicted].map(|volume| slice_of(volume, &cut, slice));
        let svg = draw(&cut, &voxels, &labels, self.classes)
            .or_error_with(ErrorKind::Internal, || "a slice cannot be drawn")?;
        Ok(Picture {
            caption: format!("{}, slice {} of {}", plane.name(), slice + 1, self.grid.shape_zyx[cut.through()]),
            svg,
        })
    }
}

fn labels(path: &Path) -> Result<LabelMap, Error> {
    read_labels(path).map_err(|error| Error::cannot_read(ErrorKind::Input, path, error))
}

fn other_grid(what: &str) -> Error {
    Error::new(ErrorKind::Input, format!("the {what} has another grid than the scan"))
}

/// The centre of all voxels of the classes.
fn middle(volume: &LabelMap, classes: &[Class]) -> Option<[usize; 3]> {
    let [_, ny, nx] = volume.grid().shape_zyx;
    let mut sum = [0u64; 3];
    let mut count = 0;
    for (i, label) in volume.labels.iter().enumerate().filter(|(_, label)| **label != 0) {
        if classes.iter().any(|class| class.values.contains(label)) {
            let at = [i / (ny * nx), i / nx % ny, i % nx];
            sum.iter_mut().zip(at).for_each(|(sum, n)| *sum += n as u64);
            count += 1;
        }
    }
    (count > 0).then(|| sum.map(|sum| (sum / count) as usize))
}

fn slice_of(volume: &LabelMap, cut: &Cut, slice: usize) -> Vec<u32> {
    let [_, ny, nx] = volume.grid().shape_zyx;
    let [z, y, x] = cut.bounds(slice).0;
    let mut labels = Vec::new();
    for plane in z {
        for row in y.clone() {
            let start = (plane * ny + row) * nx;
            labels.extend_from_slice(&volume.labels[start + x.start..start + x.end]);
        }
    }
    labels
}

fn draw(cut: &Cut, voxels: &[f32], labels: &[Vec<u32>; 2], classes: &[Class]) -> Result<String, png::EncodingError> {
    let (rows, columns) = cut.size();
    let (row_mm, column_mm) = cut.spacing_mm();
    let (width, height) = (columns as f64 * column_mm, rows as f64 * row_mm);
    let mut svg = Svg::new(width, height);
    svg.png(width, height, &png(cut, voxels)?);
    svg.scaled(column_mm, row_mm, |svg| {
        for (side, labels) in ["reference", "prediction"].into_iter().zip(labels) {
            for (number, class) in classes.iter().enumerate() {
                let inside = |row: usize, column: usize| class.values.contains(&labels[cut.index(row, column)]);
                let path = outline::path(rows, columns, inside);
                if !path.is_empty() {
                    svg.path(&format!("{side} o{}", number % COLOURS), &path);
                }
            }
        }
    });
    Ok(svg.finish())
}

/// The slice in 8 bits, windowed.
fn png(cut: &Cut, voxels: &[f32]) -> Result<Vec<u8>, png::EncodingError> {
    let (rows, columns) = cut.size();
    let mut sorted: Vec<f32> = voxels.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let at = |part: f64| sorted.get(((sorted.len().saturating_sub(1)) as f64 * part) as usize).copied().unwrap_or(0.0);
    let (low, high) = (at(DARKEST), at(BRIGHTEST));
    let range = if high > low { high - low } else { 1.0 };
    let grey = |value: f32| ((value - low) / range * 255.0).clamp(0.0, 255.0) as u8;

    let (row_step, column_step) = (rows.div_ceil(MAX_PIXELS), columns.div_ceil(MAX_PIXELS));
    let mut pixels = Vec::new();
    for row in (0..rows).step_by(row_step) {
        pixels.extend((0..columns).step_by(column_step).map(|column| grey(voxels[cut.index(row, column)])));
    }
    let mut bytes = Vec::new();
    let size = |extent: usize, step: usize| extent.div_ceil(step) as u32;
    let mut encoder = png::Encoder::new(&mut bytes, size(columns, column_step), size(rows, row_step));
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(bytes)
}
