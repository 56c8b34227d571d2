//! Reads every file of a dataset once: finds its faults, and computes the fingerprint that the planner needs.
//!
//! All faults are reported together, so that a dataset can be repaired at once, and nothing is written before.

use super::foreground::{Sampled, sample};
use super::memory_budget::MemoryBudget;
use super::raw::{RawCase, RawDataset, case_and_channel, files};
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

/// Largest number of unknown label values that are listed for one case.
const MAX_VALUES: usize = 8;

/// A fault or a warning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// The case, if it is about one.
    pub case: Option<String>,
    /// A sentence.
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

/// The result of an examination.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Faults that prevent training.
    pub faults: Vec<Remark>,
    /// What does not prevent training, but may be a mistake.
    pub warnings: Vec<Remark>,
    /// The fingerprint, if there is no fault.
    pub fingerprint: Option<Fingerprint>,
}

impl Findings {
    /// An error that lists all faults.
    pub fn error(&self, raw: &RawDataset) -> Error {
        let lines: Vec<String> = self.faults.iter().map(|fault| format!("  {fault}")).collect();
        let text = format!("{} has {} fault(s):\n{}", raw.folder.display(), lines.len(), lines.join("\n"));
        Error::new(ErrorKind::Input, text)
    }
}

/// Examines a dataset on the threads of the current pool. `progress` is called with the name of each case after it was read.
pub fn examine(raw: &RawDataset, progress: &(dyn Fn(&str) + Sync)) -> Findings {
    let mut findings = Findings::default();
    list(raw, &mut findings);
    let samples = SAMPLES / raw.cases.len().max(1) as u64;
    let known: BTreeSet<i64> = raw.label_values().into_iter().map(i64::from).collect();
    let memory = MemoryBudget::of_this_machine();
    let cases: Vec<Examined> = raw
        .cases
        .par_iter()
        .with_max_len(1)
        .map(|case| {
            let _reserved = memory.reserve(bytes_of(case));
            let examined = examine_case(raw, case, &known, samples);
            progress(&case.id);
            examined
        })
        .collect();

    for case in &cases {
        findings.faults.extend(case.faults.iter().cloned());
        findings.warnings.extend(case.warnings.iter().cloned());
    }
    if findings.faults.is_empty() {
        check_labels_of_all(&cases, &known, &mut findings);
    }
    if findings.faults.is_empty() {
        findings.fingerprint = Some(fingerprint(cases, raw.dataset.channels.len()));
    }
    findings.faults.sort();
    findings.warnings.sort();
    findings
}

/// Labels that no case contains.
fn check_labels_of_all(cases: &[Examined], known: &BTreeSet<i64>, findings: &mut Findings) {
    let found: BTreeSet<i64> = cases.iter().flat_map(|case| case.labels.keys().copied()).collect();
    let absent: Vec<String> = known.difference(&found).map(|label| label.to_string()).collect();
    if !absent.is_empty() {
        let what = format!("no case has a voxel of label {}, which dataset.json names", absent.join(", "));
        findings.warnings.push(Remark::dataset(what));
    }
    if !found.iter().any(|label| *label > 0) {
        findings.faults.push(Remark::dataset("no case has a voxel of any label but background"));
    }
}

/// Faults in the set of files.
fn list(raw: &RawDataset, findings: &mut Findings) {
    if raw.cases.is_empty() {
        let (images, ending) = (raw.folder.join("imagesTr"), &raw.file_ending);
        let what = format!(
            "there is no training case: {} has no file named CASE_0000{ending}, as dataset.json's `file_ending` requires",
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
    list_shared_files(raw, &mut findings.faults);
    if !raw.explicit {
        list_channels(raw, &mut findings.faults);
        list_orphans(raw, &mut findings.faults);
    }
}

/// Cases whose names or files are not their own, and missing label maps.
fn list_shared_files(raw: &RawDataset, faults: &mut Vec<Remark>) {
    let mut users: BTreeMap<&Path, &str> = BTreeMap::new();
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    for case in &raw.cases {
        if let Some(other) = folded.insert(case.id.to_lowercase(), &case.id) {
            let what = format!("its name differs from case {other} in capitals only, which some file systems ignore");
            faults.push(Remark::of(&case.id, what));
        }
        for path in case.images.iter().chain([&case.label]) {
            if let Some(other) = users.insert(path, &case.id) {
                faults.push(Remark::of(&case.id, format!("{} is used by case {other} as well", path.display())));
            }
        }
        if !case.label.is_file() {
            faults.push(Remark::of(&case.id, format!("has no label map {}", case.label.display())));
        }
    }
}

/// Missing images and images of unknown channels.
fn list_channels(raw: &RawDataset, faults: &mut Vec<Remark>) {
    let (ending, channels) = (&raw.file_ending, raw.dataset.channels.len());
    for case in &raw.cases {
        let existing = channels_named(raw, case);
        // One file may have all channels as its fourth axis; this is known once it is read.
        for channel in (0..channels).filter(|channel| !existing.contains(channel) && existing != BTreeSet::from([0])) {
            let name = &raw.dataset.channels[channel];
            faults.push(Remark::of(&case.id, format!("has no image {}_{channel:04}{ending} ({name})", case.id)));
        }
        for channel in existing.iter().filter(|channel| **channel >= channels) {
            let what =
                format!("has an image {}_{channel:04}{ending}, but dataset.json names {channels} channel(s)", case.id);
            faults.push(Remark::of(&case.id, what));
        }
    }
}

/// Files that belong to no case. A folder that cannot be listed has no label maps, which is a fault of every case already.
fn list_orphans(raw: &RawDataset, faults: &mut Vec<Remark>) {
    let ending = &raw.file_ending;
    for name in files(&raw.folder.join("imagesTr"), ending).unwrap_or_default() {
        if case_and_channel(&name, ending).is_none() {
            let what =
                format!("imagesTr/{name} names no channel: images are named CASE_0000{ending}, CASE_0001{ending} ...");
            faults.push(Remark::dataset(what));
        }
    }
    for name in files(&raw.folder.join("labelsTr"), ending).unwrap_or_default() {
        let id = name.strip_suffix(ending.as_str()).unwrap_or(&name);
        if raw.case(id).is_none() {
            faults.push(Remark::of(id, format!("has a label map labelsTr/{name}, but no image")));
        }
    }
}

/// The channels that a case has according to the names of its files.
fn channels_named(raw: &RawDataset, case: &RawCase) -> BTreeSet<usize> {
    let names = case.images.iter().filter_map(|path| path.file_name()?.to_str());
    names.filter_map(|name| case_and_channel(name, &raw.file_ending).map(|(_, channel)| channel)).collect()
}

/// The result of reading a case.
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

/// The bytes that examining a case needs, from its headers: its voxels and the foreground mask. The samples drawn from the
/// foreground come in addition; they need little memory where the foreground is small.
fn bytes_of(case: &RawCase) -> u64 {
    Scan::open(&case.images).map_or(0, |files| {
        let voxels: usize = files.grid().shape_zyx.iter().product();
        files.stored_bytes().saturating_add(2 * voxels as u64)
    })
}

fn examine_case(raw: &RawDataset, case: &RawCase, known: &BTreeSet<i64>, samples: u64) -> Examined {
    let mut examined = Examined::default();
    let image = open_image(raw, case, &mut examined);
    let label = if case.label.is_file() { read_labels(case, known, &mut examined) } else { None };
    let Some(files) = image else {
        return examined;
    };
    let grid = files.grid().clone();
    if let Some(label) = &label {
        compare_grids(case, &grid, &label.grid, &mut examined);
    }
    let mut source = match files.load() {
        Ok(source) => source,
        Err(error) => {
            examined.faults.push(Remark::of(&case.id, chain(&error)));
            return examined;
        }
    };
    check_intensities(case, source.as_mut(), &mut examined);
    // Behind the voxels: those that were read as 0 were counted by then.
    examined.warnings.extend(files.warnings().into_iter().map(|warning| Remark::of(&case.id, warning)));
    let Some(label) = label.filter(|_| examined.faults.is_empty()) else {
        return examined;
    };
    let sampled = find_box(source.as_mut(), true).and_then(|bounds| {
        let intensities = sample(source.as_mut(), &bounds, &label.foreground, samples)?;
        Ok((bounds, intensities))
    });
    match sampled {
        Ok((bounds, intensities)) => {
            examined.spacing = grid.spacing_mm;
            examined.shape = bounds.shape();
            examined.relative_size = bounds.voxels() as f64 / Box3::full(grid.shape_zyx).voxels() as f64;
            examined.intensities = intensities;
        }
        Err(error) => examined.faults.push(Remark::of(&case.id, chain(&error))),
    }
    examined
}

/// Opens the images of a case. Faults of single files come first: while one is damaged, their comparison means little.
fn open_image(raw: &RawDataset, case: &RawCase, examined: &mut Examined) -> Option<Scan> {
    let broken = case.images.iter().filter_map(|path| Scan::open(&[path]).err());
    examined.faults.extend(broken.map(|error| Remark::of(&case.id, chain(&error))));
    if !examined.faults.is_empty() {
        return None;
    }
    let files = match Scan::open(&case.images) {
        Ok(files) => files,
        Err(error) => {
            examined.faults.push(Remark::of(&case.id, chain(&error)));
            return None;
        }
    };
    let (got, channels) = (files.channels(), raw.dataset.channels.len());
    // Otherwise the names of the files differ from dataset.json, which is a fault already.
    if got != channels && (raw.explicit || channels_named(raw, case) == BTreeSet::from([0])) {
        let what = format!("has {got} channel(s), but dataset.json names {channels}");
        examined.faults.push(Remark::of(&case.id, what));
    }
    Some(files)
}

/// Differences between the grids of image and label map.
fn compare_grids(case: &RawCase, image: &Grid, label: &Grid, examined: &mut Examined) {
    let size = |[z, y, x]: [usize; 3]| format!("{x} x {y} x {z}");
    if label.shape_zyx != image.shape_zyx {
        let what = format!("the label map has {} voxels, the image {}", size(label.shape_zyx), size(image.shape_zyx));
        examined.faults.push(Remark::of(&case.id, what));
    }
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-8 + 1e-5 * b.abs();
    if !image.spacing_mm.iter().zip(&label.spacing_mm).all(|(a, b)| close(*a, *b)) {
        let mm = |[z, y, x]: [f64; 3]| format!("{x} x {y} x {z} mm");
        let what =
            format!("the label map has voxels of {}, the image of {}", mm(label.spacing_mm), mm(image.spacing_mm));
        examined.faults.push(Remark::of(&case.id, what));
    }
    let same = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-3 + 1e-5 * b.abs());
    if !same(&image.origin, &label.origin) || !same(&image.direction.concat(), &label.direction.concat()) {
        let what = "the label map has another origin or direction than the image; training ignores both, so check that the \
                    voxels of the two correspond";
        examined.warnings.push(Remark::of(&case.id, what));
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}

/// Finds NaN, infinities and images without content.
fn check_intensities(case: &RawCase, source: &mut dyn VoxelSource, examined: &mut Examined) {
    let [n0, n1, n2] = source.shape_zyx();
    let mut plane = vec![0.0; n1 * n2];
    for channel in 0..source.channels() {
        let (mut bad, mut first, mut low, mut high) = (0u64, None, f32::INFINITY, f32::NEG_INFINITY);
        for z in 0..n0 {
            if let Err(error) = source.read(channel, &Box3([z..z + 1, 0..n1, 0..n2]), &mut plane) {
                examined.faults.push(Remark::of(&case.id, chain(&error)));
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
                "channel {channel} has {bad} voxel(s) that are not finite numbers, the first {value} at (x {x}, y {y}, \
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

/// Reads a label map and compares its values with those of `dataset.json`.
fn read_labels(case: &RawCase, known: &BTreeSet<i64>, examined: &mut Examined) -> Option<LabelMap> {
    let mut fault = |what: String| examined.faults.push(Remark::of(&case.id, what));
    let files = match Scan::open(&[&case.label]) {
        Ok(files) => files,
        Err(error) => {
            fault(chain(&error));
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
            fault(chain(&error));
            return None;
        }
        for (i, v) in plane.iter().enumerate() {
            foreground.push(*v > 0.0);
            if v.fract() == 0.0 {
                // Saturates; no label is that large.
                *labels.entry(*v as i64).or_default() += 1;
            } else {
                fractions += 1;
                first_fraction.get_or_insert((*v, [i % n2, i / n2, z]));
            }
        }
    }
    if let Some((value, [x, y, z])) = first_fraction {
        fault(format!(
            "{fractions} label voxel(s) are not whole numbers, the first {value} at (x {x}, y {y}, z {z}): label maps must not \
             be interpolated, and labels are 0, 1, 2 ..."
        ));
    }
    if files.voxels_read_as_zero() > 0 {
        fault(format!("{} label voxel(s) are NaN or infinite; labels are 0, 1, 2 ...", files.voxels_read_as_zero()));
    }
    if let Some(what) = unknown_values(&labels, known) {
        fault(what);
    } else if fractions == 0 && !labels.keys().any(|label| *label > 0) {
        let what = "has no voxel of any label but background; it is used as it is";
        examined.warnings.push(Remark::of(&case.id, what));
    }
    examined.labels = labels;
    Some(LabelMap { grid, foreground })
}

/// A sentence on values that `dataset.json` does not name. `labels` are the numbers of voxels by value.
fn unknown_values(labels: &BTreeMap<i64, u64>, known: &BTreeSet<i64>) -> Option<String> {
    let unknown: Vec<String> = labels
        .iter()
        .filter(|(label, _)| !known.contains(label))
        .map(|(label, voxels)| format!("{label} ({voxels} voxel(s))"))
        .collect();
    let listed = unknown.iter().take(MAX_VALUES).cloned().collect::<Vec<_>>().join(", ");
    let more = match unknown.len().saturating_sub(MAX_VALUES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!unknown.is_empty()).then(|| format!("has labels that dataset.json does not name: {listed}{more}"))
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
