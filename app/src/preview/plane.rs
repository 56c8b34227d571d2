//! Anatomical planes of a scan in radiological orientation: the patient's right on the left of the picture, front and head up.

use scanside_core::volume::{Box3, Grid};

/// Patient axes of ITK's convention: towards the left, the back, the head.
const LEFT: usize = 0;
const BACK: usize = 1;
const HEAD: usize = 2;

/// A plane through the patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// Seen from the feet.
    Axial,
    /// Seen from the front.
    Coronal,
    /// Seen from the left.
    Sagittal,
}

/// A plane in terms of the file's axes (`z, y, x`).
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// The axis that is cut, and whether it runs against the patient's: to the right, the front or the feet.
    through: (usize, bool),
    /// The file axis of rows, and whether it runs upwards.
    rows: (usize, bool),
    /// The file axis of columns, and whether it runs to the left.
    columns: (usize, bool),
    /// Extents of the file.
    shape: [usize; 3],
    spacing_mm: [f64; 3],
}

impl Plane {
    /// All three.
    pub const ALL: [Plane; 3] = [Plane::Axial, Plane::Coronal, Plane::Sagittal];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Plane::Axial => "axial",
            Plane::Coronal => "coronal",
            Plane::Sagittal => "sagittal",
        }
    }

    /// What lies at the left, right, upper and lower edge of its picture: letters of the patient's right, left, front (A), back
    /// (P), head (S) and feet (I).
    pub fn marks(self) -> [char; 4] {
        match self {
            Plane::Axial => ['R', 'L', 'A', 'P'],
            Plane::Coronal => ['R', 'L', 'S', 'I'],
            Plane::Sagittal => ['A', 'P', 'S', 'I'],
        }
    }

    /// The plane in a file of this grid; an oblique one is cut along its own axes.
    pub fn of(self, grid: &Grid) -> Cut {
        let axes = patient_axes(grid);
        let file_axis = |patient: usize| axes.iter().position(|(axis, _)| *axis == patient).unwrap_or(patient);
        let (through, rows, columns) = match self {
            Plane::Axial => (HEAD, BACK, LEFT),
            Plane::Coronal => (BACK, HEAD, LEFT),
            Plane::Sagittal => (LEFT, HEAD, BACK),
        };
        let (rows_axis, columns_axis) = (file_axis(rows), file_axis(columns));
        // Rows run down the picture: towards the back, but away from the head.
        let rows_turned = axes[rows_axis].1 != (rows == HEAD);
        Cut {
            through: (file_axis(through), axes[file_axis(through)].1),
            rows: (rows_axis, rows_turned),
            columns: (columns_axis, axes[columns_axis].1),
            shape: grid.shape_zyx,
            spacing_mm: grid.spacing_mm,
        }
    }
}

/// For each file axis `z, y, x` the patient axis it runs along, each once, and whether it runs the other way.
fn patient_axes(grid: &Grid) -> [(usize, bool); 3] {
    let mut axes = [(0, false); 3];
    let mut free = [true; 3];
    // The axis that is least oblique comes first.
    let mut order = [0, 1, 2];
    let cosine = |file: usize, patient: usize| grid.direction[patient][2 - file];
    let alignment = |file: usize| (0..3).map(|p| cosine(file, p).abs()).fold(0.0, f64::max);
    order.sort_by(|a, b| alignment(*b).total_cmp(&alignment(*a)));
    for file in order {
        let open = (0..3).filter(|patient| free[*patient]);
        let best = open.max_by(|a, b| cosine(file, *a).abs().total_cmp(&cosine(file, *b).abs())).unwrap_or(file);
        free[best] = false;
        axes[file] = (best, cosine(file, best) < 0.0);
    }
    axes
}

impl Cut {
    /// The file axis that is cut: 0, 1 or 2 for `z, y, x`.
    pub fn through(&self) -> usize {
        self.through.0
    }

    /// Whether the axis that is cut runs to the patient's right, front or feet.
    pub fn through_turned(&self) -> bool {
        self.through.1
    }

    /// The file axes of rows and of columns, and whether the picture shows each backwards.
    pub fn axes(&self) -> [(usize, bool); 2] {
        [self.rows, self.columns]
    }

    /// Rows and columns of the picture.
    pub fn size(&self) -> (usize, usize) {
        (self.shape[self.rows.0], self.shape[self.columns.0])
    }

    /// Distance of rows and of columns in millimetres.
    pub fn spacing_mm(&self) -> (f64, f64) {
        (self.spacing_mm[self.rows.0], self.spacing_mm[self.columns.0])
    }

    /// The voxels of the cut at `slice`.
    pub fn bounds(&self, slice: usize) -> Box3 {
        let mut bounds = Box3::full(self.shape);
        bounds.0[self.through.0] = slice..slice + 1;
        bounds
    }

    /// Place of a pixel in the voxels of [`Self::bounds`].
    pub fn index(&self, row: usize, column: usize) -> usize {
        let mut at = [0; 3];
        let mut extent = self.shape;
        extent[self.through.0] = 1;
        for ((axis, turned), n) in [(self.rows, row), (self.columns, column)] {
            at[axis] = if turned { self.shape[axis] - 1 - n } else { n };
        }
        (at[0] * extent[1] + at[1]) * extent[2] + at[2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(direction: [[f64; 3]; 3]) -> Grid {
        Grid { shape_zyx: [2, 3, 4], spacing_mm: [5.0, 2.0, 1.0], origin: [0.0; 3], direction }
    }

    #[test]
    fn a_file_in_itks_own_order_lies_as_it_is() {
        let grid = grid([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        let axial = Plane::Axial.of(&grid);
        assert_eq!((axial.through(), axial.size(), axial.spacing_mm()), (0, (3, 4), (2.0, 1.0)));
        assert_eq!((axial.index(0, 0), axial.index(1, 2)), (0, 6));
        // Heads are up, so the last plane is the first row.
        let coronal = Plane::Coronal.of(&grid);
        assert_eq!((coronal.through(), coronal.size(), coronal.index(0, 0)), (1, (2, 4), 4));
        let sagittal = Plane::Sagittal.of(&grid);
        assert_eq!((sagittal.through(), sagittal.size(), sagittal.index(1, 2)), (2, (2, 3), 2));
    }

    #[test]
    fn files_towards_right_and_front_are_turned() {
        let grid = grid([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]);
        let axial = Plane::Axial.of(&grid);
        assert_eq!(axial.index(0, 0), 11);
        assert_eq!(axial.bounds(1), Box3([1..2, 0..3, 0..4]));
    }

    #[test]
    fn slices_may_run_along_any_axis_and_obliquely() {
        // File x runs towards the back, y towards the feet, z towards the left: a sagittal series, a little tilted.
        let (c, s) = (0.98, 0.199);
        let grid = grid([[0.0, 0.0, 1.0], [c, s, 0.0], [s, -c, 0.0]]);
        let sagittal = Plane::Sagittal.of(&grid);
        assert_eq!((sagittal.through(), sagittal.size()), (0, (3, 4)));
        assert_eq!(sagittal.index(0, 0), 0);
        assert_eq!(Plane::Axial.of(&grid).through(), 1);
    }
}
