//! Results on standard output, messages on standard error, and errors as sentences that say what to do.

use scanside_app::output::Exists;
use scanside_app::run::{FarOutside, LooksLikeLabels, TooLarge};
use scanside_app::units::human_bytes;
use scanside_app::{Error, ErrorKind};
use scanside_core::nnunet::{FoldChoice, FoldName, NnUnetError};
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

/// Prints a line of results on standard output.
macro_rules! say {
    ($($part:tt)*) => {
        crate::print::line(format_args!($($part)*))
    };
}
pub(crate) use say;

/// Prints a message on standard error.
macro_rules! note {
    ($($part:tt)*) => {
        crate::print::message(format_args!($($part)*))
    };
}
pub(crate) use note;

/// Prints a message. Where nobody can read it (a closed pipe, a session that ended) it is dropped: what the program does is
/// worth more than what it says of it.
pub(crate) fn message(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Prints a line of results.
///
/// # Errors
/// Standard output cannot be written, for example because the disk that it goes to is full.
pub(crate) fn line(text: std::fmt::Arguments<'_>) -> Result<(), Error> {
    printed(writeln!(io::stdout(), "{text}"))
}

/// Prints a JSON document.
///
/// # Errors
/// As for [`line()`].
pub(crate) fn json(document: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(document).map_err(|e| Error::of(ErrorKind::Internal, e))?;
    say!("{text}")
}

/// Hands everything that was printed to the system.
///
/// # Errors
/// As for [`line()`].
pub(crate) fn finish() -> Result<(), Error> {
    printed(io::stdout().flush())
}

/// A reader that has closed the pipe (`| head`) is not an error; everything else is.
fn printed(outcome: io::Result<()>) -> Result<(), Error> {
    match outcome {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::with_source(ErrorKind::Output, "standard output cannot be written", e))
        }
        _ => Ok(()),
    }
}

/// An error as sentences: what went wrong, what caused it, and the option that helps.
pub(crate) fn error(error: &Error) -> String {
    error.chain() + &hint(error).unwrap_or_default()
}

/// Says on standard error which folds of an nnU-Net folder are averaged, and which are not.
pub(crate) fn folds(model: &Path, folds: Option<&FoldChoice>) {
    let Some(FoldChoice { averaged, left_out, empty }) = folds else { return };
    let list = |folds: &[FoldName]| folds.iter().map(FoldName::to_string).collect::<Vec<_>>().join(" ");
    let name = model.display();
    note!("scanside: {name}: folds averaged: {}", list(averaged));
    if !empty.is_empty() {
        note!("scanside: warning: {name}: folds without the checkpoint, left out: {}", list(empty));
    }
    if !left_out.is_empty() {
        let all = [averaged.as_slice(), left_out].concat();
        note!("scanside: {name}: folds left out: {} (--folds {} averages them, too)", list(left_out), list(&all));
    }
}

fn hint(error: &Error) -> Option<String> {
    if error.find::<LooksLikeLabels>().is_some() {
        return Some(" (--allow-label-input accepts it)".into());
    }
    if error.find::<FarOutside>().is_some() {
        return Some(" (without --strict this is a warning)".into());
    }
    if error.find::<Exists>().is_some() {
        return Some("; --overwrite replaces it".into());
    }
    if let Some(error) = error.find::<NnUnetError>() {
        return folder_hint(error);
    }
    let TooLarge { needs, halvable_bytes, .. } = error.find()?;
    let mut hint = String::new();
    if let Some(least) = needs.least_bytes {
        hint += &format!(" (--max-ram {}M)", least.div_ceil(1_000_000));
    }
    if let Some(bytes) = halvable_bytes {
        let own = human_bytes(*bytes);
        hint += &format!("; half precision (--precision f16) takes about half of the network's own {own}");
    }
    Some(hint)
}

/// The option that takes what a model folder has instead.
fn folder_hint(error: &NnUnetError) -> Option<String> {
    match error {
        NnUnetError::UnknownTrainer { .. } => Some(" (--trust-trainer)".into()),
        NnUnetError::NoFold { others, .. } | NnUnetError::NoCheckpoint { others, .. } => {
            others.first().map(|checkpoint| format!(" (--checkpoint {checkpoint})"))
        }
        NnUnetError::OtherFolds { folds, .. } => {
            let folds: Vec<String> = folds.iter().map(FoldName::to_string).collect();
            Some(format!(" (--folds {})", folds.join(" ")))
        }
        _ => None,
    }
}
