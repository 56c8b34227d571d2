//! What must be known of a scan before its first slab: the nonzero box, and each channel's statistics.

use super::PreprocessError;
use super::mask::NonzeroMask;
use super::normalize::{Moments, Normalizer, ValueRange};
use super::percentile::RankFinder;
use crate::manifest::{Channel, Normalization};
use crate::volume::{Box3, Index3, VoxelSource, product};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// Bytes of voxels read at a time in the passes of this module (one plane, if that is more).
const CHUNK_BYTES: usize = 2 << 20;

/// What is known of one channel.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelFacts {
    /// From stored to network intensities.
    pub normalizer: Normalizer,
    /// Ranges of normalised values to which resampling is clipped: one for the volume, or one per index of the
    /// separate axis.
    pub ranges: Vec<ValueRange>,
}

/// What is known of a scan.
#[derive(Clone, Debug)]
pub struct ScanFacts {
    /// The part that is segmented, in file axes.
    pub bounds: Box3,
    /// Per channel.
    pub channels: Vec<ChannelFacts>,
    /// The hole-filled nonzero mask inside `bounds`, where a channel asks for it.
    pub mask: Option<NonzeroMask>,
}

/// Bytes the passes of this module take at most: a chunk of planes, the mask, rank counters.
pub(crate) fn working_bytes(shape: Index3) -> Option<usize> {
    let plane = product([4, shape[1], shape[2]])?;
    plane.max(CHUNK_BYTES).checked_add(RankFinder::BYTES)
}

/// Ranges of planes whose voxels fit the chunk.
fn chunks(bounds: &Box3) -> impl Iterator<Item = Box3> + '_ {
    let [z, y, x] = &bounds.0;
    let per_chunk = (CHUNK_BYTES / (4 * y.len() * x.len()).max(1)).max(1);
    z.clone().step_by(per_chunk).map(move |start| Box3([start..(start + per_chunk).min(z.end), y.clone(), x.clone()]))
}

/// The box of voxels that are nonzero in any channel (the whole scan if `crop` is off or all are zero), in file axes.
///
/// Every voxel is looked at, so this is also where NaN and infinities are found.
///
/// # Errors
/// Voxels that cannot be read or are not finite.
pub fn find_box<S: VoxelSource + ?Sized>(source: &mut S, crop: bool) -> Result<Box3, PreprocessError> {
    let full = Box3::full(source.shape_zyx());
    let mut found: [Option<Range<usize>>; 3] = [None, None, None];
    let mut buffer = Vec::new();
    let mut extend = |axis: usize, from: usize, to: usize| {
        let range = found[axis].get_or_insert(from..to);
        range.start = range.start.min(from);
        range.end = range.end.max(to);
    };
    for channel in 0..source.channels() {
        for chunk in chunks(&full) {
            let [_, n1, n2] = chunk.shape();
            buffer.resize(chunk.voxels(), 0.0);
            source.read(channel, &chunk, &mut buffer)?;
            for (r, row) in buffer.chunks_exact(n2).enumerate() {
                let (z, y) = (chunk.0[0].start + r / n1, r % n1);
                // One pass without branches; only a row that holds something bad or nonzero is looked at closer.
                let (mut nonzero, mut finite) = (false, true);
                for v in row {
                    nonzero |= *v != 0.0;
                    finite &= v.is_finite();
                }
                if !finite {
                    let x = row.iter().position(|v| !v.is_finite()).unwrap_or(0);
                    return Err(PreprocessError::NotFinite { channel, position_zyx: [z, y, x], value: row[x] });
                }
                if crop && nonzero {
                    let first = row.iter().position(|&v| v != 0.0).unwrap_or(0);
                    let last = row.iter().rposition(|&v| v != 0.0).unwrap_or(0);
                    extend(0, z, z + 1);
                    extend(1, y, y + 1);
                    extend(2, first, last + 1);
                }
            }
        }
    }
    Ok(match found {
        [Some(z), Some(y), Some(x)] => Box3([z, y, x]),
        _ => full,
    })
}

/// Where the clip ranges of resampling come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClipScope {
    /// One range for the volume.
    Volume,
    /// One range per index of this file axis.
    FileAxis(usize),
}

/// Gathers the statistics of every channel inside `bounds`. `clip_axis` names the file axis with a clip range per
/// index; `None` keeps one range per channel.
///
/// # Errors
/// Voxels that cannot be read, or that a normalisation cannot take.
pub fn measure<S: VoxelSource + ?Sized>(
    source: &mut S,
    bounds: &Box3,
    channels: &[Channel],
    clip_axis: Option<usize>,
) -> Result<ScanFacts, PreprocessError> {
    let scope = clip_axis.map_or(ClipScope::Volume, ClipScope::FileAxis);
    let masked = |c: &Channel| c.normalization.masked();
    let mut buffer = Vec::new();
    let mask = if channels.iter().any(masked) { Some(nonzero_mask(source, bounds)?) } else { None };
    let mut facts = Vec::with_capacity(channels.len());
    for (index, channel) in channels.iter().enumerate() {
        let inside = if masked(channel) { mask.as_ref() } else { None };
        facts.push(measure_channel(source, bounds, index, channel, inside, scope, &mut buffer)?);
    }
    Ok(ScanFacts { bounds: bounds.clone(), channels: facts, mask })
}

/// Which voxels inside `bounds` are nonzero in any channel, or enclosed by such voxels.
///
/// # Errors
/// Voxels that cannot be read.
pub fn nonzero_mask<S: VoxelSource + ?Sized>(source: &mut S, bounds: &Box3) -> Result<NonzeroMask, PreprocessError> {
    let mut buffer = Vec::new();
    let mut mask = NonzeroMask::new(bounds.shape());
    for channel in 0..source.channels() {
        for_rows(source, bounds, channel, &mut buffer, |z, y, row| mask.mark_row(z, y, row))?;
    }
    mask.fill_holes();
    Ok(mask)
}

/// Calls `visit(z, y, row)` for every row of the box, positions counted from the box's corner.
fn for_rows<S: VoxelSource + ?Sized>(
    source: &mut S,
    bounds: &Box3,
    channel: usize,
    buffer: &mut Vec<f32>,
    mut visit: impl FnMut(usize, usize, &[f32]),
) -> Result<(), PreprocessError> {
    for chunk in chunks(bounds) {
        let [_, n1, n2] = chunk.shape();
        buffer.resize(chunk.voxels(), 0.0);
        source.read(channel, &chunk, buffer)?;
        let first = chunk.0[0].start - bounds.0[0].start;
        for (r, row) in buffer.chunks_exact(n2).enumerate() {
            visit(first + r / n1, r % n1, row);
        }
    }
    Ok(())
}

fn measure_channel<S: VoxelSource + ?Sized>(
    source: &mut S,
    bounds: &Box3,
    index: usize,
    channel: &Channel,
    mask: Option<&NonzeroMask>,
    scope: ClipScope,
    buffer: &mut Vec<f32>,
) -> Result<ChannelFacts, PreprocessError> {
    let shape = bounds.shape();
    let places = match scope {
        ClipScope::Volume => 1,
        ClipScope::FileAxis(k) => shape[k],
    };
    // Per place: the range of the voxels that count, and whether some do not.
    let mut ranges = vec![(ValueRange::EMPTY, false); places];
    let mut moments = Moments::default();
    let wanted_percentiles = channel.normalization.percentiles();
    let mut finder = wanted_percentiles.map(|_| RankFinder::new());
    let wants_moments = channel.normalization.needs_moments();
    for_rows(source, bounds, index, buffer, |z, y, row| {
        let counts = |x: usize| mask.is_none_or(|m| m.contains(z, y, x));
        if wants_moments {
            let row_moments = match mask {
                None => Moments::of(row.iter().copied()),
                Some(_) => Moments::of(row.iter().enumerate().filter(|(x, _)| counts(*x)).map(|(_, v)| *v)),
            };
            moments = moments.merge(row_moments);
        }
        if let Some(finder) = &mut finder {
            row.iter().for_each(|&v| finder.count(v));
        }
        let mut include = |place: usize, x: usize, v: f32| {
            if counts(x) {
                ranges[place].0.include(v);
            } else {
                ranges[place].1 = true;
            }
        };
        match scope {
            ClipScope::FileAxis(2) => row.iter().enumerate().for_each(|(x, &v)| include(x, x, v)),
            _ => {
                let place = match scope {
                    ClipScope::Volume => 0,
                    ClipScope::FileAxis(0) => z,
                    ClipScope::FileAxis(_) => y,
                };
                row.iter().enumerate().for_each(|(x, &v)| include(place, x, v));
            }
        }
    })?;
    let mut percentiles = None;
    if let (Some(finder), Some(wanted)) = (&mut finder, wanted_percentiles) {
        let fractions = finder.refine_percentiles(wanted);
        for_rows(source, bounds, index, buffer, |_, _, row| row.iter().for_each(|&v| finder.count(v)))?;
        percentiles = Some(finder.percentiles(fractions));
    }
    let mut whole = ValueRange::EMPTY;
    ranges.iter().for_each(|(r, _)| whole.merge(*r));
    if channel.normalization == Normalization::RgbTo01 && !(whole.low >= 0.0 && whole.high <= 255.0) {
        return Err(PreprocessError::NotRgb { channel: index, range: [whole.low, whole.high] });
    }
    let normalizer = Normalizer::new(&channel.normalization, moments, whole, percentiles);
    let ranges = ranges.into_iter().map(|(range, outside)| normalizer.apply_range(range, outside)).collect();
    Ok(ChannelFacts { normalizer, ranges })
}
