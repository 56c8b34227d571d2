//! Where a scan's voxels lie.

use scanside_core::volume::Grid;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Where voxels lie, and what the scan's own format says of that beyond a grid, so that a label map of the same format
/// carries it bit for bit.
#[derive(Clone)]
pub struct Geometry {
    grid: Grid,
    planar: bool,
    own: Option<Arc<dyn Any + Send + Sync>>,
}

impl Geometry {
    /// A grid, and nothing else.
    pub fn of_grid(grid: Grid) -> Geometry {
        Geometry { grid, planar: false, own: None }
    }

    /// A grid that stands for an image without z axis: one plane, and nnU-Net's spacing for the axis that is missing, 999
    /// times the larger of the others, which keeps it apart from them.
    pub(crate) fn of_plane(mut grid: Grid) -> Geometry {
        let [_, y, x] = grid.spacing_mm;
        grid.spacing_mm[0] = 999.0 * x.max(y);
        Geometry { grid, planar: true, own: None }
    }

    /// Keeps what a format says beside the grid, for example the [`Header`](crate::nifti::Header) of a NIfTI file.
    #[must_use]
    pub fn with_own<T: Any + Send + Sync>(self, own: T) -> Geometry {
        Geometry { own: Some(Arc::new(own)), ..self }
    }

    /// Whether the image has no z axis; its grid then has one plane.
    pub fn is_planar(&self) -> bool {
        self.planar
    }

    /// Shape, spacing, origin and direction, in ITK's convention.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// What a format keeps beside the grid; nothing where the scan is of another format.
    pub fn own<T: Any>(&self) -> Option<&T> {
        self.own.as_ref()?.downcast_ref()
    }
}

/// The determinant of a matrix of directions.
pub(crate) fn determinant(m: &[[f64; 3]; 3]) -> f64 {
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}

impl fmt::Debug for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Geometry").field("grid", &self.grid).finish_non_exhaustive()
    }
}
