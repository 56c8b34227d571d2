//! Why two validations cannot be compared.

use super::entry::Entry;
use std::collections::BTreeSet;

/// Why a run cannot be compared with the teacher; `None` where it can.
pub(super) fn obstacle(teacher: &Entry, other: &Entry) -> Option<String> {
    let mut reasons = Vec::new();
    let mut differs = |what: &str, its: String, teachers: String| {
        if its != teachers {
            reasons.push(format!("{what} {its}, the teacher's {teachers}"));
        }
    };
    differs("its dataset is", other.facts.dataset.clone(), teacher.facts.dataset.clone());
    differs("its fold is", other.facts.fold.clone(), teacher.facts.fold.clone());
    let (own, theirs) = (&other.validation, &teacher.validation);
    let mirroring = |on: bool| if on { "on" } else { "off" }.to_owned();
    differs("mirroring was", mirroring(own.mirroring), mirroring(theirs.mirroring));
    differs("the step between tiles was", own.step_size.to_string(), theirs.step_size.to_string());
    let tolerance_mm = |of: &Entry| format!("{} mm", of.validation.agreement.settings.tolerance_mm);
    differs("the tolerance of NSD was", tolerance_mm(other), tolerance_mm(teacher));
    let classes = |of: &Entry| -> Vec<String> {
        let classes = &of.validation.agreement.classes;
        classes.iter().map(|class| format!("{} {:?}", class.name, class.values)).collect()
    };
    differs("its classes are", classes(other).join(", "), classes(teacher).join(", "));
    reasons.extend(other_cases(teacher, other));
    if reasons.is_empty() {
        reasons.extend(other_labels(teacher, other));
        reasons.extend(leak(teacher, other).map(|count| {
            format!("it was trained on {count} of the {} cases that are measured", teacher.cases().len())
        }));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn other_cases(teacher: &Entry, other: &Entry) -> Option<String> {
    let (theirs, own): (BTreeSet<&str>, BTreeSet<&str>) =
        (teacher.cases().into_iter().collect(), other.cases().into_iter().collect());
    let parts = [
        ("without", theirs.difference(&own).copied().collect::<Vec<_>>()),
        ("with", own.difference(&theirs).copied().collect()),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(_, cases)| !cases.is_empty())
        .map(|(how, cases)| format!("{how} {}", short(&cases)))
        .collect();
    (!parts.is_empty()).then(|| format!("it was measured on other cases than the teacher ({})", parts.join(", ")))
}

/// A case whose reference has other volumes: the labels were changed between the two validations.
fn other_labels(teacher: &Entry, other: &Entry) -> Option<String> {
    let changed = teacher.validation.agreement.cases.iter().find(|case| {
        let own = other.validation.agreement.cases.iter().find(|own| own.case == case.case);
        own.is_some_and(|own| case.classes.iter().zip(&own.classes).any(|(a, b)| a.label_ml != b.label_ml))
    })?;
    Some(format!("the reference labels of {} have changed since the teacher was validated", changed.case))
}

/// How many of the teacher's measured cases a run was trained on.
pub(super) fn leak(teacher: &Entry, of: &Entry) -> Option<usize> {
    let cases = teacher.cases();
    let seen = of.facts.training_cases.iter().filter(|id| cases.contains(&id.as_str())).count();
    (seen > 0).then_some(seen)
}

/// A list for a sentence.
fn short(cases: &[&str]) -> String {
    const MOST: usize = 3;
    let named = cases.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    if cases.len() > MOST { format!("{named} and {} more", cases.len() - MOST) } else { named }
}
