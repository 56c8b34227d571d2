//! Cuts a patch out of a case: unchanged, or rotated and scaled.
//!
//! A rotated patch is sampled from the case itself, within the [`Window`] that nnU-Net would have cut out first. Voxels outside
//! of the window or the case are empty for both, so that no copy of the window is needed.

mod label;
pub mod soft;

use crate::targets::OUTSIDE;
use label::{Corners, strongest};

/// Positions are fixed-point numbers: sums along a row are exact, and the integer part needs no rounding.
const FRACTION_BITS: u32 = 32;
const ONE: f64 = (1_u64 << FRACTION_BITS) as f64;

/// A case from which patches are cut.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Extents: `z, y, x`.
    pub shape_zyx: [usize; 3],
    /// Channels of the image.
    pub channels: usize,
    /// Normalised intensities, `[channels, z, y, x]`.
    pub image: &'a [f32],
    /// Label values, `[z, y, x]`; -1 outside the nonzero mask.
    pub labels: &'a [i16],
}

impl Source<'_> {
    fn voxels(&self) -> usize {
        self.shape_zyx.iter().product()
    }
}

/// The part of a case from which a patch is sampled; it may extend beyond the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first voxel, in the case's voxels.
    pub start_zyx: [i64; 3],
    /// Its extents.
    pub shape_zyx: [usize; 3],
}

impl Window {
    /// The first voxel of a patch of extents `patch_zyx` in the window's middle.
    pub fn centre_start(&self, patch_zyx: [usize; 3]) -> [i64; 3] {
        std::array::from_fn(|d| self.start_zyx[d] + (self.shape_zyx[d] / 2) as i64 - (patch_zyx[d] / 2) as i64)
    }
}

/// A rotation and a scaling: from offsets about the patch's centre to offsets about the window's, in voxels, `z, y, x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Matrix(pub [[f64; 3]; 3]);

impl Matrix {
    /// Rotates about `z`, `y` and `x` (radians, about `z` first) after scaling. A scale above 1 makes structures smaller.
    pub fn of_volume(angles_zyx: [f64; 3], scale: f64) -> Matrix {
        let [(sz, cz), (sy, cy), (sx, cx)] = angles_zyx.map(f64::sin_cos);
        let about_z = [[1.0, 0.0, 0.0], [0.0, cz, -sz], [0.0, sz, cz]];
        let about_y = [[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]];
        let about_x = [[cx, -sx, 0.0], [sx, cx, 0.0], [0.0, 0.0, 1.0]];
        let turned = product(&about_x, &product(&about_y, &about_z));
        Matrix(turned.map(|row| row.map(|v| v * scale)))
    }

    /// Rotates (radians) and scales in the plane of slices.
    pub fn in_plane(angle: f64, scale: f64) -> Matrix {
        let (sin, cos) = angle.sin_cos();
        Matrix([[1.0, 0.0, 0.0], [0.0, cos * scale, -sin * scale], [0.0, sin * scale, cos * scale]])
    }
}

fn product(a: &[[f64; 3]; 3], b: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    std::array::from_fn(|i| std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
}

/// Copies the patch of extents `patch_zyx` whose first voxel is `start_zyx`; outside of the case intensities are 0 and
/// labels -1.
///
/// # Panics
///
/// If the lengths of `image` or `labels` are not those of the patch.
pub fn crop(source: &Source, start_zyx: [i64; 3], patch_zyx: [usize; 3], image: &mut [f32], labels: &mut [i16]) {
    let voxels = patch_zyx.iter().product();
    crop_volume(source.labels, source.shape_zyx, start_zyx, patch_zyx, OUTSIDE, labels);
    for (from, to) in source.image.chunks_exact(source.voxels()).zip(image.chunks_exact_mut(voxels)) {
        crop_volume(from, source.shape_zyx, start_zyx, patch_zyx, 0.0, to);
    }
}

fn crop_volume<T: Copy>(
    from: &[T],
    shape_zyx: [usize; 3],
    start_zyx: [i64; 3],
    patch_zyx: [usize; 3],
    outside: T,
    to: &mut [T],
) {
    let [_, height, width] = shape_zyx;
    let inside = |d: usize| {
        let first = (-start_zyx[d]).clamp(0, patch_zyx[d] as i64);
        let end = (shape_zyx[d] as i64 - start_zyx[d]).clamp(first, patch_zyx[d] as i64);
        first as usize..end as usize
    };
    let (zs, ys, xs) = (inside(0), inside(1), inside(2));
    for (row, to) in to.chunks_exact_mut(patch_zyx[2]).enumerate() {
        let (z, y) = (row / patch_zyx[1], row % patch_zyx[1]);
        if !zs.contains(&z) || !ys.contains(&y) || xs.is_empty() {
            to.fill(outside);
            continue;
        }
        let (z, y) = ((z as i64 + start_zyx[0]) as usize, (y as i64 + start_zyx[1]) as usize);
        let first = (z * height + y) * width + (xs.start as i64 + start_zyx[2]) as usize;
        to[..xs.start].fill(outside);
        to[xs.clone()].copy_from_slice(&from[first..first + xs.len()]);
        to[xs.end..].fill(outside);
    }
}

/// A patch to be written.
#[derive(Debug)]
pub struct PatchMut<'a> {
    /// Its shape: `z, y, x`.
    pub shape_zyx: [usize; 3],
    /// Intensities, `[channels, z, y, x]`.
    pub image: &'a mut [f32],
    /// Label values, `[z, y, x]`.
    pub labels: &'a mut [i16],
}

impl PatchMut<'_> {
    fn voxels(&self) -> usize {
        self.shape_zyx.iter().product()
    }
}

/// The positions of a row's voxels in the case: the buffers of [`resample`].
#[derive(Debug, Default)]
pub struct Rows {
    /// Index of the corner with the least coordinates.
    index: Vec<usize>,
    /// Distance from that corner: `z, y, x`.
    fraction: Vec<[f32; 3]>,
}

/// Samples a patch through `matrix`. Intensities are interpolated linearly, and 0 outside of the window and the case. The label
/// is the one with the largest interpolated weight, and -1 outside. If weights are equal within nnU-Net's precision, the label
/// of the nearest voxel is taken.
///
/// # Panics
///
/// If the lengths of the patch's image or labels do not fit its shape.
pub fn resample(source: &Source, window: &Window, matrix: &Matrix, rows: &mut Rows, patch: &mut PatchMut<'_>) {
    let voxels = patch.voxels();
    let sizes = (patch.labels.len(), patch.image.len());
    assert!(sizes == (voxels, voxels * source.channels), "buffers of another shape");
    let sampler = Sampler::new(source, window);
    for (row, line) in lines(window, matrix, patch.shape_zyx).enumerate() {
        sampler.row(&line, rows, patch, row);
    }
}

/// The positions in the case of the rows of a patch that is sampled through `matrix`.
fn lines(window: &Window, matrix: &Matrix, patch_zyx: [usize; 3]) -> impl Iterator<Item = Line> {
    let (window, matrix) = (*window, *matrix);
    let half = patch_zyx.map(|n| (n as f64 - 1.0) / 2.0);
    let step: [i64; 3] = std::array::from_fn(|d| (matrix.0[d][2] * ONE).round() as i64);
    (0..patch_zyx[0] * patch_zyx[1]).map(move |row| {
        let offset = [(row / patch_zyx[1]) as f64 - half[0], (row % patch_zyx[1]) as f64 - half[1], -half[2]];
        let first: [i64; 3] = std::array::from_fn(|d| {
            let centre = window.start_zyx[d] as f64 + (window.shape_zyx[d] as f64 - 1.0) / 2.0;
            let rotated: f64 = (0..3).map(|e| matrix.0[d][e] * offset[e]).sum();
            ((centre + rotated) * ONE).round() as i64
        });
        Line { first, step }
    })
}

/// Positions along a row of the patch, in parts of a voxel.
#[derive(Clone, Copy, Debug)]
struct Line {
    first: [i64; 3],
    step: [i64; 3],
}

impl Line {
    fn at(&self, i: usize) -> [i64; 3] {
        std::array::from_fn(|d| self.first[d] + self.step[d] * i as i64)
    }

    /// The voxels among the first `count` whose positions are in `low..high` (whole voxels) along every axis. They are
    /// contiguous, because positions are linear.
    fn within(&self, low: [i64; 3], high: [i64; 3], count: usize) -> std::ops::Range<usize> {
        let (low, last) = (low.map(|n| n << FRACTION_BITS), high.map(|n| (n << FRACTION_BITS) - 1));
        let inside = |position: [i64; 3]| (0..3).all(|d| low[d] <= position[d] && position[d] <= last[d]);
        if count > 0 && inside(self.first) && inside(self.at(count - 1)) {
            return 0..count;
        }
        let (mut start, mut end) = (0_i64, count as i64);
        for d in 0..3 {
            let (first, step) = (self.first[d], self.step[d]);
            if step == 0 {
                end = if low[d] <= first && first <= last[d] { end } else { 0 };
                continue;
            }
            let (near, far) = if step > 0 { (low[d], last[d]) } else { (last[d], low[d]) };
            start = start.max(ceiling(near - first, step));
            end = end.min(1 - ceiling(first - far, step));
        }
        let start = start.min(count as i64);
        start as usize..end.max(start) as usize
    }
}

/// `a / b` rounded up.
fn ceiling(a: i64, b: i64) -> i64 {
    let quotient = a / b;
    quotient + i64::from(a % b != 0 && (a < 0) == (b < 0))
}

struct Sampler<'a> {
    source: &'a Source<'a>,
    /// The voxels of the case in the window.
    low: [i64; 3],
    high: [i64; 3],
}

impl<'a> Sampler<'a> {
    fn new(source: &'a Source<'a>, window: &Window) -> Sampler<'a> {
        let end = |d: usize| window.start_zyx[d] + window.shape_zyx[d] as i64;
        Sampler {
            source,
            low: window.start_zyx.map(|n| n.max(0)),
            high: std::array::from_fn(|d| end(d).min(source.shape_zyx[d] as i64)),
        }
    }

    /// One row of the patch.
    fn row(&self, line: &Line, rows: &mut Rows, patch: &mut PatchMut<'_>, row: usize) {
        let (voxels, count) = (patch.voxels(), patch.shape_zyx[2]);
        let at = row * count..(row + 1) * count;
        let image = &mut *patch.image;
        let labels = &mut patch.labels[at.clone()];
        // The voxels with some of their eight corners inside, and those with all corners inside.
        let touched = line.within(self.low.map(|n| n - 1), self.high, count);
        let full = line.within(self.low, self.high.map(|n| n - 1), count);
        let full = if full.is_empty() { touched.start..touched.start } else { full };

        for outside in [0..touched.start, touched.end..count] {
            labels[outside.clone()].fill(OUTSIDE);
            for channel in image.chunks_exact_mut(voxels) {
                channel[at.start + outside.start..at.start + outside.end].fill(0.0);
            }
        }
        for i in (touched.start..full.start).chain(full.end..touched.end) {
            self.edge(line.at(i), image, voxels, at.start + i, &mut labels[i]);
        }
        if full.is_empty() {
            return;
        }

        let [_, height, width] = self.source.shape_zyx;
        rows.index.resize(full.len(), 0);
        rows.fraction.resize(full.len(), [0.0; 3]);
        let mut position = line.at(full.start);
        for (index, fractions) in rows.index.iter_mut().zip(&mut rows.fraction) {
            let [z, y, x] = position.map(|p| (p >> FRACTION_BITS) as usize);
            *index = (z * height + y) * width + x;
            *fractions = position.map(fraction);
            for (position, step) in position.iter_mut().zip(line.step) {
                *position += step;
            }
        }
        let from = self.source.image.chunks_exact(self.source.voxels());
        for (from, to) in from.zip(image.chunks_exact_mut(voxels)) {
            let corners = Corners::new(from, height, width);
            let to = &mut to[at.start + full.start..at.start + full.end];
            for ((to, &index), fraction) in to.iter_mut().zip(&rows.index).zip(&rows.fraction) {
                *to = interpolate(&corners.at(index), fraction);
            }
        }
        let corners = Corners::new(self.source.labels, height, width);
        for ((to, &index), fraction) in labels[full].iter_mut().zip(&rows.index).zip(&rows.fraction) {
            *to = strongest(&corners.at(index), fraction);
        }
    }

    /// One voxel with some corners outside.
    fn edge(&self, position: [i64; 3], image: &mut [f32], voxels: usize, at: usize, label: &mut i16) {
        let corner = position.map(|p| p >> FRACTION_BITS);
        let fraction = position.map(fraction);
        let index: [Option<usize>; 8] = std::array::from_fn(|k| {
            let voxel = [corner[0] + (k as i64 >> 2), corner[1] + (k as i64 >> 1 & 1), corner[2] + (k as i64 & 1)];
            let inside = (0..3).all(|d| voxel[d] >= self.low[d] && voxel[d] < self.high[d]);
            let [z, y, x] = voxel.map(|n| n as usize);
            inside.then(|| (z * self.source.shape_zyx[1] + y) * self.source.shape_zyx[2] + x)
        });
        let from = self.source.image.chunks_exact(self.source.voxels());
        for (from, to) in from.zip(image.chunks_exact_mut(voxels)) {
            to[at] = interpolate(&index.map(|index| index.map_or(0.0, |i| from[i])), &fraction);
        }
        *label = strongest(&index.map(|index| index.map_or(OUTSIDE, |i| self.source.labels[i])), &fraction);
    }
}

/// The part of a position below one voxel, to single precision.
#[inline(always)]
fn fraction(position: i64) -> f32 {
    const SCALE: f32 = 1.0 / (1 << 24) as f32;
    ((position as u32) >> 8) as i32 as f32 * SCALE
}

/// Between eight corners, numbered `4 z + 2 y + x`.
#[inline(always)]
fn interpolate(corners: &[f32; 8], &[z, y, x]: &[f32; 3]) -> f32 {
    let along_x = |i: usize| corners[i] + x * (corners[i + 1] - corners[i]);
    let along_y = |i: usize| along_x(i) + y * (along_x(i + 2) - along_x(i));
    along_y(0) + z * (along_y(4) - along_y(0))
}

#[cfg(test)]
mod tests {
    use super::{FRACTION_BITS, Line};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_voxels_within_are_those_found_one_by_one(
            first in prop::array::uniform3(-20.0..20.0_f64),
            step in prop::array::uniform3(prop_oneof![Just(0.0), Just(0.5), Just(-1.0), -1.5..1.5_f64]),
            low in prop::array::uniform3(-10_i64..10),
            length in prop::array::uniform3(0_i64..20),
            whole in any::<bool>(),
        ) {
            let fixed = |v: f64| ((if whole { v.round() } else { v }) * (1_u64 << FRACTION_BITS) as f64) as i64;
            let line = Line { first: first.map(fixed), step: step.map(|v| (v * (1_u64 << FRACTION_BITS) as f64) as i64) };
            let high: [i64; 3] = std::array::from_fn(|d| low[d] + length[d]);
            let inside = |i: usize| {
                let position = line.at(i);
                (0..3).all(|d| position[d] >> FRACTION_BITS >= low[d] && position[d] >> FRACTION_BITS < high[d])
            };
            let expected: Vec<usize> = (0..30).filter(|&i| inside(i)).collect();
            let got: Vec<usize> = line.within(low, high, 30).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
