//! How far every point is from the nearest marked one: the exact Euclidean distance transform.
//!
//! The squared distance splits into axes. Along `z` two sweeps count the planes to the nearest marked point of each
//! column. In a plane, the distance along `y` and then `x` is the lower envelope of parabolas: Felzenszwalb and
//! Huttenlocher, "Distance Transforms of Sampled Functions", Theory of Computing 8 (2012).
//!
//! Only the plane counts are kept for the whole grid, 2 bytes a point. Distances exist for one plane at a time, and only
//! where they are asked for. They are added in the order z, y, x in double precision, so they equal those of
//! `scipy.ndimage.distance_transform_edt`.

use alloc::vec;
use alloc::vec::Vec;

use super::{MetricsError, check_spacing};
use crate::volume::{Index3, checked_voxels};

/// The most points along the first axis whose distances can be counted.
pub const MAX_PLANES: usize = u16::MAX as usize;

/// The column holds no marked point.
const NONE: u16 = u16::MAX;

/// For each point of a grid, the planes between it and the nearest marked point of its column.
pub struct PlaneCounts {
    shape: Index3,
    counts: Vec<u16>,
    marked: bool,
}

impl PlaneCounts {
    /// Counts in a grid of `shape` points. `mark(z, plane)` is called for ascending `z` and sets the marked points of that
    /// plane (`[y, x]`, all `false` before the call).
    ///
    /// Memory: 2 bytes per point, and 1 byte per point of one plane.
    ///
    /// # Errors
    ///
    /// [`MetricsError::TooManyPlanes`], and [`MetricsError::VoxelCount`] where the grid does not fit the address space.
    pub fn new(shape: Index3, mut mark: impl FnMut(usize, &mut [bool])) -> Result<Self, MetricsError> {
        if shape[0] > MAX_PLANES {
            return Err(MetricsError::TooManyPlanes(shape[0]));
        }
        let points = checked_voxels(shape).ok_or(MetricsError::VoxelCount { shape, got: 0 })?;
        let area = shape[1] * shape[2];
        let mut counts = vec![NONE; points];
        let mut plane = vec![false; area];
        let mut marked = false;
        for z in 0..shape[0] {
            plane.fill(false);
            mark(z, &mut plane);
            marked |= plane.contains(&true);
            let (done, rest) = counts.split_at_mut(z * area);
            let current = rest[..area].iter_mut().zip(&plane);
            if z == 0 {
                current.for_each(|(count, mark)| *count = if *mark { 0 } else { NONE });
            } else {
                for ((count, mark), below) in current.zip(&done[(z - 1) * area..]) {
                    // MAX_PLANES keeps every count below NONE, so saturation only keeps NONE as it is.
                    *count = if *mark { 0 } else { below.saturating_add(1) };
                }
            }
        }
        for z in (1..shape[0]).rev() {
            let (lower, upper) = counts.split_at_mut(z * area);
            for (count, above) in lower[(z - 1) * area..].iter_mut().zip(&upper[..area]) {
                *count = (*count).min(above.saturating_add(1));
            }
        }
        Ok(PlaneCounts { shape, counts, marked })
    }

    /// Whether any point of the grid is marked.
    pub fn any_marked(&self) -> bool {
        self.marked
    }
}

/// Distances of one plane after the other.
pub struct Distances<'a> {
    counts: &'a PlaneCounts,
    spacing_mm: [f64; 3],
    /// Squared distance within the plane of constant `x`, stored `[x, y]`: columns are what the pass along `y` writes.
    columns: Vec<f64>,
    line: Vec<f64>,
    row: Vec<f64>,
    envelope: Envelope,
}

impl<'a> Distances<'a> {
    /// Scratch for one plane of `counts`: 8 bytes per point of it.
    ///
    /// # Errors
    ///
    /// [`MetricsError::Spacing`].
    pub fn new(counts: &'a PlaneCounts, spacing_mm: [f64; 3]) -> Result<Self, MetricsError> {
        check_spacing(spacing_mm)?;
        let [_, ny, nx] = counts.shape;
        Ok(Distances {
            counts,
            spacing_mm,
            columns: vec![0.0; ny * nx],
            line: vec![0.0; ny],
            row: vec![0.0; nx],
            envelope: Envelope::new(ny.max(nx)),
        })
    }

    /// Goes to plane `z`.
    ///
    /// # Panics
    ///
    /// Where `z` lies outside the grid.
    pub fn enter_plane(&mut self, z: usize) {
        let [_, ny, nx] = self.counts.shape;
        let plane = &self.counts.counts[z * ny * nx..][..ny * nx];
        if plane.is_empty() {
            return;
        }
        for (x, column) in self.columns.chunks_exact_mut(ny).enumerate() {
            for (value, count) in self.line.iter_mut().zip(plane[x..].iter().step_by(nx)) {
                let mm = f64::from(*count) * self.spacing_mm[0];
                *value = if *count == NONE { f64::INFINITY } else { mm * mm };
            }
            self.envelope.of(&self.line, self.spacing_mm[1], column);
        }
    }

    /// Squared distances in mm² from the points of row `y` of the entered plane to the nearest marked point of the grid;
    /// infinite where nothing is marked.
    ///
    /// # Panics
    ///
    /// Where `y` lies outside the grid.
    pub fn squared_row(&mut self, y: usize) -> &[f64] {
        let [_, ny, nx] = self.counts.shape;
        assert!(y < ny, "row {y} of {ny}");
        self.line.resize(nx, 0.0);
        for (value, from) in self.line.iter_mut().zip(self.columns.iter().skip(y).step_by(ny)) {
            *value = *from;
        }
        self.envelope.of(&self.line, self.spacing_mm[2], &mut self.row);
        self.line.resize(ny, 0.0);
        &self.row
    }
}

/// Lower envelope of parabolas of one curvature.
struct Envelope {
    /// Where the parabolas that form the envelope have their lowest point.
    sites: Vec<usize>,
    /// Where each of them begins to be the lowest.
    begins: Vec<f64>,
}

impl Envelope {
    fn new(longest: usize) -> Self {
        Envelope { sites: Vec::with_capacity(longest), begins: Vec::with_capacity(longest) }
    }

    /// `out[i] = min over j of heights[j] + (step (i - j))²`; infinite heights take no part.
    fn of(&mut self, heights: &[f64], step: f64, out: &mut [f64]) {
        self.sites.clear();
        self.begins.clear();
        let curvature = step * step;
        let twice = 0.5 / curvature;
        for (site, height) in heights.iter().enumerate().filter(|(_, h)| h.is_finite()) {
            let begin = loop {
                let (Some(&last), Some(&last_begin)) = (self.sites.last(), self.begins.last()) else {
                    break f64::NEG_INFINITY;
                };
                // Where this parabola crosses the last one. Taken from the middle between the two sites, which keeps
                // digits that the squares of large positions would lose.
                let (a, b) = (last as f64, site as f64);
                let begin = (a + b) / 2.0 + (height - heights[last]) * twice / (b - a);
                if begin > last_begin {
                    break begin;
                }
                self.sites.pop();
                self.begins.pop();
            };
            self.sites.push(site);
            self.begins.push(begin);
        }
        if self.sites.is_empty() {
            out.fill(f64::INFINITY);
            return;
        }
        let mut k = 0;
        for (i, value) in out.iter_mut().enumerate() {
            while self.begins.get(k + 1).is_some_and(|begin| *begin < i as f64) {
                k += 1;
            }
            let site = self.sites[k];
            let mm = i.abs_diff(site) as f64 * step;
            *value = heights[site] + mm * mm;
        }
    }
}

/// Distance in mm from every point to the nearest marked one: `[z, y, x]`, infinite where nothing is marked. What tests
/// compare with scipy.
#[cfg(test)]
pub(super) fn distance_transform(
    marked: &[bool],
    shape: Index3,
    spacing_mm: [f64; 3],
) -> Result<Vec<f64>, MetricsError> {
    super::check_voxels(shape, marked.len())?;
    check_spacing(spacing_mm)?;
    let area = shape[1] * shape[2];
    let counts = PlaneCounts::new(shape, |z, plane| plane.copy_from_slice(&marked[z * area..][..area]))?;
    let mut distances = Distances::new(&counts, spacing_mm)?;
    let mut all = Vec::with_capacity(marked.len());
    for z in 0..shape[0] {
        distances.enter_plane(z);
        for y in 0..shape[1] {
            all.extend(distances.squared_row(y).iter().map(|squared| libm::sqrt(*squared)));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(marked: &[bool], [nz, ny, nx]: Index3, spacing: [f64; 3]) -> Vec<f64> {
        let points = || (0..nz).flat_map(move |z| (0..ny).flat_map(move |y| (0..nx).map(move |x| [z, y, x])));
        points()
            .map(|p| {
                let squared = points().zip(marked).filter(|(_, m)| **m).map(|(q, _)| {
                    let [a, b, c] = [0, 1, 2].map(|k| p[k].abs_diff(q[k]) as f64 * spacing[k]);
                    a * a + b * b + c * c
                });
                squared.fold(f64::INFINITY, f64::min).sqrt()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn equals_the_search_over_all_marked_points(
            (shape, marked) in (1usize..7, 1usize..7, 1usize..9).prop_flat_map(|(z, y, x)| {
                (0.02f64..0.6).prop_flat_map(move |density| {
                    (Just([z, y, x]), proptest::collection::vec(proptest::bool::weighted(density), z * y * x))
                })
            }),
            spacing in [0.1f64..5.0, 0.1f64..5.0, 0.1f64..5.0],
        ) {
            let fast = distance_transform(&marked, shape, spacing).unwrap();
            for (a, b) in fast.iter().zip(naive(&marked, shape, spacing)) {
                prop_assert!(*a == b || (a - b).abs() <= 1e-14 * b, "{} {}", a, b);
            }
        }
    }

    #[test]
    fn nothing_marked_is_infinitely_far() {
        assert_eq!(distance_transform(&[false; 6], [1, 2, 3], [1.0; 3]), Ok(vec![f64::INFINITY; 6]));
        assert_eq!(distance_transform(&[], [0, 2, 3], [1.0; 3]), Ok(vec![]));
        assert_eq!(distance_transform(&[], [2, 0, 3], [1.0; 3]), Ok(vec![]));
        assert_eq!(distance_transform(&[], [2, 3, 0], [1.0; 3]), Ok(vec![]));
    }

    #[test]
    fn bad_arguments_are_refused() {
        let nan = [1.0, f64::NAN, 1.0];
        assert!(matches!(distance_transform(&[true], [1, 1, 1], nan), Err(MetricsError::Spacing(_))));
        assert!(matches!(distance_transform(&[true], [1, 1, 1], [1.0, 0.0, 1.0]), Err(MetricsError::Spacing(_))));
        let long = distance_transform(&[true; MAX_PLANES + 1], [MAX_PLANES + 1, 1, 1], [1.0; 3]);
        assert_eq!(long, Err(MetricsError::TooManyPlanes(MAX_PLANES + 1)));
    }

    #[test]
    fn the_longest_axis_is_counted_to_its_end() {
        let mut marked = vec![false; MAX_PLANES];
        marked[0] = true;
        let distances = distance_transform(&marked, [MAX_PLANES, 1, 1], [0.5, 1.0, 1.0]).unwrap();
        assert_eq!(distances[MAX_PLANES - 1], (MAX_PLANES - 1) as f64 * 0.5);
    }
}
