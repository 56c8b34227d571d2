//! Whether cases fit each other and the plan, before a worker reads them.

use super::{CaseData, LoaderSettings};
use scanside_app::error::{Error, ErrorKind};
use std::sync::Arc;

/// Checks what is to be delivered.
///
/// # Errors
/// A batch would be empty.
pub(super) fn settings(settings: &LoaderSettings) -> Result<(), Error> {
    if settings.batch == 0 {
        return Err(Error::new(ErrorKind::Usage, "a batch needs at least one sample"));
    }
    let patch = settings.plan.patch_zyx;
    if patch.contains(&0) {
        return Err(Error::new(ErrorKind::Input, format!("a patch of {patch:?} voxels is empty")));
    }
    Ok(())
}

/// Checks the cases.
///
/// # Errors
/// There is none, or one contradicts itself, the plan or the others.
pub(super) fn cases(cases: &[Arc<dyn CaseData>], settings: &LoaderSettings) -> Result<(), Error> {
    let Some(first) = cases.first() else {
        return Err(Error::new(ErrorKind::Input, "there is no case to sample patches from"));
    };
    for case in cases {
        if let Some(problem) = problem_of(case.as_ref(), first.as_ref(), settings) {
            return Err(Error::new(ErrorKind::Input, format!("case {} {problem}", case.id())));
        }
    }
    Ok(())
}

fn problem_of(case: &dyn CaseData, first: &dyn CaseData, settings: &LoaderSettings) -> Option<String> {
    let (shape, channels, expected) = (case.shape_zyx(), case.channels(), settings.plan.channels());
    let heads = |case: &dyn CaseData| case.soft().map(|soft| soft.heads);
    if heads(case) != heads(first) || case.soft().is_some_and(|soft| soft.shape_zyx != shape) {
        return Some(format!("has soft labels of another shape, or with other heads than those of {}", first.id()));
    }
    let voxels = shape.iter().try_fold(1_usize, |product, &n| product.checked_mul(n)).unwrap_or(0);
    if voxels == 0 {
        return Some(format!("has a shape of {shape:?} voxels, which is empty or too large"));
    }
    if channels != expected {
        return Some(format!("has {channels} channels, the plan {expected}"));
    }
    let (intensities, labels) = (case.image().len(), case.labels().len());
    if labels != voxels || Some(intensities) != voxels.checked_mul(channels) {
        return Some(format!(
            "has {intensities} intensities and {labels} labels, which do not fit {channels} channels of {shape:?} voxels"
        ));
    }
    let lists = case.locations();
    if let Some(&beyond) = lists.iter().flatten().find(|&&location| location as usize >= voxels) {
        return Some(format!("has a class location at voxel {beyond}, but only {voxels} voxels"));
    }
    match settings.annotated {
        Some(list) if list >= lists.len() => {
            Some(format!("has no list of annotated voxels, only {} lists", lists.len()))
        }
        _ => None,
    }
}
