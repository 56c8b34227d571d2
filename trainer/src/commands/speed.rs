//! The measurements of a run, and the family that measured runs form.

use super::note;
use crate::report::run::{self, RunFolder};
use crate::validate::Validation;
use crate::work::{Work, read_text};
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::measure::Measured;
use scanside_app::output;
use scanside_core::manifest::{FamilyMember, Measurement};

/// Reads a run's `speed.json`; `None` where it was not measured.
///
/// # Errors
/// The file exists and cannot be read.
pub(super) fn read(run: &RunFolder) -> Result<Option<Measured>, Error> {
    let path = run.speed();
    if !path.is_file() {
        return Ok(None);
    }
    let text = read_text(&path)?;
    serde_json::from_str(&text)
        .map(Some)
        .or_error_with(ErrorKind::Input, || format!("{} was not written by scanside-train measure", path.display()))
}

/// Writes a run's `speed.json`, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write(run: &RunFolder, measured: &Measured) -> Result<(), Error> {
    output::write_whole(&run.speed(), &serde_json::to_vec_pretty(measured).or_error(ErrorKind::Internal)?)
}

/// A measurement in the form of manifests; `None` where the system did not report the memory.
pub(super) fn measurement(measured: &Measured) -> Option<Measurement> {
    Some(Measurement {
        machine: measured.machine.clone(),
        threads: measured.threads,
        instructions: measured.instructions.clone(),
        precision: measured.precision.clone(),
        seconds_per_window: measured.median_seconds,
        peak_rss_bytes: measured.peak_rss_bytes? as u64,
    })
}

/// The Pareto-optimal runs in the same work folder as `run`, the fastest first, among those that were validated on the same
/// cases in the same way and measured under the same conditions. Files that cannot be read are named on standard error.
pub(super) fn family(run: &RunFolder, own: &Measured) -> Vec<FamilyMember> {
    let Ok(validation) = Validation::read(&run.validation()) else { return Vec::new() };
    let work = std::path::absolute(run.path()).ok().and_then(|path| Some(Work::new(path.parent()?.parent()?)));
    let beside = work.map(|work| run::list(&work).unwrap_or_default()).unwrap_or_default();
    let member = |other: &RunFolder| -> Result<Option<FamilyMember>, Error> {
        if !other.validation().is_file() {
            return Ok(None);
        }
        let Some(speed) = read(other)? else { return Ok(None) };
        let judged = Validation::read(&other.validation())?;
        let comparable = judged.graph_sha256 == speed.graph_sha256
            && same_conditions(&speed, own)
            && same_cases(&judged, &validation);
        let (Some(mean_dice), Some(measured), true) = (judged.mean_dice(), measurement(&speed), comparable) else {
            return Ok(None);
        };
        let name = other.path().file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(Some(FamilyMember {
            name,
            mean_dice,
            seconds_per_window: measured.seconds_per_window,
            peak_rss_bytes: measured.peak_rss_bytes,
            graph_sha256: speed.graph_sha256,
        }))
    };
    let mut members = Vec::new();
    for other in &beside {
        match member(other) {
            Ok(found) => members.extend(found),
            Err(error) => note!("{} is left out of the family: {}", other.path().display(), error.chain()),
        }
    }
    pareto(members)
}

fn same_conditions(a: &Measured, b: &Measured) -> bool {
    (&a.machine, a.threads, &a.instructions, &a.precision) == (&b.machine, b.threads, &b.instructions, &b.precision)
}

fn same_cases(a: &Validation, b: &Validation) -> bool {
    let ids = |v: &Validation| v.agreement.cases.iter().map(|case| case.case.clone()).collect::<Vec<_>>();
    (a.mirroring, a.step_size, ids(a)) == (b.mirroring, b.step_size, ids(b))
}

/// The Pareto-optimal members, the fastest first: no other one is at least as good in everything and better in something.
fn pareto(members: Vec<FamilyMember>) -> Vec<FamilyMember> {
    let dominates = |a: &FamilyMember, b: &FamilyMember| {
        let better = [
            a.mean_dice.total_cmp(&b.mean_dice).reverse(),
            a.seconds_per_window.total_cmp(&b.seconds_per_window),
            a.peak_rss_bytes.cmp(&b.peak_rss_bytes),
        ];
        better.iter().all(|order| order.is_le()) && better.iter().any(|order| order.is_lt())
    };
    let mut kept: Vec<FamilyMember> =
        members.iter().filter(|member| !members.iter().any(|other| dominates(other, member))).cloned().collect();
    kept.sort_by(|a, b| a.seconds_per_window.total_cmp(&b.seconds_per_window));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, mean_dice: f64, seconds_per_window: f64, peak_rss_bytes: u64) -> FamilyMember {
        FamilyMember { name: name.into(), mean_dice, seconds_per_window, peak_rss_bytes, graph_sha256: String::new() }
    }

    fn kept(members: Vec<FamilyMember>) -> Vec<String> {
        pareto(members).into_iter().map(|member| member.name).collect()
    }

    #[test]
    fn dominated_members_are_removed() {
        let teacher = member("teacher", 0.90, 3.0, 700);
        let half = member("r2", 0.89, 0.9, 350);
        let plain = member("r2-plain", 0.87, 0.9, 350);
        let quarter = member("r4", 0.88, 0.3, 200);
        assert_eq!(kept(vec![teacher.clone(), half.clone(), plain.clone(), quarter.clone()]), ["r4", "r2", "teacher"]);
        // Less memory is enough to be kept; equal members do not dominate each other.
        let lean = member("lean", 0.5, 9.0, 100);
        assert_eq!(kept(vec![lean, quarter.clone(), quarter]), ["r4", "r4", "lean"]);
        assert!(kept(vec![]).is_empty());
    }
}
