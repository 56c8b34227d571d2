//! The largest component of some labels, kept in a whole label map that waits in a file.

use crate::error::{Error, ErrorKind};
use scanside_core::manifest::Labels;
use scanside_core::nnunet::postprocessing::read_postprocessing;
use scanside_core::postprocess::{ComponentFilter, ComponentScan, Fate, KeepLargest, PlaneLinks};
use scanside_core::volume::Index3;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Stands for all labels of the model together.
const ALL: &str = "all";

/// Marks a group that goes on, in the links of a plane; other numbers are voxels.
const JOINS: u64 = 1 << 63;

/// The rules for what a user asks to be kept: each text is a label's name or value, several with `+` between them that are
/// taken as one, or `all`.
///
/// # Errors
/// The model has no such label.
pub fn rules(texts: &[String], labels: &Labels) -> Result<Vec<KeepLargest>, Error> {
    let heads = labels.heads();
    let value = |text: &str| {
        let named = heads.iter().find(|head| head.value != 0 && head.name == text);
        let numbered = || heads.iter().find(|head| head.value != 0 && Ok(head.value) == text.parse());
        named.or_else(numbered).map(|head| head.value)
    };
    let rule = |text: &String| {
        // A name may itself hold a plus sign, or be "all".
        let values = match value(text) {
            Some(value) => vec![value],
            None if text == ALL => heads.iter().map(|head| head.value).filter(|value| *value != 0).collect(),
            None => text
                .split('+')
                .map(|part| value(part.trim()).ok_or_else(|| unknown(part.trim(), labels)))
                .collect::<Result<Vec<u16>, Error>>()?,
        };
        Ok(KeepLargest { labels: values, background: 0 })
    };
    texts.iter().map(rule).collect()
}

/// The rules of nnU-Net's `postprocessing.pkl` at `path`, which is read as data.
///
/// # Errors
/// The file cannot be read, asks for something else, or is about labels that the model does not have.
pub fn rules_of_nnunet(path: &Path, labels: &Labels) -> Result<Vec<KeepLargest>, Error> {
    let rules = read_postprocessing(path).map_err(|e| Error::of(ErrorKind::Model, e).about(path))?;
    let known = |value: &u16| *value == 0 || labels.heads().iter().any(|head| head.value == *value);
    let mut values = rules.iter().flat_map(|rule| rule.labels.iter().chain([&rule.background])).copied();
    let unknown = values.find(|value| !known(value));
    drop(values);
    match unknown {
        None => Ok(rules),
        Some(value) => {
            let sentence = format!("{} is about the label {value}, which the model does not have", path.display());
            Err(Error::new(ErrorKind::Model, sentence).about(path))
        }
    }
}

fn unknown(text: &str, labels: &Labels) -> Error {
    let known: Vec<&str> =
        labels.heads().iter().filter(|head| head.value != 0).map(|head| head.name.as_str()).collect();
    Error::new(
        ErrorKind::Usage,
        format!(
            "the model has no label \"{text}\"; its labels are {}, and all of them together are called all",
            known.join(", ")
        ),
    )
}

/// Label planes that wait in an unnamed file: 16 bits for each voxel, in ascending `z`.
pub(crate) struct WaitingPlanes {
    file: File,
    shape_zyx: Index3,
    bytes: Vec<u8>,
}

impl WaitingPlanes {
    /// An empty file in `folder`, for planes of a volume of this shape.
    pub(crate) fn create(folder: &Path, shape_zyx: Index3) -> io::Result<Self> {
        Ok(WaitingPlanes { file: tempfile::tempfile_in(folder)?, shape_zyx, bytes: Vec::new() })
    }

    /// Adds the next plane.
    pub(crate) fn push(&mut self, labels: &[u16]) -> io::Result<()> {
        self.bytes.clear();
        self.bytes.extend(labels.iter().flat_map(|label| label.to_le_bytes()));
        self.file.write_all(&self.bytes)
    }

    /// Hands over each plane from the first to the last.
    pub(crate) fn each<E: From<io::Error>>(&mut self, mut each: impl FnMut(&[u16]) -> Result<(), E>) -> Result<(), E> {
        let [planes, rows, columns] = self.shape_zyx;
        let mut labels = vec![0; rows * columns];
        for z in 0..planes {
            self.read(z, &mut labels)?;
            each(&labels)?;
        }
        Ok(())
    }

    /// Changes each plane, from the last to the first.
    fn change_backwards(&mut self, mut change: impl FnMut(&mut [u16]) -> io::Result<()>) -> io::Result<()> {
        let [planes, rows, columns] = self.shape_zyx;
        let mut labels = vec![0; rows * columns];
        for z in (0..planes).rev() {
            self.read(z, &mut labels)?;
            change(&mut labels)?;
            self.seek(z)?;
            self.push(&labels)?;
        }
        Ok(())
    }

    fn read(&mut self, z: usize, labels: &mut [u16]) -> io::Result<()> {
        self.seek(z)?;
        self.bytes.resize(2 * labels.len(), 0);
        self.file.read_exact(&mut self.bytes)?;
        for (label, pair) in labels.iter_mut().zip(self.bytes.chunks_exact(2)) {
            *label = u16::from_le_bytes([pair[0], pair[1]]);
        }
        Ok(())
    }

    fn seek(&mut self, z: usize) -> io::Result<()> {
        let [_, rows, columns] = self.shape_zyx;
        self.file.seek(SeekFrom::Start(2 * (z * rows * columns) as u64)).map(drop)
    }
}

/// Applies rules to the labels of a run, one after the other, as nnU-Net does.
pub(crate) struct Keeper {
    rules: Vec<KeepLargest>,
    shape_zyx: Index3,
    /// The first rule's pass over the planes as they come.
    scan: ComponentScan,
    links: LinkFile,
}

impl Keeper {
    /// Begins to apply `rules`; nothing where there are none. Temporary files lie in `folder`, without a name.
    pub(crate) fn create(rules: &[KeepLargest], shape_zyx: Index3, folder: &Path) -> io::Result<Option<Self>> {
        let Some(first) = rules.first() else { return Ok(None) };
        let scan = ComponentScan::new(first, shape_zyx[1], shape_zyx[2]);
        let links = LinkFile::create(folder)?;
        Ok(Some(Keeper { rules: rules.to_vec(), shape_zyx, scan, links }))
    }

    /// Bytes that it takes, whatever the labels are; `None` where they do not fit `usize`.
    pub(crate) fn bytes([_, rows, columns]: Index3) -> Option<usize> {
        let plane = rows.checked_mul(columns)?;
        let passes = ComponentScan::bytes(rows, columns)?.checked_add(ComponentFilter::bytes(rows, columns)?)?;
        // Links as they are stored and read, and a plane with its stored form.
        passes.checked_add(plane.checked_mul(12)?)
    }

    /// Upper bound of what its temporary file takes on the disk, beside the waiting planes.
    pub(crate) fn disk_bytes([planes, rows, columns]: Index3) -> usize {
        let most = rows.div_ceil(2).saturating_mul(columns.div_ceil(2));
        most.saturating_mul(12).saturating_add(8).saturating_mul(planes)
    }

    /// Takes the next plane of the run.
    pub(crate) fn push(&mut self, labels: &[u16]) -> io::Result<()> {
        self.links.push(self.scan.push(labels))
    }

    /// Applies all rules to the planes that were pushed and wait in `planes`. Gives the voxels that are left of each label
    /// value, up to the largest one.
    pub(crate) fn finish(mut self, planes: &mut WaitingPlanes) -> io::Result<Vec<u64>> {
        let [_, rows, columns] = self.shape_zyx;
        let mut counts = Vec::new();
        for number in 0..self.rules.len() {
            let rule = &self.rules[number];
            if number > 0 {
                self.scan.restart(rule);
                self.links.clear()?;
                planes.each(|labels| self.links.push(self.scan.push(labels)))?;
            }
            let mut filter = ComponentFilter::new(rule, rows, columns, &self.scan);
            counts.clear();
            planes.change_backwards(|labels| {
                filter.filter(labels, self.links.pop()?);
                let largest = labels.iter().copied().max().map_or(0, usize::from);
                counts.resize(counts.len().max(largest + 1), 0);
                labels.iter().for_each(|label| counts[usize::from(*label)] += 1);
                Ok(())
            })?;
        }
        Ok(counts)
    }
}

/// The links of all planes, in an unnamed file from whose end they are taken.
struct LinkFile {
    file: File,
    end: u64,
    bytes: Vec<u8>,
    groups: Vec<u32>,
    fates: Vec<Fate>,
}

impl LinkFile {
    fn create(folder: &Path) -> io::Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        Ok(LinkFile { file, end: 0, bytes: Vec::new(), groups: Vec::new(), fates: Vec::new() })
    }

    fn clear(&mut self) -> io::Result<()> {
        self.end = 0;
        self.file.seek(SeekFrom::Start(0)).map(drop)
    }

    /// Groups, fates, and how many there are of each.
    fn push(&mut self, links: PlaneLinks<'_>) -> io::Result<()> {
        self.bytes.clear();
        self.bytes.extend(links.groups.iter().flat_map(|group| group.to_le_bytes()));
        let fate = |fate: &Fate| match fate {
            Fate::Joins(group) => JOINS | u64::from(*group),
            Fate::Ends(size) => *size,
        };
        self.bytes.extend(links.fates.iter().flat_map(|f| fate(f).to_le_bytes()));
        for count in [links.groups.len(), links.fates.len()] {
            self.bytes.extend((count as u32).to_le_bytes());
        }
        self.end += self.bytes.len() as u64;
        self.file.write_all(&self.bytes)
    }

    fn pop(&mut self) -> io::Result<PlaneLinks<'_>> {
        let mut counts = [0; 8];
        self.take(&mut counts)?;
        let [groups, fates] = [0, 4].map(|at| u32::from_le_bytes(std::array::from_fn(|i| counts[at + i])) as usize);
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.resize(4 * groups + 8 * fates, 0);
        self.take(&mut bytes)?;
        let (first, second) = bytes.split_at(4 * groups);
        self.groups.clear();
        self.groups.extend(first.as_chunks().0.iter().map(|group| u32::from_le_bytes(*group)));
        self.fates.clear();
        self.fates.extend(second.as_chunks().0.iter().map(|fate| match u64::from_le_bytes(*fate) {
            joins if joins & JOINS != 0 => Fate::Joins((joins & !JOINS) as u32),
            size => Fate::Ends(size),
        }));
        self.bytes = bytes;
        Ok(PlaneLinks { groups: &self.groups, fates: &self.fates })
    }

    /// Reads the last bytes that are left.
    fn take(&mut self, into: &mut [u8]) -> io::Result<()> {
        self.end = self.end.checked_sub(into.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.read_exact(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scanside_core::manifest::Label;

    fn labels() -> Labels {
        let heads = [("background", 0), ("left", 1), ("right", 2), ("a+b", 5)];
        Labels::Exclusive { heads: heads.map(|(name, value)| Label::new(name, value)).to_vec() }
    }

    #[test]
    fn labels_are_named_numbered_and_joined() {
        let values = |text: &str| rules(&[text.to_owned()], &labels()).map(|rules| rules[0].labels.clone());
        assert_eq!(values("right").unwrap(), [2]);
        assert_eq!(values("5").unwrap(), [5]);
        assert_eq!(values("a+b").unwrap(), [5]);
        assert_eq!(values("left + 2").unwrap(), [1, 2]);
        assert_eq!(values("all").unwrap(), [1, 2, 5]);
        for text in ["liver", "0", "background", "7", "left+liver", ""] {
            let error = values(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage);
            assert!(error.to_string().contains("left, right, a+b"), "{error}");
        }
    }

    #[test]
    fn files_of_nnunet_give_rules_about_labels_of_the_model() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let function = "nnunetv2.postprocessing.remove_connected_components\n\
                        remove_all_but_largest_component_from_segmentation";
        for (value, known) in [(2, true), (7, false)] {
            let mut bytes = format!("]c{function}\na]}}S'labels_or_regions'\n").into_bytes();
            bytes.extend([b'K', value]);
            bytes.extend(b"sa\x86.");
            std::fs::write(file.path(), bytes).unwrap();
            match rules_of_nnunet(file.path(), &labels()) {
                Ok(rules) => assert_eq!((known, rules), (true, vec![KeepLargest { labels: vec![2], background: 0 }])),
                Err(error) => assert!(!known && error.to_string().contains("the label 7"), "{error}"),
            }
        }
    }

    /// Keeps components of a whole label map.
    fn kept(labels: &[u16], shape: Index3, rules: &[KeepLargest]) -> Vec<u16> {
        let folder = tempfile::tempdir().unwrap();
        let mut waiting = WaitingPlanes::create(folder.path(), shape).unwrap();
        let mut keeper = Keeper::create(rules, shape, folder.path()).unwrap().unwrap();
        for plane in labels.chunks_exact(shape[1] * shape[2]) {
            waiting.push(plane).unwrap();
            keeper.push(plane).unwrap();
        }
        assert!(keeper.links.end <= Keeper::disk_bytes(shape) as u64);
        let counts = keeper.finish(&mut waiting).unwrap();
        let mut all: Vec<u16> = Vec::new();
        let gathered: io::Result<()> = waiting.each(|plane| {
            all.extend(plane);
            Ok(())
        });
        gathered.unwrap();
        let count = |value: usize| all.iter().filter(|label| usize::from(**label) == value).count() as u64;
        assert_eq!(counts, (0..counts.len()).map(count).collect::<Vec<u64>>());
        assert!(counts.last() > Some(&0) && counts.iter().sum::<u64>() == all.len() as u64);
        all
    }

    #[test]
    fn label_maps_become_those_of_nnunet() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/components");
        let index = std::fs::read(folder.join("index.json")).unwrap();
        let cases: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let read = |name: &serde_json::Value| {
            let map = scanside_formats::read_labels(folder.join(name.as_str().unwrap())).unwrap();
            let labels: Vec<u16> = map.labels.iter().map(|label| *label as u16).collect();
            (map.grid().shape_zyx, labels)
        };
        let cases = cases.as_array().unwrap();
        assert_eq!(cases.len(), 16);
        for case in cases {
            let rules: Vec<Vec<u16>> = serde_json::from_value(case["rules"].clone()).unwrap();
            let rules: Vec<KeepLargest> =
                rules.into_iter().map(|labels| KeepLargest { labels, background: 0 }).collect();
            let ((shape, labels), (_, expected)) = (read(&case["labels"]), read(&case["expected"]));
            assert_eq!(kept(&labels, shape, &rules), expected, "{case}");
            let removed = labels.iter().zip(&expected).filter(|(a, b)| a != b).count();
            assert!(removed > 0 && case["removed"] == removed, "{case}");
        }
    }

    #[test]
    fn rules_apply_one_after_the_other() {
        // 1 and 2 together: the left part is larger. Of label 2 alone, the right part is.
        let planes = [[1, 1, 2, 0, 0, 2, 2, 0], [1, 1, 0, 0, 0, 0, 2, 0], [0, 0, 0, 0, 0, 0, 0, 0]];
        let rule = |labels: &[u16]| KeepLargest { labels: labels.to_vec(), background: 0 };
        let kept = |rules: &[KeepLargest]| kept(planes.as_flattened(), [3, 1, 8], rules)[..16].to_vec();
        assert_eq!(kept(&[rule(&[1, 2])]), [1, 1, 2, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(kept(&[rule(&[2])]), [1, 1, 0, 0, 0, 2, 2, 0, 1, 1, 0, 0, 0, 0, 2, 0]);
        assert_eq!(kept(&[rule(&[1, 2]), rule(&[2])]), [1, 1, 2, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(kept(&[rule(&[2]), rule(&[1, 2])]), [1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]);
    }
}
