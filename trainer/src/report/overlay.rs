//! Pictures of a case: three planes through the middle of its labels, with the outlines of reference and prediction.

use super::outline;
use super::plane::{Cut, Plane};
use crate::validate::ValidationCase;
use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scanside_app::evaluate::Class;
use scanside_core::volume::{Grid, VoxelSource};
use scanside_formats::{LabelMap, Scan, read_labels};
use std::fmt::Write;
use std::path::Path;

/// Grey values between these parts of a slice's voxels are told apart; the rest is black or white.
const DARKEST: f64 = 0.01;
const BRIGHTEST: f64 = 0.99;
/// Slices with more pixels along an axis are thinned; outlines are not.
const MOST_PIXELS: usize = 512;
/// Colours the style sheet has.
const COLOURS: usize = 8;

/// A picture of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its plane, and where it cuts.
    pub caption: String,
    /// An `svg` element with the slice as a PNG inside.
    pub svg: String,
}

/// The pictures of a case. `classes` have the colours in their order.
///
/// # Errors
/// A file cannot be read, or the three do not lie on one grid.
pub fn pictures(case: &ValidationCase, prediction: &Path, classes: &[Class]) -> anyhow::Result<Vec<Picture>> {
    let mut scene = Scene::open(case, classes)?;
    let predicted = scene.prediction(prediction)?;
    let middle = scene.middle(&[&predicted]);
    Plane::ALL.into_iter().map(|plane| scene.picture(plane, middle, &predicted)).collect()
}

/// One slice of a case, once for each of two predictions: of the three planes that in which the reference covers the
/// most, since small structures may be a dot in the others.
///
/// # Errors
/// As [`pictures`].
pub fn side_by_side(case: &ValidationCase, predictions: [&Path; 2], classes: &[Class]) -> anyhow::Result<[Picture; 2]> {
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
    fn open(case: &ValidationCase, classes: &'a [Class]) -> anyhow::Result<Scene<'a>> {
        let reference = labels(&case.label)?;
        let scan = Scan::open(&case.images)?;
        let grid = scan.grid().clone();
        if reference.grid().shape_zyx != grid.shape_zyx {
            bail!("the reference does not lie on the grid of the scan");
        }
        Ok(Scene { scan: scan.stream(), grid, reference, classes })
    }

    fn prediction(&self, path: &Path) -> anyhow::Result<LabelMap> {
        let volume = labels(path)?;
        if volume.grid().shape_zyx != self.grid.shape_zyx {
            bail!("the prediction does not lie on the grid of the scan");
        }
        Ok(volume)
    }

    /// Where to cut: through the reference, or through the first prediction that holds something, or half-way.
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

    fn picture(&mut self, plane: Plane, middle: [usize; 3], predicted: &LabelMap) -> anyhow::Result<Picture> {
        let cut = plane.of(&self.grid);
        let slice = middle[cut.through()];
        let bounds = cut.bounds(slice);
        let mut voxels = vec![0.0; bounds.voxels()];
        self.scan.read(0, &bounds, &mut voxels)?;
        let labels = [&self.reference, predicted].map(|volume| slice_of(volume, &cut, slice));
        let svg = draw(&cut, &voxels, &labels, self.classes).context("a slice cannot be drawn")?;
        Ok(Picture {
            caption: format!("{}, slice {} of {}", plane.name(), slice + 1, self.grid.shape_zyx[cut.through()]),
            svg,
        })
    }
}

fn labels(path: &Path) -> anyhow::Result<LabelMap> {
    read_labels(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// The mean place of all voxels of the classes.
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

fn draw(cut: &Cut, voxels: &[f32], labels: &[Vec<u32>; 2], classes: &[Class]) -> anyhow::Result<String> {
    let (rows, columns) = cut.size();
    let (row_mm, column_mm) = cut.spacing_mm();
    let (width, height) = (columns as f64 * column_mm, rows as f64 * row_mm);
    let png = STANDARD.encode(png(cut, voxels)?);
    let mut svg = format!(
        r#"<svg viewBox="0 0 {width:.2} {height:.2}"><image width="{width:.2}" height="{height:.2}" preserveAspectRatio="none" href="data:image/png;base64,{png}"/><g transform="scale({column_mm} {row_mm})">"#
    );
    for (side, labels) in ["reference", "prediction"].into_iter().zip(labels) {
        for (number, class) in classes.iter().enumerate() {
            let path =
                outline::path(rows, columns, |row, column| class.values.contains(&labels[cut.index(row, column)]));
            if !path.is_empty() {
                let _ = write!(svg, r#"<path class="{side} o{}" d="{path}"/>"#, number % COLOURS);
            }
        }
    }
    Ok(svg + "</g></svg>")
}

/// The slice in 8 bits, windowed.
fn png(cut: &Cut, voxels: &[f32]) -> anyhow::Result<Vec<u8>> {
    let (rows, columns) = cut.size();
    let mut sorted: Vec<f32> = voxels.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f32::total_cmp);
    let at = |part: f64| sorted.get(((sorted.len().saturating_sub(1)) as f64 * part) as usize).copied().unwrap_or(0.0);
    let (low, high) = (at(DARKEST), at(BRIGHTEST));
    let range = if high > low { high - low } else { 1.0 };
    let grey = |value: f32| ((value - low) / range * 255.0).clamp(0.0, 255.0) as u8;

    let (row_step, column_step) = (rows.div_ceil(MOST_PIXELS), columns.div_ceil(MOST_PIXELS));
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
