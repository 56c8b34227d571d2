//! The checks of what a step reads: tensors, what is pending on them, and weights.

use super::{Checker, bad, bounds};
use crate::arch::BLOCK_ROWS;
use crate::kernels::{Between, Upsample};
use crate::network::spec::{Form, OpSpec, PartSpec, Place, Span, SpecError, ValueSpec};
use alloc::format;

/// Parts of the longest concatenation.
const MOST_PARTS: usize = 1 << 12;

impl Checker<'_> {
    /// Checks a value and gives its channels.
    pub(super) fn value(&self, value: &ValueSpec) -> Result<usize, SpecError> {
        let parts = value.parts.len();
        if parts == 0 || parts > MOST_PARTS {
            return bad(format!("a value of {parts} parts; there must be 1 to {MOST_PARTS}"));
        }
        let mut channels = 0usize;
        for part in &value.parts {
            // No overflow: each part is as large as a tensor at most, and so were all of them before it.
            channels = channels.saturating_add(self.part(part, value.grid)?);
            bounds::tensor(channels, value.grid)?;
        }
        Ok(channels)
    }

    /// Checks a part of a value on `grid` and gives its channels.
    fn part(&self, part: &PartSpec, grid: [usize; 3]) -> Result<usize, SpecError> {
        match part {
            PartSpec::Stored { place, channels, ops } => {
                self.stored(*place, *channels, grid)?;
                self.ops(ops, *channels)?;
                Ok(*channels)
            }
            PartSpec::Upsampled { low, cout, kernel, weights, form, bias, grids, .. } => {
                let cin = self.low(low)?;
                bounds::window_sizes("an upsampling by", kernel, 1)?;
                if (0..3).any(|a| low.grid[a].checked_mul(kernel[a]) != Some(grid[a])) {
                    return bad(format!("voxels {:?} times {kernel:?} do not make {grid:?}", low.grid));
                }
                bounds::tensor(*cout, grid)?;
                bounds::weights(&[kernel[0], kernel[1], kernel[2], cout + BLOCK_ROWS, cin])?;
                self.floats(*weights, *form, Upsample::weight_elements(cin, *cout, *kernel))?;
                self.span(*bias, 4, *cout)?;
                grids.iter().try_for_each(|&q| bounds::quant(q))?;
                Ok(*cout)
            }
            PartSpec::Spread { low, by } => {
                let channels = self.low(low)?;
                bounds::window_sizes("a distance of voxels of", by, 1)?;
                // The last voxel of the small tensor lies inside, and nothing of it beyond.
                if (0..3).any(|a| grid[a].div_ceil(by[a]) != low.grid[a]) {
                    return bad(format!("voxels {:?}, {by:?} apart, do not fill {grid:?}", low.grid));
                }
                Ok(channels)
            }
            PartSpec::Resampled { low, axes } => {
                let channels = self.low(low)?;
                for (a, axis) in axes.iter().enumerate() {
                    interpolation(axis, low.grid[a], grid[a])?;
                }
                Ok(channels)
            }
        }
    }

    /// Checks the value that a part is computed from, and gives its channels.
    fn low(&self, low: &ValueSpec) -> Result<usize, SpecError> {
        if low.parts.iter().any(|p| !matches!(p, PartSpec::Stored { .. })) {
            return bad("a value that is computed as it is read is computed from another such value");
        }
        self.value(low)
    }

    /// Checks that a tensor of this shape is at a place.
    fn stored(&self, place: Place, channels: usize, grid: [usize; 3]) -> Result<(), SpecError> {
        let held = match place {
            Place::Input => Some((self.graph.channels, self.graph.patch)),
            Place::Output => None,
            Place::Buffer(b) => self.buffers.get(b).copied().flatten().map(|h| (h.channels, h.grid)),
        };
        match held {
            Some(held) if held == (channels, grid) => Ok(()),
            Some(held) => bad(format!("it reads channels and voxels {:?} where {held:?} are stored", (channels, grid))),
            None => bad(format!("it reads {place:?}, which no step before it has written")),
        }
    }

    /// Checks what is pending on a tensor of `channels` channels.
    pub(super) fn ops(&self, ops: &[OpSpec], channels: usize) -> Result<(), SpecError> {
        for op in ops {
            match op {
                OpSpec::Table(t) => match self.graph.tables.get(*t) {
                    Some(&width) if width == channels => {
                        if !self.tables[*t] {
                            return bad(format!("it reads table {t}, which no step before it has written"));
                        }
                    }
                    Some(width) => return bad(format!("table {t} has {width} channels, its tensor {channels}")),
                    None => return bad(format!("it reads table {t} of {}", self.graph.tables.len())),
                },
                OpSpec::Affine(scale, shift) => {
                    self.span(*scale, 4, channels)?;
                    self.span(*shift, 4, channels)?;
                }
                OpSpec::Act(_) => {}
                OpSpec::Grid(q) => bounds::quant(*q)?,
            }
        }
        Ok(())
    }

    /// Checks a span of float weights.
    pub(super) fn floats(&self, span: Span, form: Form, len: usize) -> Result<(), SpecError> {
        self.span(span, if form == Form::F32 { 4 } else { 2 }, len)
    }

    /// Checks a span of `len` numbers of `bytes` each.
    pub(super) fn span(&self, span: Span, bytes: usize, len: usize) -> Result<(), SpecError> {
        let Span { offset, len: own } = span;
        if own != len {
            return bad(format!("weight span 0x{offset:x} has {own} numbers where {len} are needed"));
        }
        if !offset.is_multiple_of(64) {
            return bad(format!("weight span 0x{offset:x} does not start at a multiple of 64"));
        }
        let size = len.checked_mul(bytes);
        match size.and_then(|n| n.checked_add(offset)) {
            Some(end) if end <= self.weight_bytes => Ok(()),
            _ => bad(format!(
                "weight span 0x{offset:x}+{len} x {bytes} bytes exceeds the weight section ({} bytes)",
                self.weight_bytes
            )),
        }
    }
}

/// Checks where the `to` voxels of an axis lie between `from` others: inside, and in their order, in which rows are read.
fn interpolation(axis: &[Between], from: usize, to: usize) -> Result<(), SpecError> {
    if axis.len() != to {
        return bad(format!("an interpolation has {} places for {to} voxels", axis.len()));
    }
    let inside = |b: &&Between| (0.0..1.0).contains(&b.weight) && b.index < from && b.end() <= from;
    if let Some(b) = axis.iter().find(|b| !inside(b)) {
        return bad(format!("an interpolation reads at {} + {} of {from} voxels", b.index, b.weight));
    }
    match axis.windows(2).position(|w| (w[0].index, w[0].weight) > (w[1].index, w[1].weight)) {
        Some(i) => bad(format!("an interpolation goes backwards after voxel {i}")),
        None => Ok(()),
    }
}
