//! A slice of the scan on the page, filled in while the scan is read from its first plane to its last.

use super::canvas::{self, Canvas, GREYS};
use super::plane::Cut;
use crate::labelled_scan::LabelledPlane;
use std::ops::Range;

/// Samples averaged for a pixel, at most, where a pixel covers several voxels.
const MOST_SAMPLES: usize = 4;

/// Which values become black and white.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub(super) black: f32,
    pub(super) white: f32,
}

impl Window {
    fn level(self, value: f32) -> u8 {
        let share = (value - self.black) / (self.white - self.black);
        // An empty window and values that are no numbers give black.
        (share.clamp(0.0, 1.0) * f32::from(GREYS - 1)).round() as u8
    }
}

/// One direction of a picture: which voxels its pixels show.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Axis {
    /// 0, 1 or 2 for the file's `z, y, x`.
    file: usize,
    /// Voxels along it.
    voxels: usize,
    pixels: usize,
    /// The place of the first pixel's centre, in voxels, and the distance to the next.
    first: f64,
    step: f64,
}

impl Axis {
    fn at(&self, pixel: usize) -> f64 {
        self.first + self.step * pixel as f64
    }

    /// The pixels that lie inside the scan.
    fn inside(&self) -> Range<usize> {
        let in_scan = |pixel: &usize| (-0.5..=self.voxels as f64 - 0.5).contains(&self.at(*pixel));
        let first = (0..self.pixels).find(in_scan).unwrap_or(self.pixels);
        let end = (first..self.pixels).rev().find(in_scan).map_or(first, |last| last + 1);
        first..end
    }

    /// The voxel below a place, and the share of the next one.
    fn between(&self, at: f64) -> (usize, f32) {
        let at = at.clamp(0.0, self.voxels as f64 - 1.0);
        (at as usize, at.fract() as f32)
    }

    fn nearest(&self, pixel: usize) -> usize {
        self.at(pixel).round().clamp(0.0, self.voxels as f64 - 1.0) as usize
    }

    /// The mean over a pixel of a line of voxels.
    fn sample(&self, pixel: usize, voxel: impl Fn(usize) -> f32) -> f32 {
        let count = (self.step.abs().round() as usize).clamp(1, MOST_SAMPLES);
        let part = |k: usize| {
            let within = (k as f64 + 0.5) / count as f64 - 0.5;
            let (low, share) = self.between(self.at(pixel) + self.step * within);
            if share == 0.0 { voxel(low) } else { voxel(low) * (1.0 - share) + voxel(low + 1) * share }
        };
        (0..count).map(part).sum::<f32>() / count as f32
    }
}

/// Where a picture lies in the scan and on the page.
pub(super) struct View {
    pub(super) cut: Cut,
    /// The voxel of the axis that is cut.
    pub(super) slice: usize,
    /// The place in the middle of the picture, in voxels `z, y, x`.
    pub(super) centre: [f64; 3],
    pub(super) mm_per_pixel: f64,
    /// Columns and rows of pixels.
    pub(super) size: [usize; 2],
    /// The upper left corner on the page.
    pub(super) corner: [usize; 2],
}

/// A picture being filled in.
pub(super) struct Panel {
    slice: usize,
    through: usize,
    rows: Axis,
    columns: Axis,
    corner: [usize; 2],
    /// For each pixel 0, or 1 more than the place of its label's colour.
    labels: Vec<u8>,
    /// For a slice across the file's planes: the plane before, along the axis that is not `z`.
    before: Vec<f32>,
}

impl Panel {
    /// A black picture.
    pub(super) fn new(view: &View, shape_zyx: [usize; 3], spacing_mm: [f64; 3], page: &mut Canvas) -> Panel {
        let [width, height] = view.size;
        let axis = |(file, turned): (usize, bool), pixels: usize| {
            let step = view.mm_per_pixel / spacing_mm[file] * if turned { -1.0 } else { 1.0 };
            let first = view.centre[file] - step * (pixels as f64 - 1.0) / 2.0;
            Axis { file, voxels: shape_zyx[file], pixels, first, step }
        };
        let [rows, columns] = view.cut.axes();
        page.fill(view.corner, view.size, 0);
        Panel {
            slice: view.slice,
            through: view.cut.through(),
            rows: axis(rows, height),
            columns: axis(columns, width),
            corner: view.corner,
            labels: vec![0; width * height],
            before: Vec::new(),
        }
    }

    /// Bytes that a panel of this size takes.
    pub(super) fn bytes([width, height]: [usize; 2]) -> usize {
        width * height + 2 * 4 * width.max(height) + size_of::<Panel>()
    }

    /// Bytes that the panel holds.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.labels.len() + 4 * self.before.len() + size_of::<Panel>()
    }

    /// Takes the next plane of the scan. `places` gives the place of a label's colour.
    pub(super) fn take(
        &mut self,
        plane: &LabelledPlane<'_>,
        row_voxels: usize,
        window: Window,
        places: &[Option<usize>],
        page: &mut Canvas,
    ) {
        let code = |label: u16| match places.get(usize::from(label)) {
            Some(Some(place)) => (place % canvas::COLOURS) as u8 + 1,
            _ => 0,
        };
        let index = |y: usize, x: usize| y * row_voxels + x;
        if self.through == 0 {
            if plane.z == self.slice {
                self.fill(window, page, |file_yx| index(file_yx[0], file_yx[1]), plane, code);
            }
            return;
        }
        let (along_z, other, z_is_row) =
            if self.rows.file == 0 { (self.rows, self.columns, true) } else { (self.columns, self.rows, false) };
        let slice = self.slice;
        let voxel = |n: usize| if other.file == 2 { index(slice, n) } else { index(n, slice) };
        let mut line = vec![0.0; other.pixels];
        for pixel in other.inside() {
            line[pixel] = other.sample(pixel, |n| plane.voxels[voxel(n)]);
        }
        let place = |z: usize, n: usize| if z_is_row { (z, n) } else { (n, z) };
        for z in along_z.inside() {
            let (low, share) = along_z.between(along_z.at(z));
            if low + usize::from(share > 0.0) == plane.z {
                for n in other.inside() {
                    let value = if share > 0.0 { self.before[n] * (1.0 - share) + line[n] * share } else { line[n] };
                    let (row, column) = place(z, n);
                    page.set(self.corner[0] + column, self.corner[1] + row, window.level(value));
                }
            }
            if along_z.nearest(z) == plane.z {
                for n in other.inside() {
                    let (row, column) = place(z, n);
                    self.labels[row * self.columns.pixels + column] = code(plane.labels[voxel(other.nearest(n))]);
                }
            }
        }
        self.before = line;
    }

    /// Fills in a slice that is one of the file's planes.
    fn fill(
        &mut self,
        window: Window,
        page: &mut Canvas,
        index: impl Fn([usize; 2]) -> usize,
        plane: &LabelledPlane<'_>,
        code: impl Fn(u16) -> u8,
    ) {
        let (rows, columns) = (self.rows, self.columns);
        // The picture's rows may be the file's columns.
        let voxel = |r: usize, c: usize| if rows.file == 1 { index([r, c]) } else { index([c, r]) };
        for row in rows.inside() {
            for column in columns.inside() {
                let value = rows.sample(row, |r| columns.sample(column, |c| plane.voxels[voxel(r, c)]));
                page.set(self.corner[0] + column, self.corner[1] + row, window.level(value));
                let label = plane.labels[voxel(rows.nearest(row), columns.nearest(column))];
                self.labels[row * columns.pixels + column] = code(label);
            }
        }
    }

    /// Draws the outline of each label: its pixels beside another label or none.
    pub(super) fn outline(&self, page: &mut Canvas) {
        let (width, height) = (self.columns.pixels, self.rows.pixels);
        for row in 0..height {
            for column in 0..width {
                let at = row * width + column;
                let Some(place) = self.labels[at].checked_sub(1) else { continue };
                let beside = [
                    (row > 0).then(|| at - width),
                    (row + 1 < height).then(|| at + width),
                    (column > 0).then(|| at - 1),
                    (column + 1 < width).then(|| at + 1),
                ];
                if beside.into_iter().flatten().any(|other| self.labels[other] != self.labels[at]) {
                    page.set(self.corner[0] + column, self.corner[1] + row, canvas::colour(usize::from(place)));
                }
            }
        }
    }
}
