//! `dataset.json`: channels and labels, with the rules of nnU-Net's label manager.

use super::error::NnUnetError;
use super::json::{self, Field, Ordered};
use crate::manifest::{Label, Labels};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What `dataset.json` says about channels and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Channel names in file order.
    pub channels: Vec<String>,
    /// What the network's heads mean.
    pub labels: Labels,
    /// The label values that each head is trained to find, in head order.
    pub trained: Vec<Vec<u16>>,
    /// The value of voxels that nobody has labelled, where the dataset has such.
    pub ignore: Option<u16>,
    /// The licence, where the file states one.
    pub licence: Option<String>,
}

/// The file's outer form: the order of labels and channels is needed, all else is read by key.
#[derive(Deserialize)]
struct Form {
    labels: Option<Ordered>,
    channel_names: Option<Ordered>,
    /// The name of `channel_names` in older files.
    modality: Option<Ordered>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// A label's values: one, or those of a region.
enum Values {
    One(usize),
    Region(Vec<usize>),
}

impl Values {
    fn all(&self) -> &[usize] {
        match self {
            Values::One(value) => std::slice::from_ref(value),
            Values::Region(values) => values,
        }
    }
}

impl Dataset {
    /// Reads `dataset.json`.
    ///
    /// # Errors
    /// The file cannot be read, or breaks one of the label manager's rules.
    pub fn read(path: &Path) -> Result<Dataset, NnUnetError> {
        Dataset::from_form(json::read(path)?, path)
    }

    /// As [`Dataset::read`], from a text; `path` only names it in errors.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Dataset, NnUnetError> {
        Dataset::from_form(json::parse(text, path)?, path)
    }

    fn from_form(form: Form, path: &Path) -> Result<Dataset, NnUnetError> {
        let rest = Value::Object(form.rest);
        let root = Field::new(path, "", &rest);
        let missing = |field: &str| NnUnetError::Field {
            path: PathBuf::from(path),
            field: field.into(),
            problem: "is missing".into(),
        };
        let heads = heads(&form.labels.ok_or_else(|| missing("labels"))?, &root, path)?;
        // As in nnU-Net, `modality` wins where both are there.
        let named = form.modality.map(|names| ("modality", names));
        let (key, named) = named
            .or_else(|| form.channel_names.map(|names| ("channel_names", names)))
            .ok_or_else(|| missing("channel_names"))?;
        if named.0.is_empty() {
            return Err(Field::new(path, key, &Value::Null).wrong("names no channel"));
        }
        Ok(Dataset {
            channels: channels(named.0),
            labels: heads.labels,
            trained: heads.trained,
            ignore: heads.ignore,
            licence: ["licence", "license"].iter().find_map(|key| rest.get(key)?.as_str()).map(str::to_string),
        })
    }
}

/// The channels' names in the order of the network's inputs.
///
/// Only their number matters to nnU-Net, so files with the names the other way round, counted from 1 or with names of any
/// kind are in use. Keys that are numbers say the order, else values that are numbers do, else the file's order counts.
fn channels(entries: Vec<(String, Value)>) -> Vec<String> {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let numbers = |text: &dyn Fn(&(String, Value)) -> String| -> Option<Vec<u64>> {
        let numbers: Vec<u64> = entries.iter().map(|entry| text(entry).trim().parse().ok()).collect::<Option<_>>()?;
        let distinct: BTreeSet<&u64> = numbers.iter().collect();
        (distinct.len() == numbers.len()).then_some(numbers)
    };
    let by_key = numbers(&|(key, _)| key.clone());
    let by_value = numbers(&|(_, value)| shown(value));
    let names = entries
        .iter()
        .map(|(key, value)| if by_key.is_none() && by_value.is_some() { key.clone() } else { shown(value) });
    let Some(order) = by_key.as_ref().or(by_value.as_ref()) else {
        return names.collect();
    };
    let mut named: Vec<(u64, String)> = order.iter().copied().zip(names).collect();
    named.sort();
    named.into_iter().map(|(_, name)| name).collect()
}

/// What the labels of a dataset say about the network's heads.
struct Heads {
    labels: Labels,
    trained: Vec<Vec<u16>>,
    ignore: Option<u16>,
}

fn heads(labels: &Ordered, root: &Field<'_>, path: &Path) -> Result<Heads, NnUnetError> {
    let mut background = None;
    let mut ignore = None;
    let mut named = Vec::new();
    for (name, value) in &labels.0 {
        let field = Field::new(path, &format!("labels.{name}"), value);
        let values = match value {
            Value::Array(_) => Values::Region(field.items()?.iter().map(written_value).collect::<Result<_, _>>()?),
            _ => Values::One(written_value(&field)?),
        };
        if values.all().is_empty() {
            return Err(field.wrong("is a region without labels"));
        }
        match (name.as_str(), &values) {
            ("background", Values::One(0)) => background = Some(()),
            ("background", _) => return Err(field.wrong("must be 0")),
            ("ignore", Values::One(value)) => {
                ignore = Some((*value, field.clone()));
                continue;
            }
            ("ignore", _) => return Err(field.wrong("must be one number, not a region")),
            _ => {}
        }
        named.push((name.as_str(), values));
    }
    if background.is_none() {
        return Err(NnUnetError::Field {
            path: path.to_path_buf(),
            field: "labels.background".into(),
            problem: "is missing; nnU-Net v2 writes labels as name: value, with background 0".into(),
        });
    }

    let mut all: Vec<usize> = named.iter().flat_map(|(_, values)| values.all()).copied().collect();
    all.sort_unstable();
    all.dedup();
    // `background` is among them, so there is a largest.
    let largest = all.last().copied().unwrap_or(0);
    if let Some((value, field)) = &ignore
        && *value != largest + 1
    {
        return Err(field.wrong(format!("is {value}, but must be {}, one above all other labels", largest + 1)));
    }

    // `label_value` has checked the range.
    let ignore = ignore.map(|(value, _)| value as u16);
    if named.iter().any(|(_, values)| matches!(values, Values::Region(v) if v.len() > 1)) {
        let (labels, trained) = regions(&named, root)?;
        return Ok(Heads { labels, trained, ignore });
    }
    // The value nnU-Net writes is the head's index, never looked up: with gaps it would write wrong labels.
    if let Some((index, value)) = all.iter().enumerate().find(|(i, v)| i != *v) {
        return Err(NnUnetError::Field {
            path: path.to_path_buf(),
            field: "labels".into(),
            problem: format!("must be consecutive from 0, but {value} follows where {index} is expected"),
        });
    }
    let mut names = BTreeMap::new();
    for (name, values) in &named {
        for value in values.all() {
            names.entry(*value).or_insert(*name);
        }
    }
    Ok(Heads {
        trained: names.keys().map(|value| vec![*value as u16]).collect(),
        labels: Labels::Exclusive { heads: names.into_iter().map(|(value, name)| label(name, value)).collect() },
        ignore,
    })
}

fn regions(named: &[(&str, Values)], root: &Field<'_>) -> Result<(Labels, Vec<Vec<u16>>), NnUnetError> {
    let regions: Vec<&(&str, Values)> =
        named.iter().filter(|(_, values)| values.all().iter().any(|v| *v != 0)).collect();
    let order = root.require("regions_class_order")?;
    let values = order.items()?;
    if values.len() != regions.len() {
        return Err(order.wrong(format!(
            "has {} entries, but there are {} regions besides the background",
            values.len(),
            regions.len()
        )));
    }
    let heads = regions
        .iter()
        .zip(&values)
        .map(|((name, _), value)| Ok(label(name, label_value(value)?)))
        .collect::<Result<_, NnUnetError>>()?;
    let trained = regions.iter().map(|(_, values)| values.all().iter().map(|v| *v as u16).collect()).collect();
    Ok((Labels::Regions { heads }, trained))
}

/// Label files hold 16 bits.
fn label_value(field: &Field<'_>) -> Result<usize, NnUnetError> {
    field.whole(0..=usize::from(u16::MAX))
}

/// A label's own value, which may be written as a text.
fn written_value(field: &Field<'_>) -> Result<usize, NnUnetError> {
    let number = field.value().as_str().and_then(|text| text.trim().parse::<u16>().ok());
    number.map_or_else(|| label_value(field), |number| Ok(number.into()))
}

fn label(name: &str, value: usize) -> Label {
    // `label_value` has checked the range.
    Label::new(name, value as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(labels: &str, rest: &str) -> Result<Dataset, String> {
        let text = format!(r#"{{"channel_names": {{"0": "CT"}}, "labels": {labels}{rest}}}"#);
        Dataset::parse(&text, Path::new("dataset.json")).map_err(|e| e.to_string())
    }

    fn heads(labels: &str, rest: &str) -> Vec<(String, u16)> {
        let dataset = parse(labels, rest).unwrap();
        dataset.labels.heads().iter().map(|l| (l.name.clone(), l.value)).collect()
    }

    fn pairs(expected: &[(&str, u16)]) -> Vec<(String, u16)> {
        expected.iter().map(|(n, v)| (n.to_string(), *v)).collect()
    }

    #[test]
    fn labels_are_heads_in_the_order_of_their_values() {
        let expected = pairs(&[("background", 0), ("a", 1), ("b", 2)]);
        assert_eq!(heads(r#"{"background": 0, "b": 2, "a": 1}"#, ""), expected);
        // Lists of one entry are plain labels.
        assert_eq!(heads(r#"{"background": 0, "b": [2], "a": [1]}"#, ""), expected);
        assert_eq!(heads(r#"{"background": 0, "b": 2, "a": 1, "ignore": 3}"#, ""), expected);
    }

    #[test]
    fn regions_are_heads_in_the_order_of_the_file() {
        assert_eq!(
            heads(
                r#"{"background": 0, "whole": [1, 2, 3], "core": [2, 3], "a": 3, "ignore": 4}"#,
                r#", "regions_class_order": [1, 2, 300]"#
            ),
            pairs(&[("whole", 1), ("core", 2), ("a", 300)])
        );
    }

    #[test]
    fn heads_are_trained_on_label_values() {
        let dataset = parse(r#"{"background": 0, "b": [2], "a": 1, "ignore": 3}"#, "").unwrap();
        assert_eq!((dataset.trained, dataset.ignore), (vec![vec![0], vec![1], vec![2]], Some(3)));
        let rest = r#", "regions_class_order": [1, 2]"#;
        let dataset = parse(r#"{"background": 0, "whole": [2, 1], "core": 2}"#, rest).unwrap();
        assert_eq!((dataset.trained, dataset.ignore), (vec![vec![2, 1], vec![2]], None));
    }

    #[test]
    fn broken_rules_are_named() {
        for (labels, rest, says) in [
            (r#"{"a": 1}"#, "", "`labels.background` is missing"),
            (r#"{"background": 1}"#, "", "`labels.background` must be 0"),
            (r#"{"background": [0]}"#, "", "`labels.background` must be 0"),
            (r#"{"background": 0, "a": 2}"#, "", "2 follows where 1 is expected"),
            (r#"{"background": 0, "a": 1, "ignore": 3}"#, "", "must be 2"),
            (r#"{"background": 0, "a": 1, "ignore": [2]}"#, "", "not a region"),
            (r#"{"background": 0, "a": []}"#, "", "region without labels"),
            (r#"{"background": 0, "a": [1, 2]}"#, "", "`regions_class_order` is missing"),
            (r#"{"background": 0, "a": [1, 2]}"#, r#", "regions_class_order": []"#, "has 0 entries"),
            (r#"{"background": 0, "a": [1, 2]}"#, r#", "regions_class_order": [65536]"#, "from 0 to 65535"),
            (r#"{"background": 0, "a": -1}"#, "", "from 0 to 65535"),
            (r#"{"0": "background"}"#, "", "should be a whole number"),
        ] {
            let error = parse(labels, rest).unwrap_err();
            assert!(error.contains(says), "{labels}: {error}");
        }
    }

    #[test]
    fn labels_may_be_texts() {
        let expected = pairs(&[("background", 0), ("a", 1), ("b", 2)]);
        assert_eq!(heads(r#"{"background": "0", "b": "2", "a": [" 1"]}"#, ""), expected);
        let rest = r#", "regions_class_order": [1, 2]"#;
        let dataset = parse(r#"{"background": "0", "whole": ["2", "1"], "core": "2"}"#, rest).unwrap();
        assert_eq!(dataset.trained, [vec![2, 1], vec![2]]);
        for label in ["one", "-1", "65536", "1.5", ""] {
            let error = parse(&format!(r#"{{"background": 0, "a": "{label}"}}"#), "").unwrap_err();
            assert!(error.contains("should be a whole number"), "{error}");
        }
    }

    #[test]
    fn channels_are_read_in_every_form_that_is_in_use() {
        for (channels, names) in [
            (r#""channel_names": {"0": "T1", "1": "T2"}"#, vec!["T1", "T2"]),
            (r#""channel_names": {"R": 0, "G": 1, "B": 2}"#, vec!["R", "G", "B"]),
            (r#""channel_names": {"B": 2, "R": "0", "G": 1}"#, vec!["R", "G", "B"]),
            (r#""channel_names": {"1": "a", "2": "b"}"#, vec!["a", "b"]),
            (r#""channel_names": {"10": "last", "9": "b", "8": "a"}"#, vec!["a", "b", "last"]),
            (r#""channel_names": {"T2": "T2 weighted", "T1": "T1 weighted"}"#, vec!["T2 weighted", "T1 weighted"]),
            (r#""channel_names": {"0": 0}"#, vec!["0"]),
            (r#""channel_names": ["CT", 7]"#, vec!["CT", "7"]),
            // The name of older files.
            (r#""modality": {"0": "T1", "1": 7}"#, vec!["T1", "7"]),
            (r#""channel_names": {"0": "T1"}, "modality": {"0": "CT", "1": "PET"}"#, vec!["CT", "PET"]),
        ] {
            let text = format!(r#"{{{channels}, "labels": {{"background": 0, "a": 1}}}}"#);
            assert_eq!(Dataset::parse(&text, Path::new("dataset.json")).unwrap().channels, names, "{channels}");
        }
        for (channels, says) in [
            ("", "`channel_names` is missing"),
            (r#""channel_names": {}, "#, "`channel_names` names no channel"),
            (r#""channel_names": "CT", "#, "an object or a list"),
        ] {
            let text = format!(r#"{{{channels}"labels": {{"background": 0, "a": 1}}}}"#);
            let error = Dataset::parse(&text, Path::new("dataset.json")).unwrap_err();
            let source = std::error::Error::source(&error).map_or(String::new(), |e| e.to_string());
            assert!(format!("{error}{source}").contains(says), "{error}: {source}");
        }
    }
}
