//! The shape of a convolution, and its weights in the order in which the inner loops take them.

use crate::arch::{BANDS, BLOCK_ROWS};
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Products of an unsigned with a signed byte whose sum is in 32 bits whatever the bytes are.
pub const MOST_INT_PRODUCTS: usize = i32::MAX as usize / (255 * 128);

/// Shape of a convolution; axes `z, y, x`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvGeometry {
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// Input grid.
    pub input: [usize; 3],
    /// Output grid.
    pub output: [usize; 3],
    /// Kernel.
    pub kernel: [usize; 3],
    /// Stride.
    pub stride: [usize; 3],
    /// Dilation.
    pub dilation: [usize; 3],
    /// Padding before the first voxel.
    pub pad: [usize; 3],
}

/// The largest kernel, stride, dilation and padding along an axis.
const MOST_REACH: usize = 1024;
/// The most taps of a kernel.
const MOST_TAPS: usize = 1 << 20;
/// The most elements of a tensor, and of the weights.
const MOST_ELEMENTS: usize = 1 << 31;

/// Whether a tensor has elements, and not too many.
pub(in crate::kernels) fn is_tensor(channels: usize, grid: [usize; 3]) -> bool {
    let elements = grid.iter().try_fold(channels, |n, &extent| n.checked_mul(extent));
    elements.is_some_and(|n| (1..=MOST_ELEMENTS).contains(&n))
}

/// Whether numbers of a window along the axes are from `least` to [`MOST_REACH`].
pub(in crate::kernels) fn is_window(axes: [usize; 3], least: usize) -> bool {
    axes.iter().all(|n| (least..=MOST_REACH).contains(n))
}

impl ConvGeometry {
    /// Whether a convolution of this shape can be laid out and run: all extents are at least 1; tensors and weights have
    /// at most 2^31 elements and the kernel 2^20 taps; the kernel, stride, dilation and padding are at most 1024 along
    /// each axis; and memory can hold the scratch.
    pub fn is_possible(&self) -> bool {
        let windows = [self.kernel, self.stride, self.dilation].into_iter().all(|w| is_window(w, 1));
        windows
            && is_window(self.pad, 0)
            && is_tensor(self.cin, self.input)
            && is_tensor(self.cout, self.output)
            && is_tensor(1, self.kernel)
            && self.taps() <= MOST_TAPS
            && is_tensor(self.cin, [self.taps(), self.cout.next_multiple_of(BLOCK_ROWS), 1])
            && self.most_scratch_bytes() < isize::MAX as f64
    }

    /// More bytes than a worker's scratch takes, however the layer is laid out.
    pub(crate) fn most_scratch_bytes(&self) -> f64 {
        let axes = [self.input, self.output, self.kernel, self.stride, self.dilation, self.pad];
        let [input, output, kernel, stride, dilation, pad] = axes.map(|axis| axis.map(|n| n as f64));
        let lines = output[1] + kernel[1] * dilation[1] + 4.0;
        let pitch = input[2] + output[2] + kernel[2] * dilation[2] + 2.0 * pad[2] + 64.0;
        let plane = lines * pitch + 128.0;
        let phases = kernel[1].min(stride[1]) * kernel[2].min(stride[2]);
        let rows = (kernel[0] + 1.0) * BANDS as f64 * phases * plane;
        let staged = stride[1] * lines * input[2] + plane;
        let sums = ((BLOCK_ROWS + 1) * BANDS) as f64 * plane;
        size_of::<f32>() as f64 * (self.cin as f64 * (rows + staged) + sums)
    }

    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Multiply-accumulates, padding included.
    pub fn macs(&self) -> u64 {
        (self.cin * self.taps() * self.cout) as u64 * self.output.iter().map(|&n| n as u64).product::<u64>()
    }

    /// Whether the sums of integer products are exact: one output voxel adds no more of them than 32 bits hold.
    pub fn int_sums_fit(&self) -> bool {
        self.cin.checked_mul(self.taps()).is_some_and(|n| n <= MOST_INT_PRODUCTS)
    }

    /// Elements of packed float weights.
    pub fn weight_elements(&self) -> usize {
        self.cout.div_ceil(BLOCK_ROWS) * BLOCK_ROWS * self.cin * self.taps()
    }

    /// Bytes of packed integer weights.
    pub fn int_weight_bytes(&self) -> usize {
        self.cout.div_ceil(BLOCK_ROWS) * BLOCK_ROWS * self.cin.next_multiple_of(4) * self.taps()
    }

    /// Packs `[cout, cin, kz, ky, kx]` into `[block][cin][tap][BLOCK_ROWS]`, filled up with zeros.
    pub fn pack(&self, w: &[f32]) -> Vec<f32> {
        let mut packed = vec![0f32; self.weight_elements()];
        self.pack_into(w, &mut packed);
        packed
    }

    /// As [`Self::pack`], into memory that is there.
    ///
    /// # Panics
    /// If a slice has another length than the geometry says.
    pub fn pack_into(&self, w: &[f32], packed: &mut [f32]) {
        let per_row = self.cin * self.taps();
        assert_eq!((w.len(), packed.len()), (self.cout * per_row, self.weight_elements()));
        for (rows, packed) in w.chunks(BLOCK_ROWS * per_row).zip(packed.chunks_exact_mut(BLOCK_ROWS * per_row)) {
            for (k, packed) in packed.chunks_exact_mut(BLOCK_ROWS).enumerate() {
                packed.fill(0.0);
                for (to, row) in packed.iter_mut().zip(rows.chunks_exact(per_row)) {
                    *to = row[k];
                }
            }
        }
    }

    /// Packs signed bytes `[cout, cin, kz, ky, kx]` into `[block][cin / 4][tap][BLOCK_ROWS][4]`, filled up with zeros.
    pub fn pack_int(&self, w: &[i8]) -> Vec<i8> {
        let taps = self.taps();
        let groups = self.cin.div_ceil(4);
        let mut packed = vec![0i8; self.int_weight_bytes()];
        for o in 0..self.cout {
            for c in 0..self.cin {
                for t in 0..taps {
                    let word = ((o / BLOCK_ROWS * groups + c / 4) * taps + t) * BLOCK_ROWS + o % BLOCK_ROWS;
                    packed[word * 4 + c % 4] = w[(o * self.cin + c) * taps + t];
                }
            }
        }
        packed
    }
}
