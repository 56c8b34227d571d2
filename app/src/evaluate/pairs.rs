//! Which prediction belongs to which label: files of one name.

use super::classes::{Class, ClassList};
use super::measure::{Agreement, Comparison, measure};
use crate::error::{Error, ErrorKind, OrError, OrPathError};
use scanside_formats::{endings, read_labels};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A prediction and the label of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What the case is called.
    pub name: String,
    /// The predicted labels.
    pub prediction: PathBuf,
    /// The reference labels.
    pub label: PathBuf,
    /// Further files of the same name, where a folder holds both `.nii` and `.nii.gz`.
    twin: Option<PathBuf>,
}

impl Pair {
    /// Two files that belong together.
    pub fn new(name: String, prediction: PathBuf, label: PathBuf) -> Pair {
        Pair { name, prediction, label, twin: None }
    }

    /// Reads both files and measures how well each class agrees, on the threads of the current pool.
    ///
    /// # Errors
    /// It is not clear which files are meant; a file is missing or cannot be read; the two do not lie on one grid.
    pub fn compare(&self, declared: &ClassList, how: Comparison) -> Result<Vec<(Class, Agreement)>, Error> {
        if let Some(twin) = &self.twin {
            let sentence = format!("there is also {}; keep one file of this name", twin.display());
            return Err(Error::new(ErrorKind::Input, sentence).about(twin));
        }
        let read = |path: &Path| {
            read_labels(path).or_error_with(ErrorKind::Input, || format!("{} cannot be read", path.display()))
        };
        measure(read(&self.prediction)?, read(&self.label)?, declared, how)
    }
}

/// What was found in the two places.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// In order of their names.
    pub matched: Vec<Pair>,
    /// Names.
    pub predictions_without_label: Vec<String>,
    /// Names.
    pub labels_without_prediction: Vec<String>,
}

/// Files by name without ending; the second of two files of one name comes beside the first.
type Found = BTreeMap<String, (PathBuf, Option<PathBuf>)>;

/// Matches by file name, `.nii` and `.nii.gz` alike. Two files are a pair whatever their names.
pub(super) fn find(predictions: &Path, labels: &Path) -> Result<Pairs, Error> {
    let (mut left, mut right) = (list(predictions)?, list(labels)?);
    if !predictions.is_dir() && !labels.is_dir() {
        // The prediction's name stands for both.
        let label = std::mem::take(&mut right).into_values().next();
        right.extend(left.keys().next().cloned().zip(label));
    }
    let mut pairs = Pairs::default();
    for (name, (prediction, twin)) in std::mem::take(&mut left) {
        match right.remove(&name) {
            Some((label, other)) => {
                pairs.matched.push(Pair { twin: twin.or(other), ..Pair::new(name, prediction, label) })
            }
            None => pairs.predictions_without_label.push(name),
        }
    }
    pairs.labels_without_prediction = right.into_keys().collect();
    Ok(pairs)
}

fn list(place: &Path) -> Result<Found, Error> {
    let mut files = Vec::new();
    if place.is_dir() {
        for entry in std::fs::read_dir(place).or_cannot_read(ErrorKind::Input, place)? {
            let path = entry.or_cannot_read(ErrorKind::Input, place)?.path();
            if path.is_file() {
                files.push(path);
            }
        }
        files.sort();
    } else if place.exists() {
        files.push(place.to_owned());
    } else {
        return Err(Error::missing(ErrorKind::Input, place));
    }
    let mut found = Found::new();
    for path in files {
        let Some(name) = stem(&path) else {
            // A folder may hold other things (dataset.json, plans.json); a file that was named must be a label file.
            if place.is_dir() {
                continue;
            }
            let known = endings().collect::<Vec<_>>().join(", ");
            let sentence = format!("{} is not a label file: its name must end with one of {known}", path.display());
            return Err(Error::new(ErrorKind::Input, sentence).about(&path));
        };
        match found.get_mut(&name) {
            Some((_, twin)) => *twin = Some(path),
            None => {
                found.insert(name, (path, None));
            }
        }
    }
    Ok(found)
}

/// A file name without its ending; `None` for hidden and other files.
fn stem(path: &Path) -> Option<String> {
    let stem = scanside_formats::stem(path)?.to_string_lossy().into_owned();
    (!stem.starts_with('.')).then_some(stem)
}
