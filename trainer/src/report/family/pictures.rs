//! Pictures of students beside their teacher: the same slices of the student's best, median and worst case.

use super::Family;
use super::relations::Role;
use crate::report::overlay::{self, Picture};
use crate::report::page::representative;
use crate::validate::ValidationCase;

/// A student's cases.
pub(super) struct Drawn {
    pub(super) student: String,
    pub(super) cases: Vec<DrawnCase>,
}

/// A case with both predictions.
pub(super) struct DrawnCase {
    pub(super) which: &'static str,
    pub(super) case: String,
    pub(super) student_dice: f64,
    pub(super) teacher_dice: Option<f64>,
    pub(super) of_teacher: Picture,
    pub(super) of_student: Picture,
}

/// Draws the students' cases. Returns the pictures and, for each student with missing files, a sentence.
pub(super) fn draw(family: &Family, cases: &[ValidationCase]) -> (Vec<Drawn>, Vec<String>) {
    let (mut all, mut notes) = (Vec::new(), Vec::new());
    let teacher = &family.teacher().entry;
    for member in family.members.iter().filter(|member| member.role == Role::Distilled) {
        let student = &member.entry;
        let (mut drawn, mut failed) = (Vec::new(), Vec::new());
        let agreement = &student.validation.agreement;
        for (which, student_dice, id) in representative(agreement) {
            let Some(case) = cases.iter().find(|case| case.id == id) else {
                failed.push(format!("{id} is no longer a case of the raw dataset"));
                continue;
            };
            let files = [teacher, student].map(|entry| entry.run.labels().join(format!("{id}.nii.gz")));
            match overlay::side_by_side(case, [&files[0], &files[1]], &agreement.classes) {
                Ok([of_teacher, of_student]) => drawn.push(DrawnCase {
                    which,
                    case: id.to_owned(),
                    student_dice,
                    teacher_dice: teacher.case_dice(id),
                    of_teacher,
                    of_student,
                }),
                Err(error) => failed.push(format!("{id}: {}", error.chain())),
            }
        }
        if let Some(first) = failed.first() {
            let more = match failed.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            notes.push(format!("No pictures of {}, {first}{more}", student.facts.name));
        }
        if !drawn.is_empty() {
            all.push(Drawn { student: student.facts.name.clone(), cases: drawn });
        }
    }
    (all, notes)
}
