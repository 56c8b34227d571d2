//! The byte form of a compiled model, read in place: for flash, and for starting without a graph library.
//!
//! A header, a table of sections, and the sections, each at an offset divisible by 64: the manifest as JSON text and as
//! records that a program without std reads, and for each fold its graph and its weights. Numbers are little-endian.
//! `docs/file-format.md` describes every byte.

mod manifest_form;

use super::layout::Network;
use super::spec::{Graph, SpecError};
use super::weights::Weights;
use crate::arch::Isa;
use crate::manifest::{Manifest, ManifestError};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

const MAGIC: [u8; 8] = *b"SCANSIDE";
const MAJOR: u16 = 1;
const MINOR: u16 = 1;
const HEADER: usize = 64;
const ENTRY: usize = 32;
/// Where sections start: the widest alignment that kernels ask of weights.
const ALIGN: usize = 64;
/// More sections than any model has.
const MOST_SECTIONS: u32 = 1 << 12;

const MANIFEST_JSON: u32 = 1;
const GRAPH: u32 = 2;
const WEIGHTS: u32 = 3;
const MANIFEST: u32 = 4;

/// Bytes at an address divisible by 64; [`include_image!`](crate::include_image) makes it.
#[doc(hidden)]
#[repr(C, align(64))]
pub struct Aligned<T: ?Sized>(pub T);

/// Embeds a compiled model in the program, at an address that [`Image::open`](crate::network::Image::open) takes. Gives
/// `&'static [u8]`. The path is relative to the source file, as for `include_bytes!`.
///
/// ```
/// use scanside_core::engine::Engine;
/// use scanside_core::network::{Image, Isa, NativeEngine};
///
/// static MODEL: &[u8] = scanside_core::include_image!("../../../../tests/golden/image/student.image");
///
/// let image = Image::open(MODEL)?;
/// let manifest = image.manifest()?;
/// let engine = NativeEngine::new(image.networks(Isa::detect())?).expect("folds of one shape");
/// assert_eq!(engine.shape().patch_zyx, manifest.grid.patch_zyx);
/// # Ok::<(), scanside_core::network::ImageError>(())
/// ```
#[macro_export]
macro_rules! include_image {
    ($path:expr $(,)?) => {{
        const IMAGE: &$crate::network::Aligned<[u8]> = &$crate::network::Aligned(*include_bytes!($path));
        let bytes: &'static [u8] = &IMAGE.0;
        bytes
    }};
}

/// Why bytes cannot be used as a compiled model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ImageError {
    /// They do not begin as a compiled model does.
    NotAnImage,
    /// They have this major version, which the program does not read.
    Version(u16),
    /// They do not start at an address divisible by 64.
    Alignment,
    /// There are more or fewer bytes than the header says.
    Length {
        /// Bytes that the header names.
        header: u64,
        /// Bytes there are.
        actual: usize,
    },
    /// The bytes are not those that were written.
    Checksum {
        /// CRC-32 in the header.
        header: u32,
        /// CRC-32 of the bytes.
        computed: u32,
    },
    /// Their content is inconsistent.
    Damaged(String),
    /// The file was written before compiled models had a manifest that is read without std.
    NoManifest,
    /// The manifest has a record of this number, which labels depend on and the program does not know.
    NewerManifest(u32),
    /// The manifest breaks rules of its own.
    Manifest(ManifestError),
    /// A graph is inconsistent.
    Graph(SpecError),
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::NotAnImage => f.write_str("these bytes are not a compiled model"),
            ImageError::Version(v) => write!(
                f,
                "the compiled model has format {v}, this program reads format {MAJOR}; run `scanside compile` again"
            ),
            ImageError::Alignment => f.write_str("the compiled model must lie at an address divisible by 64"),
            ImageError::Length { header, actual } => write!(
                f,
                "the compiled model has a length of {actual} bytes where its header names {header}; copy the file again"
            ),
            ImageError::Checksum { header, computed } => {
                write!(f, "checksum mismatch (header 0x{header:08x}, computed 0x{computed:08x}); copy the file again")
            }
            ImageError::Damaged(what) => write!(f, "the compiled model is damaged: {what}"),
            ImageError::NoManifest => write!(
                f,
                "the compiled model is older than format {MAJOR}.{MINOR} and has no manifest in binary form; run \
                 `scanside compile` again"
            ),
            ImageError::NewerManifest(number) => write!(
                f,
                "the compiled model's manifest has record {number}, which this program does not know; a newer scanside \
                 is needed"
            ),
            ImageError::Manifest(e) => write!(f, "the compiled model's manifest cannot be used: {e}"),
            ImageError::Graph(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for ImageError {}

/// Writes a compiled model: its manifest, which is also given as JSON text for people and other programs, and the graph
/// and weights of each fold.
///
/// # Errors
/// A graph that fails its check ([`Graph::check`]): a defect of the caller.
pub fn write_image(
    manifest: &Manifest,
    manifest_json: &str,
    folds: &[(&Graph, &Weights<'_>)],
) -> Result<Vec<u8>, SpecError> {
    let encoder = |e: postcard::Error| SpecError(format!("it cannot be written: {e}"));
    let mut sections: Vec<(u32, u32, Vec<u8>)> = alloc::vec![
        (MANIFEST_JSON, 0, manifest_json.as_bytes().to_vec()),
        (MANIFEST, 0, manifest_form::write(manifest).map_err(encoder)?),
    ];
    for (fold, (graph, weights)) in (0u32..).zip(folds) {
        graph.check(weights.bytes().len())?;
        sections.push((GRAPH, fold, postcard::to_allocvec(graph).map_err(encoder)?));
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

/// A compiled model where it lies. The checksum guards against damage, not against malice; what the bytes ask is checked
/// before it is used either way. Opening takes time and memory in proportion to their number.
pub struct Image<'a> {
    bytes: &'a [u8],
    manifest_json: Range<usize>,
    manifest: Option<Range<usize>>,
    /// Graph and weights of each fold.
    folds: Vec<(Range<usize>, Range<usize>)>,
}

impl<'a> Image<'a> {
    /// Whether these are the first bytes of a compiled model, of whatever version.
    pub fn is_image(start: &[u8]) -> bool {
        start.starts_with(&MAGIC)
    }

    /// Reads the header and the table, and checks them and the checksum. The bytes start at an address divisible by 64;
    /// [`include_image!`](crate::include_image) places them so.
    ///
    /// # Errors
    /// Bytes of something else or another version, or damaged ones.
    pub fn open(bytes: &'a [u8]) -> Result<Image<'a>, ImageError> {
        if !Self::is_image(bytes) {
            return Err(ImageError::NotAnImage);
        }
        let header = bytes.get(..HEADER).ok_or_else(|| damaged(format!("it ends after {} bytes", bytes.len())))?;
        let major = u16::from_le_bytes([header[8], header[9]]);
        if major != MAJOR {
            return Err(ImageError::Version(major));
        }
        if bytes.as_ptr().align_offset(ALIGN) != 0 {
            return Err(ImageError::Alignment);
        }
        let (length, checksum) = (u64_at(header, 16), u32_at(header, 24));
        if length != bytes.len() as u64 {
            return Err(ImageError::Length { header: length, actual: bytes.len() });
        }
        let computed = crc32fast::hash(&bytes[HEADER..]);
        if computed != checksum {
            return Err(ImageError::Checksum { header: checksum, computed });
        }
        let mut image = Image { bytes, manifest_json: 0..0, manifest: None, folds: Vec::new() };
        image.read_table(u32_at(header, 12))?;
        if image.folds.is_empty() {
            return Err(damaged("there is no network in it"));
        }
        Ok(image)
    }

    /// Notes where each section lies. Sections follow one another, so that together they are no longer than the file.
    fn read_table(&mut self, count: u32) -> Result<(), ImageError> {
        let bytes = self.bytes;
        if count > MOST_SECTIONS {
            return Err(damaged(format!("it names {count} sections; the most is {MOST_SECTIONS}")));
        }
        let mut end = HEADER + ENTRY * count as usize;
        let table =
            bytes.get(HEADER..end).ok_or_else(|| damaged(format!("its table of {count} sections is cut off")))?;
        for (i, entry) in table.chunks_exact(ENTRY).enumerate() {
            let (kind, fold) = (u32_at(entry, 0), u32_at(entry, 4) as usize);
            let (offset, length) = (u64_at(entry, 8), u64_at(entry, 16));
            let range = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
            let range = range.and_then(|(start, len)| Some(start..start.checked_add(len)?));
            let inside = |r: &Range<usize>| r.start >= end && r.end <= bytes.len() && r.start.is_multiple_of(ALIGN);
            let range = range.filter(inside).ok_or_else(|| {
                let size = bytes.len();
                damaged(format!(
                    "section {i}, 0x{offset:x}+{length}, is not between 0x{end:x} and the end ({size} bytes)"
                ))
            })?;
            end = range.end;
            match kind {
                MANIFEST_JSON => self.manifest_json = range,
                MANIFEST => self.manifest = Some(range),
                // Folds come in order, each graph before its weights.
                GRAPH if fold == self.folds.len() => self.folds.push((range, 0..0)),
                WEIGHTS if fold + 1 == self.folds.len() => self.folds[fold].1 = range,
                GRAPH | WEIGHTS => return Err(damaged(format!("section {i} belongs to fold {fold}, out of order"))),
                // A later minor version may add sections.
                _ => {}
            }
        }
        Ok(())
    }

    /// The manifest as JSON text, as it was written for people and other programs. [`Self::manifest`] is what holds.
    ///
    /// # Errors
    /// The bytes are not UTF-8.
    pub fn manifest_json(&self) -> Result<&'a str, ImageError> {
        core::str::from_utf8(&self.bytes[self.manifest_json.clone()])
            .map_err(|e| damaged(format!("its manifest is no text: {e}")))
    }

    /// The manifest. It keeps its rules ([`Manifest::check`]), and agrees with the networks in channels, heads, patch and
    /// number of folds.
    ///
    /// # Errors
    /// A file older than format 1.1, a manifest that a newer version is needed for, or one that is damaged, breaks a rule
    /// or disagrees with the networks.
    pub fn manifest(&self) -> Result<Manifest, ImageError> {
        let range = self.manifest.clone().ok_or(ImageError::NoManifest)?;
        let manifest = manifest_form::read(&self.bytes[range])?;
        manifest.check().map_err(ImageError::Manifest)?;
        if manifest.folds != self.folds.len() {
            let (named, actual) = (manifest.folds, self.folds.len());
            return Err(damaged(format!("its manifest names {named} folds, it holds {actual}")));
        }
        let described = (manifest.channels.len(), manifest.labels.heads().len(), manifest.grid.patch_zyx);
        for (i, (graph, _)) in self.folds.iter().enumerate() {
            // A graph begins with its channels, heads and patch.
            let shape = postcard::take_from_bytes::<(usize, usize, [usize; 3])>(&self.bytes[graph.clone()]);
            let (shape, _) = shape.map_err(|_| damaged(format!("the graph of fold {i} cannot be read")))?;
            if shape != described {
                return Err(damaged(format!(
                    "its manifest describes channels, heads and patch {described:?}, fold {i} has {shape:?}"
                )));
            }
        }
        Ok(manifest)
    }

    /// The networks, one for each fold, with their weights where they lie. Each is checked and laid out.
    ///
    /// # Errors
    /// A graph that does not hold together.
    pub fn networks(&self, isa: Isa) -> Result<Vec<Network<'a>>, ImageError> {
        let network = |(i, (graph, weights)): (usize, &(Range<usize>, Range<usize>))| {
            // Lists grow by what the bytes hold: the decoder never reserves more items than bytes are left.
            let graph: Graph = postcard::from_bytes(&self.bytes[graph.clone()])
                .map_err(|_| damaged(format!("the graph of fold {i} cannot be read")))?;
            let weights = Weights::Borrowed(&self.bytes[weights.clone()]);
            Network::new(isa, graph, weights).map_err(ImageError::Graph)
        };
        self.folds.iter().enumerate().map(network).collect()
    }
}

fn damaged(what: impl Into<String>) -> ImageError {
    ImageError::Damaged(what.into())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
