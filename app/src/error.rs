//! What can go wrong, as a type: its kind, a sentence for people, the file it is about, and what caused it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What an error means for whoever called. Each program maps it to an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The options contradict each other or the model.
    Usage,
    /// A scan, a label file or a dataset is not what it should be.
    Input,
    /// The model is not what it should be.
    Model,
    /// The memory or the time allowed is too small.
    DoesNotFit,
    /// A result could not be written.
    Output,
    /// The caller asked to stop.
    Interrupted,
    /// A fault of the program or of the system under it, not of anything it was given.
    Internal,
}

/// Any other error that can be passed between threads.
type Source = Box<dyn StdError + Send + Sync>;

#[derive(Debug)]
enum Words {
    /// A sentence, and what caused it.
    Sentence(String, Option<Source>),
    /// Another error in its own words.
    Own(Source),
}

/// An error of this crate.
///
/// [`Display`](fmt::Display) gives one sentence; what caused it is in [`source`](StdError::source), and never in both.
/// [`Error::chain`] gives all sentences in a row, as programs print them.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    path: Option<PathBuf>,
    words: Words,
}

impl Error {
    /// A sentence of its own.
    pub fn new(kind: ErrorKind, sentence: impl fmt::Display) -> Error {
        Error { kind, path: None, words: Words::Sentence(sentence.to_string(), None) }
    }

    /// Another error in its own words.
    pub fn of(kind: ErrorKind, source: impl Into<Source>) -> Error {
        Error { kind, path: None, words: Words::Own(source.into()) }
    }

    /// A sentence, and what caused it.
    pub fn with_source(kind: ErrorKind, sentence: impl fmt::Display, source: impl Into<Source>) -> Error {
        Error { kind, path: None, words: Words::Sentence(sentence.to_string(), Some(source.into())) }
    }

    /// A file or folder that does not exist.
    pub fn missing(kind: ErrorKind, path: &Path) -> Error {
        Error::new(kind, format_args!("{} does not exist", path.display())).about(path)
    }

    /// A file or folder that cannot be read.
    pub fn cannot_read(kind: ErrorKind, path: &Path, source: impl Into<Source>) -> Error {
        Error::with_source(kind, format_args!("{} cannot be read", path.display()), source).about(path)
    }

    /// A file that cannot be written.
    pub fn cannot_write(path: &Path, source: impl Into<Source>) -> Error {
        Error::with_source(ErrorKind::Output, format_args!("{} cannot be written", path.display()), source).about(path)
    }

    /// The caller asked to stop.
    pub fn interrupted() -> Error {
        Error::new(
            ErrorKind::Interrupted,
            "interrupted; no incomplete file was left, and running the same command again continues",
        )
    }

    /// The same error, which is about the file or folder at `path`.
    #[must_use]
    pub fn about(self, path: &Path) -> Error {
        Error { path: Some(path.to_owned()), ..self }
    }

    /// What it means for the caller.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file or folder that it is about, where there is one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The first error of type `E` among what caused this one.
    pub fn find<E: StdError + 'static>(&self) -> Option<&E> {
        let mut next: Option<&(dyn StdError + 'static)> = match &self.words {
            Words::Own(source) | Words::Sentence(_, Some(source)) => Some(source.as_ref()),
            Words::Sentence(_, None) => None,
        };
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// All sentences, from this one to the first cause, with colons between them.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            text += &format!(": {cause}");
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.words {
            Words::Sentence(sentence, _) => f.write_str(sentence),
            Words::Own(source) => source.fmt(f),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.words {
            Words::Sentence(_, source) => source.as_ref().map(|s| s.as_ref() as &(dyn StdError + 'static)),
            Words::Own(source) => source.source(),
        }
    }
}

/// Gives any error its kind.
pub trait OrError<T> {
    /// The kind, with the error's own words.
    fn or_error(self, kind: ErrorKind) -> Result<T, Error>;

    /// The kind, with a sentence before the error's own.
    fn or_error_with<D: fmt::Display>(self, kind: ErrorKind, sentence: impl FnOnce() -> D) -> Result<T, Error>;
}

impl<T, E: Into<Source>> OrError<T> for Result<T, E> {
    fn or_error(self, kind: ErrorKind) -> Result<T, Error> {
        self.map_err(|e| Error::of(kind, e))
    }

    fn or_error_with<D: fmt::Display>(self, kind: ErrorKind, sentence: impl FnOnce() -> D) -> Result<T, Error> {
        self.map_err(|e| Error::with_source(kind, sentence(), e))
    }
}

/// Gives an error of reading or writing the file it is about.
pub trait OrPathError<T> {
    /// The file at `path` cannot be read.
    fn or_cannot_read(self, kind: ErrorKind, path: &Path) -> Result<T, Error>;

    /// The file at `path` cannot be written.
    fn or_cannot_write(self, path: &Path) -> Result<T, Error>;
}

impl<T> OrPathError<T> for io::Result<T> {
    fn or_cannot_read(self, kind: ErrorKind, path: &Path) -> Result<T, Error> {
        self.map_err(|e| Error::cannot_read(kind, path, e))
    }

    fn or_cannot_write(self, path: &Path) -> Result<T, Error> {
        self.map_err(|e| Error::cannot_write(path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_gives_each_sentence_once() {
        let cause = || io::Error::other("the disk is on fire");
        let outer = Error::cannot_write(Path::new("labels.nii"), cause());
        assert_eq!(outer.chain(), "labels.nii cannot be written: the disk is on fire");
        assert_eq!(outer.path(), Some(Path::new("labels.nii")));
        assert!(outer.find::<io::Error>().is_some());
        // An error taken over in its own words stands once, and its causes follow.
        let wrapped = Error::of(ErrorKind::Input, outer);
        assert_eq!(wrapped.chain(), "labels.nii cannot be written: the disk is on fire");
        assert!(wrapped.find::<Error>().is_some());
        let alone = Error::new(ErrorKind::Usage, "no");
        assert_eq!(alone.chain(), "no");
        assert!(alone.find::<io::Error>().is_none());
    }
}
