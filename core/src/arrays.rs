//! Scans and label maps as arrays of the crate `ndarray`. Feature `ndarray`.
//!
//! Axes are `z, y, x` with the file's slices along `z`, or `channel, z, y, x`; spacing is in millimetres in the order
//! `z, y, x`. Arrays may have any memory layout.
//!
//! ```
//! use ndarray::{Array3, ArrayView3};
//! use scanside_core::arrays::ArrayScan;
//! use scanside_core::engine::Engine;
//! use scanside_core::executor::Serial;
//! use scanside_core::manifest::Manifest;
//! use scanside_core::pipeline::{Run, RunError, RunOptions, Surroundings};
//!
//! fn labels<E: Engine>(
//!     manifest: &Manifest,
//!     engine: &E,
//!     ct_zyx: ArrayView3<'_, i16>,
//! ) -> Result<Array3<u16>, RunError> {
//!     let mut scan = ArrayScan::new(ct_zyx, [1.0, 0.75, 0.75]);
//!     let run = Run::look(manifest, &mut scan, RunOptions::default())?;
//!     run.plan(engine, &Surroundings::default(), 1, None)?.segment_to_array(&mut scan, &Serial, &mut ())
//! }
//! ```

use crate::engine::Engine;
use crate::executor::Executor;
use crate::pipeline::{Observer, PlannedRun, RunError};
use crate::postprocess::SinkError;
use crate::volume::{Box3, Index3, SourceError, Voxel, VoxelSource};
use alloc::string::ToString;
use alloc::vec::Vec;
use ndarray::{Array3, ArrayView3, ArrayView4, Axis, s};

/// A scan in an array.
#[derive(Clone, Debug)]
pub struct ArrayScan<'a, T> {
    /// `[channels, z, y, x]`.
    voxels: ArrayView4<'a, T>,
    spacing_mm: [f64; 3],
}

impl<'a, T: Voxel> ArrayScan<'a, T> {
    /// A scan of one channel, `[z, y, x]`, whose voxel centres are `spacing_mm` apart (`z, y, x`).
    pub fn new(voxels: ArrayView3<'a, T>, spacing_mm: [f64; 3]) -> Self {
        ArrayScan { voxels: voxels.insert_axis(Axis(0)), spacing_mm }
    }

    /// A scan of several channels, `[channel, z, y, x]`, in the order of the model's channels.
    pub fn with_channels(voxels: ArrayView4<'a, T>, spacing_mm: [f64; 3]) -> Self {
        ArrayScan { voxels, spacing_mm }
    }
}

impl<T: Voxel> VoxelSource for ArrayScan<'_, T> {
    fn shape_zyx(&self) -> Index3 {
        let (_, z, y, x) = self.voxels.dim();
        [z, y, x]
    }

    fn spacing_mm(&self) -> [f64; 3] {
        self.spacing_mm
    }

    fn channels(&self) -> usize {
        self.voxels.dim().0
    }

    fn read(&mut self, channel: usize, bounds: &Box3, out: &mut [f32]) -> Result<(), SourceError> {
        bounds.check(channel, self, out)?;
        let [z, y, x] = bounds.0.clone();
        let part = self.voxels.slice(s![channel, z, y, x]);
        out.iter_mut().zip(part).for_each(|(to, v)| *to = v.to_f32());
        Ok(())
    }

    fn resident_bytes(&self) -> usize {
        self.voxels.len() * size_of::<T>()
    }
}

impl<E: Engine> PlannedRun<'_, E> {
    /// [`Self::segment`] with the labels as an array `[z, y, x]` of the scan's voxels. The array takes two bytes a voxel,
    /// which are part of the plan only if [`crate::pipeline::Surroundings::sink_bytes`] held them.
    ///
    /// # Errors
    /// As [`Self::segment`].
    pub fn segment_to_array<S, X, O>(
        &self,
        source: &mut S,
        executor: &X,
        observer: &mut O,
    ) -> Result<Array3<u16>, RunError>
    where
        S: VoxelSource + ?Sized,
        X: Executor,
        O: Observer + ?Sized,
    {
        let shape = self.run().layout().file_shape;
        let mut labels = Vec::with_capacity(shape.iter().product());
        self.segment(source, executor, &mut labels, observer)?;
        Array3::from_shape_vec(shape, labels).map_err(|e| RunError::Sink(SinkError(e.to_string().into())))
    }
}
