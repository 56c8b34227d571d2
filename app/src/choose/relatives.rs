//! Models of the same family that were not given: a model file lists the models that were trained with it.

use crate::units::human_bytes;
use scanside_core::manifest::{FamilyMember, Manifest};

/// The entry of `provenance` under which a trained model keeps its run's name, by which its family names it.
pub const RUN: &str = "run";

/// Members of the models' family that are not among the models, and better than they: more accurate than the chosen one,
/// or, where none fits, faster or smaller than all of them. The most accurate first.
pub fn better(models: &[Manifest], chosen: Option<usize>) -> Vec<FamilyMember> {
    let given = |member: &FamilyMember| models.iter().any(|model| is(model, member));
    let mut members: Vec<FamilyMember> = Vec::new();
    for member in models.iter().flat_map(|model| &model.family) {
        if !given(member) && members.iter().all(|known| known.graph_sha256 != member.graph_sha256) {
            members.push(member.clone());
        }
    }
    let known: Vec<&FamilyMember> =
        models.iter().filter_map(|model| model.family.iter().find(|member| is(model, member))).collect();
    match chosen.map(|index| &models[index]) {
        Some(model) => {
            // Both figures are from one table: those in the models' own files may have been measured in different ways.
            let own = model.family.iter().find(|member| is(model, member)).map(|member| member.mean_dice);
            members.retain(|member| own.is_some_and(|own| member.mean_dice > own));
        }
        None => members.retain(|member| {
            known.iter().all(|one| member.seconds_per_window < one.seconds_per_window)
                || known.iter().all(|one| member.peak_rss_bytes < one.peak_rss_bytes)
        }),
    }
    members.sort_by(|a, b| b.mean_dice.total_cmp(&a.mean_dice));
    members
}

/// The member that a model is. Its graph has another hash where it is stored in another precision.
pub fn is(model: &Manifest, member: &FamilyMember) -> bool {
    model.graph_sha256.as_ref() == Some(&member.graph_sha256) || model.provenance.get(RUN) == Some(&member.name)
}

/// A member as text.
pub fn line(member: &FamilyMember) -> String {
    let peak = human_bytes(member.peak_rss_bytes);
    format!(
        "{}: mean Dice {:.3}, {:.1} ms per patch, peak {peak}",
        member.name,
        member.mean_dice,
        1e3 * member.seconds_per_window
    )
}

/// The members as text, a line each; nothing where there are none.
pub fn list(members: &[FamilyMember], fits: bool) -> Option<String> {
    if members.is_empty() {
        return None;
    }
    let what = if fits { "more accurate than the chosen one" } else { "faster or smaller" };
    let mut text = format!("Other models of this family that are {what}, as measured by their maker:");
    for member in members {
        text += &format!("\n  {}", line(member));
    }
    Some(text)
}
