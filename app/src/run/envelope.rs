//! Whether a scan, or the labels that were made of it, are far outside of what the model was trained on.

use crate::error::{Error, ErrorKind, OrError};
use scanside_core::manifest::{Deviation, Manifest};
use scanside_core::postprocess::{LabelSink, SinkError};
use scanside_core::volume::{Box3, Grid, VoxelSource};
use scanside_formats::Scan;
use std::path::PathBuf;

/// Planes looked at for a channel's intensities, spread over the scan.
const PLANES: usize = 24;
/// Deviations that a sentence lists.
const MOST_LISTED: usize = 4;

/// How a scan is far outside; empty where the model states no ranges.
pub(super) fn of_scan(manifest: &Manifest, grid: &Grid, source: &mut dyn VoxelSource) -> Result<Vec<Deviation>, Error> {
    let Some(envelope) = &manifest.envelope else { return Ok(Vec::new()) };
    let mut found = envelope.deviations_of_grid(grid);
    if envelope.intensities.is_empty() && envelope.foreground_intensities.is_empty() {
        return Ok(found);
    }
    for (index, channel) in manifest.channels.iter().enumerate() {
        if channel.normalization.is_absolute() {
            let range = range_of_channel(source, index)?;
            found.extend(range.and_then(|range| envelope.deviation_of_intensities(index, range)));
        }
    }
    Ok(found)
}

/// Lowest and highest intensity of some planes; nothing where no voxel is a number.
fn range_of_channel(source: &mut dyn VoxelSource, channel: usize) -> Result<Option<[f64; 2]>, Error> {
    let [planes, rows, columns] = source.shape_zyx();
    let mut plane = vec![0.0; rows * columns];
    let mut range: Option<[f64; 2]> = None;
    let count = planes.min(PLANES);
    for i in 0..count {
        let z = i * planes / count;
        source.read(channel, &Box3([z..z + 1, 0..rows, 0..columns]), &mut plane).or_error(ErrorKind::Input)?;
        for value in plane.iter().copied().filter(|v| v.is_finite()).map(f64::from) {
            let [low, high] = range.get_or_insert([value; 2]);
            (*low, *high) = (low.min(value), high.max(value));
        }
    }
    Ok(range)
}

/// How the volumes of structures are far outside. `counts` has the voxels of each label value.
pub(super) fn of_labels(manifest: &Manifest, grid: &Grid, counts: &[u64]) -> Vec<Deviation> {
    let Some(envelope) = &manifest.envelope else { return Vec::new() };
    let voxel_ml = grid.spacing_mm.iter().product::<f64>() / 1000.0;
    let ml = |value: u16| counts.get(usize::from(value)).map_or(0.0, |&voxels| voxels as f64 * voxel_ml);
    let labels = manifest.labels.heads().iter().map(|head| (head.value, head.name.as_str(), ml(head.value)));
    envelope.deviations_of_volumes(labels)
}

/// One sentence for all deviations, if there are any. `subject` is "the scan" or "the result".
pub(super) fn sentence(subject: &str, deviations: &[Deviation]) -> Option<String> {
    if deviations.is_empty() {
        return None;
    }
    let listed = deviations.iter().take(MOST_LISTED).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let more = match deviations.len().saturating_sub(MOST_LISTED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Some(format!("{subject} is far outside of what the model was trained on: {listed}{more}"))
}

/// A scan or a result far outside of what the model was trained on, in a run that is [strict](super::CaseOptions::strict).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {sentence}; no labels were written", path.display())]
pub struct FarOutside {
    /// The scan's first file.
    pub path: PathBuf,
    /// What is far outside, with the numbers.
    pub sentence: String,
}

/// The error of a strict run of `scan`.
pub(super) fn refused(scan: &Scan, sentence: &str) -> Error {
    let path = scan.paths().first().map_or_else(PathBuf::new, |path| path.to_path_buf());
    Error::of(ErrorKind::Input, FarOutside { path: path.clone(), sentence: sentence.to_owned() }).about(&path)
}

/// Counts the voxels of each label on their way to a sink.
pub(super) struct Counted<'a, S> {
    sink: &'a mut S,
    counts: Vec<u64>,
}

impl<'a, S> Counted<'a, S> {
    /// For labels up to `largest_value`.
    pub(super) fn new(sink: &'a mut S, largest_value: u16) -> Self {
        Counted { sink, counts: vec![0; usize::from(largest_value) + 1] }
    }

    /// Voxels of each label value.
    pub(super) fn finish(self) -> Vec<u64> {
        self.counts
    }
}

impl<S: LabelSink> LabelSink for Counted<'_, S> {
    fn write_plane(&mut self, labels: &[u16]) -> Result<(), SinkError> {
        for label in labels {
            if let Some(count) = self.counts.get_mut(usize::from(*label)) {
                *count += 1;
            }
        }
        self.sink.write_plane(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scanside_core::manifest::{Channel, Envelope, Label, LabelVolume, Labels, NetworkGrid, Normalization};

    fn manifest() -> Manifest {
        let heads = ["background", "a", "b", "c", "d", "e"];
        let heads = heads.iter().enumerate().map(|(i, name)| Label::new(*name, i as u16)).collect();
        let channels = vec![Channel::new("CT", Normalization::None)];
        let mut manifest =
            Manifest::new(NetworkGrid::new([8; 3], [Some(1.0); 3]), channels, Labels::Exclusive { heads });
        let mut envelope = Envelope::default();
        envelope.label_volumes = (1..=5).map(|value| LabelVolume { value, ml: [1.0, 2.0] }).collect();
        manifest.envelope = Some(envelope);
        manifest
    }

    #[test]
    fn volumes_follow_counts_and_the_sentence_stays_short() {
        let direction = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let grid = Grid { shape_zyx: [10, 10, 10], spacing_mm: [2.0, 1.0, 5.0], origin: [0.0; 3], direction };
        // 10 mm³ a voxel: 1.5 ml are 150 voxels.
        assert_eq!(of_labels(&manifest(), &grid, &[0, 150, 150, 150, 150, 150]), []);
        let far = of_labels(&manifest(), &grid, &[0, 150, 700]);
        assert_eq!(far.len(), 4, "one too large, three absent: {far:?}");
        let five = of_labels(&manifest(), &grid, &[1000]);
        let said = sentence("the result", &five).expect("a sentence");
        assert!(
            said.starts_with("the result is far outside of what the model was trained on: a has 0.00 ml"),
            "{said}"
        );
        assert!(said.ends_with("; and 1 more"), "{said}");
        assert_eq!(sentence("the scan", &[]), None);
    }

    #[test]
    fn counts_are_those_of_the_planes() {
        let mut sink = ();
        let mut counted = Counted::new(&mut sink, 3);
        counted.write_plane(&[0, 1, 1, 3]).expect("a plane");
        counted.write_plane(&[3, 3, 0, 0]).expect("a plane");
        assert_eq!(counted.finish(), [3, 2, 0, 3]);
    }
}
