//! Gradient distillation in space: where the teacher's probabilities change, the student's should change the same way.
//!
//! Vectors are compared, not their lengths, so that the direction of an edge counts; and only on the teacher's edges,
//! since everywhere else both are flat.

use crate::targets::Heads;
use tch::{Kind, TchError, Tensor};

/// Settings of the term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundarySettings {
    /// Distance between voxels along `z, y, x`, in units of the smallest.
    pub spacing: [f64; 3],
    /// A voxel is on the edge where the teacher's probability changes by more a (smallest) voxel.
    pub edge: f64,
}

impl BoundarySettings {
    /// Settings for a grid.
    pub fn new(spacing_mm: [f64; 3]) -> BoundarySettings {
        let smallest = spacing_mm.into_iter().fold(f64::MAX, f64::min);
        BoundarySettings { spacing: spacing_mm.map(|mm| mm / smallest), edge: 0.05 }
    }

    /// The mean absolute difference of both gradients on the teacher's edges: over axes and voxels for each class, then over
    /// the classes that have an edge; 0 where none has. The background is no class.
    ///
    /// `student` and `teacher` are logits `[n, heads, z, y, x]` at full resolution.
    ///
    /// # Errors
    /// libtorch refuses an operation.
    pub fn loss(&self, heads: &Heads, student: &Tensor, teacher: &Tensor) -> Result<Tensor, TchError> {
        let probabilities = |logits: &Tensor| -> Result<Tensor, TchError> {
            let logits = logits.f_to_kind(Kind::Float)?;
            match heads {
                Heads::Labels(count) => logits.f_softmax(1, Kind::Float)?.f_narrow(1, 1, *count as i64 - 1),
                Heads::Regions(_) => logits.f_sigmoid(),
            }
        };
        let teacher = tch::no_grad(|| self.gradient(&probabilities(teacher)?))?;
        let student = self.gradient(&probabilities(student)?)?;
        // One number a class and voxel.
        let edge = tch::no_grad(|| {
            let squares = teacher.f_square()?.f_sum_dim_intlist(-1i64, false, Kind::Float)?;
            squares.f_gt(self.edge * self.edge)?.f_to_kind(Kind::Float)
        })?;
        let difference = student.f_sub(&teacher)?.f_abs()?.f_mean_dim(-1i64, false, Kind::Float)?;
        let over_voxels = |t: &Tensor| t.f_sum_dim_intlist(&[0i64, 2, 3, 4][..], false, Kind::Float);
        let (sums, voxels) = (over_voxels(&difference.f_mul(&edge)?)?, over_voxels(&edge)?);
        let present = voxels.f_gt(0.0)?.f_to_kind(Kind::Float)?.f_sum(Kind::Float)?.f_clamp_min(1.0)?;
        sums.f_div(&voxels.f_clamp_min(1.0)?)?.f_sum(Kind::Float)?.f_div(&present)
    }

    /// Differences across each voxel along `z, y, x`, a (smallest) voxel: `[n, heads, z, y, x, 3]`. At the border the voxel
    /// itself stands for the neighbour that is not there.
    fn gradient(&self, values: &Tensor) -> Result<Tensor, TchError> {
        let axes = (0..3)
            .map(|k| {
                let axis = k as i64 + 2;
                let length = values.size()[axis as usize];
                let first = values.f_narrow(axis, 0, 1)?;
                let last = values.f_narrow(axis, length - 1, 1)?;
                let after = Tensor::f_cat(&[&values.f_narrow(axis, 1, length - 1)?, &last], axis)?;
                let before = Tensor::f_cat(&[&first, &values.f_narrow(axis, 0, length - 1)?], axis)?;
                after.f_sub(&before)?.f_div_scalar(2.0 * self.spacing[k])
            })
            .collect::<Result<Vec<_>, TchError>>()?;
        Tensor::f_stack(&axes, -1)
    }
}
