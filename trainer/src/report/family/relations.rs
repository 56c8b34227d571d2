//! Relations between the runs of a family: roles, plain twins, other seeds.

use super::entry::Entry;
use crate::report::chart::COLOURS;
use serde::Serialize;
use std::cmp::Reverse;

/// What a run is in its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// What the others are compared with.
    Teacher,
    /// It had a teacher.
    Distilled,
    /// It learnt from the labels alone.
    Plain,
}

/// A run in its family.
pub(super) struct Member {
    pub(super) entry: Entry,
    pub(super) role: Role,
    /// For a distilled run: the index of the run that differs from it only in having no teacher.
    pub(super) twin: Option<usize>,
    /// Number of its colour; a twin has the colour of its student.
    pub(super) colour: usize,
}

/// The members in order: the teacher, then from large to small, a plain twin after its student.
pub(super) fn family(teacher: Entry, others: Vec<Entry>) -> Vec<Member> {
    let member = |entry: Entry| {
        let role = if entry.teacher().is_some() { Role::Distilled } else { Role::Plain };
        Member { entry, role, twin: None, colour: 0 }
    };
    let mut rest: Vec<Member> = others.into_iter().map(member).collect();
    rest.sort_by_cached_key(|member| {
        let facts = &member.entry.facts;
        (Reverse((facts.parameters, facts.training_cases.len())), facts.seed, member.role, facts.name.clone())
    });
    let mut members = vec![Member { entry: teacher, role: Role::Teacher, twin: None, colour: 0 }];
    members.append(&mut rest);
    for place in 0..members.len() {
        if members[place].role == Role::Distilled {
            let student = &members[place].entry;
            let twin = |other: &Member| other.role == Role::Plain && is_twin(student, &other.entry);
            members[place].twin = members.iter().position(twin);
        }
    }
    let mut next = 0;
    for place in 1..members.len() {
        let student = (1..members.len()).find(|student| members[*student].twin == Some(place));
        if student.is_none() {
            // The first colour is the teacher's.
            next = next % (COLOURS - 1) + 1;
            members[place].colour = next;
        }
    }
    for place in 1..members.len() {
        if let Some(twin) = members[place].twin {
            members[twin].colour = members[place].colour;
        }
    }
    members
}

/// The same network trained in the same way for as long, on as many cases.
fn same_training(a: &Entry, b: &Entry) -> bool {
    let (x, y) = (&a.facts, &b.facts);
    x.features_per_stage == y.features_per_stage
        && x.parameters == y.parameters
        && (&x.configuration, x.patch_zyx, &x.fold) == (&y.configuration, y.patch_zyx, &y.fold)
        && (x.epochs, x.steps_per_epoch, x.batch_size) == (y.epochs, y.steps_per_epoch, y.batch_size)
        && x.initial_lr == y.initial_lr
        && x.training_cases.len() == y.training_cases.len()
        && a.other_notes() == b.other_notes()
}

fn is_twin(student: &Entry, plain: &Entry) -> bool {
    same_training(student, plain)
        && student.facts.seed == plain.facts.seed
        && student.facts.training_cases == plain.facts.training_cases
}

/// Groups of two or more members that differ only in their seed, by index. With few labels, the seed also chooses the
/// cases.
pub(super) fn seeds(members: &[Member]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let losses = |member: &Member| (member.entry.loss().map(str::to_owned), member.entry.teacher().map(str::to_owned));
    for (place, member) in members.iter().enumerate() {
        let joins = |group: &&mut Vec<usize>| {
            let first = &members[group[0]];
            let new = group.iter().all(|other| members[*other].entry.facts.seed != member.entry.facts.seed);
            new && losses(first) == losses(member) && same_training(&first.entry, &member.entry)
        };
        match groups.iter_mut().find(joins) {
            Some(group) => group.push(place),
            None => groups.push(vec![place]),
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}
