//! Which run the others are compared with.

use super::document::LeftOut;
use super::entry::Entry;
use crate::report::run::RunFolder;
use crate::work::Work;
use scanside_app::error::{Error, ErrorKind};
use std::collections::BTreeMap;

/// What to do where it is not clear.
const SAY: &str = "say which run the others are compared with: --teacher RUN";

/// The place of the one run that all students name as their teacher.
///
/// # Errors
/// No run is validated; no student names a teacher, or they name several; the teacher is no run of the folder, or is
/// left out.
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
            (None, true) => format!("{folder} holds no training run"),
        };
        return Err(Error::new(ErrorKind::Input, why));
    }
    let mut named: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in entries {
        if let Some(teacher) = entry.taught_by() {
            named.entry(teacher).or_default().push(&entry.facts.name);
        }
    }
    let told: Vec<String> =
        named.iter().map(|(name, students)| format!("{name} (of {})", students.join(", "))).collect();
    let name = match named.len() {
        0 => {
            return Err(Error::new(ErrorKind::Usage, format!("no validated run of {folder} names its teacher; {SAY}")));
        }
        1 => named.keys().next().copied().unwrap_or_default(),
        count => {
            let sentence =
                format!("the students of {folder} name {count} different teachers: {}; {SAY}", told.join(", "));
            return Err(Error::new(ErrorKind::Usage, sentence));
        }
    };
    if let Some(place) = entries.iter().position(|entry| entry.facts.name == name) {
        return Ok(place);
    }
    if let Some(left) = left_out.iter().find(|left| left.run == name) {
        let run = RunFolder::new(work.runs().join(name));
        return Err(match run.validation().is_file() {
            true => {
                Error::new(ErrorKind::Input, format!("the teacher {name} cannot be compared with: {}", left.reason))
            }
            false => unvalidated(work, &run),
        });
    }
    Err(Error::new(
        ErrorKind::Usage,
        format!("the students' teacher, {}, is not one run of {folder}; {SAY}", told.join(", ")),
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
