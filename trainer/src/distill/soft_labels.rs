//! Soft labels: the teachers' probabilities of whole cases, computed once and stored.
//!
//! Running a teacher on every patch costs more than a whole step of its student. Running it once per case, with overlapping
//! tiles and mirroring, gives its best prediction; several teachers then cost no more than one, and a batch costs nothing.
//! The disadvantage: the teacher does not see the patches as they were augmented for the student.

use super::teachers::Teachers;
use crate::dataset::cache::CachedCase;
use crate::dataset::soft::{self, SoftCase, SoftFacts, SoftHeads};
use crate::network::values;
use crate::plan::TrainingPlan;
use crate::targets::Heads;
use crate::torch_error::OrTorchError;
use crate::training::settings::TrainingContext;
use half::f16;
use scanside_app::error::{Error, ErrorKind, OrPathError};
use scanside_core::tiling::{Tiling, importance_map};
use std::path::PathBuf;
use tch::{Device, Kind, TchError, Tensor};

/// Digits of the teachers' hash in the folder's name.
const HASH_DIGITS: usize = 12;
/// Distance between tiles as a fraction of the patch, as in nnU-Net.
const STEP: f64 = 0.5;
/// All combinations of mirrored axes.
const MIRRORINGS: usize = 8;

/// A folder of soft labels.
#[derive(Clone, Debug)]
pub struct SoftLabelFolder {
    path: PathBuf,
}

impl SoftLabelFolder {
    /// Computes the soft labels of the cases `ids` by `teachers`, which the hash `teachers_sha256` identifies. Soft labels
    /// that exist already are kept. `progress` is called before each case with its index, the number of cases and its name.
    ///
    /// # Errors
    /// A case is missing, a teacher cannot be run, a file cannot be written, or the caller asked to stop; what was computed
    /// so far is kept.
    pub fn fill(
        context: &TrainingContext<'_>,
        ids: &[String],
        teachers: &mut Teachers,
        teachers_sha256: &str,
        progress: &mut dyn FnMut(usize, usize, &str),
    ) -> Result<SoftLabelFolder, Error> {
        let TrainingContext { work, plan, settings, stop, .. } = *context;
        let path = work.soft(&teachers_sha256[..HASH_DIGITS.min(teachers_sha256.len())]);
        let folder = SoftLabelFolder { path };
        std::fs::create_dir_all(&folder.path).or_cannot_write(&folder.path)?;
        let heads = heads_of(&plan.targets.heads)?;
        let mut predictor = Predictor::new(teachers, plan, settings.device).or_torch_error()?;
        for (i, id) in ids.iter().enumerate() {
            if stop.requested() {
                let sentence = "interrupted; the soft labels computed so far are kept";
                return Err(Error::new(ErrorKind::Interrupted, sentence));
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
            if SoftCase::open(&folder.file(id)).is_ok_and(|existing| *existing.facts() == facts) {
                continue;
            }
            progress(i, ids.len(), id);
            let records = encode(heads, &predictor.probabilities(&case)?);
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

/// The records of probabilities `[heads, z, y, x]`.
fn encode(heads: SoftHeads, probabilities: &[f32]) -> Vec<u8> {
    let voxels = probabilities.len() / heads.count();
    let (mut records, mut voxel) = (Vec::with_capacity(voxels * heads.record_bytes()), vec![0.0; heads.count()]);
    for at in 0..voxels {
        voxel.iter_mut().enumerate().for_each(|(head, p)| *p = probabilities[head * voxels + at]);
        heads.encode(&voxel, &mut records);
    }
    records
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

/// Predicts whole cases with overlapping tiles that are mirrored along every axis, as nnU-Net does.
struct Predictor<'a> {
    teachers: &'a mut Teachers,
    heads: &'a Heads,
    /// Voxels of a tile: `z, y, x`.
    patch: [usize; 3],
    /// Weights of a tile's voxels, `[1, 1, z, y, x]`.
    importance: Tensor,
    device: Device,
}

/// Weighted sums of logits, and the sums of weights: `[1, heads, z, y, x]` and `[1, 1, z, y, x]`.
struct Sums {
    logits: Option<Tensor>,
    weights: Tensor,
}

impl<'a> Predictor<'a> {
    fn new(teachers: &'a mut Teachers, plan: &'a TrainingPlan, device: Device) -> Result<Predictor<'a>, TchError> {
        let patch = plan.patch_zyx;
        let importance: Vec<f32> =
            importance_map(patch).into_iter().map(|bits| f16::from_bits(bits).to_f32()).collect();
        let [z, y, x] = signed(patch);
        let importance = Tensor::f_from_slice(&importance)?.f_view([1, 1, z, y, x])?.f_to_device(device)?;
        Ok(Predictor { teachers, heads: &plan.targets.heads, patch, importance, device })
    }

    /// Probabilities of a case, `[heads, z, y, x]`.
    fn probabilities(&mut self, case: &CachedCase) -> Result<Vec<f32>, Error> {
        let tiling = Tiling::new(case.shape_zyx(), self.patch, STEP, false);
        let (image, weights) = self.padded(case, &tiling).or_torch_error()?;
        let mut sums = Sums { logits: None, weights };
        for start in (0..tiling.starts[0].len()).flat_map(|row| tiling.row(row)) {
            let start = signed(start);
            let logits = self.mirrored(&self.tile(&image, start).or_torch_error()?)?;
            self.add(&mut sums, &logits, start).or_torch_error()?;
        }
        self.normalised(sums, case, &tiling).or_torch_error()
    }

    /// The image `[1, channels, z, y, x]`, padded to whole tiles, and zeros for the sums of weights.
    fn padded(&self, case: &CachedCase, tiling: &Tiling) -> Result<(Tensor, Tensor), TchError> {
        let ([z, y, x], [pz, py, px]) = (signed(case.shape_zyx()), signed(tiling.padded));
        let [bz, by, bx] = signed(tiling.pad_below);
        let image = Tensor::f_from_slice(case.image())?.f_view([1, case.channels() as i64, z, y, x])?;
        let pad = [bx, px - x - bx, by, py - y - by, bz, pz - z - bz];
        let image = image.f_constant_pad_nd(pad)?.f_to_device(self.device)?;
        Ok((image, Tensor::f_zeros([1, 1, pz, py, px], (Kind::Float, self.device))?))
    }

    /// The part of a padded tensor that a tile covers.
    fn tile(&self, tensor: &Tensor, start: [i64; 3]) -> Result<Tensor, TchError> {
        let [z, y, x] = signed(self.patch);
        tensor.f_narrow(2, start[0], z)?.f_narrow(3, start[1], y)?.f_narrow(4, start[2], x)
    }

    /// The sum of the logits of a tile over all mirrorings.
    fn mirrored(&mut self, tile: &Tensor) -> Result<Tensor, Error> {
        let mut sum: Option<Tensor> = None;
        for mirroring in 0..MIRRORINGS {
            let axes: Vec<i64> = (0..3).filter(|axis| mirroring >> axis & 1 == 1).map(|axis| axis + 2).collect();
            let logits = self.teachers.logits(&tile.f_flip(&axes).or_torch_error()?)?.swap_remove(0);
            let logits = logits.f_flip(&axes).or_torch_error()?;
            sum = Some(match sum {
                None => logits,
                Some(sum) => sum.f_add(&logits).or_torch_error()?,
            });
        }
        sum.ok_or_else(|| Error::new(ErrorKind::Internal, "a tile was not predicted"))
    }

    fn add(&self, sums: &mut Sums, logits: &Tensor, start: [i64; 3]) -> Result<(), TchError> {
        let total = match &sums.logits {
            Some(total) => total,
            None => {
                let size = sums.weights.size();
                let size = [1, logits.size()[1], size[2], size[3], size[4]];
                sums.logits.insert(Tensor::f_zeros(size, (Kind::Float, self.device))?)
            }
        };
        let mean = logits.f_div_scalar(MIRRORINGS as f64)?;
        let _ = self.tile(total, start)?.f_add_(&mean.f_mul(&self.importance)?)?;
        let _ = self.tile(&sums.weights, start)?.f_add_(&self.importance)?;
        Ok(())
    }

    /// Probabilities of the case without its padding.
    fn normalised(&self, mut sums: Sums, case: &CachedCase, tiling: &Tiling) -> Result<Vec<f32>, TchError> {
        let ([z, y, x], [bz, by, bx]) = (signed(case.shape_zyx()), signed(tiling.pad_below));
        let logits = sums.logits.ok_or_else(|| TchError::Torch("a case without tiles".into()))?;
        let _ = sums.weights.f_clamp_min_(f64::from(f32::MIN_POSITIVE))?;
        let logits = logits.f_div(&sums.weights)?.f_narrow(2, bz, z)?.f_narrow(3, by, y)?.f_narrow(4, bx, x)?;
        values(&match self.heads {
            Heads::Labels(_) => logits.f_softmax(1, Kind::Float)?,
            Heads::Regions(_) => logits.f_sigmoid()?,
        })
    }
}

fn signed(n: [usize; 3]) -> [i64; 3] {
    n.map(|n| n as i64)
}
