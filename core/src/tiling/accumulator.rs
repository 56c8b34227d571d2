//! The sums of weighted logits, for one patch depth at a time.

use super::Tiling;
use crate::executor::Executor;
use crate::half_float::{f16_to_f32, f32_to_f16};
use crate::patch::PatchNumber;
use crate::volume::{Index3, product, sum};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

/// What went wrong while logits were added up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccumulatorError {
    /// A sum left the fp16 range; nnU-Net stops here as well.
    NotFinite {
        /// Plane of the padded network grid.
        plane: usize,
    },
}

impl fmt::Display for AccumulatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccumulatorError::NotFinite { plane } => write!(
                f,
                "the network's logits are not finite or exceed the fp16 range near plane {plane} of its grid; \
                 check that the scan's intensities suit the model"
            ),
        }
    }
}

impl core::error::Error for AccumulatorError {}

/// One plane of logits, `[heads, y, x]` in fp16 bits after [`RollingAccumulator::finish`].
#[derive(Debug, Default)]
pub struct LogitPlane {
    /// Plane number in the padded network grid.
    index: usize,
    /// `[folds, heads, y, x]`; after finishing the first fold's place holds the average.
    sums: Vec<u16>,
    /// `[y, x]`.
    weights: Vec<u16>,
}

impl LogitPlane {
    /// Plane number in the padded network grid.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Row `y` of head `head`, padded grid, fp16 bits.
    pub fn row(&self, head: usize, y: usize, padded: Index3) -> &[u16] {
        let start = (head * padded[1] + y) * padded[2];
        &self.sums[start..start + padded[2]]
    }
}

/// Adds tiles up in fp16 with one rounding per addition, and holds no more planes than a tile is deep, plus the one
/// that interpolation still looks back at.
#[derive(Debug)]
pub struct RollingAccumulator {
    padded: Index3,
    patch: Index3,
    heads: usize,
    folds: usize,
    importance: Vec<u16>,
    live: VecDeque<LogitPlane>,
    free: Vec<LogitPlane>,
    next_plane: usize,
}

impl RollingAccumulator {
    /// An empty accumulator; planes are allocated when tiles reach them.
    pub fn new(tiling: &Tiling, importance: Vec<u16>, heads: usize, folds: usize) -> Self {
        RollingAccumulator {
            padded: tiling.padded,
            patch: tiling.patch,
            heads,
            folds,
            importance,
            live: VecDeque::new(),
            free: Vec::new(),
            next_plane: 0,
        }
    }

    /// Bytes of the planes and the importance map at their most.
    pub fn bytes(tiling: &Tiling, heads: usize, folds: usize) -> Option<usize> {
        let parts = heads.checked_mul(folds)?.checked_add(1)?;
        let planes = tiling.patch[0].min(tiling.padded[0]) + 1;
        let importance = product(tiling.patch.into_iter().chain([2]));
        sum([product([2, parts, tiling.padded[1], tiling.padded[2], planes]), importance])
    }

    /// Adds the logits `[heads, z, y, x]` of the tile at `start` to the sums of `fold`.
    ///
    /// Tiles must come in [`Tiling::row`] order, rows ascending; within a tile folds come in order from 0.
    pub fn add<T: PatchNumber, X: Executor>(&mut self, executor: &X, start: Index3, fold: usize, logits: &[T]) {
        while self.next_plane < start[0] + self.patch[0] {
            let mut plane = self.free.pop().unwrap_or_default();
            let voxels = self.padded[1] * self.padded[2];
            plane.index = self.next_plane;
            plane.sums.clear();
            plane.sums.resize(self.folds * self.heads * voxels, 0);
            plane.weights.clear();
            plane.weights.resize(voxels, 0);
            self.live.push_back(plane);
            self.next_plane += 1;
        }
        let first = self.live.front().map_or(0, |p| p.index);
        let planes = &mut self.live.make_contiguous()[start[0] - first..][..self.patch[0]];
        let (patch, padded, heads, importance) = (self.patch, self.padded, self.heads, &self.importance);
        executor.for_each(planes, |z, plane| {
            for y in 0..patch[1] {
                let weight_row = &importance[(z * patch[1] + y) * patch[2]..][..patch[2]];
                let place = (start[1] + y) * padded[2] + start[2];
                if fold == 0 {
                    add_weights(&mut plane.weights[place..place + patch[2]], weight_row);
                }
                for head in 0..heads {
                    let tile = ((head * patch[0] + z) * patch[1] + y) * patch[2];
                    let plane_start = (fold * heads + head) * padded[1] * padded[2];
                    add_weighted(
                        &mut plane.sums[plane_start + place..][..patch[2]],
                        &logits[tile..tile + patch[2]],
                        weight_row,
                    );
                }
            }
        });
    }

    /// Divides by the weights and averages the folds of all planes below `end`, which no further tile may touch.
    ///
    /// # Errors
    /// A sum that is not finite.
    pub fn finish<X: Executor>(
        &mut self,
        executor: &X,
        end: usize,
    ) -> Result<impl Iterator<Item = LogitPlane> + '_, AccumulatorError> {
        let count = self.live.iter().take_while(|p| p.index < end).count();
        let (folds, voxels_per_fold) = (self.folds, self.heads * self.padded[1] * self.padded[2]);
        let mut jobs: Vec<(&mut LogitPlane, bool)> =
            self.live.make_contiguous()[..count].iter_mut().map(|plane| (plane, true)).collect();
        executor.for_each(&mut jobs, |_, (plane, finite)| {
            *finite = divide(&mut plane.sums, &plane.weights, folds, voxels_per_fold);
        });
        if let Some((plane, _)) = jobs.iter().find(|(_, finite)| !finite) {
            return Err(AccumulatorError::NotFinite { plane: plane.index });
        }
        drop(jobs);
        Ok(self.live.drain(..count))
    }

    /// Takes a plane back for reuse.
    pub fn recycle(&mut self, plane: LogitPlane) {
        self.free.push(plane);
    }
}

fn add_weights(sums: &mut [u16], weights: &[u16]) {
    for (sum, &weight) in sums.iter_mut().zip(weights) {
        *sum = f32_to_f16(f16_to_f32(*sum) + f16_to_f32(weight));
    }
}

/// `sum = fp16(f32(sum) + logit * f32(weight))`: the product is rounded to f32, the sum to f32 and then to fp16, as
/// the reference's mixed-type in-place addition does.
fn add_weighted<T: PatchNumber>(sums: &mut [u16], logits: &[T], weights: &[u16]) {
    for ((sum, &logit), &weight) in sums.iter_mut().zip(logits).zip(weights) {
        *sum = f32_to_f16(f16_to_f32(*sum) + logit.widen() * f16_to_f32(weight));
    }
}

/// Returns whether every result is finite.
fn divide(sums: &mut [u16], weights: &[u16], folds: usize, voxels_per_fold: usize) -> bool {
    for chunk in sums.chunks_exact_mut(weights.len()) {
        for (sum, &weight) in chunk.iter_mut().zip(weights) {
            *sum = f32_to_f16(f16_to_f32(*sum) / f16_to_f32(weight));
        }
    }
    let (average, others) = sums.split_at_mut(voxels_per_fold);
    if folds > 1 {
        for other in others.chunks_exact(voxels_per_fold) {
            for (sum, &logit) in average.iter_mut().zip(other) {
                *sum = f32_to_f16(f16_to_f32(*sum) + f16_to_f32(logit));
            }
        }
        for sum in average.iter_mut() {
            *sum = f32_to_f16(f16_to_f32(*sum) / folds as f32);
        }
    }
    average.iter().all(|&bits| bits & 0x7c00 != 0x7c00)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Serial;
    use crate::tiling::importance_map;
    use alloc::vec;
    use half::f16;
    use proptest::prelude::*;

    /// The specification: whole-volume sums with the `half` crate's arithmetic.
    fn naive(tiling: &Tiling, importance: &[u16], heads: usize, tiles: &[Vec<f32>]) -> Vec<u16> {
        let [_, n1, n2] = tiling.padded;
        let voxels: usize = tiling.padded.iter().product();
        let mut sums = vec![f16::ZERO; heads * voxels];
        let mut weights = vec![f16::ZERO; voxels];
        let starts = (0..tiling.starts[0].len()).flat_map(|r| tiling.row(r).collect::<Vec<_>>());
        for (start, logits) in starts.zip(tiles) {
            let [p0, p1, p2] = tiling.patch;
            for z in 0..p0 {
                for y in 0..p1 {
                    for x in 0..p2 {
                        let g = f16::from_bits(importance[(z * p1 + y) * p2 + x]);
                        let v = ((start[0] + z) * n1 + start[1] + y) * n2 + start[2] + x;
                        weights[v] = f16::from_f32(weights[v].to_f32() + g.to_f32());
                        for h in 0..heads {
                            let s = &mut sums[h * voxels + v];
                            *s = f16::from_f32(s.to_f32() + logits[((h * p0 + z) * p1 + y) * p2 + x] * g.to_f32());
                        }
                    }
                }
            }
        }
        (0..heads * voxels).map(|i| f16::from_f32(sums[i].to_f32() / weights[i % voxels].to_f32()).to_bits()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn rolling_equals_the_whole_volume_bit_for_bit_and_stays_in_its_bytes(
            shape in [1usize..20, 1usize..12, 1usize..12], patch in [1usize..9, 1usize..9, 1usize..9],
            step in 0.2f64..=1.0, seed: u32,
        ) {
            let tiling = Tiling::new(shape, patch, step, false);
            let heads = 2;
            let importance = importance_map(patch);
            let mut state = seed | 1;
            let tiles: Vec<Vec<f32>> = (0..tiling.tiles()).map(|_| {
                (0..heads * patch.iter().product::<usize>()).map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 8) as f32 / (1 << 22) as f32 - 2.0
                }).collect()
            }).collect();
            let expected = naive(&tiling, &importance, heads, &tiles);
            let mut rolling = RollingAccumulator::new(&tiling, importance, heads, 1);
            let announced = RollingAccumulator::bytes(&tiling, heads, 1).unwrap();
            let voxels: usize = tiling.padded.iter().product();
            let mut next = tiles.iter();
            let mut planes_seen = 0;
            for row in 0..tiling.starts[0].len() {
                for start in tiling.row(row) {
                    rolling.add(&Serial, start, 0, next.next().unwrap());
                }
                let held = rolling.live.iter().chain(&rolling.free)
                    .map(|p| 2 * (p.sums.len() + p.weights.len())).sum::<usize>() + 2 * rolling.importance.len();
                prop_assert!(held <= announced, "{held} > {announced}");
                let planes: Vec<_> = rolling.finish(&Serial, tiling.finished_by(row).end).unwrap().collect();
                for plane in planes {
                    prop_assert_eq!(plane.index(), planes_seen);
                    for h in 0..heads {
                        for y in 0..tiling.padded[1] {
                            let at = h * voxels + (plane.index() * tiling.padded[1] + y) * tiling.padded[2];
                            prop_assert_eq!(plane.row(h, y, tiling.padded), &expected[at..at + tiling.padded[2]]);
                        }
                    }
                    planes_seen += 1;
                    rolling.recycle(plane);
                }
            }
            prop_assert_eq!(planes_seen, tiling.padded[0]);
        }
    }

    #[test]
    fn an_overflow_is_an_error() {
        let tiling = Tiling::new([1, 1, 1], [1, 1, 1], 0.5, false);
        let mut rolling = RollingAccumulator::new(&tiling, importance_map([1, 1, 1]), 1, 1);
        rolling.add(&Serial, [0, 0, 0], 0, &[1e5f32]);
        assert!(matches!(rolling.finish(&Serial, 1).map(|_| ()), Err(AccumulatorError::NotFinite { plane: 0 })));
    }
}
