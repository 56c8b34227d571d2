//! Boundary distillation: the spatial gradient of the student's probabilities should equal that of the teacher's.
//!
//! Vectors are compared, not their lengths, because the direction of an edge matters. Only voxels on the teacher's edges are
//! compared, because both gradients vanish elsewhere.

use crate::targets::Heads;
use tch::{Kind, TchError, Tensor};

/// Settings of the term.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundarySettings {
    /// Distance between voxels along `z, y, x`, in units of the smallest.
    pub spacing: [f64; 3],
    /// A voxel is on an edge where the teacher's probability changes by more than this per voxel of the smallest extent.
    pub edge: f64,
}

/// The edges of a teacher's probabilities and the gradients there, prepared for any number of students.
#[derive(Debug)]
pub struct Edges {
    /// Indices into the flattened probabilities, `[6 * edges]`: the voxels after an edge voxel along `z, y, x`, then those
    /// before it.
    neighbours: Tensor,
    /// `[3, edges]`, along `z, y, x`.
    gradient: Tensor,
    /// Weight of each edge voxel along one axis, `[edges]`.
    shares: Tensor,
}

impl Edges {
    /// The same tensors, for another thread.
    pub fn shallow_clone(&self) -> Edges {
        Edges {
            neighbours: self.neighbours.shallow_clone(),
            gradient: self.gradient.shallow_clone(),
            shares: self.shares.shallow_clone(),
        }
    }
}

fn probabilities(heads: &Heads, logits: &Tensor) -> Result<Tensor, TchError> {
    let logits = logits.f_to_kind(Kind::Float)?;
    match heads {
        Heads::Labels(_) => logits.f_softmax(1, Kind::Float),
        Heads::Regions(_) => logits.f_sigmoid(),
    }
}

impl BoundarySettings {
    /// Settings for a grid.
    pub fn new(spacing_mm: [f64; 3]) -> BoundarySettings {
        let smallest = spacing_mm.into_iter().fold(f64::MAX, f64::min);
        BoundarySettings { spacing: spacing_mm.map(|mm| mm / smallest), edge: 0.05 }
    }

    /// The edges of a teacher's logits `[n, heads, z, y, x]` at full resolution. The background has none.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn edges(&self, heads: &Heads, teacher: &Tensor) -> Result<Edges, TchError> {
        tch::no_grad(|| {
            // The first head that is compared.
            let first = match heads {
                Heads::Labels(_) => 1,
                Heads::Regions(_) => 0,
            };
            let all = probabilities(heads, teacher)?;
            let gradient = self.gradient(&all.f_narrow(1, first, all.size()[1] - first)?)?;
            let squares = gradient.f_square()?.f_sum_dim_intlist(-1i64, false, Kind::Float)?;
            let edge = squares.f_gt(self.edge * self.edge)?;

            // One number a class.
            let voxels = edge.f_sum_dim_intlist(&[0i64, 2, 3, 4][..], false, Kind::Float)?;
            let present = voxels.f_gt(0.0)?.f_to_kind(Kind::Float)?.f_sum(Kind::Float)?.f_clamp_min(1.0)?;
            let shares = voxels.f_clamp_min(1.0)?.f_mul(&present)?.f_mul_scalar(3.0)?.f_reciprocal()?;

            let places = edge.f_nonzero()?;
            let coordinate = |axis: i64| places.f_select(1, axis);
            let shares = shares.f_index_select(0, &coordinate(1)?)?;
            let size = all.size();
            let mut strides = [1i64; 5];
            for axis in (0..4).rev() {
                strides[axis] = strides[axis + 1] * size[axis + 1];
            }
            let neighbour = |axis: usize, step: i64| -> Result<Tensor, TchError> {
                let mut index = coordinate(1)?.f_add_scalar(first)?.f_mul_scalar(strides[1])?;
                for other in [0, 2, 3, 4] {
                    let mut along = coordinate(other as i64)?;
                    if other == axis {
                        // At the border the voxel itself replaces the missing neighbour.
                        along = along.f_add_scalar(step)?.f_clamp(0, size[axis] - 1)?;
                    }
                    index = index.f_add(&along.f_mul_scalar(strides[other])?)?;
                }
                Ok(index)
            };
            let mut neighbours = Vec::with_capacity(6);
            for step in [1, -1] {
                for axis in 2..5 {
                    neighbours.push(neighbour(axis, step)?);
                }
            }
            let gradient = gradient.f_permute([5, 0, 1, 2, 3, 4])?.f_reshape([3, -1])?;
            let flat = edge.f_reshape([-1])?.f_nonzero()?.f_squeeze_dim(1)?;
            Ok(Edges {
                neighbours: Tensor::f_cat(&neighbours, 0)?,
                gradient: gradient.f_index_select(1, &flat)?,
                shares,
            })
        })
    }

    /// The mean absolute difference of both gradients on the teacher's edges: over axes and voxels for each class, then over
    /// the classes that have an edge; 0 where none has.
    ///
    /// `student` are logits of the same shape as the teacher's.
    ///
    /// # Errors
    /// libtorch fails.
    pub fn loss(&self, heads: &Heads, student: &Tensor, edges: &Edges) -> Result<Tensor, TchError> {
        let count = edges.shares.size()[0];
        let values = probabilities(heads, student)?.f_reshape([-1])?.f_index_select(0, &edges.neighbours)?;
        let values = values.f_view([2, 3, count])?;
        let across = values.f_select(0, 0)?.f_sub(&values.f_select(0, 1)?)?;
        let inverse = self.spacing.map(|spacing| (0.5 / spacing) as f32);
        let inverse = Tensor::f_from_slice(&inverse)?.f_to_device(across.device())?.f_view([3, 1])?;
        across.f_mul(&inverse)?.f_sub(&edges.gradient)?.f_abs()?.f_mul(&edges.shares)?.f_sum(Kind::Float)
    }

    /// Central differences along `z, y, x`, per voxel of the smallest extent: `[n, heads, z, y, x, 3]`. At the border the
    /// voxel itself replaces the missing neighbour.
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
