//! What is counted and averaged for each label.

use crate::error::Error;
use crate::geometry::{position_mm, voxel_ml};
use crate::labelled_scan::{LabelledPlane, LabelledScan};
use scanside_core::manifest::Label;
use scanside_core::volume::Index3;

/// Digits of volumes and intensities. Files store spacings and many scans in single precision, so further digits mean
/// nothing.
const DIGITS: usize = 6;

/// One label of one case. Numbers are rounded to what is written: six significant digits, thousandths for millimetres.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelStatistics {
    /// The value in the label file.
    pub value: u16,
    /// Its name.
    pub name: String,
    /// Voxels with this value.
    pub voxels: u64,
    /// Their volume in millilitres.
    pub ml: f64,
    /// Intensities of these voxels, one entry for each channel of the scan; empty where there are no voxels.
    pub intensity: Vec<Intensity>,
    /// The mean position of the voxels' centres in the patient: millimetres towards the patient's left, back and head
    /// (LPS, as in ITK and DICOM). Nothing where there are no voxels.
    pub centroid_lps_mm: Option<[f64; 3]>,
    /// A voxel lies in the first or last plane, row or column of the scan: the structure may be cut off.
    pub touches_edge: bool,
}

/// Intensities of a label in one channel, as the scan's file stores them (scaled as it asks).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intensity {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, over all voxels of the label (the sum of squares is divided by their number).
    pub sd: f64,
}

/// A running mean and sum of squared deviations.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let apart = value - self.mean;
        self.mean += apart / self.count;
        self.squares += apart * (value - self.mean);
    }

    fn intensity(&self) -> Intensity {
        Intensity { mean: significant(self.mean), sd: significant((self.squares / self.count).sqrt()) }
    }
}

/// What is known of a label so far.
#[derive(Clone, Debug, Default)]
struct Tally {
    voxels: u64,
    /// Sums of indices: `z, y, x`.
    indices: [u64; 3],
    channels: Vec<Moments>,
    touches_edge: bool,
}

/// The labels that are measured: one entry for each value but the background, in ascending order, by the name of the last
/// head that writes it.
pub(crate) fn structures(heads: &[Label]) -> Vec<&Label> {
    let mut found: Vec<&Label> = Vec::new();
    for head in heads.iter().filter(|head| head.value != 0) {
        match found.binary_search_by_key(&head.value, |known| known.value) {
            Ok(at) => found[at] = head,
            Err(at) => found.insert(at, head),
        }
    }
    found
}

/// A table from label values to the places of `structures`; other values have none.
pub(crate) fn places(structures: &[&Label]) -> Vec<Option<usize>> {
    let mut table = vec![None; structures.last().map_or(0, |last| usize::from(last.value) + 1)];
    structures.iter().enumerate().for_each(|(place, label)| table[usize::from(label.value)] = Some(place));
    table
}

/// Measures every label but the background, with so many channels of the scan.
///
/// # Errors
/// Those of [`LabelledScan::each_plane`].
pub(crate) fn measure(
    volume: &LabelledScan<'_>,
    heads: &[Label],
    channels: usize,
) -> Result<Vec<LabelStatistics>, Error> {
    let structures = structures(heads);
    let places = places(&structures);
    let shape = volume.grid().shape_zyx;
    let empty = Tally { channels: vec![Moments::default(); channels], ..Tally::default() };
    let mut tallies = vec![empty; structures.len()];
    volume.each_plane(channels, |plane| take(&plane, shape, &places, &mut tallies))?;
    let ml = voxel_ml(volume.grid());
    let statistics = structures.into_iter().zip(tallies).map(|(label, tally)| {
        let count = tally.voxels as f64;
        let centre = || position_mm(volume.grid(), tally.indices.map(|sum| sum as f64 / count));
        LabelStatistics {
            value: label.value,
            name: label.name.clone(),
            voxels: tally.voxels,
            ml: significant(count * ml),
            intensity: tally.channels.iter().filter(|m| m.count > 0.0).map(Moments::intensity).collect(),
            centroid_lps_mm: (tally.voxels > 0).then(|| centre().map(thousandths)),
            touches_edge: tally.touches_edge,
        }
    });
    Ok(statistics.collect())
}

/// Bytes that measuring takes; `None` where they do not fit `usize`.
pub(crate) fn bytes(shape_zyx: Index3, heads: &[Label], channels: usize) -> Option<usize> {
    let most = heads.iter().map(|head| usize::from(head.value) + 1).max().unwrap_or(0);
    let tally = size_of::<Tally>() + channels.checked_mul(size_of::<Moments>())?;
    LabelledScan::bytes(shape_zyx, channels)?.checked_add(heads.len().checked_mul(tally)? + 16 * most)
}

fn take(plane: &LabelledPlane<'_>, shape: Index3, places: &[Option<usize>], tallies: &mut [Tally]) {
    let [planes, rows, columns] = shape;
    let outer_plane = plane.z == 0 || plane.z + 1 == planes;
    for (y, row) in plane.labels.chunks_exact(columns).enumerate() {
        let outer_row = outer_plane || y == 0 || y + 1 == rows;
        for (x, &label) in row.iter().enumerate() {
            let Some(&Some(place)) = places.get(usize::from(label)) else { continue };
            let tally = &mut tallies[place];
            tally.voxels += 1;
            tally.indices.iter_mut().zip([plane.z, y, x]).for_each(|(sum, i)| *sum += i as u64);
            tally.touches_edge |= outer_row || x == 0 || x + 1 == columns;
            for (channel, moments) in tally.channels.iter_mut().enumerate() {
                moments.add(f64::from(plane.voxels[(channel * rows + y) * columns + x]));
            }
        }
    }
}

/// The number with as many digits as mean something.
fn significant(value: f64) -> f64 {
    format!("{value:.*e}", DIGITS - 1).parse().unwrap_or(value)
}

fn thousandths(mm: f64) -> f64 {
    // Adding zero makes a negative zero a positive one.
    (mm * 1e3).round() / 1e3 + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_six_digits() {
        assert_eq!(significant(1234.5678), 1234.57);
        assert_eq!(significant(-0.000_123_456_789), -0.000_123_457);
        assert_eq!((significant(0.0), thousandths(-0.0001)), (0.0, 0.0));
        assert!(thousandths(-0.0001).is_sign_positive());
    }

    #[test]
    fn moments_are_exact_far_from_zero() {
        let mut moments = Moments::default();
        (0..1000).for_each(|i| moments.add(1e6 + f64::from(i % 2)));
        assert_eq!(moments.intensity(), Intensity { mean: 1e6, sd: 0.5 });
    }

    #[test]
    fn values_are_measured_once_under_the_name_written_last() {
        let heads = [("bg", 0), ("whole", 2), ("core", 1), ("edge", 2)].map(|(name, value)| Label::new(name, value));
        let names: Vec<&str> = structures(&heads).iter().map(|label| label.name.as_str()).collect();
        assert_eq!(names, ["core", "edge"]);
        assert_eq!(places(&structures(&heads)), [None, Some(0), Some(1)]);
    }
}
