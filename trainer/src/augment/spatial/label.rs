//! The label of a position between voxels.

use half::f16;

/// Scale at which weights are compared: nnU-Net stores them as half-precision thousandths.
const WHOLE: f32 = 1000.0;
/// Weights with a larger difference also differ in half precision.
const CERTAIN: f32 = 1.0;

/// A volume from which the eight corners of a cell are read at one index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Corners<'a, T> {
    /// The volume beginning at each of the corners `z, y`, all of the same length, so that one bounds check is enough.
    from: [&'a [T]; 4],
}

impl<'a, T: Copy> Corners<'a, T> {
    #[inline(always)]
    pub(super) fn new(volume: &'a [T], height: usize, width: usize) -> Corners<'a, T> {
        let plane = height * width;
        let length = volume.len().saturating_sub(plane + width);
        Corners { from: [0, width, plane, plane + width].map(|offset| &volume[offset..offset + length]) }
    }

    /// The corners of the cell whose corner with the least coordinates has `index`, numbered `4 z + 2 y + x`.
    #[inline(always)]
    pub(super) fn at(&self, index: usize) -> [T; 8] {
        let [a, b, c, d] = self.from;
        [a[index], a[index + 1], b[index], b[index + 1], c[index], c[index + 1], d[index], d[index + 1]]
    }
}

/// The label with the largest weight of the eight `corners` (numbered `4 z + 2 y + x`).
#[inline(always)]
pub(super) fn strongest(corners: &[i16; 8], fraction: &[f32; 3]) -> i16 {
    if corners[1..].iter().all(|&label| label == corners[0]) { corners[0] } else { decide(corners, fraction) }
}

#[inline(never)]
fn decide(corners: &[i16; 8], fraction: &[f32; 3]) -> i16 {
    let side = |d: usize, upper: usize| if upper == 1 { fraction[d] } else { 1.0 - fraction[d] };
    let share: [f32; 8] = std::array::from_fn(|k| side(0, k >> 2) * side(1, k >> 1 & 1) * side(2, k & 1) * WHOLE);
    let (mut first, mut second) = ((corners[0], f32::MIN), f32::MIN);
    let mut left = u8::MAX;
    while left != 0 {
        let label = corners[left.trailing_zeros() as usize];
        let mut sum = 0.0;
        for k in 0..8 {
            let same = corners[k] == label;
            sum += if same { share[k] } else { 0.0 };
            left &= !(u8::from(same) << k);
        }
        if sum > first.1 {
            (first, second) = ((label, sum), first.1);
        } else {
            second = second.max(sum);
        }
    }
    if first.1 - second > CERTAIN { first.0 } else { settle(corners, &share, fraction) }
}

/// Among labels with equal weights in half precision, the one of the nearest voxel if it is among them, otherwise the least.
#[cold]
fn settle(corners: &[i16; 8], share: &[f32; 8], fraction: &[f32; 3]) -> i16 {
    let score = |label: i16| {
        let sum: f32 = (0..8).map(|k| if corners[k] == label { share[k] } else { 0.0 }).sum();
        f16::from_f32(sum)
    };
    let nearest = corners[(0..3).fold(0, |k, d| 2 * k + usize::from(fraction[d] >= 0.5))];
    let mut best = (nearest, score(nearest));
    for &label in corners {
        let score = score(label);
        if score > best.1 || (score == best.1 && best.0 != nearest && label < best.0) {
            best = (label, score);
        }
    }
    best.0
}
