//! Convolution as shifted matrix products: no im2col, no padded copy of the whole input.
//!
//! One tile is a few rows of one output plane. Its input rows, with their padding, are copied into a small scratch,
//! split by stride phase so that every tap of the kernel reads consecutive elements. A tap is then an offset into the
//! scratch, and the whole tile is one run of `rows * pitch` positions; the few positions in the padding are computed and
//! thrown away, which keeps full vectors on the small grids of the deep stages. Any stride, dilation and kernel size
//! goes the same way. The order of additions for one voxel depends on nothing but the layer.

use pulp::{Arch, Simd, WithSimd};

/// Scratch meant to stay in the second-level cache beside a block of weights.
const SCRATCH_FLOATS: usize = 48 * 1024;
/// Vectors per run of the inner kernel.
const NV: usize = 2;
/// Largest number of positions of one inner run, on any instruction set this program knows.
const MAX_RUN: usize = NV * 16;

/// A convolution layer with packed weights.
#[derive(Debug)]
pub(crate) struct Conv {
    pub(crate) cin: usize,
    pub(crate) cout: usize,
    pub(crate) input: [usize; 3],
    pub(crate) output: [usize; 3],
    kernel: [usize; 3],
    stride: [usize; 3],
    dilation: [usize; 3],
    pad_before: [usize; 3],
    /// `[block of m output channels][cin][tap][m]`, blocks padded with zeros.
    weights: Vec<f32>,
    bias: Vec<f32>,
    m: usize,
    tile: Tile,
}

/// The scratch of one tile.
#[derive(Debug, Clone)]
struct Tile {
    rows: usize,
    /// Scratch rows per phase and plane.
    scratch_rows: usize,
    pitch: usize,
    /// Stride phases `(y, x)` that some tap reads.
    phases: Vec<(usize, usize)>,
    /// Offset of each tap of one kernel plane inside a plane's phases.
    tap_yx: Vec<usize>,
    /// Elements of one input plane's phases.
    plane: usize,
    /// Elements of one input channel.
    channel: usize,
    input_floats: usize,
    /// Elements of one output channel's run, rounded up to whole runs.
    run: usize,
}

/// Geometry of a layer, axes `z, y, x`.
#[derive(Debug, Clone)]
pub(crate) struct ConvShape {
    pub(crate) cin: usize,
    pub(crate) cout: usize,
    pub(crate) input: [usize; 3],
    pub(crate) output: [usize; 3],
    pub(crate) kernel: [usize; 3],
    pub(crate) stride: [usize; 3],
    pub(crate) dilation: [usize; 3],
    pub(crate) pad_before: [usize; 3],
}

/// Output channels per inner run: as many accumulators as the registers hold, spread evenly over the blocks.
fn block_size(cout: usize) -> usize {
    let most = if cfg!(target_arch = "x86_64") && matches!(Arch::new(), Arch::Scalar) { 4 } else { most_rows() };
    cout.div_ceil(cout.div_ceil(most))
}

#[cfg(target_arch = "x86_64")]
fn most_rows() -> usize {
    match Arch::new() {
        Arch::V4(_) => 8,
        _ => 6,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn most_rows() -> usize {
    8
}

impl Conv {
    /// Packs `weights` (`[cout, cin, kz, ky, kx]`) and lays out the scratch.
    pub(crate) fn new(s: &ConvShape, weights: &[f32], bias: &[f32]) -> Conv {
        let taps: usize = s.kernel.iter().product();
        debug_assert_eq!(weights.len(), s.cout * s.cin * taps);
        let m = block_size(s.cout);
        let blocks = s.cout.div_ceil(m);
        let mut packed = vec![0f32; blocks * m * s.cin * taps];
        for o in 0..s.cout {
            let (block, row) = (o / m, o % m);
            for k in 0..s.cin * taps {
                packed[(block * s.cin * taps + k) * m + row] = weights[o * s.cin * taps + k];
            }
        }
        let mut padded_bias = bias.to_vec();
        padded_bias.resize(blocks * m, 0.0);
        Conv {
            cin: s.cin,
            cout: s.cout,
            input: s.input,
            output: s.output,
            kernel: s.kernel,
            stride: s.stride,
            dilation: s.dilation,
            pad_before: s.pad_before,
            weights: packed,
            bias: padded_bias,
            m,
            tile: Tile::new(s),
        }
    }

    pub(crate) fn weight_bytes(&self) -> usize {
        4 * (self.weights.capacity() + self.bias.capacity())
    }

    pub(crate) fn macs(&self) -> u64 {
        let taps: usize = self.kernel.iter().product();
        (self.cin * taps * self.cout) as u64 * self.output.iter().map(|&n| n as u64).product::<u64>()
    }

    /// Scratch elements that [`Self::run`] needs.
    pub(crate) fn scratch_floats(&self) -> usize {
        self.tile.input_floats + self.m * self.tile.run
    }

    /// `planes`: one slice per input channel. `out`: `[cout, z, y, x]`.
    pub(crate) fn run(&self, planes: &[&[f32]], out: &mut [f32], scratch: &mut [f32]) {
        let (rows_in, acc) = scratch.split_at_mut(self.tile.input_floats);
        let t = &self.tile;
        let [oz, oy, ox] = self.output;
        let kz = self.kernel[0];
        let ntaps_yx = t.tap_yx.len();
        let mut taps = vec![0usize; kz * ntaps_yx];
        let mut held = vec![usize::MAX; kz];
        let blocks = self.weights.len() / (self.m * self.cin * kz * ntaps_yx);
        for y0 in (0..oy).step_by(t.rows) {
            let rows = t.rows.min(oy - y0);
            held.fill(usize::MAX);
            for z in 0..oz {
                // Kernel planes outside the input add nothing and are skipped; they are a prefix and a suffix.
                let at = |k: usize| (z * self.stride[0] + k * self.dilation[0]).checked_sub(self.pad_before[0]);
                let inside = |k: usize| at(k).is_some_and(|i| i < self.input[0]);
                let first = (0..kz).find(|&k| inside(k)).unwrap_or(kz);
                let last = (first..kz).take_while(|&k| inside(k)).count() + first;
                for k in first..last {
                    let iz = at(k).unwrap_or(0);
                    // Neighbouring output planes share input planes where the kernel is not dilated along z.
                    let slot = if self.dilation[0] == 1 { iz % kz } else { k };
                    if held[slot] != iz {
                        self.gather(planes, iz, y0, slot, rows_in);
                        held[slot] = iz;
                    }
                    for (tap, &off) in taps[k * ntaps_yx..].iter_mut().zip(&t.tap_yx) {
                        *tap = slot * t.plane + off;
                    }
                }
                let len = (rows - 1) * t.pitch + ox;
                for b in 0..blocks {
                    let job = Job {
                        src: rows_in,
                        channel: t.channel,
                        cin: self.cin,
                        taps: &taps[first * ntaps_yx..last * ntaps_yx],
                        weights: &self.weights[b * self.m * self.cin * taps.len()..][..self.m * self.cin * taps.len()],
                        weight_skip: first * ntaps_yx,
                        weight_taps: taps.len(),
                        bias: &self.bias[b * self.m..(b + 1) * self.m],
                        len,
                        acc,
                        run: t.run,
                    };
                    dispatch(self.m, job);
                    for row in 0..self.m.min(self.cout - b * self.m) {
                        let dst = &mut out[((b * self.m + row) * oz + z) * oy * ox..][..oy * ox];
                        for y in 0..rows {
                            dst[(y0 + y) * ox..][..ox].copy_from_slice(&acc[row * t.run + y * t.pitch..][..ox]);
                        }
                    }
                }
            }
        }
    }

    /// Copies the input rows that a tile starting at row `y0` reads from plane `iz`, padding included.
    fn gather(&self, planes: &[&[f32]], iz: usize, y0: usize, slot: usize, rows_in: &mut [f32]) {
        let t = &self.tile;
        let [_, iy_n, ix_n] = self.input;
        let [_, sy, sx] = self.stride;
        for (c, plane) in planes.iter().enumerate() {
            let src = &plane[iz * iy_n * ix_n..][..iy_n * ix_n];
            let base = c * t.channel + slot * t.plane;
            for (p, &(py, px)) in t.phases.iter().enumerate() {
                for r in 0..t.scratch_rows {
                    let dst = &mut rows_in[base + (p * t.scratch_rows + r) * t.pitch..][..t.pitch];
                    let row = ((y0 + r) * sy + py).checked_sub(self.pad_before[1]).filter(|&i| i < iy_n);
                    let Some(row) = row else {
                        dst.fill(0.0);
                        continue;
                    };
                    let src = &src[row * ix_n..][..ix_n];
                    // Columns with 0 <= j*sx + px - pad < ix_n.
                    let lo = self.pad_before[2].saturating_sub(px).div_ceil(sx).min(t.pitch);
                    let hi = (ix_n + self.pad_before[2]).saturating_sub(px).div_ceil(sx).clamp(lo, t.pitch);
                    dst[..lo].fill(0.0);
                    dst[hi..].fill(0.0);
                    if lo == hi {
                        continue;
                    }
                    let start = lo * sx + px - self.pad_before[2];
                    if sx == 1 {
                        dst[lo..hi].copy_from_slice(&src[start..start + hi - lo]);
                    } else {
                        for (d, s) in dst[lo..hi].iter_mut().zip(src[start..].iter().step_by(sx)) {
                            *d = *s;
                        }
                    }
                }
            }
        }
    }
}

impl Tile {
    fn new(s: &ConvShape) -> Tile {
        let [kz, ky, kx] = s.kernel;
        let [_, sy, sx] = s.stride;
        let [_, dy, dx] = s.dilation;
        let mut phases: Vec<(usize, usize)> = Vec::new();
        for y in 0..ky {
            for x in 0..kx {
                let phase = ((y * dy) % sy, (x * dx) % sx);
                if !phases.contains(&phase) {
                    phases.push(phase);
                }
            }
        }
        let halo_y = (ky - 1) * dy / sy;
        let pitch = s.output[2] + (kx - 1) * dx / sx;
        let floats = |rows: usize| s.cin * kz * phases.len() * (rows + halo_y) * pitch;
        // At least one full run of positions; beyond that as many rows as fit the cache.
        let mut rows = 1;
        while rows < s.output[1] && (floats(rows + 1) <= SCRATCH_FLOATS || rows * pitch < 2 * MAX_RUN) {
            rows += 1;
        }
        // Equal tiles: no thin last one.
        rows = s.output[1].div_ceil(s.output[1].div_ceil(rows));
        let scratch_rows = rows + halo_y;
        let mut tap_yx = Vec::with_capacity(ky * kx);
        for y in 0..ky {
            for x in 0..kx {
                let phase = ((y * dy) % sy, (x * dx) % sx);
                let p = phases.iter().position(|&q| q == phase).unwrap_or(0);
                tap_yx.push((p * scratch_rows + y * dy / sy) * pitch + x * dx / sx);
            }
        }
        let plane = phases.len() * scratch_rows * pitch;
        let run = ((rows - 1) * pitch + s.output[2]).next_multiple_of(MAX_RUN);
        // A run may read past the last position; those results are dropped.
        let input_floats = s.cin * kz * plane + MAX_RUN + pitch;
        Tile { rows, scratch_rows, pitch, phases, tap_yx, plane, channel: kz * plane, input_floats, run }
    }
}

/// One block of output channels over one tile.
pub(crate) struct Job<'a> {
    pub(crate) src: &'a [f32],
    pub(crate) channel: usize,
    pub(crate) cin: usize,
    pub(crate) taps: &'a [usize],
    pub(crate) weights: &'a [f32],
    /// Taps left out at the front, and the number of taps of a channel in `weights`.
    pub(crate) weight_skip: usize,
    pub(crate) weight_taps: usize,
    pub(crate) bias: &'a [f32],
    pub(crate) len: usize,
    pub(crate) acc: &'a mut [f32],
    pub(crate) run: usize,
}

struct Sized<'a, const M: usize>(Job<'a>);

pub(crate) fn dispatch(m: usize, job: Job<'_>) {
    let arch = Arch::new();
    match m {
        1 => arch.dispatch(Sized::<1>(job)),
        2 => arch.dispatch(Sized::<2>(job)),
        3 => arch.dispatch(Sized::<3>(job)),
        4 => arch.dispatch(Sized::<4>(job)),
        5 => arch.dispatch(Sized::<5>(job)),
        6 => arch.dispatch(Sized::<6>(job)),
        7 => arch.dispatch(Sized::<7>(job)),
        _ => arch.dispatch(Sized::<8>(job)),
    }
}

impl<const M: usize> WithSimd for Sized<'_, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let job = self.0;
        let lanes = S::F32_LANES;
        let step = NV * lanes;
        let mut n0 = 0;
        while n0 < job.len {
            let mut acc = [[simd.splat_f32s(0.0); NV]; M];
            for (a, &b) in acc.iter_mut().zip(job.bias) {
                *a = [simd.splat_f32s(b); NV];
            }
            for c in 0..job.cin {
                let src = &job.src[c * job.channel + n0..];
                let w = &job.weights[(c * job.weight_taps + job.weight_skip) * M..];
                for (&tap, w) in job.taps.iter().zip(w.chunks_exact(M)) {
                    let (v, _) = S::as_simd_f32s(&src[tap..tap + step]);
                    let (v0, v1) = (v[0], v[1]);
                    for i in 0..M {
                        let wi = simd.splat_f32s(w[i]);
                        acc[i][0] = simd.mul_add_e_f32s(wi, v0, acc[i][0]);
                        acc[i][1] = simd.mul_add_e_f32s(wi, v1, acc[i][1]);
                    }
                }
            }
            for (i, a) in acc.iter().enumerate() {
                let (d, _) = S::as_mut_simd_f32s(&mut job.acc[i * job.run + n0..][..step]);
                d[0] = a[0];
                d[1] = a[1];
            }
            n0 += step;
        }
    }
}

/// A transposed convolution whose kernel equals its stride: every output voxel receives one tap.
#[derive(Debug)]
pub(crate) struct Upsample {
    pub(crate) cin: usize,
    pub(crate) cout: usize,
    pub(crate) input: [usize; 3],
    kernel: [usize; 3],
    /// `[block][cin][m]` over rows `[cout, kz, ky, kx]`.
    weights: Vec<f32>,
    bias: Vec<f32>,
    m: usize,
    /// Positions of an input plane done at once.
    chunk: usize,
}

impl Upsample {
    /// `weights`: `[cout, cin, kz, ky, kx]`.
    pub(crate) fn new(cin: usize, cout: usize, input: [usize; 3], kernel: [usize; 3], w: &[f32], bias: &[f32]) -> Self {
        let taps: usize = kernel.iter().product();
        let rows = cout * taps;
        let m = block_size(rows);
        let blocks = rows.div_ceil(m);
        let mut weights = vec![0f32; blocks * m * cin];
        let mut row_bias = vec![0f32; blocks * m];
        for r in 0..rows {
            row_bias[r] = bias[r / taps];
            for c in 0..cin {
                weights[((r / m) * cin + c) * m + r % m] = w[(r / taps * cin + c) * taps + r % taps];
            }
        }
        let plane = input[1] * input[2];
        let chunk = (SCRATCH_FLOATS / cin).next_multiple_of(MAX_RUN).clamp(MAX_RUN, plane.next_multiple_of(MAX_RUN));
        Upsample { cin, cout, input, kernel, weights, bias: row_bias, m, chunk }
    }

    pub(crate) fn weight_bytes(&self) -> usize {
        4 * (self.weights.capacity() + self.bias.capacity())
    }

    pub(crate) fn macs(&self) -> u64 {
        let taps: usize = self.kernel.iter().product();
        (self.cin * taps * self.cout) as u64 * self.input.iter().map(|&n| n as u64).product::<u64>()
    }

    pub(crate) fn output(&self) -> [usize; 3] {
        core::array::from_fn(|i| self.input[i] * self.kernel[i])
    }

    pub(crate) fn scratch_floats(&self) -> usize {
        (self.cin + self.m) * self.chunk
    }

    pub(crate) fn run(&self, planes: &[&[f32]], out: &mut [f32], scratch: &mut [f32]) {
        let (src, acc) = scratch.split_at_mut(self.cin * self.chunk);
        let [iz, iy, ix] = self.input;
        let [kz, ky, kx] = self.kernel;
        let [oz, oy, ox] = self.output();
        let taps = kz * ky * kx;
        let plane = iy * ix;
        for z in 0..iz {
            for n0 in (0..plane).step_by(self.chunk) {
                let len = self.chunk.min(plane - n0);
                for (c, p) in planes.iter().enumerate() {
                    src[c * self.chunk..][..len].copy_from_slice(&p[z * plane + n0..][..len]);
                }
                for b in 0..self.bias.len() / self.m {
                    let job = Job {
                        src,
                        channel: self.chunk,
                        cin: self.cin,
                        taps: &[0],
                        weights: &self.weights[b * self.m * self.cin..][..self.m * self.cin],
                        weight_skip: 0,
                        weight_taps: 1,
                        bias: &self.bias[b * self.m..][..self.m],
                        len,
                        acc,
                        run: self.chunk,
                    };
                    dispatch(self.m, job);
                    for r in 0..self.m.min(self.cout * taps - b * self.m) {
                        let row = b * self.m + r;
                        let (o, tz, ty, tx) = (row / taps, row / (ky * kx) % kz, row / kx % ky, row % kx);
                        let dst = &mut out[(o * oz + z * kz + tz) * oy * ox..][..oy * ox];
                        let mut n = n0;
                        while n < n0 + len {
                            let (y, x0) = (n / ix, n % ix);
                            let count = (ix - x0).min(n0 + len - n);
                            let line = &mut dst[(y * ky + ty) * ox + x0 * kx + tx..];
                            let from = &acc[r * self.chunk + n - n0..][..count];
                            for (d, s) in line.iter_mut().step_by(kx).zip(from) {
                                *d = *s;
                            }
                            n += count;
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
    }

    /// The definition, summed in double precision.
    fn naive(s: &ConvShape, w: &[f32], bias: &[f32], x: &[f32]) -> Vec<f64> {
        let mut out = Vec::new();
        let [iz, iy, ix] = s.input;
        let at = |axis: usize, o: usize, k: usize| {
            (o * s.stride[axis] + k * s.dilation[axis]).checked_sub(s.pad_before[axis]).filter(|&i| i < s.input[axis])
        };
        for (o, &b) in bias.iter().enumerate() {
            for z in 0..s.output[0] {
                for y in 0..s.output[1] {
                    for x0 in 0..s.output[2] {
                        let mut sum = f64::from(b);
                        let mut k = o * s.cin * s.kernel.iter().product::<usize>();
                        for c in 0..s.cin {
                            for kz in 0..s.kernel[0] {
                                for ky in 0..s.kernel[1] {
                                    for kx in 0..s.kernel[2] {
                                        if let (Some(z), Some(y), Some(x0)) =
                                            (at(0, z, kz), at(1, y, ky), at(2, x0, kx))
                                        {
                                            let v = x[((c * iz + z) * iy + y) * ix + x0];
                                            sum += f64::from(v) * f64::from(w[k]);
                                        }
                                        k += 1;
                                    }
                                }
                            }
                        }
                        out.push(sum);
                    }
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn equals_its_definition(
            (cin, cout) in (1usize..6, 1usize..19),
            input in [1usize..9, 1usize..14, 1usize..40],
            kernel in [1usize..4, 1usize..4, 1usize..5],
            stride in [1usize..4, 1usize..4, 1usize..4],
            dilation in [1usize..4, 1usize..4, 1usize..4],
            pad in [0usize..4, 0usize..4, 0usize..4],
            after in [0usize..3, 0usize..3, 0usize..3],
            seed in 0usize..1000,
        ) {
            let mut output = [0; 3];
            for a in 0..3 {
                let reach = (kernel[a] - 1) * dilation[a] + 1;
                let padded = input[a] + pad[a] + after[a];
                prop_assume!(padded >= reach);
                output[a] = (padded - reach) / stride[a] + 1;
            }
            let s = ConvShape { cin, cout, input, output, kernel, stride, dilation, pad_before: pad };
            let w = values(cout * cin * kernel.iter().product::<usize>(), seed);
            let bias = values(cout, seed + 1);
            let x = values(cin * input.iter().product::<usize>(), seed + 2);
            let conv = Conv::new(&s, &w, &bias);
            let mut out = vec![f32::NAN; cout * output.iter().product::<usize>()];
            let planes: Vec<&[f32]> = x.chunks_exact(input.iter().product()).collect();
            // What the scratch held before must not show.
            let mut scratch = vec![f32::NAN; conv.scratch_floats()];
            conv.run(&planes, &mut out, &mut scratch);
            for (got, want) in out.iter().zip(naive(&s, &w, &bias, &x)) {
                prop_assert!((f64::from(*got) - want).abs() < 1e-4, "{got} {want}");
            }
        }

        #[test]
        fn upsampling_gives_each_voxel_its_tap(
            (cin, cout) in (1usize..5, 1usize..9),
            input in [1usize..5, 1usize..6, 1usize..21],
            kernel in [1usize..3, 1usize..4, 1usize..4],
            seed in 0usize..1000,
        ) {
            let taps: usize = kernel.iter().product();
            let w = values(cout * cin * taps, seed);
            let bias = values(cout, seed + 1);
            let voxels: usize = input.iter().product();
            let x = values(cin * voxels, seed + 2);
            let up = Upsample::new(cin, cout, input, kernel, &w, &bias);
            let [oz, oy, ox] = up.output();
            let mut out = vec![f32::NAN; cout * oz * oy * ox];
            let planes: Vec<&[f32]> = x.chunks_exact(voxels).collect();
            up.run(&planes, &mut out, &mut vec![f32::NAN; up.scratch_floats()]);
            for (i, got) in out.iter().enumerate() {
                let (o, z, y, x0) = (i / (oz * oy * ox), i / (oy * ox) % oz, i / ox % oy, i % ox);
                let tap = ((z % kernel[0]) * kernel[1] + y % kernel[1]) * kernel[2] + x0 % kernel[2];
                let from = ((z / kernel[0]) * input[1] + y / kernel[1]) * input[2] + x0 / kernel[2];
                let want: f32 = (0..cin).map(|c| w[(o * cin + c) * taps + tap] * x[c * voxels + from]).sum::<f32>() + bias[o];
                prop_assert!((got - want).abs() < 1e-5, "{got} {want}");
            }
        }
    }
}
