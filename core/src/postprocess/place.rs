//! Label planes of the cropped, transposed scan put back into the file's grid.

use crate::volume::{Box3, Index3, checked_voxels, product, sum};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

/// Why labels could not be handed on. The sentence names the file and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkError(pub Box<str>);

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for SinkError {}

/// Takes label planes in ascending `z`.
pub trait LabelSink {
    /// Takes the next plane, `[y, x]` of the file.
    fn write_plane(&mut self, labels: &[u16]) -> Result<(), SinkError>;
}

/// Drops all labels.
impl LabelSink for () {
    fn write_plane(&mut self, _: &[u16]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Gathers all planes: `[z, y, x]` of the file.
impl LabelSink for Vec<u16> {
    fn write_plane(&mut self, labels: &[u16]) -> Result<(), SinkError> {
        self.extend_from_slice(labels);
        Ok(())
    }
}

/// Puts label planes where the scan was cropped from, axes turned back, zeros around.
#[derive(Debug)]
pub struct LabelPlacer {
    file_shape: Index3,
    bounds: Box3,
    transpose: Index3,
    /// Planes of network axis 0 taken so far.
    taken: usize,
    written: usize,
    plane: Vec<u16>,
    /// Network axis 0 is not the file's slowest axis: the labels of the box are gathered first, in file order.
    gathered: Gathered,
}

#[derive(Debug)]
enum Gathered {
    Streaming,
    Narrow(Vec<u8>),
    Wide(Vec<u16>),
}

impl LabelPlacer {
    /// A placer for labels up to `largest_value`.
    pub fn new(file_shape: Index3, bounds: Box3, transpose: Index3, largest_value: u16) -> Self {
        let gathered = match (transpose[0], u8::try_from(largest_value)) {
            (0, _) => Gathered::Streaming,
            (_, Ok(_)) => Gathered::Narrow(vec![0; bounds.voxels()]),
            (_, Err(_)) => Gathered::Wide(vec![0; bounds.voxels()]),
        };
        let plane = vec![0; file_shape[1] * file_shape[2]];
        LabelPlacer { file_shape, bounds, transpose, taken: 0, written: 0, plane, gathered }
    }

    /// Bytes a placer takes.
    pub(crate) fn bytes(file_shape: Index3, bounds: &Box3, transpose: Index3, largest_value: u16) -> Option<usize> {
        let gathered = match (transpose[0], largest_value) {
            (0, _) => Some(0),
            (_, 0..=255) => checked_voxels(bounds.shape()),
            _ => product(bounds.shape().into_iter().chain([2])),
        };
        sum([product([2, file_shape[1], file_shape[2]]), gathered])
    }

    /// Takes the next plane of the cropped scan, in network axis order.
    pub fn push<K: LabelSink + ?Sized>(&mut self, labels: &[u16], sink: &mut K) -> Result<(), SinkError> {
        let [_, a1, a2] = self.transpose;
        let shape = self.bounds.shape();
        let width = shape[a2];
        match &mut self.gathered {
            Gathered::Streaming => {
                while self.written < self.bounds.0[0].start {
                    self.plane.fill(0);
                    sink.write_plane(&self.plane)?;
                    self.written += 1;
                }
                self.plane.fill(0);
                let row_length = self.file_shape[2];
                let corner = self.bounds.0[1].start * row_length + self.bounds.0[2].start;
                let stride = |axis: usize| if axis == 1 { row_length } else { 1 };
                for (i, row) in labels.chunks_exact(width).enumerate() {
                    let start = corner + i * stride(a1);
                    for (j, &label) in row.iter().enumerate() {
                        self.plane[start + j * stride(a2)] = label;
                    }
                }
                sink.write_plane(&self.plane)?;
                self.written += 1;
            }
            Gathered::Narrow(volume) => {
                scatter(labels, self.taken, shape, self.transpose, |at, label| volume[at] = label as u8);
            }
            Gathered::Wide(volume) => {
                scatter(labels, self.taken, shape, self.transpose, |at, label| volume[at] = label);
            }
        }
        self.taken += 1;
        Ok(())
    }

    /// Writes what is left once every plane was taken.
    pub fn finish<K: LabelSink + ?Sized>(&mut self, sink: &mut K) -> Result<(), SinkError> {
        let [z, y, x] = self.bounds.0.clone();
        while self.written < self.file_shape[0] {
            self.plane.fill(0);
            if z.contains(&self.written) && !matches!(self.gathered, Gathered::Streaming) {
                let slice = self.written - z.start;
                for (i, row) in y.clone().enumerate() {
                    let source = (slice * y.len() + i) * x.len();
                    let target = &mut self.plane[row * self.file_shape[2] + x.start..][..x.len()];
                    match &self.gathered {
                        Gathered::Narrow(v) => {
                            target.iter_mut().zip(&v[source..]).for_each(|(t, &l)| *t = l as u16);
                        }
                        Gathered::Wide(v) => target.copy_from_slice(&v[source..source + x.len()]),
                        Gathered::Streaming => {}
                    }
                }
            }
            sink.write_plane(&self.plane)?;
            self.written += 1;
        }
        Ok(())
    }
}

/// Calls `put(place, label)` for plane `index` of network axis 0 inside a box of `shape` in file order.
fn scatter(labels: &[u16], index: usize, shape: Index3, axes: Index3, mut put: impl FnMut(usize, u16)) {
    let strides = [shape[1] * shape[2], shape[2], 1];
    let [s0, s1, s2] = axes.map(|a| strides[a]);
    for (i, row) in labels.chunks_exact(shape[axes[2]]).enumerate() {
        for (j, &label) in row.iter().enumerate() {
            put(index * s0 + i * s1 + j * s2, label);
        }
    }
}
