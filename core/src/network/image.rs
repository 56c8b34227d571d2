//! The byte form of a compiled model, read in place: for flash, and for starting without a graph library.
//!
//! A header, a table of sections, and the sections, each at an offset divisible by 64: the manifest as JSON text, and for
//! each fold its graph and its weights. Numbers are little-endian. `docs/file-format.md` has every byte.

use super::layout::Network;
use super::spec::{Graph, SpecError};
use super::weights::Weights;
use crate::arch::Isa;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

const MAGIC: [u8; 8] = *b"SCANSIDE";
const MAJOR: u16 = 1;
const MINOR: u16 = 0;
const HEADER: usize = 64;
const ENTRY: usize = 32;
/// Where sections start: the widest alignment that kernels ask of weights.
const ALIGN: usize = 64;
/// More sections than any model has.
const MOST_SECTIONS: u32 = 1 << 12;

const MANIFEST: u32 = 1;
const GRAPH: u32 = 2;
const WEIGHTS: u32 = 3;

/// Why bytes are no compiled model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// They start otherwise.
    NotAnImage,
    /// They are of a version that this program does not know.
    Version(u16),
    /// They do not start at an address divisible by 64.
    Alignment,
    /// They are cut off or were changed; what does not hold.
    Damaged(&'static str),
    /// The graph inside does not hold together.
    Graph(SpecError),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::NotAnImage => f.write_str("these bytes are not a compiled model"),
            ImageError::Version(v) => {
                write!(f, "the compiled model has format {v}, this program reads format {MAJOR}; compile it anew")
            }
            ImageError::Alignment => f.write_str("the compiled model must lie at an address divisible by 64"),
            ImageError::Damaged(what) => write!(f, "the compiled model is damaged: {what}"),
            ImageError::Graph(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for ImageError {}

/// Writes a compiled model: its manifest as JSON text, and graph and weights of each fold.
///
/// # Errors
/// A graph that cannot be written: a defect of who built it.
pub fn write_image(manifest_json: &str, folds: &[(&Graph, &Weights<'_>)]) -> Result<Vec<u8>, SpecError> {
    let mut sections: Vec<(u32, u32, Vec<u8>)> = alloc::vec![(MANIFEST, 0, manifest_json.as_bytes().to_vec())];
    for (fold, (graph, weights)) in (0u32..).zip(folds) {
        graph.check(weights.bytes().len())?;
        let bytes = postcard::to_allocvec(graph).map_err(|e| SpecError(alloc::format!("it cannot be written: {e}")))?;
        sections.push((GRAPH, fold, bytes));
        sections.push((WEIGHTS, fold, weights.bytes().to_vec()));
    }
    let mut out = alloc::vec![0u8; (HEADER + ENTRY * sections.len()).next_multiple_of(ALIGN)];
    for (i, (kind, fold, bytes)) in sections.iter().enumerate() {
        let entry = &mut out[HEADER + ENTRY * i..][..ENTRY];
        entry[..4].copy_from_slice(&kind.to_le_bytes());
        entry[4..8].copy_from_slice(&fold.to_le_bytes());
        let offset = out.len() as u64;
        let entry = &mut out[HEADER + ENTRY * i..][..ENTRY];
        entry[8..16].copy_from_slice(&offset.to_le_bytes());
        entry[16..24].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(ALIGN), 0);
    }
    let (total, sum) = (out.len() as u64, crc32fast::hash(&out[HEADER..]));
    out[..8].copy_from_slice(&MAGIC);
    out[8..10].copy_from_slice(&MAJOR.to_le_bytes());
    out[10..12].copy_from_slice(&MINOR.to_le_bytes());
    out[12..16].copy_from_slice(&(sections.len() as u32).to_le_bytes());
    out[16..24].copy_from_slice(&total.to_le_bytes());
    out[24..28].copy_from_slice(&sum.to_le_bytes());
    Ok(out)
}

/// A compiled model where it lies. The checksum guards against damage, not against malice; what the bytes say is checked
/// before it is used either way.
pub struct Image<'a> {
    bytes: &'a [u8],
    manifest: Range<usize>,
    /// Graph and weights of each fold.
    folds: Vec<(Range<usize>, Range<usize>)>,
}

impl<'a> Image<'a> {
    /// Whether these are the first bytes of a compiled model, of whatever version.
    pub fn is_image(start: &[u8]) -> bool {
        start.starts_with(&MAGIC)
    }

    /// Reads the header and the table, and checks them.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Image<'a>, ImageError> {
        if !Self::is_image(bytes) {
            return Err(ImageError::NotAnImage);
        }
        let damaged = ImageError::Damaged;
        let header = bytes.get(..HEADER).ok_or(damaged("the header is cut off"))?;
        let major = u16::from_le_bytes([header[8], header[9]]);
        if major != MAJOR {
            return Err(ImageError::Version(major));
        }
        if bytes.as_ptr().align_offset(ALIGN) != 0 {
            return Err(ImageError::Alignment);
        }
        if usize::try_from(u64_at(header, 16)) != Ok(bytes.len()) {
            return Err(damaged("its length is not the one it names"));
        }
        if crc32fast::hash(&bytes[HEADER..]) != u32_at(header, 24) {
            return Err(damaged("its checksum is another"));
        }
        let count = u32_at(header, 12);
        if count > MOST_SECTIONS {
            return Err(damaged("it names more sections than a model has"));
        }
        let table = bytes.get(HEADER..HEADER + ENTRY * count as usize).ok_or(damaged("the table is cut off"))?;
        let mut image = Image { bytes, manifest: 0..0, folds: Vec::new() };
        for entry in table.chunks_exact(ENTRY) {
            let place = |at: usize| usize::try_from(u64_at(entry, at)).ok();
            let range = place(8).zip(place(16)).and_then(|(start, len)| Some(start..start.checked_add(len)?));
            let range = range.filter(|r| r.end <= bytes.len() && r.start % ALIGN == 0);
            let range = range.ok_or(damaged("a section lies outside"))?;
            let fold = u32_at(entry, 4) as usize;
            match u32_at(entry, 0) {
                MANIFEST => image.manifest = range,
                // Folds come in order, each graph before its weights.
                GRAPH if fold == image.folds.len() => image.folds.push((range, 0..0)),
                WEIGHTS if fold + 1 == image.folds.len() => image.folds[fold].1 = range,
                GRAPH | WEIGHTS => return Err(damaged("its folds are out of order")),
                // A later minor version may add sections.
                _ => {}
            }
        }
        if image.folds.is_empty() {
            return Err(damaged("there is no network in it"));
        }
        Ok(image)
    }

    /// The manifest, as JSON text.
    ///
    /// # Errors
    /// It is no text.
    pub fn manifest_json(&self) -> Result<&'a str, ImageError> {
        core::str::from_utf8(&self.bytes[self.manifest.clone()])
            .map_err(|_| ImageError::Damaged("its manifest is no text"))
    }

    /// The networks, one a fold, with their weights where they lie.
    ///
    /// # Errors
    /// A graph that does not hold together.
    pub fn networks(&self, isa: Isa) -> Result<Vec<Network<'a>>, ImageError> {
        self.folds
            .iter()
            .map(|(graph, weights)| {
                let graph: Graph = postcard::from_bytes(&self.bytes[graph.clone()])
                    .map_err(|_| ImageError::Damaged("a graph cannot be read"))?;
                let weights = Weights::Borrowed(&self.bytes[weights.clone()]);
                Network::new(isa, graph, weights).map_err(ImageError::Graph)
            })
            .collect()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
