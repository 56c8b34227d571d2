//! A scan looked at with a model: the run is laid out, nothing large is allocated yet.

use super::error::RunError;
use super::layout::{Layout, LayoutError, RunOptions, check_inputs};
use crate::engine::EngineShape;
use crate::manifest::Manifest;
use crate::preprocess::find_box;
use crate::volume::{Box3, Index3, VoxelSource};

/// The run of one model on one scan: laid out, not yet planned.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) layout: Layout,
    /// As the source said when it was looked at.
    pub(super) source_bytes: usize,
    pub(super) kept_bytes: Option<usize>,
}

impl<'a> Run<'a> {
    /// Looks at a scan: reads it once, to find the box that is segmented and voxels that are not finite, and lays the
    /// run out.
    ///
    /// # Errors
    /// [`RunError::Layout`]: the manifest breaks a rule, or manifest and scan do not suit each other.
    /// [`RunError::Preprocess`]: voxels cannot be read or are not finite.
    pub fn look<S: VoxelSource + ?Sized>(
        manifest: &'a Manifest,
        source: &mut S,
        options: RunOptions,
    ) -> Result<Run<'a>, RunError> {
        Self::check_channels(manifest, source.channels())?;
        // Nothing is read for a run that cannot be.
        check_inputs(manifest, source.shape_zyx(), source.spacing_mm(), &Box3::full(source.shape_zyx()))?;
        let bounds = find_box(source, manifest.crop_to_nonzero)?;
        let layout = Layout::new(manifest, source.shape_zyx(), source.spacing_mm(), bounds, options)?;
        Ok(Run { manifest, layout, source_bytes: source.resident_bytes(), kept_bytes: source.kept_bytes() })
    }

    /// Checks that a scan has as many channels as the model takes, before anything of it is read. [`Self::look`] does so
    /// as well.
    ///
    /// # Errors
    /// [`RunError::Layout`] with both numbers.
    pub fn check_channels(manifest: &Manifest, got: usize) -> Result<(), RunError> {
        let expected = manifest.channels.len();
        if got == expected { Ok(()) } else { Err(LayoutError::Channels { expected, got }.into()) }
    }

    /// The run on a scan that is only described, as if all its voxels were segmented: for plans and predictions before
    /// there is a scan. Its source counts with no bytes.
    ///
    /// # Errors
    /// As [`Self::look`], but for the scan's voxels.
    pub fn described(
        manifest: &'a Manifest,
        shape_zyx: Index3,
        spacing_mm: [f64; 3],
        options: RunOptions,
    ) -> Result<Run<'a>, RunError> {
        let layout = Layout::new(manifest, shape_zyx, spacing_mm, Box3::full(shape_zyx), options)?;
        Ok(Run { manifest, layout, source_bytes: 0, kept_bytes: None })
    }

    /// The model's manifest.
    pub fn manifest(&self) -> &'a Manifest {
        self.manifest
    }

    /// Grids, maps, tiles and passes.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The engine runs the network of the manifest; it may have folds that the manifest does not use.
    pub(super) fn check_engine(&self, got: EngineShape) -> Result<(), RunError> {
        let expected = EngineShape {
            channels: self.manifest.channels.len(),
            heads: self.manifest.labels.heads().len(),
            folds: self.manifest.folds,
            patch_zyx: self.manifest.grid.patch_zyx,
        };
        let used = EngineShape { folds: got.folds.min(expected.folds), ..got };
        if used == expected { Ok(()) } else { Err(RunError::Network { expected, got }) }
    }

    /// The source is of the scan that was looked at.
    pub(super) fn check_source<S: VoxelSource + ?Sized>(&self, source: &S) -> Result<(), RunError> {
        Self::check_channels(self.manifest, source.channels())?;
        let spacing = self.layout.transpose.map(|axis| source.spacing_mm()[axis]);
        let same = source.shape_zyx() == self.layout.file_shape && spacing == self.layout.scan_spacing;
        if same { Ok(()) } else { Err(RunError::OtherScan) }
    }
}
