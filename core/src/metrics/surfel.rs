//! How much surface passes between eight voxels.
//!
//! The corner where eight voxel centres meet sees which of them are inside: 256 codes. Marching cubes puts a small piece
//! of surface, a *surfel*, there: its outline crosses each edge between an inside and an outside voxel at the middle.
//!
//! The codes are worked out from three rules instead of a table of triangles:
//!
//! 1. On a face of the cube the outline cuts off the corners that differ from their neighbours. Where inside and outside
//!    lie crosswise, it cuts off those that are fewer in the whole cube (inside, where four are), so a code and its
//!    complement have the same surface.
//! 2. The pieces of outline close to loops of three to six corners, some of which are not flat.
//! 3. Of the ways to cut a loop into triangles, the one with the largest area on a cubic grid counts.
//!
//! The areas equal those of DeepMind's `surface-distance` for all codes and any spacing; there they come from a stored
//! list of triangle normals.

use libm::sqrt;

/// Edges have an id: axis * 8 + the corner at their lower end. A few ids stand for no edge.
const EDGE_IDS: usize = 24;
/// No loop of a cube is longer than its number of edges.
const MAX_LOOP: usize = 12;
/// The axis (z, y, x) that a bit of a corner's number stands for.
const AXIS_BIT: [usize; 3] = [4, 2, 1];

/// Surface in mm² at a corner point, by the code of its eight neighbours.
///
/// Bit `4 dz + 2 dy + dx` of a code says that the neighbour at offset `(dz, dy, dx)` of 0 or 1 is inside. Codes 0 and 255
/// have no surface; every other code has some.
pub fn areas_mm2(spacing_mm: [f64; 3]) -> [f64; 256] {
    core::array::from_fn(|code| code_area(code as u8, spacing_mm))
}

fn code_area(code: u8, spacing_mm: [f64; 3]) -> f64 {
    let links = outline(code);
    let mut seen = [false; EDGE_IDS];
    let mut area = 0.0;
    for first in 0..EDGE_IDS {
        if links[first].is_none() || seen[first] {
            continue;
        }
        let mut points = [[0.0; 3]; MAX_LOOP];
        let mut length = 0;
        let (mut previous, mut edge) = (EDGE_IDS, first);
        // An edge lies on two faces and so has two links: one back, one on.
        while let Some([a, b]) = links[edge] {
            seen[edge] = true;
            points[length] = midpoint(edge);
            length += 1;
            let next = if a == previous { b } else { a };
            (previous, edge) = (edge, next);
            if edge == first {
                break;
            }
        }
        area += loop_area(&points[..length], spacing_mm);
    }
    area
}

/// For each edge the outline crosses, the two edges it goes on to.
fn outline(code: u8) -> [Option<[usize; 2]>; EDGE_IDS] {
    let inside = |corner: usize| code >> corner & 1 == 1;
    let cut_off_inside = code.count_ones() <= 4;
    let mut links: [Option<[usize; 2]>; EDGE_IDS] = [None; EDGE_IDS];
    let mut join = |a: usize, b: usize| {
        for (from, to) in [(a, b), (b, a)] {
            links[from] = Some(match links[from] {
                None => [to, to],
                Some([first, _]) => [first, to],
            });
        }
    };
    for axis in 0..3 {
        let (u, v) = (AXIS_BIT[(axis + 1) % 3], AXIS_BIT[(axis + 2) % 3]);
        for side in [0, AXIS_BIT[axis]] {
            let ring = [side, side | u, side | u | v, side | v];
            let edge = |i: usize| edge_between(ring[i % 4], ring[(i + 1) % 4]);
            let crossed = |i: usize| inside(ring[i % 4]) != inside(ring[(i + 1) % 4]);
            let crossings = (0..4).filter(|i| crossed(*i)).count();
            if crossings == 4 {
                for i in (0..4).filter(|i| inside(ring[*i]) == cut_off_inside) {
                    join(edge(i + 3), edge(i));
                }
            } else if crossings == 2 {
                let mut two = (0..4).filter(|i| crossed(*i));
                if let (Some(a), Some(b)) = (two.next(), two.next()) {
                    join(edge(a), edge(b));
                }
            }
        }
    }
    links
}

fn edge_between(a: usize, b: usize) -> usize {
    let axis = match a ^ b {
        4 => 0,
        2 => 1,
        _ => 2,
    };
    axis * 8 + a.min(b)
}

fn midpoint(edge: usize) -> [f64; 3] {
    let (axis, corner) = (edge / 8, edge % 8);
    let mut point = AXIS_BIT.map(|bit| if corner & bit != 0 { 1.0 } else { 0.0 });
    point[axis] = 0.5;
    point
}

/// Area of a loop, cut into the triangles whose area is largest for a cubic grid.
fn loop_area(points: &[[f64; 3]], spacing_mm: [f64; 3]) -> f64 {
    let n = points.len();
    // best[i][j]: area on the cubic grid and in mm² of the part i, i + 1, ..., j, closed by the line from j to i.
    let mut best = [[(0.0, 0.0); MAX_LOOP]; MAX_LOOP];
    for span in 2..n {
        for i in 0..n - span {
            let j = i + span;
            let mut largest = (-1.0, 0.0);
            for k in i + 1..j {
                let triangle = [points[i], points[k], points[j]];
                let (left, right) = (best[i][k], best[k][j]);
                let cubic = left.0 + triangle_area(triangle, [1.0; 3]) + right.0;
                // Ways of equal area differ by rounding; they are equal at any spacing, so which one is taken is the same.
                if cubic > largest.0 {
                    largest = (cubic, left.1 + triangle_area(triangle, spacing_mm) + right.1);
                }
            }
            best[i][j] = largest;
        }
    }
    if n < 3 { 0.0 } else { best[0][n - 1].1 }
}

fn triangle_area([a, b, c]: [[f64; 3]; 3], spacing_mm: [f64; 3]) -> f64 {
    let side = |to: [f64; 3]| [0, 1, 2].map(|k| (to[k] - a[k]) * spacing_mm[k]);
    let (u, v) = (side(b), side(c));
    let normal = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    sqrt(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12 * (1.0 + a.abs())
    }

    #[test]
    fn known_shapes() {
        let [z, y, x] = [3.0, 0.5, 2.0];
        let areas = areas_mm2([z, y, x]);
        assert_eq!((areas[0], areas[255]), (0.0, 0.0));
        assert!(close(areas[0b1111], y * x), "the lower plane inside: a flat face across z");
        assert!(close(areas[0b0101_0101], z * y), "the lower x inside: a flat face across x");
        let corner = 0.125 * ((y * x).powi(2) + (z * x).powi(2) + (z * y).powi(2)).sqrt();
        assert!(close(areas[1], corner));
        assert!(close(areas[0b1000_0001], 2.0 * corner), "opposite corners do not touch");
        assert!(close(areas[0b1001], 2.0 * corner), "crosswise corners do not touch");
        assert!(close(areas[0b0110_1001], 4.0 * corner));
        assert!(close(areas[0b11], x * (z * z + y * y).sqrt() / 2.0), "a row along x");
    }

    #[test]
    fn complements_and_reflections_share_their_area() {
        let areas = areas_mm2([0.7, 1.9, 4.0]);
        for (code, area) in areas.into_iter().enumerate() {
            assert!(close(area, areas[255 - code]), "{code:#010b}");
            for bit in AXIS_BIT {
                let mirrored = (0..8).filter(|c| code >> c & 1 == 1).fold(0, |m, c: usize| m | 1 << (c ^ bit));
                assert!(close(area, areas[mirrored]), "{code:#010b} {mirrored:#010b}");
            }
            assert!(area > 0.0 || code == 0 || code == 255);
        }
    }

    #[test]
    fn axes_trade_places_with_their_spacings() {
        let areas = areas_mm2([0.7, 1.9, 4.0]);
        let turned = areas_mm2([1.9, 4.0, 0.7]);
        for (code, area) in areas.into_iter().enumerate() {
            // Corner bits (z, y, x) become (y, x, z).
            let moved = (0..8).filter(|c| code >> c & 1 == 1).fold(0, |m, c: usize| m | 1 << ((c << 1 & 6) | c >> 2));
            assert!(close(area, turned[moved]), "{code:#010b}");
        }
    }
}
