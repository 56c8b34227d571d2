//! A made-up CT: a body of noisy tissue with bones in air, of any size, written plane by plane.

use scanside_core::volume::{Grid, VoxelType};
use scanside_formats::FormatError;
use scanside_formats::nifti::ImageWriter;
use std::io::Write;

/// Writes a CT of `shape_zyx` voxels at `spacing_mm` as 16-bit integers.
///
/// # Errors
/// Writing failed.
pub fn write(out: impl Write, shape_zyx: [usize; 3], spacing_mm: [f64; 3], gz: bool) -> Result<(), FormatError> {
    let [nz, ny, nx] = shape_zyx;
    let grid = Grid {
        shape_zyx,
        spacing_mm,
        origin: [-200.0, -180.0, 40.0],
        direction: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
    };
    let mut writer = ImageWriter::create(out, &grid, VoxelType::I16, gz)?;
    let mut state = 1_u32;
    let mut plane = vec![0.0; ny * nx];
    let unit = |i: usize, n: usize| 2.0 * i as f32 / n as f32 - 1.0;
    for z in 0..nz {
        for (y, row) in plane.chunks_exact_mut(nx).enumerate() {
            for (x, v) in row.iter_mut().enumerate() {
                let (b, c) = (unit(y, ny), unit(x, nx));
                let body = (b / 0.7).powi(2) + (c / 0.85).powi(2);
                let bone = (b - 0.4).powi(2) + c.powi(2) < 0.01 && z % 24 < 16;
                let tissue =
                    if bone { 700.0 } else { 40.0 + 60.0 * (9.0 * b).sin() * (7.0 * c + 0.05 * z as f32).cos() };
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let noise = (state >> 24) as f32 / 8.0 - 16.0;
                *v = (if body < 1.0 { tissue + noise } else { -1000.0 + noise.max(0.0) }).round();
            }
        }
        writer.write_plane(&plane)?;
    }
    writer.finish().map(|_| ())
}
