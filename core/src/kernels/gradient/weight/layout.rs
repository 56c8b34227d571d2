//! How the image is cut into chunks, and where rows lie in scratch.

use super::WeightGradient;
use crate::arch::{BAND_REACH, BAND_ROWS, BANDS, Isa, RUN_PAD};
use crate::kernels::conv::{ConvGeometry, apart, period};
use alloc::vec::Vec;

/// Positions of a chunk: enough that adding up lanes at its end counts for little, and so few that the rows of a block of
/// channels stay in the first-level cache.
const POSITIONS: core::ops::RangeInclusive<usize> = 256..=1024;

/// Elements of one band of a chunk: they should stay in the second-level cache.
fn chunk_elements(isa: Isa) -> usize {
    if isa.lanes() == 16 { 160 * 1024 } else { 64 * 1024 }
}

/// Whether Winograd's method is expected to be faster: operations on vectors are counted for one output voxel.
fn winograd_pays(g: &ConvGeometry) -> bool {
    if g.kernel[1] != 3 || g.stride[1] != 1 || g.stride[2] != 1 || g.dilation != [1; 3] {
        return false;
    }
    let products = (g.cin * g.cout * g.kernel[0] * g.kernel[2]) as f64;
    let (rows, padded) = (g.output[1] as f64, g.output[1].next_multiple_of(BAND_ROWS) as f64);
    let transforms = 8.0 * (g.cin + g.cout) as f64;
    1.5 * products * padded / rows + transforms < 0.9 * 3.0 * products
}

impl WeightGradient {
    /// Lays out chunks and scratch for at most so many workers.
    ///
    /// # Panics
    /// If the geometry is not [possible](ConvGeometry::is_possible).
    pub fn new(isa: Isa, g: &ConvGeometry, workers: usize) -> WeightGradient {
        assert!(g.is_possible(), "an impossible convolution: {g:?}");
        let [kz, ky, kx] = g.kernel;
        let [sz, sy, sx] = g.stride;
        let [dz, dy, dx] = g.dilation;
        let winograd = winograd_pays(g);
        let (bands, tall) = if winograd { (BANDS, BAND_ROWS) } else { (1, 1) };
        let tap_rows = if winograd { 1 } else { ky };
        // Along an axis the phases of the taps repeat; before they do, they differ.
        let [phases_z, phases_y, phases_x] =
            [kz.min(period(sz, dz)), tap_rows.min(period(sy, dy)), kx.min(period(sx, dx))];
        let mut phases = Vec::with_capacity(phases_z * phases_y * phases_x);
        for (z, y) in (0..phases_z).flat_map(|z| (0..phases_y).map(move |y| (z, y))) {
            phases.extend((0..phases_x).map(|x| [(z * dz) % sz, (y * dy) % sy, (x * dx) % sx]));
        }
        let mut taps = Vec::with_capacity(kz * tap_rows * kx);
        for z in 0..kz {
            for y in 0..tap_rows {
                for x in 0..kx {
                    let place = (z % phases_z * phases_y + y % phases_y) * phases_x + x % phases_x;
                    taps.push((place, z * dz / sz, y * dy / sy, x));
                }
            }
        }
        let halo = [(kz - 1) * dz / sz, (tap_rows - 1) * dy / sy];
        let (lead, pitch) = if sx == 1 {
            let after = (g.output[2] + (kx - 1) * dx).saturating_sub(g.pad[2] + g.input[2]);
            (g.pad[2].next_multiple_of(RUN_PAD), (g.input[2] + g.pad[2].max(after)).max(g.output[2]))
        } else {
            (0, g.output[2] + (kx - 1) * dx / sx)
        };
        let share = g.cout.div_ceil(workers.max(1)).next_multiple_of(4).min(g.cout);
        let plane = |lines: usize| (lines + halo[1]) * pitch;
        let elements =
            |planes: usize, lines: usize| (g.cin * phases.len() * (planes + halo[0]) + share * planes) * plane(lines);
        let equal = |all: usize, part: usize| all.div_ceil(all.div_ceil(part));
        let (most, whole) = (chunk_elements(isa), g.output[1].div_ceil(tall));
        let mut lines = whole.min((*POSITIONS.end() / pitch).saturating_sub(halo[1]).max(1));
        while lines > 1 && elements(1, lines) > most && plane(lines - 1) >= *POSITIONS.start() {
            lines -= 1;
        }
        let lines = equal(whole, lines);
        let mut planes = 1;
        while planes < g.output[0]
            && (planes + 1) * plane(lines) <= *POSITIONS.end()
            && (elements(planes + 1, lines) <= most || planes * plane(lines) < *POSITIONS.start())
        {
            planes += 1;
        }
        let planes = equal(g.output[0], planes);
        let reach = (kx - 1) * dx;
        let phase_len = apart(lead + (planes + halo[0]) * plane(lines) + halo[1] * pitch + reach + 2 * RUN_PAD);
        let taps = taps
            .into_iter()
            .map(|(place, z, y, x)| {
                let x = if sx == 1 { lead + x * dx - g.pad[2] } else { x * dx / sx };
                place * phase_len + z * plane(lines) + y * pitch + x
            })
            .collect();
        WeightGradient { g: g.clone(), bands, tall, share, planes, lines, halo, pitch, lead, phases, phase_len, taps }
    }

    /// Elements of an input channel in one band.
    pub(super) fn channel(&self) -> usize {
        self.phases.len() * self.phase_len
    }

    /// Elements from plane to plane.
    pub(super) fn plane(&self) -> usize {
        (self.lines + self.halo[1]) * self.pitch
    }

    /// Elements of a run of so many planes.
    pub(super) fn run_len(&self, planes: usize) -> usize {
        (planes * self.plane()).next_multiple_of(RUN_PAD)
    }

    /// Elements from one output channel's gradients to the next's in one band.
    pub(super) fn row(&self) -> usize {
        apart(self.run_len(self.planes) + RUN_PAD)
    }

    /// Input rows that the taps of a chunk reach in one plane.
    pub(super) fn reach(&self) -> usize {
        let g = &self.g;
        let rows = self.lines * self.tall;
        (rows - 1) * g.stride[1] + (g.kernel[1] - 1) * g.dilation[1] + 1
    }

    /// Elements of one channel's staged input rows; none where rows go to their place at once.
    pub(super) fn staged_input(&self) -> usize {
        if self.bands > 1 {
            self.lead + (self.lines * BAND_ROWS + BAND_REACH - BAND_ROWS) * self.pitch + RUN_PAD
        } else if self.is_direct() {
            0
        } else {
            self.reach() * self.g.input[2]
        }
    }

    /// Elements of one channel's staged gradients.
    pub(super) fn staged_gradient(&self) -> usize {
        if self.bands > 1 { self.lines * BAND_ROWS * self.pitch + RUN_PAD } else { 0 }
    }

    pub(super) fn is_direct(&self) -> bool {
        self.bands == 1 && self.g.stride[1] == 1 && self.g.stride[2] == 1
    }
}
