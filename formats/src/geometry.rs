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
    own: Option<Arc<dyn Any + Send + Sync>>,
}

impl Geometry {
    /// A grid, and nothing else.
    pub fn of_grid(grid: Grid) -> Geometry {
        Geometry { grid, own: None }
    }

    /// A grid, and what a format keeps beside it, for example the [`Header`](crate::nifti::Header) of a NIfTI file.
    pub fn with_own<T: Any + Send + Sync>(grid: Grid, own: T) -> Geometry {
        Geometry { grid, own: Some(Arc::new(own)) }
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

impl fmt::Debug for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Geometry").field("grid", &self.grid).finish_non_exhaustive()
    }
}
