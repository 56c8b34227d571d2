//! Voxels at which patches that must contain a class are centred, sampled per class when a case is prepared.

use super::random::RandomState;
use crate::targets::OUTSIDE;
use crate::targets::{Heads, Targets};

/// All voxels of a class are kept up to this number.
const KEEP_ALL: usize = 10_000;

/// Of more voxels, at least this fraction.
const FRACTION: f64 = 0.01;

/// Seed of every case.
const SEED: u32 = 1234;

/// The label values of each entry of the class locations: the foreground labels or the regions in their order and, with an
/// ignore label, a last entry of all labelled voxels.
pub fn classes(targets: &Targets) -> Vec<Vec<i16>> {
    let labels = |count: usize| 1..count as i16;
    let mut classes: Vec<Vec<i16>> = match &targets.heads {
        Heads::Labels(count) => labels(*count).map(|label| vec![label]).collect(),
        Heads::Regions(regions) => regions.clone(),
    };
    if targets.ignore.is_some() {
        let mut all: Vec<i16> = match &targets.heads {
            Heads::Labels(count) => (0..*count as i16).collect(),
            // `background` is always among them.
            Heads::Regions(regions) => regions.iter().flatten().copied().chain([0]).collect(),
        };
        all.push(OUTSIDE);
        all.sort_unstable();
        all.dedup();
        classes.push(all);
    }
    classes
}

/// Sampled voxels of each of `classes` in a label map, as flat indices, in nnU-Net's choice and order.
pub fn sample(labels: &[i16], classes: &[Vec<i16>]) -> Vec<Vec<u32>> {
    let mut random = RandomState::new(SEED);
    let mut values: Vec<i16> = classes.iter().flatten().copied().collect();
    values.sort_unstable();
    values.dedup();
    let mut voxels: Vec<Vec<u32>> = vec![Vec::new(); values.len()];
    for (index, label) in labels.iter().enumerate() {
        if let Ok(place) = values.binary_search(label) {
            voxels[place].push(index as u32);
        }
    }
    let of = |label: &i16| values.binary_search(label).map_or(&[][..], |place| &voxels[place][..]);
    classes
        .iter()
        .map(|class| {
            let total: usize = class.iter().map(|label| of(label).len()).sum();
            let size = total.min(KEEP_ALL).max((total as f64 * FRACTION).ceil() as usize);
            let chosen = random.choose(total as u32, size);
            chosen
                .into_iter()
                .map(|mut offset| {
                    let mut place = 0;
                    for label in class {
                        let there = of(label);
                        if (offset as usize) < there.len() {
                            place = there[offset as usize];
                            break;
                        }
                        offset -= there.len() as u32;
                    }
                    place
                })
                .collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_the_heads() {
        let labels = |ignore| Targets { heads: Heads::Labels(3), ignore };
        assert_eq!(classes(&labels(None)), [vec![1], vec![2]]);
        assert_eq!(classes(&labels(Some(3))), [vec![1], vec![2], vec![-1, 0, 1, 2]]);
        let regions = Targets { heads: Heads::Regions(vec![vec![2, 1], vec![2]]), ignore: Some(3) };
        assert_eq!(classes(&regions), [vec![2, 1], vec![2], vec![-1, 0, 1, 2]]);
    }

    #[test]
    fn absent_classes_draw_nothing() {
        let labels: Vec<i16> = (0..3000).map(|i| if i % 3 == 0 { 2 } else { 0 }).collect();
        let with = sample(&labels, &[vec![1], vec![2]]);
        assert!(with[0].is_empty());
        assert_eq!(with[1], sample(&labels, &[vec![2]])[0]);
        let mut sorted = with[1].clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).map(|i| 3 * i).collect::<Vec<_>>());
    }

    #[test]
    fn of_many_voxels_one_in_a_hundred_is_taken() {
        assert_eq!(sample(&vec![1; 20_000], &[vec![1]])[0].len(), 10_000);
        assert_eq!(sample(&vec![1; 1_000_050], &[vec![1]])[0].len(), 10_001);
    }
}
