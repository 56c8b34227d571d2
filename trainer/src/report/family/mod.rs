//! The comparison of a work folder's runs with their teacher: a page, and a JSON document with the same numbers.
//!
//! | module | holds |
//! |---|---|
//! | [`speed`] | the measured speed and memory of a network |
//! | `entry` | a validated run, read from its files |
//! | `teacher` | which run the others are compared with |
//! | `comparable` | why two validations cannot be compared |
//! | `relations` | roles, plain twins, other seeds |
//! | [`document`], `assemble` | the JSON document, and how it is made |
//! | `curves`, `pareto`, `pictures` | diagrams and pictures |
//! | [`page`] | the HTML page |
//!
//! All numbers are read from the files of the runs; nothing is measured here.

mod assemble;
mod comparable;
mod curves;
pub mod document;
mod entry;
pub mod page;
mod pareto;
mod pictures;
mod relations;
pub mod speed;
mod teacher;

use super::run::{self, RunFolder};
use crate::work::Work;
use document::{Document, LeftOut};
use entry::Entry;
use relations::Member;
use scanside_app::error::{Error, ErrorKind};
use std::path::Path;

/// The runs that can be compared with their teacher, and the result.
pub struct Family {
    /// The teacher comes first.
    members: Vec<Member>,
    document: Document,
}

impl Family {
    /// Reads and compares the validated runs of a work folder. The teacher is `asked`, or the one run that all students
    /// name as their teacher.
    ///
    /// # Errors
    /// No run is validated; it is not clear which is the teacher; the teacher's own files are missing or damaged. Other
    /// runs whose files are damaged, or that were validated otherwise, are left out and named in the document.
    pub fn read(work: &Work, asked: Option<&RunFolder>) -> Result<Family, Error> {
        if !work.root().is_dir() {
            return Err(Error::new(ErrorKind::Input, format!("{} is not a folder", work.root().display())));
        }
        let mut entries = Vec::new();
        let mut left_out = Vec::new();
        for run in run::list(work)? {
            let name = run.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
            if asked.is_some_and(|asked| same_folder(asked.path(), run.path())) {
                continue;
            }
            if !run.validation().is_file() {
                left_out.push(LeftOut { run: name, reason: "it is not validated yet".into() });
                continue;
            }
            match Entry::read(run) {
                Ok(entry) => entries.push(entry),
                Err(error) => left_out.push(LeftOut { run: name, reason: error.chain() }),
            }
        }
        let teacher = match asked {
            Some(run) if run.validation().is_file() => Entry::read(run.clone())?,
            Some(run) => return Err(teacher::unvalidated(work, run)),
            None => {
                let place = teacher::choose(work, &entries, &left_out)?;
                entries.remove(place)
            }
        };
        entries.retain(|entry| match comparable::obstacle(&teacher, entry) {
            None => true,
            Some(reason) => {
                left_out.push(LeftOut { run: entry.facts.name.clone(), reason });
                false
            }
        });
        left_out.sort_by(|a, b| a.run.cmp(&b.run));
        let members = relations::family(teacher, entries);
        let document = assemble::document(work, &members, left_out);
        Ok(Family { members, document })
    }

    /// The result of the comparison.
    pub fn document(&self) -> &Document {
        &self.document
    }

    fn teacher(&self) -> &Member {
        &self.members[0]
    }
}

fn same_folder(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
