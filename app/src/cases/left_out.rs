//! What a folder holds beside cases. Nothing is left out without being counted and named.

use scanside_formats::foreign_format;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Names kept of each kind: memory must not grow with what is not read.
const MOST_NAMES: usize = 10;

/// Why something is left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A label file that this program wrote.
    OwnLabels,
    /// A folder that is not searched.
    SubFolder,
    /// A folder that was searched already under another name.
    SameFolder,
    /// A file that is named like a scan, but hidden: its name begins with a dot.
    Hidden,
    /// A file with this ending, which no format has that is read.
    NotRead(String),
}

/// How many of a kind are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Why.
    pub reason: Reason,
    /// How many.
    pub count: usize,
    /// The first of them.
    pub names: Vec<String>,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, s) = (self.count, if self.count == 1 { "" } else { "s" });
        match &self.reason {
            Reason::OwnLabels => write!(f, "{count} label file{s} that this program wrote"),
            Reason::SubFolder => write!(f, "{count} sub-folder{s} not searched"),
            Reason::SameFolder => write!(f, "{count} folder{s} found under two names"),
            Reason::Hidden => write!(f, "{count} hidden file{s}"),
            Reason::NotRead(ending) if ending.is_empty() => write!(f, "{count} file{s} without an ending"),
            Reason::NotRead(ending) => {
                let format = foreign_format(Path::new(&format!("x{ending}"))).unwrap_or("this format");
                write!(f, "{count} {ending} file{s} ({format} is not read)")
            }
        }
    }
}

/// Counts what is left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter(BTreeMap<Reason, (usize, Vec<String>)>);

impl Counter {
    pub(super) fn add(&mut self, reason: Reason, path: &Path) {
        let (count, names) = self.0.entry(reason).or_default();
        *count += 1;
        if names.len() < MOST_NAMES {
            names.push(path.display().to_string());
        }
    }

    pub(super) fn list(self) -> Vec<LeftOut> {
        self.0.into_iter().map(|(reason, (count, names))| LeftOut { reason, count, names }).collect()
    }
}

/// The kinds in a row, as a part of a sentence.
pub(crate) fn words(left_out: &[LeftOut]) -> String {
    left_out.iter().map(LeftOut::to_string).collect::<Vec<_>>().join(", ")
}
