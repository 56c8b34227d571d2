//! How a convolution is cut into tiles, and where rows lie in scratch.

use super::{Conv, ConvGeometry, Precision};
use crate::arch::{BAND_ROWS, BANDS, BLOCK_ROWS, Isa, RUN_PAD};
use alloc::vec::Vec;

/// Positions whose sums are made before they are written: the sums of a block stay in cache, those of direct
/// convolution in the first level.
const RUN: usize = 768;
/// Positions of a band that weights should meet at once.
const POSITIONS: usize = 48;
/// Lines are worked on in multiples of this where there are as many: the lines of a strip.
const LINES: usize = 3;
/// Tiles a layer is cut into where it is large enough.
const TILES: usize = 16;

/// Multiply-adds with an input voxel that are worth reading it once more.
const WORTH_READING_AGAIN: usize = 432;

/// Whole cache lines for so many elements, an odd number of them: channels that lie a power of two apart would all meet
/// in few sets of the caches.
pub(in crate::kernels) fn apart(elements: usize) -> usize {
    (elements.div_ceil(RUN_PAD) | 1) * RUN_PAD
}

/// Elements of scratch for input rows: they should stay in the second-level cache beside a block of weights. CPUs with
/// AVX-512 have 1 MiB of it and more, others half of that.
fn scratch_elements(isa: Isa) -> usize {
    if isa.lanes() == 16 { 160 * 1024 } else { 64 * 1024 }
}

/// After how many taps, each `dilation` from the last, the remainders by `stride` repeat.
pub(in crate::kernels) fn period(stride: usize, dilation: usize) -> usize {
    let (mut a, mut b) = (stride, dilation);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    stride / a
}

/// Whether Winograd's method is expected to be faster: its six products for twelve, against the work of the transforms
/// and the rows that are computed and not used. Operations on vectors are counted for one output voxel.
fn winograd_pays(g: &ConvGeometry) -> bool {
    if g.kernel[1] != 3 || g.stride[1] != 1 || g.stride[2] != 1 || g.dilation[1] != 1 || g.dilation[0] != 1 {
        return false;
    }
    let (cin, cout) = (g.cin as f64, g.cout as f64);
    let products = cin * cout * (g.kernel[0] * g.kernel[2]) as f64;
    let (rows, padded) = (g.output[1] as f64, g.output[1].next_multiple_of(BAND_ROWS) as f64);
    let voxels = rows * (g.output[0] * g.output[2]) as f64;
    let direct = 3.0 * products;
    // Six loads, twelve operations and six stores for four rows of each input channel, and as much for each output.
    let transforms = 6.0 * (cin * g.stride[0] as f64 + cout) + 2.0 * BANDS as f64 * products / voxels;
    1.5 * products * padded / rows + transforms < 0.9 * direct
}

impl Conv {
    /// Lays out tiles and scratch.
    ///
    /// # Panics
    /// If the geometry is not [possible](ConvGeometry::is_possible).
    pub fn new(isa: Isa, g: &ConvGeometry, precision: Precision) -> Conv {
        assert!(g.is_possible(), "an impossible convolution: {g:?}");
        let [_, ky, kx] = g.kernel;
        let [_, sy, sx] = g.stride;
        let [_, dy, dx] = g.dilation;
        let winograd = precision == Precision::F32 && winograd_pays(g);
        let (bands, tall) = if winograd { (BANDS, BAND_ROWS) } else { (1, 1) };
        // Bands have no kernel along y left.
        let tap_rows = if winograd { 1 } else { ky };
        // Along an axis the phases of the taps repeat; before they do, they differ.
        let (phases_y, phases_x) = (tap_rows.min(period(sy, dy)), kx.min(period(sx, dx)));
        let phases: Vec<(usize, usize)> =
            (0..phases_y).flat_map(|y| (0..phases_x).map(move |x| ((y * dy) % sy, (x * dx) % sx))).collect();
        let halo_y = (tap_rows - 1) * dy / sy;
        let (lead, pitch) = if sx == 1 {
            let after = (g.output[2] + (kx - 1) * dx).saturating_sub(g.pad[2] + g.input[2]);
            (g.pad[2].next_multiple_of(RUN_PAD), (g.input[2] + g.pad[2].max(after)).max(g.output[2]))
        } else {
            (0, g.output[2] + (kx - 1) * dx / sx)
        };
        // Rows start at aligned addresses unless that leaves more than a tenth of the vectors empty.
        let packed = 10 * pitch <= 9 * g.output[2].next_multiple_of(isa.lanes());
        let pitch = if packed { pitch } else { pitch.next_multiple_of(isa.lanes()) };
        let group = match precision {
            Precision::F32 => 1,
            Precision::Int(_) => isa.int_group(),
        };
        let lanes = g.cin.div_ceil(group);
        let line = lanes * g.kernel[0] * bands * phases.len() * pitch;
        // At least one strip of lines, or of vectors of each band, for weights pass by once for each tile, and those of
        // many channels come from far; beyond that as many lines as fit the cache.
        let least = if winograd { (POSITIONS / pitch).max(1) } else { LINES };
        let whole = g.output[1].div_ceil(tall);
        let mut lines = (scratch_elements(isa) / line).saturating_sub(halo_y).max(least).min(whole);
        // Equal tiles: no thin last one; and whole strips.
        lines = whole.div_ceil(whole.div_ceil(lines));
        if !winograd {
            lines = lines.next_multiple_of(LINES);
        }
        let mut planes = g.output[0];
        let mut channels = g.cout.div_ceil(BLOCK_ROWS);
        let tiles = |lines: usize, planes: usize, channels: usize| {
            whole.div_ceil(lines) * g.output[0].div_ceil(planes) * g.cout.div_ceil(channels * BLOCK_ROWS)
        };
        // Cuts along z and y read some planes and rows twice, cuts of the channels read everything twice: these are made
        // last, and only where each part has enough to do for what it reads.
        while tiles(lines, planes, channels) < TILES && planes > 2 * g.kernel[0] {
            planes = planes.div_ceil(2);
        }
        while lines > 1
            && tiles(lines, planes, channels) < TILES / 2
            && lines.div_ceil(2) * pitch >= LINES * isa.lanes()
        {
            lines = lines.div_ceil(2);
        }
        let per_voxel = g.taps() * BLOCK_ROWS / (g.stride[0] * g.stride[1] * g.stride[2]).max(1);
        while tiles(lines, planes, channels) < TILES / 2 && channels / 2 * per_voxel >= WORTH_READING_AGAIN {
            channels = channels.div_ceil(2);
        }
        let scratch_lines = lines + halo_y;
        // Transforms write whole vectors.
        let phase_len = apart(lead + scratch_lines * pitch + RUN_PAD);
        let mut tap_yx = Vec::with_capacity(tap_rows * kx);
        for y in 0..tap_rows {
            for x in 0..kx {
                let p = y % phases_y * phases_x + x % phases_x;
                let x = if sx == 1 { lead + x * dx - g.pad[2] } else { x * dx / sx };
                tap_yx.push(p * phase_len + y * dy / sy * pitch + x);
            }
        }
        let run_lines = (RUN / pitch / LINES * LINES).max(if winograd { 1 } else { LINES }).min(lines);
        Conv {
            g: g.clone(),
            precision,
            group,
            step: [channels * BLOCK_ROWS, planes, lines * tall],
            bands,
            tall,
            scratch_lines,
            pitch,
            lead,
            phases,
            phase_len,
            packed,
            tap_yx,
            run_lines,
        }
    }
}
