//! One case preprocessed for training: the steps of inference, and the same for its label map.
//!
//! The image equals that of inference, bit for bit. nnU-Net differs in one case: when it normalises for training, it counts
//! labelled voxels outside the nonzero mask as inside, which it cannot do at inference.

use super::cache::CaseFacts;
use super::locations;
use super::raw::RawCase;
use crate::plan::TrainingPlan;
use crate::targets::OUTSIDE;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_core::executor::Serial;
use scanside_core::pipeline::{Layout, RunOptions};
use scanside_core::preprocess::{
    GridMap, NonzeroMask, PreprocessError, SlabReader, SlabSettings, find_box, measure, nonzero_mask, resample_labels,
};
use scanside_core::volume::{Box3, VoxelSource};
use scanside_formats::{LabelMap, Scan, read_labels};

/// Planes fetched with one reading of the resident voxels.
const PLANES_PER_READ: usize = 8;

/// Arrays of a case on the network grid.
#[derive(Clone, Debug)]
pub struct Preprocessed {
    /// Their description; the hashes are empty.
    pub facts: CaseFacts,
    /// Normalised intensities, `[channels, z, y, x]`.
    pub image: Vec<f32>,
    /// Label values, `[z, y, x]`.
    pub labels: Vec<i16>,
    /// Sampled voxels per class.
    pub locations: Vec<Vec<u32>>,
}

/// The peak memory of [`preprocess`] in bytes, from the headers; 0 where they cannot be read.
pub fn bytes_of(case: &RawCase, plan: &TrainingPlan) -> u64 {
    let Ok(files) = Scan::open(&case.images) else {
        return 0;
    };
    let grid = files.grid();
    let raw = grid.shape_zyx.iter().product::<usize>() as f64;
    let network =
        (0..3).fold(raw, |voxels, k| voxels * grid.spacing_mm[plan.transpose_forward[k]] / plan.spacing_mm[k]);
    // The label map as read and cropped; image, labels and their sampled locations.
    let made = raw * (4.0 + 2.0) + network * (4.0 * plan.channels.len() as f64 + 2.0 + 4.0);
    files.stored_bytes().saturating_add(made as u64)
}

/// Preprocesses a case. Its memory is the raw voxels in their stored types, four bytes per raw voxel for the labels, and the
/// result.
///
/// # Errors
/// Files cannot be read, or do not fit each other or the plan; the case is empty on the network grid.
pub fn preprocess(case: &RawCase, plan: &TrainingPlan) -> Result<Preprocessed, Error> {
    let named = || format!("case {}", case.id);
    let (files, volume) = open(case, plan)?;
    let grid = files.grid().clone();
    let mut source = files.load().or_error_with(ErrorKind::Input, named)?;
    let bounds = find_box(source.as_mut(), plan.manifest.crop_to_nonzero).or_error_with(ErrorKind::Input, named)?;
    let options = RunOptions { mirror: false, ..RunOptions::default() };
    let layout = Layout::new(&plan.manifest, grid.shape_zyx, grid.spacing_mm, bounds.clone(), options)
        .or_error_with(ErrorKind::Input, named)?;
    let map = &layout.data_map;
    let voxels: usize = map.new.iter().product();
    if u32::try_from(voxels).is_err() {
        let what = format!("would have {voxels} voxels on the network grid; at most {} are supported", u32::MAX);
        return Err(fault(case, what));
    }
    let scan =
        measure(source.as_mut(), &bounds, &plan.channels, layout.clip_axis()).or_error_with(ErrorKind::Input, named)?;
    let mask = match &scan.mask {
        Some(mask) => mask.clone(),
        None => nonzero_mask(source.as_mut(), &bounds).or_error_with(ErrorKind::Input, named)?,
    };

    let cropped = crop_labels(volume, &bounds, layout.transpose, &mask).map_err(|what| fault(case, what))?;
    drop(mask);
    let label_map = GridMap::new(plan.resample_labels, map.old, map.new, layout.scan_spacing, layout.network_spacing);
    let labels = if label_map.is_identity() { cropped } else { resample_labels(&cropped, &label_map) };

    let settings = SlabSettings { transpose: layout.transpose, planes_per_read: PLANES_PER_READ };
    let reader = SlabReader::new(map, &scan, settings);
    let image =
        read_image(reader, source.as_mut(), plan.channels.len(), map.new).or_error_with(ErrorKind::Input, named)?;

    let classes = locations::classes(&plan.targets);
    let locations = locations::sample(&labels, &classes);
    let facts = CaseFacts {
        id: case.id.clone(),
        channels: plan.channels.len(),
        shape_zyx: map.new,
        spacing_mm: layout.network_spacing,
        transpose: layout.transpose,
        raw_shape_zyx: source.shape_zyx(),
        raw_spacing_mm: grid.spacing_mm,
        crop_zyx: bounds.0.map(|range| [range.start, range.end]),
        plan_sha256: String::new(),
        raw_sha256: String::new(),
        located: locations.iter().map(Vec::len).collect(),
        classes,
    };
    Ok(Preprocessed { facts, image, labels, locations })
}

fn fault(case: &RawCase, what: String) -> Error {
    Error::new(ErrorKind::Input, format!("case {}: {what}", case.id))
}

/// Opens the images of a case and reads its label map.
fn open(case: &RawCase, plan: &TrainingPlan) -> Result<(Scan, LabelMap), Error> {
    let named = || format!("case {}", case.id);
    let files = Scan::open(&case.images).or_error_with(ErrorKind::Input, named)?;
    let (expected, got) = (plan.channels.len(), files.channels());
    if expected != got {
        return Err(fault(case, format!("has {got} channel(s), but the dataset has {expected}")));
    }
    let volume = read_labels(&case.label).or_error_with(ErrorKind::Input, named)?;
    let (image, label) = (files.grid().shape_zyx, volume.grid().shape_zyx);
    if label != image {
        let text = |[z, y, x]: [usize; 3]| format!("{x} x {y} x {z}");
        return Err(fault(case, format!("the label map has {} voxels, the image {}", text(label), text(image))));
    }
    Ok((files, volume))
}

/// The image on the network grid of shape `shape_zyx`, `[channels, z, y, x]`.
fn read_image(
    mut reader: SlabReader<'_>,
    source: &mut dyn VoxelSource,
    channels: usize,
    shape_zyx: [usize; 3],
) -> Result<Vec<f32>, PreprocessError> {
    let plane = shape_zyx[1] * shape_zyx[2];
    let voxels = shape_zyx[0] * plane;
    let mut image = vec![0.0; channels * voxels];
    let mut slab = vec![0.0; channels * plane];
    for z in 0..shape_zyx[0] {
        reader.next_plane(source, &Serial, &mut slab)?;
        for (channel, values) in slab.chunks_exact(plane).enumerate() {
            image[channel * voxels + z * plane..][..plane].copy_from_slice(values);
        }
    }
    Ok(image)
}

/// The label map inside `bounds`, in network order; background outside the mask becomes [`OUTSIDE`].
fn crop_labels(volume: LabelMap, bounds: &Box3, transpose: [usize; 3], mask: &NonzeroMask) -> Result<Vec<i16>, String> {
    let [_, n1, n2] = volume.grid().shape_zyx;
    let shape = bounds.shape();
    let [m0, m1, m2] = transpose.map(|axis| shape[axis]);
    let mut out = Vec::with_capacity(m0 * m1 * m2);
    let mut at = [0; 3];
    for i in 0..m0 {
        at[transpose[0]] = i;
        for j in 0..m1 {
            at[transpose[1]] = j;
            for k in 0..m2 {
                at[transpose[2]] = k;
                let [z, y, x] = [0, 1, 2].map(|axis| bounds.0[axis].start + at[axis]);
                let value = volume.labels[(z * n1 + y) * n2 + x];
                let label = i16::try_from(value)
                    .map_err(|_| format!("label {value} at voxel (x {x}, y {y}, z {z}) is above {}", i16::MAX))?;
                let outside = label == 0 && !mask.contains(at[0], at[1], at[2]);
                out.push(if outside { OUTSIDE } else { label });
            }
        }
    }
    Ok(out)
}
