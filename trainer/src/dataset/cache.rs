//! A preprocessed case in a file that is memory-mapped.
//!
//! ```text
//! bytes                                                            little endian
//! 8          magic "scscase\n"
//! 4          version, 1
//! 4          n, bytes of the facts
//! n          facts: JSON, see CaseFacts
//! 4          CRC-32 of all before
//!            zeros up to the next multiple of 64
//! 4*C*Z*Y*X  image: f32, [channels, z, y, x]
//!            zeros up to the next multiple of 64
//! 2*Z*Y*X    labels: i16, [z, y, x]
//!            zeros up to the next multiple of 4
//! 4*...      class locations: u32, flat indices into [z, y, x], one list after the other
//! 4          CRC-32 of everything after the first one
//! ```

use super::mapping::Mapping;
use scanside_app::error::{Error, ErrorKind, OrError, OrPathError};
use scanside_app::output::PendingFile;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"scscase\n";
const VERSION: u32 = 1;
const ALIGNMENT: usize = 64;

/// Largest size of the facts: some names and a hundred bytes per class need far less.
const MAX_FACTS: usize = 16 << 20;

/// The description of a cached case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFacts {
    /// The case's name.
    pub id: String,
    /// Channels of the image.
    pub channels: usize,
    /// Shape on the network grid.
    pub shape_zyx: [usize; 3],
    /// Voxel distance on the network grid in millimetres.
    pub spacing_mm: [f64; 3],
    /// Network axis `i` is file axis `transpose[i]`.
    pub transpose: [usize; 3],
    /// Shape of the raw image: file axes `z, y, x`.
    pub raw_shape_zyx: [usize; 3],
    /// Voxel distance of the raw image in millimetres, file axes.
    pub raw_spacing_mm: [f64; 3],
    /// The part of the raw image that was kept, file axes, half-open.
    pub crop_zyx: [[usize; 2]; 3],
    /// SHA-256 of the plan's preprocessing settings.
    pub plan_sha256: String,
    /// SHA-256 of the raw files' contents.
    pub raw_sha256: String,
    /// The label values of each entry of the class locations.
    pub classes: Vec<Vec<i16>>,
    /// Lengths of the entries of the class locations.
    pub located: Vec<usize>,
}

impl CaseFacts {
    fn voxels(&self) -> Option<usize> {
        self.shape_zyx.iter().try_fold(1usize, |n, &k| n.checked_mul(k))
    }
}

/// The byte ranges of a case's parts in its file.
struct Parts {
    image: Range<usize>,
    labels: Range<usize>,
    locations: Range<usize>,
    end: usize,
}

impl Parts {
    /// `None` where the numbers overflow.
    fn new(facts: &CaseFacts, facts_bytes: usize) -> Option<Parts> {
        let voxels = facts.voxels()?;
        let located = facts.located.iter().try_fold(0usize, |n, &k| n.checked_add(k))?;
        let part = |after: usize, alignment: usize, numbers: usize, bytes: usize| {
            let start = after.checked_next_multiple_of(alignment)?;
            Some(start..start.checked_add(numbers.checked_mul(bytes)?)?)
        };
        let image = part(16 + facts_bytes + 4, ALIGNMENT, voxels.checked_mul(facts.channels)?, 4)?;
        let labels = part(image.end, ALIGNMENT, voxels, 2)?;
        let locations = part(labels.end, 4, located, 4)?;
        let end = locations.end.checked_add(4)?;
        Some(Parts { image, labels, locations, end })
    }
}

/// A cached case, mapped into memory. Cheap to open and to share between threads.
#[derive(Debug)]
pub struct CachedCase {
    path: PathBuf,
    facts: CaseFacts,
    mapping: Mapping,
    image: Range<usize>,
    labels: Range<usize>,
    locations: Vec<Vec<u32>>,
}

impl CachedCase {
    /// Opens a case: reads and checks its facts and class locations; the arrays are only mapped.
    ///
    /// # Errors
    /// The file cannot be read, is not a cached case, is truncated or damaged.
    pub fn open(path: &Path) -> Result<CachedCase, Error> {
        let bad = |what: &str| damaged(path, what);
        let file = File::open(path).or_cannot_read(ErrorKind::Input, path)?;
        if file.metadata().or_cannot_read(ErrorKind::Input, path)?.len() < 20 {
            return Err(bad("the cached case is truncated"));
        }
        // SAFETY: the bytes do not change. Cached cases are never written in place: a new version is renamed over the
        // old one, whose bytes remain until the last mapping is dropped.
        #[allow(unsafe_code)]
        let mapping = unsafe { Mapping::new(&file) }.or_cannot_read(ErrorKind::Input, path)?;
        let bytes = mapping.bytes();
        if &bytes[..8] != MAGIC {
            return Err(bad("this is not a cached case"));
        }
        let version = word(bytes, 8);
        if version != VERSION {
            return Err(bad(&format!("the cached case has version {version}, this program reads {VERSION}")));
        }
        let facts_bytes = word(bytes, 12) as usize;
        if facts_bytes > MAX_FACTS || bytes.len() < 16 + facts_bytes + 4 {
            return Err(bad("the cached case is truncated"));
        }
        let head = &bytes[..16 + facts_bytes];
        if crc32fast::hash(head) != word(bytes, head.len()) {
            return Err(bad("the cached case is damaged: checksum mismatch"));
        }
        let facts: CaseFacts = serde_json::from_slice(&head[16..])
            .map_err(|e| bad(&format!("the facts of the cached case are invalid ({e})")))?;
        let parts = Parts::new(&facts, facts_bytes).filter(|parts| parts.end == bytes.len());
        let Some(parts) = parts else {
            return Err(bad("the cached case is truncated, or longer than its facts state"));
        };
        let voxels = facts.voxels().unwrap_or(0);
        let mut at = parts.locations.start;
        let mut locations = Vec::with_capacity(facts.located.len());
        for &count in &facts.located {
            let list: Vec<u32> = bytes[at..at + 4 * count].chunks_exact(4).map(|four| word(four, 0)).collect();
            if list.iter().any(|&index| index as usize >= voxels) {
                return Err(bad("the cached case is damaged: a class location is outside of it"));
            }
            at += 4 * count;
            locations.push(list);
        }
        Ok(CachedCase { path: path.to_path_buf(), image: parts.image, labels: parts.labels, facts, mapping, locations })
    }

    /// The facts.
    pub fn facts(&self) -> &CaseFacts {
        &self.facts
    }

    /// The case's name.
    pub fn id(&self) -> &str {
        &self.facts.id
    }

    /// Channels of the image.
    pub fn channels(&self) -> usize {
        self.facts.channels
    }

    /// Shape on the network grid.
    pub fn shape_zyx(&self) -> [usize; 3] {
        self.facts.shape_zyx
    }

    /// Normalised intensities, `[channels, z, y, x]`.
    pub fn image(&self) -> &[f32] {
        self.mapping.floats(self.image.clone())
    }

    /// Label values, `[z, y, x]`; [`OUTSIDE`](crate::targets::OUTSIDE) outside the nonzero mask.
    pub fn labels(&self) -> &[i16] {
        self.mapping.shorts(self.labels.clone())
    }

    /// For each class, voxels at which patches can be centred, as flat indices into `[z, y, x]`. The classes are the foreground
    /// labels or the regions in order; a dataset with an ignore label has one more entry with all labelled voxels.
    pub fn locations(&self) -> &[Vec<u32>] {
        &self.locations
    }

    /// Reads the whole file and compares its checksum. Opening does not, because it would read every byte.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn verify(&self) -> Result<(), Error> {
        let bytes = self.mapping.bytes();
        let head = 16 + word(bytes, 12) as usize + 4;
        let end = bytes.len() - 4;
        if crc32fast::hash(&bytes[head..end]) == word(bytes, end) {
            return Ok(());
        }
        Err(damaged(&self.path, "the cached case is damaged: checksum mismatch"))
    }
}

fn damaged(path: &Path, what: &str) -> Error {
    let sentence = format!("{}: {what}; remove it and prepare the dataset again", path.display());
    Error::new(ErrorKind::Input, sentence).about(path)
}

pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes a case; the file appears whole or not at all. The arrays must have the shapes that the facts state.
///
/// # Errors
/// The file cannot be written.
pub fn write(
    path: &Path,
    facts: &CaseFacts,
    image: &[f32],
    labels: &[i16],
    locations: &[Vec<u32>],
) -> Result<(), Error> {
    let json = serde_json::to_vec(facts).or_error(ErrorKind::Internal)?;
    let parts = Parts::new(facts, json.len())
        .filter(|p| {
            p.image.len() == 4 * image.len()
                && p.labels.len() == 2 * labels.len()
                && facts.located.iter().eq(locations.iter().map(Vec::len).collect::<Vec<_>>().iter())
        })
        .ok_or_else(|| Error::new(ErrorKind::Internal, format!("{}: facts and arrays differ", path.display())))?;
    let mut pending = PendingFile::create(path)?;
    let mut write = || -> std::io::Result<()> {
        let mut out = Summed::new(BufWriter::with_capacity(1 << 18, &mut pending));
        out.put(MAGIC)?;
        out.put(&VERSION.to_le_bytes())?;
        out.put(&(json.len() as u32).to_le_bytes())?;
        out.put(&json)?;
        out.end_sum()?;
        out.pad(parts.image.start)?;
        out.put_all(image.iter().map(|v| v.to_le_bytes()))?;
        out.pad(parts.labels.start)?;
        out.put_all(labels.iter().map(|v| v.to_le_bytes()))?;
        out.pad(parts.locations.start)?;
        for list in locations {
            out.put_all(list.iter().map(|v| v.to_le_bytes()))?;
        }
        out.end_sum()?;
        out.into_inner().flush()
    };
    write().or_cannot_write(path)?;
    pending.publish()
}

/// Counts the bytes written, and computes their checksum.
pub(super) struct Summed<W: Write> {
    out: W,
    at: usize,
    sum: crc32fast::Hasher,
}

impl<W: Write> Summed<W> {
    pub(super) fn new(out: W) -> Summed<W> {
        Summed { out, at: 0, sum: crc32fast::Hasher::default() }
    }

    pub(super) fn into_inner(self) -> W {
        self.out
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.sum.update(bytes);
        self.at += bytes.len();
        self.out.write_all(bytes)
    }

    /// Numbers are written in blocks: one at a time, checksum and counting would cost more than the disk.
    fn put_all<const N: usize>(&mut self, numbers: impl Iterator<Item = [u8; N]>) -> std::io::Result<()> {
        let mut piece = Vec::with_capacity(1 << 16);
        for number in numbers {
            piece.extend_from_slice(&number);
            if piece.len() == 1 << 16 {
                self.put(&piece)?;
                piece.clear();
            }
        }
        self.put(&piece)
    }

    fn pad(&mut self, to: usize) -> std::io::Result<()> {
        self.put(&vec![0; to - self.at])
    }

    /// Writes the checksum of everything since the last one.
    pub(super) fn end_sum(&mut self) -> std::io::Result<()> {
        let sum = std::mem::take(&mut self.sum).finalize();
        self.at += 4;
        self.out.write_all(&sum.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (CaseFacts, Vec<f32>, Vec<i16>, Vec<Vec<u32>>) {
        let facts = CaseFacts {
            id: "case_ä".into(),
            channels: 2,
            shape_zyx: [3, 5, 7],
            spacing_mm: [2.5, 0.1 + 0.2, 1.0],
            transpose: [2, 0, 1],
            raw_shape_zyx: [9, 10, 11],
            raw_spacing_mm: [1.0, 2.5, 0.3],
            crop_zyx: [[0, 5], [1, 8], [2, 5]],
            plan_sha256: "p".into(),
            raw_sha256: "r".into(),
            classes: vec![vec![1], vec![2]],
            located: vec![0, 3],
        };
        let image = (0..210).map(|i| i as f32 * -0.37).collect();
        let labels = (0..105).map(|i| (i % 4) as i16 - 1).collect();
        (facts, image, labels, vec![vec![], vec![104, 0, 7]])
    }

    #[test]
    fn a_case_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.scase");
        let (facts, image, labels, locations) = example();
        write(&path, &facts, &image, &labels, &locations).unwrap();
        let case = CachedCase::open(&path).unwrap();
        case.verify().unwrap();
        assert_eq!((case.facts(), case.image(), case.labels()), (&facts, &image[..], &labels[..]));
        assert_eq!(case.locations(), locations);
        // Replaced while it is open: the mapped bytes stay.
        write(&path, &facts, &[0.0; 210], &labels, &locations).unwrap();
        assert_eq!(case.image(), image);
        fn shared<T: Send + Sync>(_: &T) {}
        shared(&case);
    }

    #[test]
    fn damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.scase");
        let (facts, image, labels, locations) = example();
        write(&path, &facts, &image, &labels, &locations).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let other = folder.path().join("b.scase");
        let mut noticed = 0;
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&other, &bytes).unwrap();
            let error = CachedCase::open(&other).and_then(|case| case.verify()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Input);
            noticed += 1;
        }
        assert_eq!(noticed, whole.len());
        for length in [0, 19, 30, whole.len() - 1] {
            std::fs::write(&other, &whole[..length]).unwrap();
            let text = CachedCase::open(&other).unwrap_err().to_string();
            assert!(text.contains("truncated") && text.contains("prepare the dataset again"), "{text}");
        }
    }

    #[test]
    fn facts_that_do_not_fit_the_arrays_are_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.scase");
        let (facts, image, labels, locations) = example();
        assert!(write(&path, &facts, &image[1..], &labels, &locations).is_err());
        assert!(write(&path, &facts, &image, &labels, &locations[1..]).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
