//! The sum of one or more tensors, row by row; of one it is a copy that settles what was pending.

use super::output::Output;
use super::source::{Source, Target};
use super::stored::{Op, settle};
use super::{Pass, blocks, split};
use crate::executor::Executor;

/// Rows read at once: even numbers of them, for upsampled rows come in pairs; several short ones, for a call costs as much
/// as some vectors; and no more than what all channels keep in the second-level cache.
fn rows_at_once(channels: usize, [_, ny, nx]: [usize; 3]) -> usize {
    (1024.min(65_536 / channels.max(1)) / nx.max(1)).clamp(4, ny.max(4)) / 4 * 4
}

/// A sum over tensors of one shape.
pub struct Sum<'a, 'b> {
    /// What is added.
    pub sources: &'a [Source<'b>],
    /// The output holds the first summand already, with this pending on it, and is overwritten by the sum.
    pub in_place: Option<&'a [Op<'b>]>,
    /// Channels.
    pub channels: usize,
    /// `z, y, x`.
    pub grid: [usize; 3],
}

impl Sum<'_, '_> {
    /// Channels, planes and rows of a tile.
    pub fn tile_step(channels: usize, grid: [usize; 3]) -> [usize; 3] {
        // About 64 k voxels of all channels, so that a step's tiles keep several threads busy.
        let once = rows_at_once(channels, grid);
        let rows = (65_536 / (channels * grid[2]).max(1)).clamp(once, grid[1].max(once)).next_multiple_of(once);
        [channels, 1, rows]
    }

    /// Blocks of scratch a worker needs.
    pub fn scratch_blocks(&self) -> usize {
        let rows = rows_at_once(self.channels, self.grid);
        let aux = self.sources.iter().map(|s| s.aux_blocks(rows)).max().unwrap_or(0);
        2 * blocks::<f32>(self.channels * rows * self.grid[2]) + aux
    }

    /// Runs it.
    ///
    /// # Panics
    /// If a source or the output is of another shape, or the scratch is too small.
    pub fn run<E: Executor>(&self, pass: Pass<'_, '_, E>, out: &Output<'_>) {
        let Pass { isa, executor, scratch } = pass;
        let (channels, nx) = (self.channels, self.grid[2]);
        let once = rows_at_once(channels, self.grid);
        executor.for_each(scratch, |_, scratch| {
            let mut rest = &mut **scratch;
            let len = channels * once * nx;
            let total: &mut [f32] = split(&mut rest, len);
            let more: &mut [f32] = split(&mut rest, len);
            while let Some(mut tile) = out.take() {
                let b = tile.bounds().clone();
                for z in b.z {
                    for y0 in b.y.clone().step_by(once) {
                        let rows = y0..(y0 + once).min(b.y.end);
                        if let Some(ops) = self.in_place {
                            for c in b.c.clone() {
                                let to = &mut total[c * once * nx..][..rows.len() * nx];
                                settle(isa, tile.rows(c, z, rows.clone()), ops, c, to);
                            }
                        }
                        for (k, source) in self.sources.iter().enumerate() {
                            let add = k > 0 || self.in_place.is_some();
                            let data = if add { &mut *more } else { &mut *total };
                            let mut target = Target { data, channel: once * nx, pitch: nx };
                            source.read(isa, z, rows.clone(), &mut target, rest);
                            if add {
                                isa.add_row(total, more);
                            }
                        }
                        for c in b.c.clone() {
                            let run = &total[c * once * nx..][..rows.len() * nx];
                            if tile.is_summed() {
                                tile.add(c, isa.moments(run));
                            }
                            tile.write(isa, c, z, rows.clone(), run);
                        }
                    }
                }
            }
        });
    }
}
