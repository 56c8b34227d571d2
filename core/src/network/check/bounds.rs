//! How large tensors, weights and windows may be.

use super::bad;
use crate::arch::Quant;
use crate::network::spec::SpecError;
use alloc::format;

/// Far more than a network on one patch needs.
const PLENTY: u64 = 1 << 33;
/// Bytes of the largest tensor in single precision, of a step's weights and of a worker's scratch: no more than this
/// machine can address.
pub(in crate::network) const MOST_BYTES: usize =
    if (isize::MAX as u64) < PLENTY { isize::MAX as usize } else { PLENTY as usize };
/// The longest kernel, stride and dilation, and the most padding on either side of an axis.
const MOST_WINDOW: usize = 1 << 10;

/// The product of sizes; too large a one is the largest number.
pub(super) fn product(factors: &[usize]) -> u64 {
    factors.iter().fold(1, |n, &f| u64::saturating_mul(n, f as u64))
}

/// Whether so many numbers of `bytes` each can be addressed.
pub(super) fn fits(numbers: u64, bytes: usize) -> bool {
    numbers <= (MOST_BYTES / bytes) as u64
}

/// Checks the size of a tensor. It is counted in single precision, in which rows are read whatever they are stored as.
pub(super) fn tensor(channels: usize, grid: [usize; 3]) -> Result<(), SpecError> {
    let numbers = product(&[channels, grid[0], grid[1], grid[2]]);
    if numbers == 0 {
        return bad(format!("a tensor of {channels} channels of {grid:?} voxels is empty"));
    }
    if !fits(numbers, size_of::<f32>()) {
        return bad(format!("a tensor of {channels} channels of {grid:?} voxels exceeds {MOST_BYTES} bytes"));
    }
    Ok(())
}

/// Checks the size of packed weights, from factors whose product is at least their number. Half-precision weights are
/// widened, and those of Winograd's method take twice as much beside that.
pub(super) fn weights(factors: &[usize]) -> Result<(), SpecError> {
    if fits(product(factors), 3 * size_of::<f32>()) {
        Ok(())
    } else {
        bad(format!("weights of {factors:?} numbers exceed {MOST_BYTES} bytes once they are prepared"))
    }
}

/// Checks that each of the sizes can be one of a window.
pub(super) fn window_sizes(what: &str, sizes: &[usize; 3], least: usize) -> Result<(), SpecError> {
    if sizes.iter().all(|n| (least..=MOST_WINDOW).contains(n)) {
        Ok(())
    } else {
        bad(format!("{what} {sizes:?} is not between {least} and {MOST_WINDOW}"))
    }
}

/// A window that slides over a grid; axes `z, y, x`.
pub(super) struct Window<'a> {
    pub(super) kernel: &'a [usize; 3],
    pub(super) stride: &'a [usize; 3],
    pub(super) dilation: &'a [usize; 3],
    /// Padding before the first voxel.
    pub(super) pad: &'a [usize; 3],
    pub(super) input: &'a [usize; 3],
    pub(super) output: &'a [usize; 3],
}

impl Window<'_> {
    /// Checks the sizes, and that the last window ends in the input or in padding of a possible size.
    pub(super) fn check(&self) -> Result<(), SpecError> {
        window_sizes("a kernel of", self.kernel, 1)?;
        window_sizes("a stride of", self.stride, 1)?;
        window_sizes("a dilation of", self.dilation, 1)?;
        window_sizes("a padding of", self.pad, 0)?;
        for a in 0..3 {
            let reach = (self.kernel[a] - 1) * self.dilation[a] + 1;
            let end = (self.output[a] as u64 - 1) * self.stride[a] as u64 + reach as u64;
            let padded = (self.input[a] + self.pad[a]) as u64;
            if end > padded + MOST_WINDOW as u64 {
                let (input, pad) = (self.input[a], self.pad[a]);
                return bad(format!(
                    "along axis {a} the last window ends at {end}, beyond {input} voxels after {pad} of padding, and {MOST_WINDOW} more"
                ));
            }
        }
        Ok(())
    }
}

/// Checks the grid of quantised values.
pub(super) fn quant(q: Quant) -> Result<(), SpecError> {
    if q.scale.is_normal() && q.scale > 0.0 { Ok(()) } else { bad(format!("a grid with a step of {}", q.scale)) }
}
