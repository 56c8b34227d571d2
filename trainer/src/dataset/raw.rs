//! nnU-Net's raw dataset folder: `dataset.json`, `imagesTr`, `labelsTr`, and which files belong to which case.

use scanside_app::error::{Error, ErrorKind, OrError, OrPathError};
use scanside_core::nnunet::labels::Dataset;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One training case: its files, which need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawCase {
    /// The case's name.
    pub id: String,
    /// One file per channel, in order (or one file with all channels).
    pub images: Vec<PathBuf>,
    /// The label map.
    pub label: PathBuf,
}

/// A raw dataset.
#[derive(Clone, Debug)]
pub struct RawDataset {
    /// The folder.
    pub folder: PathBuf,
    /// Name of the folder, which is nnU-Net's name of the dataset.
    pub name: String,
    /// Channels and labels.
    pub dataset: Dataset,
    /// `dataset.json` as read.
    pub json: String,
    /// Ending of image and label files.
    pub file_ending: String,
    /// The number of cases that `dataset.json` announces.
    pub announced: Option<u64>,
    /// The cases come from the entry `dataset`, not from the folder.
    pub explicit: bool,
    /// Entries of `labels`, background and ignore among them.
    pub label_entries: usize,
    /// All cases, sorted by name.
    pub cases: Vec<RawCase>,
}

impl RawDataset {
    /// Reads `dataset.json` and lists the cases: those of its entry `dataset` if it has one, otherwise those of `imagesTr`.
    ///
    /// # Errors
    /// `dataset.json` is missing or wrong, or a folder cannot be listed.
    pub fn open(folder: &Path) -> Result<RawDataset, Error> {
        let path = folder.join("dataset.json");
        let bad = |what: String| Error::new(ErrorKind::Input, format!("{}: {what}", path.display())).about(&path);
        let json = std::fs::read_to_string(&path).or_error_with(ErrorKind::Input, || {
            format!(
                "{} cannot be read; a raw nnU-Net dataset has this file beside imagesTr and labelsTr",
                path.display()
            )
        })?;
        let dataset = Dataset::parse(&json, &path).or_error(ErrorKind::Input)?;
        let root: Value = serde_json::from_str(&json).map_err(|e| Error::cannot_read(ErrorKind::Input, &path, e))?;
        let file_ending = root.get("file_ending").and_then(Value::as_str).map(str::to_string);
        let explicit = root.get("dataset");
        let file_ending = match (file_ending, explicit) {
            (Some(ending), _) => ending,
            (None, _) => {
                return Err(bad("`file_ending` is missing; for NIfTI files it is \".nii.gz\" or \".nii\"".into()));
            }
        };
        if !matches!(file_ending.as_str(), ".nii.gz" | ".nii") {
            return Err(bad(format!("`file_ending` is {file_ending}, but only .nii.gz and .nii are supported")));
        }
        let mut cases = match explicit {
            Some(cases) => explicit_cases(cases, folder).map_err(|what| bad(format!("`dataset` {what}")))?,
            None => listed_cases(folder, &file_ending)?,
        };
        cases.sort_by(|a, b| a.id.cmp(&b.id));
        let absolute = std::path::absolute(folder).or_cannot_read(ErrorKind::Input, folder)?;
        let name = absolute.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(RawDataset {
            folder: absolute,
            name,
            dataset,
            announced: root.get("numTraining").and_then(Value::as_u64),
            explicit: explicit.is_some(),
            label_entries: root.get("labels").and_then(Value::as_object).map_or(0, Map::len),
            json,
            file_ending,
            cases,
        })
    }

    /// The case called `id`.
    pub fn case(&self, id: &str) -> Option<&RawCase> {
        self.cases.binary_search_by(|case| case.id.as_str().cmp(id)).ok().map(|place| &self.cases[place])
    }

    /// Every value that a label map may contain.
    pub fn label_values(&self) -> Vec<u16> {
        let mut values: Vec<u16> = self.dataset.trained.iter().flatten().copied().collect();
        values.push(0);
        values.extend(self.dataset.ignore);
        values.sort_unstable();
        values.dedup();
        values
    }

    /// A `splits_final.json` that comes with the dataset.
    pub fn splits(&self) -> PathBuf {
        self.folder.join("splits_final.json")
    }
}

/// Names of the files in a folder with the given ending, sorted.
pub(super) fn files(folder: &Path, ending: &str) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).or_cannot_read(ErrorKind::Input, folder)? {
        let entry = entry.or_cannot_read(ErrorKind::Input, folder)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Hidden files are created by other systems ("._case.nii.gz") and are not cases.
        if name.ends_with(ending) && !name.starts_with('.') && entry.path().is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The case and the channel in the name of an image file: `CASE_0001.nii.gz` is channel 1 of `CASE`.
pub(super) fn case_and_channel<'a>(name: &'a str, ending: &str) -> Option<(&'a str, usize)> {
    let stem = name.strip_suffix(ending)?;
    let (id, channel) = stem.rsplit_once('_')?;
    let digits = channel.len() == 4 && channel.bytes().all(|b| b.is_ascii_digit());
    if digits && !id.is_empty() { Some((id, channel.parse().ok()?)) } else { None }
}

fn listed_cases(folder: &Path, ending: &str) -> Result<Vec<RawCase>, Error> {
    let images = folder.join("imagesTr");
    let mut by_id: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for name in files(&images, ending)? {
        if let Some((id, _)) = case_and_channel(&name, ending) {
            by_id.entry(id.to_string()).or_default().push(images.join(&name));
        }
    }
    let labels = folder.join("labelsTr");
    Ok(by_id
        .into_iter()
        .map(|(id, images)| RawCase { label: labels.join(format!("{id}{ending}")), images, id })
        .collect())
}

fn explicit_cases(cases: &Value, folder: &Path) -> Result<Vec<RawCase>, String> {
    let cases = cases.as_object().ok_or("must name cases: {\"CASE\": {\"images\": [...], \"label\": ...}}")?;
    cases
        .iter()
        .map(|(id, entry)| {
            let path = |value: &Value, what: &str| {
                let text = value.as_str().ok_or_else(|| format!("gives case {id} a {what} that is not a file name"))?;
                if text.contains('$') {
                    return Err(format!(
                        "gives case {id} the {what} {text}; variables are not expanded, so write the whole path"
                    ));
                }
                Ok(folder.join(text))
            };
            if id.is_empty() || id.contains(['/', '\\']) || id.starts_with('.') {
                return Err(format!("has a case named {id:?}, which cannot be a file name"));
            }
            let images = entry.get("images").and_then(Value::as_array).ok_or(format!("gives case {id} no images"))?;
            let images = images.iter().map(|image| path(image, "image")).collect::<Result<Vec<_>, _>>()?;
            let label = path(entry.get("label").unwrap_or(&Value::Null), "label")?;
            Ok(RawCase { id: id.clone(), images, label })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_contain_case_and_channel() {
        assert_eq!(case_and_channel("a_b_0012.nii.gz", ".nii.gz"), Some(("a_b", 12)));
        for name in ["a_b.nii.gz", "a_012.nii.gz", "_0000.nii.gz", "a_0000.nii", "a_00x0.nii.gz"] {
            assert_eq!(case_and_channel(name, ".nii.gz"), None, "{name}");
        }
    }

    #[test]
    fn cases_come_from_the_folder_or_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("Dataset001_X");
        std::fs::create_dir_all(root.join("imagesTr")).unwrap();
        for name in ["b_0000.nii", "b_0001.nii", "a_0000.nii", "a_0001.nii", "notes.txt", "._a_0000.nii"] {
            std::fs::write(root.join("imagesTr").join(name), b"x").unwrap();
        }
        let head =
            r#""channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii""#;
        std::fs::write(root.join("dataset.json"), format!("{{{head}, \"numTraining\": 2}}")).unwrap();
        let raw = RawDataset::open(&root).unwrap();
        assert_eq!((raw.name.as_str(), raw.announced), ("Dataset001_X", Some(2)));
        let ids: Vec<_> = raw.cases.iter().map(|case| (case.id.as_str(), case.images.len())).collect();
        assert_eq!(ids, [("a", 2), ("b", 2)]);
        assert_eq!(raw.case("b").unwrap().label, root.join("labelsTr/b.nii"));

        let dataset = r#""dataset": {"q": {"images": ["x/1.nii", "/y/2.nii"], "label": "z.nii"}}"#;
        std::fs::write(root.join("dataset.json"), format!("{{{head}, {dataset}}}")).unwrap();
        let raw = RawDataset::open(&root).unwrap();
        assert_eq!(raw.cases[0].images, [root.join("x/1.nii"), PathBuf::from("/y/2.nii")]);

        std::fs::write(root.join("dataset.json"), format!("{{{}}}", head.replace(".nii", ".mha"))).unwrap();
        assert!(RawDataset::open(&root).unwrap_err().to_string().contains("only .nii.gz and .nii are supported"));
    }
}
