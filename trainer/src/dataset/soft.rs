//! The soft labels of a whole case in a file that is memory-mapped: one to four bytes per voxel.
//!
//! ```text
//! bytes                                                            little endian
//! 8          magic "scssoft\n"
//! 4          version, 1
//! 4          n, bytes of the facts
//! n          facts: JSON, see SoftFacts
//! 4          CRC-32 of all before
//! B*Z*Y*X    records, [z, y, x]; B is 4 for labels, the number of heads for regions
//! 4          CRC-32 of the records
//! ```
//!
//! A record of labels, which exclude each other, has four bytes: the likeliest label, the second label, and the codes of the
//! second's probability and of the sum of all others; the likeliest has the remainder. A record of regions has a code for each.
//! Codes are logarithmic, because students compare small probabilities by their ratio, and a temperature makes them larger.

use super::cache::{Summed, word};
use super::mapping::Mapping;
use scanside_app::error::{Error, ErrorKind, OrError, OrPathError};
use scanside_app::output::PendingFile;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::LazyLock;

const MAGIC: &[u8; 8] = b"scssoft\n";
const VERSION: u32 = 1;
/// Largest size of the facts.
const MAX_FACTS: usize = 1 << 20;

/// Codes per factor e of a probability: neighbouring codes differ by 6 %.
const PER_E: f32 = 16.0;
/// Codes per unit of a region's logit.
const PER_LOGIT: f32 = 8.0;
/// The code of the logit 0.
const EVEN: f32 = 128.0;

/// Probabilities of the codes of labels.
static OF_LABEL: LazyLock<[f32; 256]> = LazyLock::new(|| std::array::from_fn(|code| (-(code as f32) / PER_E).exp()));
/// Probabilities of the codes of regions.
static OF_REGION: LazyLock<[f32; 256]> =
    LazyLock::new(|| std::array::from_fn(|code| 1.0 / (1.0 + ((EVEN - code as f32) / PER_LOGIT).exp())));

/// The heads of soft labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SoftHeads {
    /// This many labels, which exclude each other.
    Labels(u8),
    /// This many regions, which may overlap.
    Regions(u8),
}

impl SoftHeads {
    /// The number of heads.
    pub fn count(self) -> usize {
        match self {
            SoftHeads::Labels(count) | SoftHeads::Regions(count) => count.into(),
        }
    }

    /// Bytes of a voxel's record.
    pub fn record_bytes(self) -> usize {
        match self {
            SoftHeads::Labels(_) => 4,
            SoftHeads::Regions(count) => count.into(),
        }
    }

    /// Appends the record of a voxel's probabilities, one per head; those of labels sum to 1.
    pub fn encode(self, probabilities: &[f32], records: &mut Vec<u8>) {
        let code = |p: f32| (-PER_E * p.max(f32::MIN_POSITIVE).ln()).round().clamp(0.0, 255.0) as u8;
        match self {
            SoftHeads::Regions(_) => records.extend(probabilities.iter().map(|p| {
                let logit = p.max(f32::MIN_POSITIVE).ln() - (1.0 - p).max(f32::MIN_POSITIVE).ln();
                (PER_LOGIT * logit + EVEN).round().clamp(0.0, 255.0) as u8
            })),
            SoftHeads::Labels(_) => {
                let (mut first, mut second) = (0, usize::from(probabilities.len() > 1));
                if probabilities[second] > probabilities[first] {
                    (first, second) = (second, first);
                }
                for (i, p) in probabilities.iter().enumerate().skip(2) {
                    if *p > probabilities[first] {
                        (first, second) = (i, first);
                    } else if *p > probabilities[second] {
                        second = i;
                    }
                }
                let others = probabilities.iter().enumerate().filter(|(i, _)| *i != first && *i != second);
                let rest: f32 = others.map(|(_, p)| p).sum();
                records.extend([first as u8, second as u8, code(probabilities[second]), code(rest)]);
            }
        }
    }

    /// The record of a voxel outside of the case: background, or no region.
    pub fn outside(self) -> Vec<u8> {
        match self {
            SoftHeads::Labels(_) => vec![0, 1, 255, 255],
            SoftHeads::Regions(count) => vec![0; count.into()],
        }
    }

    /// Adds `weight` times the probabilities of a record to `sums`, one per head.
    #[inline]
    pub fn add(self, record: &[u8], weight: f32, sums: &mut [f32]) {
        match self {
            SoftHeads::Regions(_) => {
                let table = &*OF_REGION;
                sums.iter_mut().zip(record).for_each(|(sum, code)| *sum += weight * table[usize::from(*code)]);
            }
            SoftHeads::Labels(count) => {
                let table = &*OF_LABEL;
                let others = usize::from(count).saturating_sub(2);
                let rest = if others > 0 { table[usize::from(record[3])] } else { 0.0 };
                // Codes are rounded: the sum of the two may exceed 1 slightly.
                let second = table[usize::from(record[2])].min(1.0 - rest);
                let each = if others > 0 { rest / others as f32 } else { 0.0 };
                if each > 0.0 {
                    sums.iter_mut().for_each(|sum| *sum += weight * each);
                }
                sums[usize::from(record[0])] += weight * (1.0 - rest - second - each);
                sums[usize::from(record[1])] += weight * (second - each);
            }
        }
    }
}

/// The description of a file of soft labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftFacts {
    /// The case's name.
    pub id: String,
    /// Extents on the network grid.
    pub shape_zyx: [usize; 3],
    /// The heads.
    pub heads: SoftHeads,
    /// SHA-256 over the teachers' networks.
    pub teachers_sha256: String,
    /// SHA-256 of the plan's preprocessing settings.
    pub plan_sha256: String,
    /// SHA-256 of the raw files' contents.
    pub raw_sha256: String,
}

/// Soft labels of a case, from which patches are cut.
#[derive(Clone, Copy, Debug)]
pub struct SoftLabels<'a> {
    /// Extents: `z, y, x`.
    pub shape_zyx: [usize; 3],
    /// The heads.
    pub heads: SoftHeads,
    /// One record per voxel, `[z, y, x]`.
    pub records: &'a [u8],
}

/// A case's soft labels, mapped into memory.
#[derive(Debug)]
pub struct SoftCase {
    facts: SoftFacts,
    mapping: Mapping,
    records: std::ops::Range<usize>,
}

impl SoftCase {
    /// Opens a file and checks all of it.
    ///
    /// # Errors
    /// The file cannot be read, is not a file of soft labels, is truncated or damaged.
    pub fn open(path: &Path) -> Result<SoftCase, Error> {
        let bad =
            |what: &str| Error::new(ErrorKind::Input, format!("{}: {what}; remove it", path.display())).about(path);
        let file = File::open(path).or_cannot_read(ErrorKind::Input, path)?;
        if file.metadata().or_cannot_read(ErrorKind::Input, path)?.len() < 24 {
            return Err(bad("the file of soft labels is truncated"));
        }
        // SAFETY: the bytes do not change. Files of soft labels are never written in place: a new version is renamed over the
        // old one, whose bytes remain until the last mapping is dropped.
        #[allow(unsafe_code)]
        let mapping = unsafe { Mapping::new(&file) }.or_cannot_read(ErrorKind::Input, path)?;
        let bytes = mapping.bytes();
        if &bytes[..8] != MAGIC {
            return Err(bad("this is not a file of soft labels"));
        }
        let version = word(bytes, 8);
        if version != VERSION {
            return Err(bad(&format!("the soft labels have version {version}, this program reads {VERSION}")));
        }
        let length = word(bytes, 12) as usize;
        if length > MAX_FACTS || bytes.len() < 16 + length + 8 {
            return Err(bad("the file of soft labels is truncated"));
        }
        let head = &bytes[..16 + length];
        let facts: SoftFacts = match crc32fast::hash(head) == word(bytes, head.len()) {
            true => serde_json::from_slice(&head[16..]).map_err(|e| bad(&format!("its facts are invalid ({e})")))?,
            false => return Err(bad("the soft labels are damaged: checksum mismatch")),
        };
        let start = head.len() + 4;
        let size = records_bytes(&facts).and_then(|n| start.checked_add(n)).filter(|end| end + 4 == bytes.len());
        let Some(end) = size else {
            return Err(bad("the file of soft labels is truncated, or longer than its facts state"));
        };
        if crc32fast::hash(&bytes[start..end]) != word(bytes, end) {
            return Err(bad("the soft labels are damaged: checksum mismatch"));
        }
        if let SoftHeads::Labels(count) = facts.heads {
            // Decoding a record uses its labels as indices.
            if bytes[start..end].chunks_exact(4).any(|record| record[0] >= count || record[1] >= count) {
                return Err(bad("the soft labels name a label that the dataset does not have"));
            }
        }
        Ok(SoftCase { facts, mapping, records: start..end })
    }

    /// The facts.
    pub fn facts(&self) -> &SoftFacts {
        &self.facts
    }

    /// The labels.
    pub fn labels(&self) -> SoftLabels<'_> {
        SoftLabels {
            shape_zyx: self.facts.shape_zyx,
            heads: self.facts.heads,
            records: &self.mapping.bytes()[self.records.clone()],
        }
    }
}

fn records_bytes(facts: &SoftFacts) -> Option<usize> {
    facts.shape_zyx.iter().try_fold(facts.heads.record_bytes(), |n, &k| n.checked_mul(k))
}

/// Writes soft labels; the file appears whole or not at all.
///
/// # Errors
/// The file cannot be written, or the number of records differs from the facts.
pub fn write(path: &Path, facts: &SoftFacts, records: &[u8]) -> Result<(), Error> {
    let json = serde_json::to_vec(facts).or_error(ErrorKind::Internal)?;
    if records_bytes(facts) != Some(records.len()) {
        return Err(Error::new(ErrorKind::Internal, format!("{}: facts and records differ", path.display())));
    }
    let mut pending = PendingFile::create(path)?;
    let mut write = || -> std::io::Result<()> {
        let mut out = Summed::new(BufWriter::with_capacity(1 << 18, &mut pending));
        out.put(MAGIC)?;
        out.put(&VERSION.to_le_bytes())?;
        out.put(&(json.len() as u32).to_le_bytes())?;
        out.put(&json)?;
        out.end_sum()?;
        out.put(records)?;
        out.end_sum()?;
        out.into_inner().flush()
    };
    write().or_cannot_write(path)?;
    pending.publish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(heads: SoftHeads, record: &[u8]) -> Vec<f32> {
        let mut sums = vec![0.0; heads.count()];
        heads.add(record, 1.0, &mut sums);
        sums
    }

    fn through(heads: SoftHeads, probabilities: &[f32]) -> Vec<f32> {
        let mut record = Vec::new();
        heads.encode(probabilities, &mut record);
        assert_eq!(record.len(), heads.record_bytes());
        decode(heads, &record)
    }

    proptest! {
        #[test]
        fn three_labels_come_back_within_a_code(logits in prop::array::uniform3(-12.0..12.0f32)) {
            let sum: f32 = logits.iter().map(|l| l.exp()).sum();
            let p = logits.map(|l| l.exp() / sum);
            let got = through(SoftHeads::Labels(3), &p);
            prop_assert!((got.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            for (got, p) in got.iter().zip(p) {
                // The likeliest takes what rounding leaves of the others; the last code stands for all that is less.
                prop_assert!((got - p).abs() <= 0.035 * p + 0.035 * p.min(1.0 - p) + 1.3e-7, "{} {}", got, p);
            }
        }

        #[test]
        fn regions_come_back_within_a_code(logit in -15.5..15.5f32) {
            let p = 1.0 / (1.0 + (-logit).exp());
            let got = through(SoftHeads::Regions(1), &[p])[0];
            // Near 1 a probability in single precision keeps no finer logit.
            let back = got.ln() - (1.0 - got).max(1e-7).ln();
            prop_assert!((back - logit).abs() <= 0.0626 || logit > 9.0 && got > 0.999, "{} {}", back, logit);
        }
    }

    #[test]
    fn of_many_labels_two_are_told_apart() {
        let got = through(SoftHeads::Labels(5), &[0.05, 0.6, 0.01, 0.3, 0.04]);
        assert!((got[1] - 0.6).abs() < 0.02 && (got[3] - 0.3).abs() < 0.01, "{got:?}");
        assert!(got[0] == got[2] && got[2] == got[4] && (got[0] - 0.1 / 3.0).abs() < 0.001, "{got:?}");
        assert!(through(SoftHeads::Labels(2), &[0.25, 0.75])[1] > 0.74);
        assert_eq!(through(SoftHeads::Labels(1), &[1.0]), [1.0]);
        assert!(decode(SoftHeads::Labels(3), &SoftHeads::Labels(3).outside())[0] > 0.999_999);
        assert!(decode(SoftHeads::Regions(2), &SoftHeads::Regions(2).outside()).iter().all(|p| *p < 2e-7));
    }

    #[test]
    fn files_come_back_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ssoft");
        let facts = SoftFacts {
            id: "a".into(),
            shape_zyx: [1, 2, 3],
            heads: SoftHeads::Labels(3),
            teachers_sha256: "t".into(),
            plan_sha256: "p".into(),
            raw_sha256: "r".into(),
        };
        let records: Vec<u8> = (0..6).flat_map(|i| [i % 3, (i + 1) % 3, 40, 80]).collect();
        write(&path, &facts, &records).unwrap();
        let case = SoftCase::open(&path).unwrap();
        assert_eq!((case.facts(), case.labels().records), (&facts, records.as_slice()));
        assert!(write(&path, &facts, &records[4..]).is_err());

        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(SoftCase::open(&path).unwrap_err().kind(), ErrorKind::Input, "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(SoftCase::open(&path).is_err(), "{at} bytes");
        }
        let beyond = [&[7, 1, 40, 80], &records[4..]].concat();
        write(&path, &facts, &beyond).unwrap();
        assert!(SoftCase::open(&path).unwrap_err().to_string().contains("does not have"));
    }
}
