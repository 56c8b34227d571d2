//! What a run costs around its network, timed on a small made-up scan.
//!
//! The scan has the case's channels, spacing, labels, mirroring and axes, and goes through the same pipeline that a run
//! uses, with an engine that returns at once. So the times hold for this machine, its load now, and the kinds of
//! resampling that the case needs; they are per voxel, and extents do not change them much.

use crate::error::{Error, ErrorKind, OrError};
use crate::interrupt::Stop;
use crate::machine::{Threads, noise};
use crate::model::Model;
use crate::run::{PlannedCase, Timed};
use scanside_core::engine::{Engine, EngineError, EngineFootprint, EngineShape};
use scanside_core::executor::Executor;
use scanside_core::manifest::Manifest;
use scanside_core::patch::{Patch, PatchMut, PatchNumber};
use scanside_core::pipeline::{Layout, MemoryPlan, Run, Surroundings};
use scanside_core::volume::{DenseScan, Index3};
use scanside_core::workspace::Block;
use scanside_formats::{Geometry, LabelOptions, LabelType, label_writer};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Most voxels of the made-up scan on either grid, and at most how many logits they have. Some hundredths of a second.
const MOST_VOXELS: usize = 400_000;
const MOST_LOGITS: usize = 4_000_000;
/// Shorter axes are mostly border.
const LEAST_EXTENT: usize = 8;
/// Tiles need not be large to be added up at their usual pace.
const MOST_TILE_VOXELS: usize = 64 * 64 * 16;
/// Bytes hashed, and voxels of labels compressed.
const HASHED_BYTES: usize = 2 << 20;
const WRITTEN_VOXELS: usize = 1 << 20;

/// Seconds of each unit of [`Work`](scanside_core::pipeline::Work).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    pub(crate) count: f64,
    pub(crate) resample: f64,
    /// Of a tile, in the network's phase, but without the network.
    pub(crate) tile: f64,
    pub(crate) stitch: f64,
    pub(crate) decide: f64,
    /// Of a voxel of the label file.
    pub(crate) write: f64,
    /// Of a byte hashed.
    pub(crate) hash: f64,
}

/// Times the parts of a planned case on a small scan of its kind.
///
/// # Errors
/// The model cannot be run on any scan.
pub(crate) fn rates(model: &Model, case: &PlannedCase<'_>, threads: &Threads) -> Result<Rates, Error> {
    let (real, manifest) = (case.layout(), small_manifest(&model.manifest, case.layout()));
    let shape = small_shape(real, manifest.labels.heads().len());
    let mut file_shape = [0; 3];
    let mut file_spacing = [0.0; 3];
    for (k, &axis) in real.transpose.iter().enumerate() {
        (file_shape[axis], file_spacing[axis]) = (shape[k], real.scan_spacing[k]);
    }
    let channels = manifest.channels.len();
    let voxels: usize = file_shape.iter().product();
    // Every normalisation takes values from 0 to 255.
    let values: Vec<f32> = noise::<f32>(voxels * channels).into_iter().map(|v| 100.0 + 40.0 * v).collect();
    let mut source = DenseScan::new(&values, file_shape, file_spacing).or_error(ErrorKind::Internal)?;
    let engine = Silent {
        shape: EngineShape {
            channels,
            heads: manifest.labels.heads().len(),
            folds: manifest.folds,
            patch_zyx: manifest.grid.patch_zyx,
        },
        footprint: EngineFootprint { workspace_blocks: 0, ..model.engine.footprint(threads.workers()) },
        own_nanoseconds: AtomicU64::new(0),
    };
    // Tiles overlap as they will: what a plane of sums costs once is shared by the tiles that it is part of.
    let run = Run::look(&manifest, &mut source, case.options).or_error(ErrorKind::Input)?;
    let work = run.work();
    let planned = run.plan(&engine, &Surroundings::default(), threads.workers(), None);
    let mut planned = planned.or_error(ErrorKind::Internal)?;
    planned.memory = MemoryPlan { workspace_blocks: 0, ..case.memory().clone() };

    let stop = Stop::new();
    let mut nobody = ();
    let mut timed = Timed::new(&mut nobody, &stop);
    planned.segment(&mut source, threads, &mut (), &mut timed).or_error(ErrorKind::Input)?;
    let statistics = timed.statistics();
    let phases = timed.finish().seconds;
    let own = 1e-9 * engine.own_nanoseconds.load(Ordering::Relaxed) as f64 / planned.memory.tiles.max(1) as f64;
    Ok(Rates {
        count: statistics / work.counted,
        resample: (phases.prepare - statistics) / work.resampled,
        tile: (phases.network - own).max(0.0) / work.tiled,
        stitch: phases.stitch / work.tiled,
        decide: phases.export / work.decided,
        write: write_rate(case.scan.geometry(), real)?,
        hash: hash_rate(),
    })
}

/// The model's description with a patch that suits a small scan, all of which is segmented.
fn small_manifest(manifest: &Manifest, layout: &Layout) -> Manifest {
    let heads = manifest.labels.heads().len();
    let most = MOST_TILE_VOXELS.min(MOST_LOGITS / 8 / heads.max(1));
    let patch_zyx = halved(layout.tiling.patch, [LEAST_EXTENT; 3], |patch| patch.iter().product::<usize>() > most);
    let mut small = manifest.clone();
    small.grid.patch_zyx = patch_zyx;
    small.crop_to_nonzero = false;
    small
}

/// Extents of the small scan along network axes.
fn small_shape(layout: &Layout, heads: usize) -> Index3 {
    let most = MOST_VOXELS.min(MOST_LOGITS / heads.max(1)) as f64;
    let (old, new) = (layout.data_map.old, layout.data_map.new);
    // So many that a coarse network grid still has voxels.
    let least = core::array::from_fn(|k| LEAST_EXTENT.max((2 * old[k]).div_ceil(new[k])));
    halved(old, least, |shape| {
        let there: f64 = shape.iter().map(|&n| n as f64).product();
        let on_network_grid: f64 = (0..3).map(|k| shape[k] as f64 * new[k] as f64 / old[k] as f64).product();
        there.max(on_network_grid) > most
    })
}

/// Halves the longest axis until it is no longer `too_large`, but none below `least`.
fn halved(mut shape: Index3, least: Index3, too_large: impl Fn(&Index3) -> bool) -> Index3 {
    while too_large(&shape) {
        let longest = (0..3).filter(|&k| shape[k] / 2 >= least[k]).max_by_key(|&k| shape[k]);
        match longest {
            Some(k) => shape[k] /= 2,
            None => break,
        }
    }
    shape
}

/// Seconds of a voxel of the label file, compressed.
fn write_rate(geometry: &Geometry, layout: &Layout) -> Result<f64, Error> {
    let wide = layout.decision.largest_value() > u16::from(u8::MAX);
    let stored = if wide { LabelType::U16 } else { LabelType::U8 };
    let [planes, rows, columns] = layout.file_shape;
    // Half of the plane is background, the rest structures with uneven borders.
    let most = layout.decision.largest_value().max(1);
    let label = |y: usize, x: usize| {
        let wave = (x * 7 + y * 3) % 5;
        let structure = (y + wave) / 24 + 3 * ((x + wave) / 40);
        if structure.is_multiple_of(2) { 0 } else { 1 + structure as u16 % most }
    };
    let plane: Vec<u16> = (0..rows * columns).map(|i| label(i / columns, i % columns)).collect();
    let count = WRITTEN_VOXELS.div_ceil(plane.len()).min(planes);
    let start = Instant::now();
    let path = Path::new("rehearsal.nii.gz");
    let options = LabelOptions { path, stored, description: "" };
    let mut writer = label_writer(Box::new(std::io::empty()), geometry, &options).or_error(ErrorKind::Output)?;
    for _ in 0..count {
        writer.write_plane(&plane).or_error(ErrorKind::Output)?;
    }
    Ok(start.elapsed().as_secs_f64() / (count * plane.len()) as f64)
}

/// Seconds of a byte hashed.
fn hash_rate() -> f64 {
    let bytes = vec![1; HASHED_BYTES];
    let start = Instant::now();
    std::hint::black_box(Sha256::digest(&bytes));
    start.elapsed().as_secs_f64() / HASHED_BYTES as f64
}

/// An engine that leaves its output as it is, once there is something in it: logits of zero would be added up at
/// another pace.
struct Silent {
    shape: EngineShape,
    footprint: EngineFootprint,
    /// What filling outputs took, of all calls.
    own_nanoseconds: AtomicU64,
}

impl Engine for Silent {
    fn name(&self) -> &'static str {
        "silent"
    }

    fn shape(&self) -> EngineShape {
        self.shape
    }

    fn footprint(&self, _: usize) -> EngineFootprint {
        self.footprint
    }

    fn infer<X: Executor>(
        &self,
        _: usize,
        _: Patch<'_>,
        output: PatchMut<'_>,
        _: &mut [Block],
        _: &X,
    ) -> Result<(), EngineError> {
        let start = Instant::now();
        match output {
            PatchMut::F32(output) => fill(output),
            PatchMut::F16(output) => fill(output),
        }
        self.own_nanoseconds.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        Ok(())
    }
}

fn fill<T: PatchNumber>(output: &mut [T]) {
    if output.first().is_some_and(|v| v.widen() == 0.0) {
        let values = noise::<T>(output.len().min(4096));
        for part in output.chunks_mut(values.len()) {
            part.copy_from_slice(&values[..part.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_shrink_from_their_longest_axis_and_not_to_nothing() {
        let shrunk = |shape: Index3, least: Index3, most: usize| {
            halved(shape, least, |shape| shape.iter().product::<usize>() > most)
        };
        assert_eq!(shrunk([600, 512, 512], [8; 3], 400_000), [75, 64, 64]);
        assert_eq!(shrunk([1, 1024, 512], [8; 3], 300_000), [1, 512, 512]);
        assert_eq!(shrunk([35, 51, 36], [8; 3], 400_000), [35, 51, 36]);
        assert_eq!(shrunk([40, 40, 40], [8, 8, 20], 1), [10, 10, 20]);
    }
}
