//! A scan in memory.

use super::{Box3, Index3, SourceError, VoxelSource, product};

/// A number that voxels are stored as. It is read as `f32`, with one rounding where it has more bits.
pub trait Voxel: Copy + sealed::Sealed {
    /// The value in single precision.
    fn to_f32(self) -> f32;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! voxel {
    ($($number:ty),*) => {
        $(
            impl sealed::Sealed for $number {}
            impl Voxel for $number {
                #[inline(always)]
                fn to_f32(self) -> f32 {
                    self as f32
                }
            }
        )*
    };
}
voxel!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

/// A scan that lies in memory: `[channels, z, y, x]`, `x` fastest.
#[derive(Clone, Copy, Debug)]
pub struct DenseScan<'a, T> {
    voxels: &'a [T],
    shape_zyx: Index3,
    spacing_mm: [f64; 3],
}

impl<'a, T: Voxel> DenseScan<'a, T> {
    /// A scan of `shape_zyx` voxels per channel, whose centres are `spacing_mm` apart (`z, y, x`).
    ///
    /// # Errors
    /// The number of voxels is not a multiple of the shape's.
    pub fn new(voxels: &'a [T], shape_zyx: Index3, spacing_mm: [f64; 3]) -> Result<Self, SourceError> {
        let [z, y, x] = shape_zyx;
        match product(shape_zyx) {
            Some(each) if each > 0 && voxels.len().is_multiple_of(each) => {
                Ok(DenseScan { voxels, shape_zyx, spacing_mm })
            }
            _ => Err(SourceError(
                alloc::format!("{} voxels are not whole channels of {z} x {y} x {x}", voxels.len()).into(),
            )),
        }
    }
}

impl<T: Voxel> VoxelSource for DenseScan<'_, T> {
    fn shape_zyx(&self) -> Index3 {
        self.shape_zyx
    }

    fn spacing_mm(&self) -> [f64; 3] {
        self.spacing_mm
    }

    fn channels(&self) -> usize {
        self.voxels.len() / self.shape_zyx.iter().product::<usize>()
    }

    fn read(&mut self, channel: usize, bounds: &Box3, out: &mut [f32]) -> Result<(), SourceError> {
        bounds.check(channel, self, out)?;
        let [n0, n1, n2] = self.shape_zyx;
        let [zs, ys, xs] = &bounds.0;
        let rows = zs.clone().flat_map(|z| ys.clone().map(move |y| ((channel * n0 + z) * n1 + y) * n2));
        for (row, target) in rows.zip(out.chunks_exact_mut(xs.len().max(1))) {
            let voxels = &self.voxels[row + xs.start..row + xs.end];
            target.iter_mut().zip(voxels).for_each(|(to, v)| *to = v.to_f32());
        }
        Ok(())
    }

    fn resident_bytes(&self) -> usize {
        size_of_val(self.voxels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn boxes_are_read_in_file_order_from_each_channel() {
        let voxels: Vec<i16> = (0..2 * 24).collect();
        let mut scan = DenseScan::new(&voxels, [2, 3, 4], [3.0, 2.0, 1.0]).unwrap();
        assert_eq!((scan.channels(), scan.resident_bytes()), (2, 96));
        let bounds = Box3([0..2, 1..3, 2..3]);
        let mut out = vec![0.0; 4];
        scan.read(1, &bounds, &mut out).unwrap();
        assert_eq!(out, [30.0, 34.0, 42.0, 46.0]);
        assert!(scan.read(2, &bounds, &mut out).is_err());
        assert!(scan.read(0, &Box3([0..3, 1..2, 2..3]), &mut out).is_err());
        assert!(scan.read(0, &bounds, &mut out[..3]).is_err());
        assert!(DenseScan::new(&voxels, [5, 3, 4], [1.0; 3]).is_err());
        assert!(DenseScan::new(&voxels, [0, 3, 4], [1.0; 3]).is_err());
    }
}
