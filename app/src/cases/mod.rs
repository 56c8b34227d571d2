//! Which files make which case: single scans, channel files, folders and lists of scans.
//!
//! A [`Selection`] says what is asked for. It is [listed](Selection::list) before a model is opened, and becomes
//! [`Cases`] once the number of channels is known.

mod group;
mod left_out;
mod listing;
mod names;
#[cfg(test)]
mod tests;

pub use left_out::{LeftOut, Reason};
pub use listing::Listing;

use crate::error::{Error, ErrorKind};
use crate::input::KeptFiles;
use scanside_core::volume::Reader;
use scanside_formats::Scan;
use std::path::PathBuf;
use std::str::FromStr;

/// One scan: a name and its channel files in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The name that messages use.
    pub name: String,
    /// One file per channel, or one file with all of them.
    pub channels: Vec<PathBuf>,
    /// Where its labels go inside an output folder, without an ending.
    pub label: PathBuf,
}

impl Case {
    /// A case whose label file has its name.
    pub fn new(name: &str, channels: Vec<PathBuf>) -> Case {
        Case { name: name.to_owned(), channels, label: name.into() }
    }

    /// A case whose labels go to `label` inside an output folder.
    fn at(label: PathBuf, channels: Vec<PathBuf>) -> Case {
        Case { name: label.display().to_string(), channels, label }
    }

    /// Opens its files by the rules of `reader`: reads headers, not voxels.
    ///
    /// # Errors
    /// A file is missing, denied, cut off or malformed, or the channels do not lie on one grid.
    pub fn open(&self, reader: Reader) -> Result<Scan, Error> {
        Scan::open_as(&self.channels, reader).map_err(|e| Error::of(ErrorKind::Input, e))
    }
}

/// Files that should be a case and are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoCase {
    /// What the case would be called.
    pub name: String,
    /// What is wrong, as a sentence.
    pub sentence: String,
}

impl NoCase {
    /// The same as an error.
    pub fn error(&self) -> Error {
        Error::new(ErrorKind::Input, &self.sentence)
    }
}

/// The cases of an input.
#[derive(Debug)]
pub struct Cases {
    /// Each case, or why it is none, in the order of their names, or of the list.
    pub found: Vec<Result<Case, NoCase>>,
    /// Files and folders that are no cases, by reason.
    pub left_out: Vec<LeftOut>,
    /// The input was a folder or a list, even if it holds one scan.
    pub many: bool,
    /// The files that are read.
    pub kept: KeptFiles,
}

/// One of several parts of the cases, as nnU-Net divides them with `-num_parts` and `-part_id`: every `of`th case,
/// beginning with the one of number `index`, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    index: usize,
    of: usize,
}

impl FromStr for Part {
    type Err = String;

    /// Reads `I/N`.
    fn from_str(text: &str) -> Result<Part, String> {
        let numbers = text.split_once('/').map(|(index, of)| (index.trim().parse(), of.trim().parse::<usize>()));
        match numbers {
            Some((Ok(index), Ok(of))) if index < of => Ok(Part { index, of }),
            Some((Ok(_), Ok(of))) if of > 0 => Err(match of {
                1 => "one part has the number 0: 0/1".to_owned(),
                _ => format!("{of} parts are counted from 0, as nnU-Net does: 0/{of} to {}/{of}", of - 1),
            }),
            _ => Err(
                "give I/N: part I of N parts, counted from 0, as nnU-Net's -part_id and -num_parts; 0/4 to 3/4 for \
                      four parts"
                    .to_owned(),
            ),
        }
    }
}

/// What is to be segmented.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// One folder of cases, or the files of one case. Nothing where there is a list.
    pub input: Vec<PathBuf>,
    /// A text file that names one scan a line.
    pub list: Option<PathBuf>,
    /// Search the sub-folders of the folder as well.
    pub recursive: bool,
    /// Take a part of the cases.
    pub part: Option<Part>,
}

impl Selection {
    /// One folder of cases, or the files of one case.
    pub fn of(input: Vec<PathBuf>) -> Selection {
        Selection { input, ..Selection::default() }
    }
}

/// Finds the cases of `input` for a model with `channels` channels: one folder of cases, or the files of one case.
///
/// # Errors
/// The input does not exist, mixes folders and files, cannot be read, or holds no scan.
pub fn find(input: &[PathBuf], channels: usize) -> Result<Cases, Error> {
    Selection::of(input.to_vec()).list()?.cases(channels)
}
