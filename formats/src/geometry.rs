//! Where a scan's voxels lie.

use crate::nifti::Header;
use scanside_core::volume::Grid;

/// Where voxels lie, and what the scan's own format says of that beyond a grid, so that a label map of the same format
/// carries it bit for bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Geometry {
    grid: Grid,
    nifti: Option<Header>,
}

impl Geometry {
    /// A grid, and nothing else.
    pub fn of_grid(grid: Grid) -> Geometry {
        Geometry { grid, nifti: None }
    }

    /// The geometry of a NIfTI file.
    pub fn of_nifti(header: Header) -> Geometry {
        Geometry { grid: header.grid().clone(), nifti: Some(header) }
    }

    /// Shape, spacing, origin and direction, in ITK's convention.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The header of the NIfTI file that the scan is from.
    pub fn nifti(&self) -> Option<&Header> {
        self.nifti.as_ref()
    }
}
