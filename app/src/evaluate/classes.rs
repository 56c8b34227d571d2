//! What the label values are called.

use crate::error::{Error, ErrorKind, OrError, OrPathError};
use scanside_core::manifest::Label;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// A class: one label value, or several that make up a region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Class {
    /// Label values; first, so that classes sort by value.
    pub values: Vec<u32>,
    /// The name the training data gave it, or the value.
    pub name: String,
}

/// More label values than this without a name: the file holds something else than labels.
const MOST_UNNAMED: usize = 1000;

/// Classes that are known by name before any file is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassList {
    /// Ascending by value.
    pub named: Vec<Class>,
    /// Reference voxels of this value take no part, as in nnU-Net.
    pub ignore: Option<u32>,
}

impl ClassList {
    /// The classes of a model's heads, without the background.
    pub(super) fn of_heads(heads: &[Label]) -> Self {
        let classes = heads.iter().map(|head| Class { values: vec![head.value.into()], name: head.name.clone() });
        Self::of(classes.collect())
    }

    pub(super) fn of(mut named: Vec<Class>) -> Self {
        named.retain(|class| class.values.iter().any(|value| *value != 0));
        named.sort();
        ClassList { named, ignore: None }
    }

    /// The `labels` of the `dataset.json` in the labels' folder, or in the folder above it; none where there is no such file.
    pub(super) fn beside(labels: &Path) -> Result<Self, Error> {
        // "labels" alone has no folder above it, its absolute path has.
        let place = std::path::absolute(labels).unwrap_or_else(|_| labels.to_owned());
        let folders = place.ancestors().skip(usize::from(!place.is_dir())).take(2);
        for path in folders.map(|folder| folder.join("dataset.json")) {
            if path.is_file() {
                let text = std::fs::read_to_string(&path).or_cannot_read(ErrorKind::Input, &path)?;
                return Self::from_dataset(&text).or_error_with(ErrorKind::Input, || format!("in {}", path.display()));
            }
        }
        Ok(ClassList::default())
    }

    /// Reads the labels of a `dataset.json`: nnU-Net v2's `{"liver": 1, "tumour": [1, 2]}` and the older
    /// `{"1": "liver"}`.
    ///
    /// # Errors
    /// The text is not JSON, or its labels are not numbers.
    pub fn from_dataset(text: &str) -> Result<Self, Error> {
        let document: Value = serde_json::from_str(text).or_error_with(ErrorKind::Input, || "this is not JSON")?;
        let Some(labels) = document.get("labels").and_then(Value::as_object) else {
            return Err(Error::new(ErrorKind::Input, "there are no \"labels\""));
        };
        let mut classes = Vec::new();
        let mut ignore = None;
        for (key, entry) in labels {
            let value = |v: &Value| v.as_u64().and_then(|v| u32::try_from(v).ok());
            let (name, values) = match entry {
                Value::String(name) => (name.as_str(), key.parse().ok().map(|value| vec![value])),
                Value::Array(list) => (key.as_str(), list.iter().map(value).collect()),
                other => (key.as_str(), value(other).map(|value| vec![value])),
            };
            let Some(values) = values.filter(|values: &Vec<u32>| !values.is_empty()) else {
                let sentence = format!("the label \"{key}\" has no value from 0 to {}", u32::MAX);
                return Err(Error::new(ErrorKind::Input, sentence));
            };
            match (name, values.as_slice()) {
                ("ignore", [value]) => ignore = Some(*value),
                _ => classes.push(Class { values, name: name.to_owned() }),
            }
        }
        Ok(ClassList { ignore, ..Self::of(classes) })
    }

    /// The named classes, and one for each further value in the voxels.
    pub(super) fn with_values_of(&self, voxels: [&[u32]; 2]) -> Result<Vec<Class>, Error> {
        let mut known: BTreeSet<u32> = self.named.iter().flat_map(|class| class.values.iter().copied()).collect();
        known.insert(0);
        let mut all = self.named.clone();
        for voxels in voxels {
            let mut last = 0;
            for value in voxels {
                // Labels come in runs; most voxels need no look-up.
                if *value != last && known.insert(*value) {
                    all.push(Class { values: vec![*value], name: value.to_string() });
                    if all.len() - self.named.len() > MOST_UNNAMED {
                        let sentence =
                            format!("there are more than {MOST_UNNAMED} different values; this is not a label file");
                        return Err(Error::new(ErrorKind::Input, sentence));
                    }
                }
                last = *value;
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, values: &[u32]) -> Class {
        Class { values: values.to_vec(), name: name.into() }
    }

    #[test]
    fn both_kinds_of_dataset_are_read() {
        let new = r#"{"labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "edge": 4, "ignore": 5}}"#;
        let list = ClassList::from_dataset(new).unwrap();
        assert_eq!(list.named, [class("whole", &[1, 2, 3]), class("core", &[2, 3]), class("edge", &[4])]);
        assert_eq!(list.ignore, Some(5));
        let old = ClassList::from_dataset(r#"{"labels": {"0": "background", "10": "b", "2": "a"}}"#).unwrap();
        assert_eq!(old.named, [class("a", &[2]), class("b", &[10])]);
    }

    #[test]
    fn malformed_datasets_are_refused() {
        for text in ["", "{}", r#"{"labels": 3}"#, r#"{"labels": {"a": -1}}"#, r#"{"labels": {"a": []}}"#] {
            assert!(ClassList::from_dataset(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_without_a_name_are_called_by_their_number() {
        let list = ClassList::of(vec![class("liver", &[1])]);
        let all = list.with_values_of([&[0, 1, 7], &[7, 3, 3]]).unwrap();
        assert_eq!(all, [class("liver", &[1]), class("7", &[7]), class("3", &[3])]);
        let scan: Vec<u32> = (0..2000).collect();
        assert!(list.with_values_of([&scan, &[]]).unwrap_err().to_string().contains("not a label file"));
    }
}
