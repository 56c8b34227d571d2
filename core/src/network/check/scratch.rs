//! An upper bound of the scratch that a worker needs for a step, so that laying it out overflows nowhere.
//!
//! Kernels choose their tiles by rules of their own; here stand only the limits of these rules. Counts are floats, which
//! neither wrap nor need to be exact.

use crate::kernels::ConvGeometry;
use crate::network::spec::{ConvSpec, Kind, PartSpec, Step, ValueSpec};

/// Numbers by which sizes are rounded up, several times over.
const ROUNDING: f64 = 256.0;
/// Rows beyond those of the output that a tile has at most: tiles are whole strips.
const ROWS: f64 = 8.0;

/// The most bytes of scratch for a step whose shapes were checked.
pub(super) fn most_bytes(step: &Step) -> f64 {
    let (channels, nx) = (step.channels as f64, step.grid[2] as f64);
    let numbers = match (&step.kind, step.inputs.first()) {
        (Kind::Conv(g, spec), Some(input)) => {
            let tables = if matches!(spec, ConvSpec::Int { .. }) { 64.0 * g.cin as f64 } else { 0.0 };
            return g.most_scratch_bytes() + 4.0 * (tables + ROUNDING + aux(input, rows_read(g)));
        }
        (Kind::Pool(g), Some(input)) => 2.0 * channels * g.input[2] as f64 + nx + aux(input, 1.0),
        (Kind::Squash(_), Some(input)) => 4.0 * (channels + 2.0) * nx + aux(input, 4.0),
        _ => {
            let rows = (1024.0 / nx).max(4.0);
            2.0 * channels * rows * nx + step.inputs.iter().map(|v| aux(v, rows)).fold(0.0, f64::max)
        }
    };
    4.0 * (numbers + ROUNDING)
}

/// Rows of its input that a tile of a convolution reads at most.
fn rows_read(g: &ConvGeometry) -> f64 {
    (g.output[1] as f64 + ROWS) * g.stride[1] as f64 + (g.kernel[1] * g.dilation[1]) as f64
}

/// The most numbers that reading so many rows of a value takes beside where they go.
fn aux(value: &ValueSpec, rows: f64) -> f64 {
    let of = |part: &PartSpec| {
        let low = match part {
            PartSpec::Stored { .. } => return 0.0,
            PartSpec::Upsampled { low, kernel, .. } => {
                let run = (rows / kernel[1] as f64 + 3.0) * low.grid[2] as f64 + ROUNDING;
                run * (low.channels() as f64 + 10.0)
            }
            PartSpec::Spread { low, .. } => (low.channels() * low.grid[2]) as f64,
            PartSpec::Resampled { low, .. } => (2 * low.channels() + 1) as f64 * (low.grid[1] * low.grid[2]) as f64,
        };
        part.channels() as f64 * rows * value.grid[2] as f64 + low + ROUNDING
    };
    value.parts.iter().map(of).fold(0.0, f64::max)
}
