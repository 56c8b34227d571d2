//! Inputs and gradients into scratch.

use super::{Chunk, Scratch, Task, WeightGradient};
use crate::arch::Bands;
use crate::kernels::source::{Rows, Target};
use core::ops::Range;

/// Input rows that a chunk reaches in each plane.
struct Window {
    /// Those inside the input.
    rows: Range<usize>,
    /// Rows outside, before them.
    skip: usize,
}

/// An input plane and where it goes: plane `q` of the phases with this remainder along z.
struct Plane {
    z: usize,
    phase: usize,
    q: usize,
}

impl WeightGradient {
    fn window(&self, line: usize) -> Window {
        let g = &self.g;
        let first = (line * self.tall * g.stride[1]) as isize - g.pad[1] as isize;
        let inside = |y: isize| y.clamp(0, g.input[1] as isize) as usize;
        let rows = inside(first)..inside(first + self.reach() as isize);
        Window { skip: (rows.start as isize - first) as usize, rows }
    }

    /// Reads the input planes of a chunk; those that the chunk before it in the same lines read as well are moved.
    pub(super) fn gather_inputs(&self, task: &Task<'_>, chunk: &Chunk, s: &mut Scratch<'_>) {
        let g = &self.g;
        let mut kept = 0;
        if chunk.z.start > 0 {
            kept = self.halo[0];
            let from = self.lead + self.planes * self.plane();
            for phase in s.inputs.chunks_exact_mut(self.phase_len) {
                phase.copy_within(from..from + kept * self.plane(), self.lead);
            }
        }
        let window = self.window(chunk.line);
        for q in kept..chunk.z.len() + self.halo[0] {
            for pz in 0..g.stride[0] {
                if self.phases.iter().all(|p| p[0] != pz) {
                    continue;
                }
                match ((chunk.z.start + q) * g.stride[0] + pz).checked_sub(g.pad[0]).filter(|&z| z < g.input[0]) {
                    Some(z) => self.gather_plane(task, &window, Plane { z, phase: pz, q }, s),
                    None => {
                        let phases = self.phases.iter().enumerate().filter(|(_, p)| p[0] == pz);
                        for at in phases.map(|(i, _)| i * self.phase_len + self.lead + q * self.plane()) {
                            for channel in s.inputs.chunks_exact_mut(self.channel()) {
                                channel[at..at + self.plane()].fill(0.0);
                            }
                        }
                    }
                }
            }
        }
    }

    fn gather_plane(&self, task: &Task<'_>, window: &Window, plane: Plane, s: &mut Scratch<'_>) {
        let Plane { z, phase: pz, q } = plane;
        let rows = Rows { grid: self.g.input, z, y: window.rows.clone() };
        let g = &self.g;
        let place = self.lead + q * self.plane();
        let first = self.phases.iter().position(|p| p[0] == pz).unwrap_or(0) * self.phase_len;
        let mut base = 0;
        for stored in task.input {
            for c in 0..stored.channels {
                let read = |data: &mut [f32], pitch: usize| {
                    let mut target = Target { data, channel: 0, pitch };
                    stored.read_channel(task.isa, &rows, c, &mut target);
                };
                if self.bands > 1 {
                    read(&mut s.staged_input[self.lead + window.skip * self.pitch..], self.pitch);
                    let to = &mut s.inputs[base + first + place..];
                    let bands = Bands { pitch: self.pitch, band: g.cin * self.channel() };
                    task.isa.winograd_split(&s.staged_input[self.lead..], to, bands, self.lines);
                } else if self.is_direct() {
                    read(&mut s.inputs[base + first + place + window.skip * self.pitch..], self.pitch);
                } else {
                    read(s.staged_input, g.input[2]);
                    for (i, &[_, py, px]) in self.phases.iter().enumerate().filter(|(_, p)| p[0] == pz) {
                        let to = &mut s.inputs[base + i * self.phase_len + place..][..self.plane()];
                        self.place(s.staged_input, window, py, px, to);
                    }
                }
                base += self.channel();
            }
        }
    }

    /// Puts staged rows where a phase wants them; what lies outside stays zero.
    fn place(&self, staged: &[f32], window: &Window, py: usize, px: usize, to: &mut [f32]) {
        let g = &self.g;
        let (nx, sx) = (g.input[2], g.stride[2]);
        // The first place of a row that holds a voxel, and that voxel; where nothing strides, padding lies before rows.
        let skip = if sx == 1 { 0 } else { g.pad[2].saturating_sub(px).div_ceil(sx) };
        let x = if sx == 1 { 0 } else { skip * sx + px - g.pad[2] };
        if x >= nx {
            return;
        }
        for (r, line) in to.chunks_exact_mut(self.pitch).enumerate() {
            let y = (r * g.stride[1] + py).checked_sub(window.skip).filter(|&y| y < window.rows.len());
            if let Some(y) = y {
                let row = staged[y * nx + x..(y + 1) * nx].iter().step_by(sx);
                line.iter_mut().skip(skip).zip(row).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// Reads the output gradients of a chunk.
    pub(super) fn gather_gradients(&self, task: &Task<'_>, chunk: &Chunk, s: &mut Scratch<'_>) {
        let g = &self.g;
        let first = chunk.line * self.tall;
        let y = first..(first + self.lines * self.tall).min(g.output[1]);
        let (row, band) = (self.row(), self.share * self.row());
        for (i, c) in chunk.channels.clone().enumerate() {
            for (p, z) in chunk.z.clone().enumerate() {
                let at = i * row + p * self.plane();
                let direct = self.bands == 1;
                let data = if direct { &mut s.gradients[at..] } else { &mut *s.staged_gradient };
                let mut target = Target { data, channel: 0, pitch: self.pitch };
                let rows = Rows { grid: g.output, z, y: y.clone() };
                task.output.read_channel(task.isa, &rows, c, &mut target);
                if !direct {
                    let to = &mut s.gradients[at..];
                    let bands = Bands { pitch: self.pitch, band };
                    task.isa.winograd_spread(s.staged_gradient, to, bands, self.lines);
                }
            }
            // Behind the last plane lies what the spreading wrote past its end, or planes of the chunk before.
            for b in 0..self.bands {
                s.gradients[b * band + i * row..][chunk.z.len() * self.plane()..row].fill(0.0);
            }
        }
    }
}
