//! Whether two volumes that are compared voxel for voxel lie in the same place.

use scanside_core::volume::Grid;

/// Spacings that differ by more, in millimetres, are not the same. Files store them in single precision.
const SPACING_TOLERANCE_MM: f64 = 1e-3;

/// How far a corner of one volume may lie from the same corner of the other, in voxel edges. What programs lose when they
/// store a rotation as a quaternion in single precision stays below; a shift that changes a comparison does not.
const CORNER_TOLERANCE: f64 = 0.05;

/// Two volumes of one size and spacing whose voxels lie elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Elsewhere {
    /// The first of the corners that lie farthest apart: in one volume, and in the other. Millimetres, `x, y, z` in LPS.
    pub corners_mm: [[f64; 3]; 2],
    /// Their distance.
    pub apart_mm: f64,
}

/// Why two volumes cannot be compared voxel for voxel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Difference {
    /// Voxels per axis.
    Shape,
    /// Distance between voxels.
    Spacing,
    /// Origin or direction.
    Place(Elsewhere),
}

/// The first thing in which two grids differ beyond rounding.
pub(crate) fn difference(a: &Grid, b: &Grid) -> Option<Difference> {
    if a.shape_zyx != b.shape_zyx {
        return Some(Difference::Shape);
    }
    let apart = |(a, b): (f64, f64)| (a - b).abs() > SPACING_TOLERANCE_MM;
    if a.spacing_mm.into_iter().zip(b.spacing_mm).any(apart) {
        return Some(Difference::Spacing);
    }
    let corners = (0..8).map(|corner| {
        let at =
            std::array::from_fn(|axis| if corner >> axis & 1 == 1 { a.shape_zyx[axis].saturating_sub(1) } else { 0 });
        let corners_mm = [a, b].map(|grid| position_mm(grid, at.map(|n| n as f64)));
        let squares = (0..3).map(|k| (corners_mm[0][k] - corners_mm[1][k]).powi(2));
        Elsewhere { corners_mm, apart_mm: squares.sum::<f64>().sqrt() }
    });
    // The first of equals.
    let farthest = corners.rev().max_by(|a, b| a.apart_mm.total_cmp(&b.apart_mm))?;
    let edge_mm = a.spacing_mm.into_iter().fold(f64::INFINITY, f64::min);
    (farthest.apart_mm > CORNER_TOLERANCE * edge_mm).then_some(Difference::Place(farthest))
}

/// Where a place in a volume, in voxels `z, y, x`, lies in the patient: millimetres, `x, y, z` in LPS.
pub(crate) fn position_mm(grid: &Grid, at_zyx: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|r| {
        let steps = (0..3).map(|k| grid.direction[r][k] * (grid.spacing_mm[2 - k] * at_zyx[2 - k]));
        grid.origin[r] + steps.sum::<f64>()
    })
}

/// Millilitres of one voxel. Axes that are not perpendicular make it smaller than the product of its edges.
pub(crate) fn voxel_ml(grid: &Grid) -> f64 {
    let d = &grid.direction;
    let minor = |a: usize, b: usize| d[1][a] * d[2][b] - d[1][b] * d[2][a];
    let determinant = d[0][0] * minor(1, 2) - d[0][1] * minor(0, 2) + d[0][2] * minor(0, 1);
    grid.spacing_mm.iter().product::<f64>() * determinant.abs() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid {
            shape_zyx: [10, 20, 30],
            spacing_mm: [3.0, 2.0, 1.0],
            origin: [-90.0, 126.0, -72.0],
            direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        }
    }

    #[test]
    fn rounding_is_no_difference_and_a_shift_or_a_flip_is() {
        let one = grid();
        assert_eq!(difference(&one, &one), None);
        // Single precision, and a rotation by a fraction of a thousandth.
        let mut rounded = grid();
        rounded.origin[0] += 1e-4;
        rounded.direction[0][1] = 1e-4;
        rounded.direction[1][0] = -1e-4;
        assert_eq!(difference(&one, &rounded), None);
        let mut shifted = grid();
        shifted.origin[2] += 0.1;
        let Some(Difference::Place(apart)) = difference(&one, &shifted) else { panic!("a shift") };
        assert!((apart.apart_mm - 0.1).abs() < 1e-9 && apart.corners_mm[0] == one.origin, "{apart:?}");
        let mut tilted = grid();
        let (sin, cos) = 0.01f64.sin_cos();
        tilted.direction = [[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]];
        assert!(matches!(difference(&one, &tilted), Some(Difference::Place(_))));
        let mut flipped = grid();
        flipped.direction[0][0] = -1.0;
        let Some(Difference::Place(apart)) = difference(&one, &flipped) else { panic!("a flip") };
        assert_eq!(apart.apart_mm, 58.0);
        let other = Grid { spacing_mm: [3.0, 2.0, 1.002], ..grid() };
        assert_eq!(difference(&one, &other), Some(Difference::Spacing));
        assert_eq!(difference(&one, &Grid { shape_zyx: [10, 20, 31], ..grid() }), Some(Difference::Shape));
    }

    #[test]
    fn places_and_volumes_follow_the_directions() {
        let mut oblique = grid();
        let (sin, cos) = 0.3f64.sin_cos();
        oblique.direction = [[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]];
        let at = position_mm(&oblique, [2.0, 3.0, 5.0]);
        let expected = [-90.0 + 5.0 * cos - 6.0 * sin, 126.0 + 5.0 * sin + 6.0 * cos, -66.0];
        assert!(at.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{at:?}");
        assert!((voxel_ml(&oblique) - 0.006).abs() < 1e-15);
        let mut sheared = grid();
        sheared.direction = [[1.0, 0.6, 0.0], [0.0, 0.8, 0.0], [0.0, 0.0, 1.0]];
        assert!((voxel_ml(&sheared) - 0.0048).abs() < 1e-15);
    }
}
