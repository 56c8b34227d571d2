//! Which run the others are compared with.

use super::document::LeftOut;
use super::entry::Entry;
use crate::report::run::RunFolder;
use crate::work::Work;
use scanside_app::error::{Error, ErrorKind};
use std::collections::BTreeMap;

/// What to do where the teacher is ambiguous.
const HINT: &str = "choose the run that the others are compared with: --teacher RUN";

/// The index of the one run that all students name as their teacher.
///
/// # Errors
/// No run is validated; no student names a teacher, or they name several; the teacher is not a run of the folder, or is left
/// out.
pub(super) fn choose(work: &Work, entries: &[Entry], left_out: &[LeftOut]) -> Result<usize, Error> {
    let folder = work.root().display();
    if entries.is_empty() {
        let validated = left_out.iter().find(|left| work.runs().join(&left.run).join("validation.json").is_file());
        let why = match (validated, left_out.is_empty()) {
            (Some(left), _) => format!("no validated run of {folder} can be read; {}: {}", left.run, left.reason),
            (None, false) => {
                format!(
                    "no run of {folder} is validated yet: scanside-train validate {folder} --model {}",
                    left_out[0].run
                )
            }
            (None, true) => format!("{folder} has no training run"),
        };
        return Err(Error::new(ErrorKind::Input, why));
    }
    let mut named: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in entries {
        if let Some(teacher) = entry.teacher() {
            named.entry(teacher).or_default().push(&entry.facts.name);
        }
    }
    let list: Vec<String> =
        named.iter().map(|(name, students)| format!("{name} (of {})", students.join(", "))).collect();
    let name = match named.len() {
        0 => {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("no validated run of {folder} names its teacher; {HINT}"),
            ));
        }
        1 => named.keys().next().copied().unwrap_or_default(),
        count => {
            let sentence =
                format!("the students of {folder} name {count} different teachers: {}; {HINT}", list.join(", "));
            return Err(Error::new(ErrorKind::Usage, sentence));
        }
    };
    if let Some(place) = entries.iter().position(|entry| entry.facts.name == name) {
        return Ok(place);
    }
    if let Some(left) = left_out.iter().find(|left| left.run == name) {
        let run = RunFolder::new(work.runs().join(name));
        return Err(match run.validation().is_file() {
            true => Error::new(
                ErrorKind::Input,
                format!("the students cannot be compared with the teacher {name}: {}", left.reason),
            ),
            false => unvalidated(work, &run),
        });
    }
    Err(Error::new(
        ErrorKind::Usage,
        format!("the students' teacher, {}, is not one run of {folder}; {HINT}", list.join(", ")),
    ))
}

/// The teacher has no numbers yet.
pub(super) fn unvalidated(work: &Work, run: &RunFolder) -> Error {
    let name = run.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    Error::new(
        ErrorKind::Input,
        format!(
            "the teacher {name} is not validated yet: scanside-train validate {} --model {name}",
            work.root().display()
        ),
    )
}
