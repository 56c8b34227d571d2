//! Every file of a dataset read once: is it sound, and what does the planner need to know of it?
//!
//! All faults are gathered, so that a dataset is repaired in one go and nothing is written before.

use super::foreground::{Sampled, sample};
use super::raw::{RawCase, RawDataset, case_and_channel, files};
use super::room::Room;
use crate::plan::fingerprint::{Fingerprint, median};
use rayon::prelude::*;
use scanside_app::error::{Error, ErrorKind};
use scanside_core::preprocess::find_box;
use scanside_core::volume::{Box3, Grid, VoxelSource};
use scanside_formats::Scan;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// Intensities sampled from the foreground of all cases together.
const SAMPLES: u64 = 100_000_000;

/// Different wrong label values that one case is reproached with.
const MOST_VALUES: usize = 8;

/// Something about a dataset that its owner should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// The case, where it is about one.
    pub case: Option<String>,
    /// What it is.
    pub what: String,
}

impl Remark {
    fn of(case: &str, what: impl Into<String>) -> Remark {
        Remark { case: Some(case.to_string()), what: what.into() }
    }

    fn dataset(what: impl Into<String>) -> Remark {
        Remark { case: None, what: what.into() }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.case {
            Some(case) => write!(f, "case {case}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// What an examination found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Why the dataset cannot be trained on; empty if it can.
    pub faults: Vec<Remark>,
    /// What does not prevent training, but may not be meant.
    pub warnings: Vec<Remark>,
    /// The planner's view of the dataset, where there is no fault.
    pub fingerprint: Option<Fingerprint>,
}

impl Findings {
    /// The failure that lists all faults.
    pub fn failure(&self, raw: &RawDataset) -> Error {
        let lines: Vec<String> = self.faults.iter().map(|fault| format!("  {fault}")).collect();
        let text = format!("{} has {} fault(s):\n{}", raw.folder.display(), lines.len(), lines.join("\n"));
        Error::new(ErrorKind::Input, text)
    }
}

/// Examines a dataset on the threads of the current pool. `progress` hears of every case once it is read.
pub fn examine(raw: &RawDataset, progress: &(dyn Fn(&str) + Sync)) -> Findings {
    let mut findings = Findings::default();
    list(raw, &mut findings);
    let samples = SAMPLES / raw.cases.len().max(1) as u64;
    let known: BTreeSet<i64> = raw.label_values().into_iter().map(i64::from).collect();
    let room = Room::of_this_machine();
    let cases: Vec<Examined> = raw
        .cases
        .par_iter()
        .with_max_len(1)
        .map(|case| {
            let _taken = room.take(bytes_of(case));
            let examined = examine_case(raw, case, &known, samples);
            progress(&case.id);
            examined
        })
        .collect();

    let mut found: BTreeMap<i64, u64> = BTreeMap::new();
    for case in &cases {
        findings.faults.extend(case.faults.iter().cloned());
        findings.warnings.extend(case.warnings.iter().cloned());
        case.labels.iter().for_each(|(label, voxels)| *found.entry(*label).or_default() += voxels);
    }
    if findings.faults.is_empty() {
        let absent: Vec<String> =
            known.iter().filter(|label| !found.contains_key(label)).map(|label| label.to_string()).collect();
        if !absent.is_empty() {
            let what = format!("no case has a voxel of label {}, which dataset.json names", absent.join(", "));
            findings.warnings.push(Remark::dataset(what));
        }
        if !found.keys().any(|label| *label > 0) {
            findings.faults.push(Remark::dataset("no case has a voxel of any label but background"));
        }
    }
    if findings.faults.is_empty() {
        findings.fingerprint = Some(fingerprint(cases, raw.dataset.channels.len()));
    }
    findings.faults.sort();
    findings.warnings.sort();
    findings
}

/// Faults in which files there are.
fn list(raw: &RawDataset, findings: &mut Findings) {
    let ending = &raw.file_ending;
    if raw.cases.is_empty() {
        let images = raw.folder.join("imagesTr");
        let what = format!(
            "there is no training case: {} has no file named CASE_0000{ending}, as dataset.json's `file_ending` asks",
            images.display()
        );
        findings.faults.push(Remark::dataset(what));
    }
    if let Some(announced) = raw.announced
        && announced != raw.cases.len() as u64
    {
        let what =
            format!("dataset.json announces {announced} cases (`numTraining`), but there are {}", raw.cases.len());
        findings.warnings.push(Remark::dataset(what));
    }
    let mut users: BTreeMap<&Path, &str> = BTreeMap::new();
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    for case in &raw.cases {
        if let Some(other) = folded.insert(case.id.to_lowercase(), &case.id) {
            let what =
                format!("its name differs from case {other} in capitals only, which some file systems take for equal");
            findings.faults.push(Remark::of(&case.id, what));
        }
        for path in case.images.iter().chain([&case.label]) {
            if let Some(other) = users.insert(path, &case.id) {
                findings
                    .faults
                    .push(Remark::of(&case.id, format!("{} is used by case {other} as well", path.display())));
            }
        }
        if !case.label.is_file() {
            findings.faults.push(Remark::of(&case.id, format!("has no label map {}", case.label.display())));
        }
    }
    if raw.explicit {
        return;
    }
    let channels = raw.dataset.channels.len();
    for case in &raw.cases {
        let there = channels_named(raw, case);
        // One file may hold all channels as its fourth axis; reading it tells.
        for channel in (0..channels).filter(|channel| !there.contains(channel) && there != BTreeSet::from([0])) {
            let name = &raw.dataset.channels[channel];
            findings
                .faults
                .push(Remark::of(&case.id, format!("has no image {}_{channel:04}{ending} ({name})", case.id)));
        }
        for channel in there.iter().filter(|channel| **channel >= channels) {
            let what =
                format!("has an image {}_{channel:04}{ending}, but dataset.json names {channels} channel(s)", case.id);
            findings.faults.push(Remark::of(&case.id, what));
        }
    }
    // A folder that cannot be listed has no label map either, which was said for every case.
    for name in files(&raw.folder.join("imagesTr"), ending).unwrap_or_default() {
        if case_and_channel(&name, ending).is_none() {
            let what =
                format!("imagesTr/{name} names no channel: images are called CASE_0000{ending}, CASE_0001{ending} ...");
            findings.faults.push(Remark::dataset(what));
        }
    }
    for name in files(&raw.folder.join("labelsTr"), ending).unwrap_or_default() {
        let id = name.strip_suffix(ending.as_str()).unwrap_or(&name);
        if raw.case(id).is_none() {
            findings.faults.push(Remark::of(id, format!("has a label map labelsTr/{name}, but no image")));
        }
    }
}

/// The channels that the names of a case's files tell.
fn channels_named(raw: &RawDataset, case: &RawCase) -> BTreeSet<usize> {
    let names = case.images.iter().filter_map(|path| path.file_name()?.to_str());
    names.filter_map(|name| case_and_channel(name, &raw.file_ending).map(|(_, channel)| channel)).collect()
}

/// What reading a case gave.
#[derive(Default)]
struct Examined {
    faults: Vec<Remark>,
    warnings: Vec<Remark>,
    /// Voxels per label.
    labels: BTreeMap<i64, u64>,
    spacing: [f64; 3],
    shape: [usize; 3],
    relative_size: f64,
    /// Per channel.
    intensities: Vec<Sampled>,
}

/// The bytes that examining a case takes, as its headers tell: its voxels, and which are foreground. What is drawn from the
/// foreground comes on top, and is small where the foreground is.
fn bytes_of(case: &RawCase) -> u64 {
    Scan::open(&case.images).map_or(0, |files| {
        let voxels: usize = files.grid().shape_zyx.iter().product();
        files.stored_bytes().saturating_add(2 * voxels as u64)
    })
}

fn examine_case(raw: &RawDataset, case: &RawCase, known: &BTreeSet<i64>, samples: u64) -> Examined {
    let channels = raw.dataset.channels.len();
    let mut examined = Examined::default();
    let mut fault = |what: String| examined.faults.push(Remark::of(&case.id, what));
    // Every file speaks for itself first: that two do not fit says little while one is damaged.
    let mut sound = true;
    for path in &case.images {
        if let Err(error) = Scan::open(&[path]) {
            fault(error.to_string());
            sound = false;
        }
    }
    let image = if sound {
        match Scan::open(&case.images) {
            Ok(files) => Some(files),
            Err(error) => {
                fault(error.to_string());
                None
            }
        }
    } else {
        None
    };
    if let Some(files) = &image {
        let got = files.channels();
        // What the names of files tell was told.
        if got != channels && (raw.explicit || channels_named(raw, case) == BTreeSet::from([0])) {
            fault(format!("has {got} channel(s), but dataset.json names {channels}"));
        }
        examined.warnings.extend(files.warnings().iter().map(|warning| Remark::of(&case.id, warning.clone())));
    }
    let label = if case.label.is_file() { read_labels(case, known, &mut examined) } else { None };
    let Some(files) = image else {
        return examined;
    };
    let grid = files.grid().clone();
    if let Some(label) = &label {
        let theirs = &label.grid;
        let size = |[z, y, x]: [usize; 3]| format!("{x} x {y} x {z}");
        if theirs.shape_zyx != grid.shape_zyx {
            let what =
                format!("the label map has {} voxels, the image {}", size(theirs.shape_zyx), size(grid.shape_zyx));
            examined.faults.push(Remark::of(&case.id, what));
        }
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-8 + 1e-5 * b.abs();
        if !grid.spacing_mm.iter().zip(&theirs.spacing_mm).all(|(a, b)| close(*a, *b)) {
            let mm = |[z, y, x]: [f64; 3]| format!("{x} x {y} x {z} mm");
            let what =
                format!("the label map has voxels of {}, the image of {}", mm(theirs.spacing_mm), mm(grid.spacing_mm));
            examined.faults.push(Remark::of(&case.id, what));
        }
        let lies = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-3 + 1e-5 * b.abs());
        if !lies(&grid.origin, &theirs.origin) || !lies(&grid.direction.concat(), &theirs.direction.concat()) {
            let what = "the label map says it lies elsewhere than the image (origin or direction); they are taken voxel \
                        for voxel, so check that they show the same place";
            examined.warnings.push(Remark::of(&case.id, what));
        }
    }
    let mut source = match files.load() {
        Ok(source) => source,
        Err(error) => {
            examined.faults.push(Remark::of(&case.id, error.to_string()));
            return examined;
        }
    };
    look_at_voxels(case, source.as_mut(), &mut examined);
    let Some(label) = label else {
        return examined;
    };
    if !examined.faults.is_empty() {
        return examined;
    }
    // The passes above have read every voxel, so that this one cannot fail on what it finds.
    match find_box(source.as_mut(), true).map_err(|e| e.to_string()).and_then(|bounds| {
        let intensities = sample(source.as_mut(), &bounds, &label.foreground, samples).map_err(|e| e.to_string())?;
        Ok((bounds, intensities))
    }) {
        Ok((bounds, intensities)) => {
            examined.spacing = grid.spacing_mm;
            examined.shape = bounds.shape();
            examined.relative_size = bounds.voxels() as f64 / Box3::full(grid.shape_zyx).voxels() as f64;
            examined.intensities = intensities;
        }
        Err(error) => examined.faults.push(Remark::of(&case.id, error)),
    }
    examined
}

/// NaN, infinities and images without content.
fn look_at_voxels(case: &RawCase, source: &mut dyn VoxelSource, examined: &mut Examined) {
    let [n0, n1, n2] = source.shape_zyx();
    let mut plane = vec![0.0; n1 * n2];
    for channel in 0..source.channels() {
        let (mut bad, mut first, mut low, mut high) = (0u64, None, f32::INFINITY, f32::NEG_INFINITY);
        for z in 0..n0 {
            if let Err(error) = source.read(channel, &Box3([z..z + 1, 0..n1, 0..n2]), &mut plane) {
                examined.faults.push(Remark::of(&case.id, error.to_string()));
                return;
            }
            for (i, v) in plane.iter().enumerate() {
                if v.is_finite() {
                    low = low.min(*v);
                    high = high.max(*v);
                } else {
                    bad += 1;
                    first.get_or_insert((*v, [i % n2, i / n2, z]));
                }
            }
        }
        if let Some((value, [x, y, z])) = first {
            let what = format!(
                "channel {channel} has {bad} voxel(s) that are no finite number, the first {value} at (x {x}, y {y}, \
                 z {z}); replace them"
            );
            examined.faults.push(Remark::of(&case.id, what));
        } else if low == high {
            let what = format!("every voxel of channel {channel} is {low}");
            examined.warnings.push(Remark::of(&case.id, what));
        }
    }
}

/// A label map that was read.
struct LabelMap {
    grid: Grid,
    /// Labels above 0.
    foreground: Vec<bool>,
}

/// Reads a label map and holds its values against those of `dataset.json`.
fn read_labels(case: &RawCase, known: &BTreeSet<i64>, examined: &mut Examined) -> Option<LabelMap> {
    let mut fault = |what: String| examined.faults.push(Remark::of(&case.id, what));
    let files = match Scan::open(&[&case.label]) {
        Ok(files) => files,
        Err(error) => {
            fault(error.to_string());
            return None;
        }
    };
    if files.channels() != 1 {
        fault(format!("{} has {} channels, but a label map has one", case.label.display(), files.channels()));
        return None;
    }
    let grid = files.grid().clone();
    let [n0, n1, n2] = grid.shape_zyx;
    let mut source = files.stream();
    let mut plane = vec![0.0f32; n1 * n2];
    let mut foreground = Vec::new();
    let (mut fractions, mut first_fraction) = (0u64, None);
    let mut labels: BTreeMap<i64, u64> = BTreeMap::new();
    for z in 0..n0 {
        if let Err(error) = source.read(0, &Box3([z..z + 1, 0..n1, 0..n2]), &mut plane) {
            fault(error.to_string());
            return None;
        }
        for (i, v) in plane.iter().enumerate() {
            foreground.push(*v > 0.0);
            if v.fract() == 0.0 {
                // Saturates; nothing that large is a label.
                *labels.entry(*v as i64).or_default() += 1;
            } else {
                fractions += 1;
                first_fraction.get_or_insert((*v, [i % n2, i / n2, z]));
            }
        }
    }
    if let Some((value, [x, y, z])) = first_fraction {
        fault(format!(
            "{} label voxel(s) are no whole numbers, the first {value} at (x {x}, y {y}, z {z}): label maps must not be \
             interpolated, and labels are 0, 1, 2 ...",
            fractions
        ));
    }
    let unknown: Vec<(i64, u64)> =
        labels.iter().filter(|(label, _)| !known.contains(label)).map(|(label, voxels)| (*label, *voxels)).collect();
    if !unknown.is_empty() {
        let told: Vec<String> =
            unknown.iter().take(MOST_VALUES).map(|(label, voxels)| format!("{label} ({voxels} voxel(s))")).collect();
        let more = if unknown.len() > MOST_VALUES {
            format!(" and {} more", unknown.len() - MOST_VALUES)
        } else {
            String::new()
        };
        fault(format!("has labels that dataset.json does not name: {}{more}", told.join(", ")));
    }
    if fractions == 0 && unknown.is_empty() && !labels.keys().any(|label| *label > 0) {
        let what = "has no voxel of any label but background; training takes it as it is";
        examined.warnings.push(Remark::of(&case.id, what));
    }
    examined.labels = labels;
    Some(LabelMap { grid, foreground })
}

fn fingerprint(cases: Vec<Examined>, channels: usize) -> Fingerprint {
    let mut relative: Vec<f64> = cases.iter().map(|case| case.relative_size).collect();
    relative.sort_by(f64::total_cmp);
    let spacings = cases.iter().map(|case| case.spacing).collect();
    let shapes_after_crop = cases.iter().map(|case| case.shape).collect();
    let mut by_channel: Vec<Vec<Sampled>> = (0..channels).map(|_| Vec::new()).collect();
    for case in cases {
        for (all, one) in by_channel.iter_mut().zip(case.intensities) {
            all.push(one);
        }
    }
    Fingerprint {
        foreground_intensity_properties_per_channel: by_channel
            .into_iter()
            .enumerate()
            .map(|(channel, cases)| (channel.to_string(), Sampled::merge(cases).intensities()))
            .collect(),
        median_relative_size_after_cropping: median(&relative),
        shapes_after_crop,
        spacings,
    }
}
