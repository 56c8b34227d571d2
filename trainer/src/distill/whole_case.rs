//! Soft labels: what teachers say of whole cases, asked once and kept.
//!
//! A teacher that is asked about every patch costs more than its student's whole step. Asked once a case, by overlapping tiles
//! and mirrored, it says its best, several teachers cost no more than one, and a batch costs nothing. What is lost is the
//! teacher's view of each patch as the student sees it, noise and all.

use super::teachers::Teachers;
use crate::dataset::cache::CachedCase;
use crate::dataset::soft::{self, SoftCase, SoftFacts, SoftHeads};
use crate::network::values;
use crate::plan::TrainingPlan;
use crate::targets::Heads;
use crate::work::Work;
use anyhow::Result;
use half::f16;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_core::tiling::{Tiling, importance_map};
use std::path::PathBuf;
use tch::{Device, Kind, Tensor};

/// Digits of the teachers' hash in the folder's name.
const HASH_DIGITS: usize = 12;
/// Tiles are half a patch apart, as nnU-Net's.
const STEP: f64 = 0.5;

/// A folder of soft labels.
#[derive(Clone, Debug)]
pub struct SoftFolder {
    path: PathBuf,
}

impl SoftFolder {
    /// Asks `teachers`, of which `teachers_sha256` tells others apart, about the cases `ids`, but for those whose answer is
    /// there already. `told` hears of each case: its place, how many there are, its name.
    ///
    /// # Errors
    /// A case is missing, a teacher cannot be run, a file cannot be written, or the user stopped it; what was asked so far is
    /// kept.
    pub fn fill(
        work: &Work,
        plan: &TrainingPlan,
        ids: &[String],
        teachers: &mut Teachers,
        teachers_sha256: &str,
        device: Device,
        told: &mut dyn FnMut(usize, usize, &str),
    ) -> Result<SoftFolder, Error> {
        let path = work.soft(&teachers_sha256[..HASH_DIGITS.min(teachers_sha256.len())]);
        let folder = SoftFolder { path };
        let cannot = || format!("{} cannot be made", folder.path.display());
        std::fs::create_dir_all(&folder.path).or_error_with(ErrorKind::Output, cannot)?;
        let heads = heads_of(&plan.targets.heads)?;
        let importance: Vec<f32> =
            importance_map(plan.patch_zyx).into_iter().map(|bits| f16::from_bits(bits).to_f32()).collect();
        for (i, id) in ids.iter().enumerate() {
            if crate::stop::requested() {
                return Err(Error::new(ErrorKind::Interrupted, "stopped; soft labels made so far are kept"));
            }
            let case = CachedCase::open(&work.case(id))?;
            let facts = SoftFacts {
                id: id.clone(),
                shape_zyx: case.shape_zyx(),
                heads,
                teachers_sha256: teachers_sha256.into(),
                plan_sha256: case.facts().plan_sha256.clone(),
                raw_sha256: case.facts().raw_sha256.clone(),
            };
            if SoftCase::open(&folder.file(id)).is_ok_and(|there| *there.facts() == facts) {
                continue;
            }
            told(i, ids.len(), id);
            let probabilities =
                probabilities(teachers, &plan.targets.heads, &case, plan.patch_zyx, &importance, device)
                    .or_error(ErrorKind::DoesNotFit)?;
            let voxels: usize = facts.shape_zyx.iter().product();
            let (mut records, mut voxel) =
                (Vec::with_capacity(voxels * heads.record_bytes()), vec![0.0; heads.count()]);
            for at in 0..voxels {
                voxel.iter_mut().enumerate().for_each(|(head, p)| *p = probabilities[head * voxels + at]);
                heads.encode(&voxel, &mut records);
            }
            soft::write(&folder.file(id), &facts, &records)?;
        }
        Ok(folder)
    }

    /// The soft labels of case `id`.
    ///
    /// # Errors
    /// They are missing or damaged.
    pub fn open(&self, id: &str) -> Result<SoftCase, Error> {
        SoftCase::open(&self.file(id))
    }

    fn file(&self, id: &str) -> PathBuf {
        self.path.join(format!("{id}.ssoft"))
    }
}

fn heads_of(heads: &Heads) -> Result<SoftHeads, Error> {
    let count = match heads {
        Heads::Labels(count) => *count,
        Heads::Regions(regions) => regions.len(),
    };
    let count = u8::try_from(count)
        .map_err(|_| Error::new(ErrorKind::Input, format!("soft labels hold at most 255 heads, not {count}")))?;
    Ok(match heads {
        Heads::Labels(_) => SoftHeads::Labels(count),
        Heads::Regions(_) => SoftHeads::Regions(count),
    })
}

/// Probabilities of a case, `[heads, z, y, x]`: logits of overlapping tiles, mirrored along every axis, averaged as nnU-Net
/// does.
fn probabilities(
    teachers: &mut Teachers,
    heads: &Heads,
    case: &CachedCase,
    patch: [usize; 3],
    importance: &[f32],
    device: Device,
) -> Result<Vec<f32>> {
    let tiling = Tiling::new(case.shape_zyx(), patch, STEP, false);
    let long = |n: [usize; 3]| n.map(|n| n as i64);
    let ([z, y, x], [pz, py, px]) = (long(case.shape_zyx()), long(tiling.padded));
    let [bz, by, bx] = long(tiling.pad_below);
    let image = Tensor::f_from_slice(case.image())?.f_view([1, case.channels() as i64, z, y, x])?;
    let pad = [bx, px - x - bx, by, py - y - by, bz, pz - z - bz];
    let image = image.f_constant_pad_nd(pad)?.f_to_device(device)?;
    let [wz, wy, wx] = long(patch);
    let weight = Tensor::f_from_slice(importance)?.f_view([1, 1, wz, wy, wx])?.f_to_device(device)?;
    let mut sums: Option<Tensor> = None;
    let mut weights = Tensor::f_zeros([1, 1, pz, py, px], (Kind::Float, device))?;
    let cut =
        |t: &Tensor, start: [i64; 3]| t.f_narrow(2, start[0], wz)?.f_narrow(3, start[1], wy)?.f_narrow(4, start[2], wx);
    for start in (0..tiling.starts[0].len()).flat_map(|row| tiling.row(row)) {
        let tile = cut(&image, long(start))?;
        let mut mean: Option<Tensor> = None;
        for mirror in 0..8 {
            let axes: Vec<i64> = (0..3).filter(|axis| mirror >> axis & 1 == 1).map(|axis| axis + 2).collect();
            let logits = teachers.logits(&tile.f_flip(&axes)?)?.swap_remove(0).f_flip(&axes)?;
            mean = Some(match mean {
                None => logits,
                Some(mean) => mean.f_add(&logits)?,
            });
        }
        let Some(mean) = mean else { continue };
        let sums = match &sums {
            Some(sums) => sums,
            None => sums.insert(Tensor::f_zeros([1, mean.size()[1], pz, py, px], (Kind::Float, device))?),
        };
        let _ = cut(sums, long(start))?.f_add_(&mean.f_div_scalar(8.0)?.f_mul(&weight)?)?;
        let _ = cut(&weights, long(start))?.f_add_(&weight)?;
    }
    let sums = sums.ok_or_else(|| anyhow::anyhow!("a case without tiles"))?;
    let _ = weights.f_clamp_min_(f64::from(f32::MIN_POSITIVE))?;
    let logits = sums.f_div(&weights)?.f_narrow(2, bz, z)?.f_narrow(3, by, y)?.f_narrow(4, bx, x)?;
    let probabilities = match heads {
        Heads::Labels(_) => logits.f_softmax(1, Kind::Float)?,
        Heads::Regions(_) => logits.f_sigmoid()?,
    };
    Ok(values(&probabilities)?)
}
