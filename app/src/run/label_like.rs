//! Detects and refuses a label map that is given as a scan: its segmentation would be meaningless.

use crate::error::{Error, ErrorKind, OrError};
use scanside_core::volume::{Box3, VoxelSource};
use scanside_formats::Scan;

/// Planes looked at, spread over the scan.
const PLANES: usize = 24;

/// What the looked-at planes are like.
#[derive(Debug, Default)]
struct Impression {
    seen: Vec<bool>,
    whole_numbers: bool,
    /// Neighbours along x of which at least one is not background, and how many of them are equal.
    pairs: u64,
    equal: u64,
}

/// A scan that looks like a label map; [`CaseOptions::allow_label_input`](super::CaseOptions) accepts it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the input looks like a label map, not a scan: {why}")]
pub struct LooksLikeLabels {
    /// What it looks like.
    pub why: String,
}

/// Refuses a scan that is one channel of few, small, whole numbers in large uniform pieces starting from 0.
pub(super) fn refuse(scan: &Scan, source: &mut dyn VoxelSource) -> Result<(), Error> {
    let refused = |why: String| Err(Error::of(ErrorKind::Input, LooksLikeLabels { why }));
    if let Some(why) = scan.marked_as_labels() {
        return refused(why.to_owned());
    }
    if source.channels() != 1 {
        return Ok(());
    }
    let shape = source.shape_zyx();
    let mut plane = vec![0.0; shape[1] * shape[2]];
    let mut impression = Impression { seen: vec![false; 256], whole_numbers: true, ..Default::default() };
    let step = shape[0].div_ceil(PLANES);
    for z in (0..shape[0]).step_by(step) {
        source.read(0, &Box3([z..z + 1, 0..shape[1], 0..shape[2]]), &mut plane).or_error(ErrorKind::Input)?;
        if !impression.take(&plane, shape[2]) {
            return Ok(());
        }
    }
    match impression.labels() {
        Some(count) => refused(format!("it has only {count} different whole numbers from 0, in uniform regions")),
        None => Ok(()),
    }
}

impl Impression {
    /// Takes a plane in; `false` once it cannot be a label map any more.
    fn take(&mut self, plane: &[f32], width: usize) -> bool {
        for row in plane.chunks_exact(width) {
            for &v in row {
                if !(0.0..256.0).contains(&v) || v.fract() != 0.0 {
                    self.whole_numbers = false;
                    return false;
                }
                self.seen[v as usize] = true;
            }
            for pair in row.windows(2).filter(|p| p[0] != 0.0 || p[1] != 0.0) {
                self.pairs += 1;
                self.equal += u64::from(pair[0] == pair[1]);
            }
        }
        true
    }

    /// The number of different labels, if it is a label map.
    fn labels(&self) -> Option<usize> {
        let count = self.seen.iter().filter(|s| **s).count();
        let largest = self.seen.iter().rposition(|s| *s)?;
        // Labels are numbered densely; grey values of a phantom are not. In a scan, noise makes neighbours differ.
        let dense = count * 8 > largest;
        let uniform = self.equal * 10 >= self.pairs * 6;
        (self.whole_numbers && self.seen[0] && count >= 2 && dense && uniform && self.pairs >= 64).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn impression(value: impl Fn(usize, usize) -> f32) -> Option<usize> {
        let mut i = Impression { seen: vec![false; 256], whole_numbers: true, ..Default::default() };
        let plane: Vec<f32> = (0..64 * 64).map(|k| value(k / 64, k % 64)).collect();
        i.take(&plane, 64);
        i.labels()
    }

    #[test]
    fn blocks_of_small_numbers_are_labels_and_noise_or_grey_values_are_not() {
        assert_eq!(impression(|y, x| ((y / 16 + x / 16) % 3) as f32), Some(3));
        assert_eq!(impression(|y, x| ((y * 7919 + x * 104_729) % 251) as f32), None);
        assert_eq!(impression(|y, x| 100.0 * ((y / 16 + x / 16) % 3) as f32), None);
        assert_eq!(impression(|y, x| (y / 16 + x / 16) as f32 - 1000.0), None);
        assert_eq!(impression(|_, _| 0.0), None);
    }
}
