//! How far apart two outlines are: robust Hausdorff distance, surface Dice, average distance.
//!
//! The definitions are those of DeepMind's `surface-distance` (Nikolov and others, "Clinically Applicable Segmentation of
//! Head and Neck Anatomy for Radiotherapy", J Med Internet Res 23(7), 2021), and the results equal its results:
//!
//! - Surface lies at the corner points between voxels, `(n + 1)` of them along an axis of `n` voxels. A point whose eight
//!   neighbours are neither all inside nor all outside carries a surfel with the area of [`super::surfel`]. Beyond the
//!   array everything is outside, so an organ cut by the edge of the scan is closed there.
//! - The distance of a surfel is that from its point to the nearest point with a surfel of the other outline.
//! - Percentiles and fractions are taken by area, not by number of points: they do not depend on how the surface lies in
//!   the grid.
//!
//! Tools that measure between voxel centres and count voxels (MONAI, medpy) give other numbers for the same masks.

use alloc::vec;
use alloc::vec::Vec;
use libm::sqrt;

use super::edt::{Distances, PlaneCounts};
use super::{MetricsError, check_spacing, check_voxels, surfel};
use crate::volume::{Box3, Index3};

/// Distances between the outlines of a prediction and its reference, both ways.
#[derive(Clone, Debug, PartialEq)]
pub struct SurfaceDistances {
    /// From the prediction's surface to the reference's.
    pub prediction_to_reference: Profile,
    /// From the reference's surface to the prediction's.
    pub reference_to_prediction: Profile,
}

impl SurfaceDistances {
    /// The robust Hausdorff distance in mm: `percent` of each surface's area lies no farther from the other; the larger of
    /// the two. 95 is usual, 100 gives the Hausdorff distance. Infinite where one surface is empty, `None` where both are.
    pub fn hausdorff_mm(&self, percent: f64) -> Option<f64> {
        let directed = [&self.prediction_to_reference, &self.reference_to_prediction];
        match directed.map(|profile| profile.percentile_mm(percent)) {
            [Some(a), Some(b)] => Some(a.max(b)),
            [None, None] => None,
            _ => Some(f64::INFINITY),
        }
    }

    /// The normalised surface Dice (NSD): the share of both surfaces' area that lies within `tolerance_mm` of the other, 0 to
    /// 1. 0 where one surface is empty, `None` where both are.
    pub fn surface_dice(&self, tolerance_mm: f64) -> Option<f64> {
        let directed = [&self.prediction_to_reference, &self.reference_to_prediction];
        let area: f64 = directed.iter().map(|profile| profile.area_mm2()).sum();
        let within: f64 = directed.iter().map(|profile| profile.area_within_mm2(tolerance_mm)).sum();
        (area > 0.0).then(|| within / area)
    }
}

/// Area by distance: how much of a surface lies how far from another one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Squared distance in mm² and area in mm², ascending and each distance once.
    steps: Vec<(f64, f64)>,
}

impl Profile {
    /// Area of the whole surface in mm².
    pub fn area_mm2(&self) -> f64 {
        self.steps.iter().map(|(_, area)| area).sum()
    }

    /// Area in mm² that lies no farther than `tolerance_mm`.
    pub fn area_within_mm2(&self, tolerance_mm: f64) -> f64 {
        let within = self.steps.iter().take_while(|(squared, _)| sqrt(*squared) <= tolerance_mm);
        within.filter(|(squared, _)| squared.is_finite()).map(|(_, area)| area).sum()
    }

    /// The smallest distance in mm that at least `percent` of the area does not exceed; `None` for an empty surface.
    pub fn percentile_mm(&self, percent: f64) -> Option<f64> {
        let target = percent / 100.0 * self.area_mm2();
        let mut sum = 0.0;
        for (squared, area) in &self.steps {
            sum += area;
            if sum >= target {
                return Some(sqrt(*squared));
            }
        }
        self.steps.last().map(|(squared, _)| sqrt(*squared))
    }
}

/// Collects surfels into a [`Profile`].
struct ProfileBuilder {
    steps: Vec<(f64, f64)>,
    merge_at: usize,
}

impl ProfileBuilder {
    /// Surfels are merged by distance whenever so many came together: a noisy mask has a surfel at every point, but far
    /// fewer different distances.
    const MERGE_AT: usize = 1 << 16;

    fn new() -> Self {
        ProfileBuilder { steps: Vec::new(), merge_at: Self::MERGE_AT }
    }

    fn add(&mut self, squared_mm2: f64, area_mm2: f64) {
        if self.steps.len() >= self.merge_at {
            self.merge();
            self.merge_at = Self::MERGE_AT.max(2 * self.steps.len());
        }
        self.steps.push((squared_mm2, area_mm2));
    }

    fn merge(&mut self) {
        // A stable sort, so that areas of one distance are added in the order they came.
        self.steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.steps.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
    }

    fn finish(mut self) -> Profile {
        self.merge();
        Profile { steps: self.steps }
    }
}

/// Measures the outlines of one class in two label arrays of one shape.
///
/// `values` are the label values that make up the class. `bounds` must hold every voxel of the class in either array, as
/// [`super::overlap`](fn@super::overlap) finds it; voxels outside it count as outside the class.
///
/// Memory, for a box of `z y x` voxels: `2 (z+1)(y+1)(x+1)` bytes, about `14 (y+1)(x+1)` bytes of planes, and 16 bytes per
/// different distance. Time grows with the box, not with the array.
///
/// # Errors
///
/// [`MetricsError::VoxelCount`], [`MetricsError::Spacing`], [`MetricsError::Bounds`], [`MetricsError::TooManyPlanes`].
pub fn surface_distances<T: Copy + PartialEq>(
    prediction: &[T],
    reference: &[T],
    shape: Index3,
    values: &[T],
    bounds: &Box3,
    spacing_mm: [f64; 3],
) -> Result<SurfaceDistances, MetricsError> {
    check_spacing(spacing_mm)?;
    let prediction = Outline::new(prediction, shape, values, bounds)?;
    let reference = Outline::new(reference, shape, values, bounds)?;
    let areas = surfel::areas_mm2(spacing_mm);
    Ok(SurfaceDistances {
        prediction_to_reference: directed(&prediction, &reference, spacing_mm, &areas)?,
        reference_to_prediction: directed(&reference, &prediction, spacing_mm, &areas)?,
    })
}

/// From every surfel of `from` to the nearest one of `to`.
fn directed<T: Copy + PartialEq>(
    from: &Outline<'_, T>,
    to: &Outline<'_, T>,
    spacing_mm: [f64; 3],
    areas: &[f64; 256],
) -> Result<Profile, MetricsError> {
    let points = from.points();
    let mut codes = to.codes();
    let counts = PlaneCounts::new(points, |_, plane| {
        for (mark, code) in plane.iter_mut().zip(codes.next_plane()) {
            *mark = is_surface(*code);
        }
    })?;
    let mut distances = Distances::new(&counts, spacing_mm)?;
    let mut codes = from.codes();
    let mut profile = ProfileBuilder::new();
    for z in 0..points[0] {
        let plane = codes.next_plane();
        let mut entered = !counts.any_marked();
        for (y, row) in plane.chunks_exact(points[2]).enumerate() {
            if !row.iter().any(|code| is_surface(*code)) {
                continue;
            }
            if !entered {
                distances.enter_plane(z);
                entered = true;
            }
            let surfels = row.iter().enumerate().filter(|(_, code)| is_surface(**code));
            if counts.any_marked() {
                let squared = distances.squared_row(y);
                surfels.for_each(|(x, code)| profile.add(squared[x], areas[usize::from(*code)]));
            } else {
                surfels.for_each(|(_, code)| profile.add(f64::INFINITY, areas[usize::from(*code)]));
            }
        }
    }
    Ok(profile.finish())
}

fn is_surface(code: u8) -> bool {
    code != 0 && code != u8::MAX
}

/// One class in a box of a label array.
struct Outline<'a, T> {
    voxels: &'a [T],
    shape: Index3,
    values: &'a [T],
    bounds: &'a Box3,
}

impl<'a, T: Copy + PartialEq> Outline<'a, T> {
    fn new(voxels: &'a [T], shape: Index3, values: &'a [T], bounds: &'a Box3) -> Result<Self, MetricsError> {
        check_voxels(shape, voxels.len())?;
        if bounds.0.iter().zip(shape).any(|(range, n)| range.start > range.end || range.end > n) {
            return Err(MetricsError::Bounds { bounds: bounds.clone(), shape });
        }
        Ok(Outline { voxels, shape, values, bounds })
    }

    /// Corner points of the box per axis.
    fn points(&self) -> Index3 {
        self.bounds.shape().map(|n| n + 1)
    }

    fn codes(&self) -> Codes<'_, T> {
        let [_, py, px] = self.points();
        Codes {
            outline: self,
            z: 0,
            inside: vec![0; (py + 1) * (px + 1)],
            below: vec![0; py * px],
            codes: vec![0; py * px],
        }
    }
}

/// The neighbour codes of an outline's corner points, plane by plane.
struct Codes<'a, T> {
    outline: &'a Outline<'a, T>,
    z: usize,
    /// The voxel plane above the points, with a margin of zeros around it.
    inside: Vec<u8>,
    /// The four lower neighbours of each point.
    below: Vec<u8>,
    codes: Vec<u8>,
}

impl<T: Copy + PartialEq> Codes<'_, T> {
    /// The next plane of points `[y, x]`, `z` ascending.
    fn next_plane(&mut self) -> &[u8] {
        let Outline { voxels, shape, values, bounds } = self.outline;
        let [nz, _, _] = bounds.shape();
        let [_, py, px] = self.outline.points();
        if self.z < nz {
            let Box3([zs, ys, xs]) = bounds;
            for (y, margin_row) in ys.clone().zip(self.inside.chunks_exact_mut(px + 1).skip(1)) {
                let start = ((zs.start + self.z) * shape[1] + y) * shape[2];
                let row = &voxels[start + xs.start..start + xs.end];
                for (inside, voxel) in margin_row[1..].iter_mut().zip(row) {
                    *inside = u8::from(values.contains(voxel));
                }
            }
        } else {
            self.inside.fill(0);
        }
        let rows = self.inside.chunks_exact(px + 1);
        let out = self.below.chunks_exact_mut(px).zip(self.codes.chunks_exact_mut(px));
        for ((low, high), (below, codes)) in rows.clone().zip(rows.skip(1)).zip(out) {
            for x in 0..px {
                let above = low[x] | low[x + 1] << 1 | high[x] << 2 | high[x + 1] << 3;
                codes[x] = below[x] | above << 4;
                below[x] = above;
            }
        }
        debug_assert_eq!(self.codes.len(), py * px);
        self.z += 1;
        &self.codes
    }
}

#[cfg(test)]
mod tests;
