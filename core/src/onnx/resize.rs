//! What an ONNX `Resize` means for each axis: where the voxels of the new grid lie on the old one.
//!
//! Linear and nearest interpolation in the modes that PyTorch exports for `nn.Upsample` and `F.interpolate`, and the
//! other rules of rounding. Coordinates are computed in single precision, as ONNX Runtime does, for a voxel that lies on
//! the border between two goes to one or the other by the last bit.

use tract_core::internal::*;
use tract_core::ops::nn::resize::{CoordTransformer, Interpolator};
use tract_onnx_opl::resize::{AspectRatio, CoordTransform, Nearest, Resize};

use crate::kernels::Between;

/// Where the voxels of `output` lie on `input`, along `z, y, x`, for tensors of `rank` axes; or why this is left to tract.
pub(super) fn axes(
    op: &Resize,
    scales: Option<Arc<Tensor>>,
    rank: usize,
    input: [usize; 3],
    output: [usize; 3],
) -> Result<[Vec<Between>; 3], String> {
    let CoordTransform::Plain(transform) = &op.coord_transformer else {
        return Err("crops while it resizes".into());
    };
    if op.antialias || op.exclude_outside || op.keep_aspect_ratio_policy != AspectRatio::Stretch {
        return Err("smooths, leaves voxels out, or keeps an aspect ratio".into());
    }
    let known = [
        CoordTransformer::HalfPixel,
        CoordTransformer::PytorchHalfPixel,
        CoordTransformer::AlignCorners,
        CoordTransformer::Asymmetric,
    ];
    if op.interpolator == Interpolator::Cubic || !known.contains(transform) {
        return Err(format!("resizes in mode {}, {}", op.interpolator.as_str(), transform.as_str()));
    }
    let mut factors: [f32; 3] = core::array::from_fn(|a| output[a] as f32 / input[a] as f32);
    if let Some(scales) = scales.filter(|s| s.len() > 0) {
        let given = scales.try_as_plain_ram().and_then(|s| s.as_slice::<f32>().map(<[f32]>::to_vec));
        let given = given.map_err(|e| e.to_string())?;
        let named = op.resized_axes(rank).map_err(|e| e.to_string())?;
        for (axis, &scale) in named.iter().zip(&given) {
            // The last axes are the spatial ones; those before them keep their size.
            if let Some(a) = (axis + 3).checked_sub(rank) {
                factors[a] = scale;
            }
        }
    }
    Ok(core::array::from_fn(|a| axis(op, transform, factors[a], input[a], output[a])))
}

fn axis(op: &Resize, transform: &CoordTransformer, scale: f32, input: usize, output: usize) -> Vec<Between> {
    let last = input - 1;
    (0..output)
        .map(|i| {
            let i = i as f32;
            let at = match transform {
                CoordTransformer::Asymmetric => i / scale,
                // The corners are those of the grids as they are, not as an odd scale would have them.
                CoordTransformer::AlignCorners if output > 1 => i * last as f32 / (output - 1) as f32,
                CoordTransformer::AlignCorners => 0.0,
                CoordTransformer::PytorchHalfPixel if output == 1 => 0.0,
                _ => (i + 0.5) / scale - 0.5,
            };
            if op.interpolator == Interpolator::Nearest {
                let (below, part) = (at.floor(), at - at.floor());
                let up = match op.nearest {
                    Nearest::Floor => false,
                    Nearest::Ceil => part > 0.0,
                    Nearest::RoundPreferFloor => part > 0.5,
                    Nearest::RoundPreferCeil => part >= 0.5,
                };
                let index = if up { below + 1.0 } else { below };
                return Between { index: (index.max(0.0) as usize).min(last), weight: 0.0 };
            }
            let at = at.clamp(0.0, last as f32);
            let index = at as usize;
            Between { index, weight: at - index as f32 }
        })
        .collect()
}
