//! The page of a run: one self-contained HTML file.

use super::axis;
use super::chart::{Chart, LegendEntry};
use super::log::EpochRecord;
use super::overlay::{self, Picture};
use super::progress::{Progress, human_duration};
use super::run::{RunFacts, RunFolder};
use super::{curves, log};
use crate::validate::{Validation, ValidationCase};
use askama::Template;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::evaluate::{CaseReport, Mean, Means, Report};
use scanside_app::output;
use std::path::Path;

/// With more classes than this, the table of cases has only their mean.
const MAX_COLUMNS: usize = 6;

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    name: String,
    subtitle: String,
    state: &'static str,
    state_line: String,
    tiles: Vec<Tile>,
    /// Rows of diagrams.
    charts: Vec<Vec<Diagram>>,
    validation: Option<Measured>,
    cases: Vec<Case>,
    classes: Vec<String>,
    notes: Vec<String>,
    facts: Vec<(String, String)>,
    version: &'static str,
}

/// A key number at the top.
struct Tile {
    label: &'static str,
    value: String,
    note: String,
}

struct Diagram {
    title: String,
    legend: Vec<LegendEntry>,
    svg: String,
}

/// The validation's tables.
struct Measured {
    heading: String,
    tolerance_mm: f64,
    resamples: usize,
    classes: Vec<ClassRow>,
    columns: Vec<String>,
    cases: Vec<CaseRow>,
    failed: Vec<(String, String)>,
}

struct ClassRow {
    name: String,
    cases: usize,
    dice: String,
    surface_dice: String,
    hausdorff: String,
    infinite: usize,
    /// Low end, mean and high end of Dice in percent of the axis.
    whisker: Option<[f64; 3]>,
    overall: bool,
}

struct CaseRow {
    case: String,
    values: Vec<String>,
}

/// A case in pictures.
struct Case {
    which: &'static str,
    case: String,
    dice: String,
    pictures: Vec<Picture>,
}

/// Writes the page of a run from its files. Pictures are drawn of those `cases` whose files are there.
///
/// # Errors
/// The run's files are damaged, or the page cannot be written.
pub fn write(run: &RunFolder, cases: &[ValidationCase]) -> Result<(), Error> {
    let facts = RunFacts::read(run)?;
    let log = log::read(&run.log())?;
    let validation = if run.validation().is_file() { Some(Validation::read(&run.validation())?) } else { None };
    let progress = Progress::of(run, &facts, &log);
    let html = render(&facts, &log, &progress, validation.as_ref(), cases, &run.labels())?;
    output::write_whole(&run.page(), html.as_bytes())
}

/// The page as text. `labels` is the folder of predicted label files.
///
/// # Errors
/// The template cannot be rendered; it is checked when the program is built.
pub fn render(
    facts: &RunFacts,
    log: &[EpochRecord],
    progress: &Progress,
    validation: Option<&Validation>,
    cases: &[ValidationCase],
    labels: &Path,
) -> Result<String, Error> {
    let (drawn, notes) = validation.map_or_else(Default::default, |v| draw(&v.agreement, cases, labels));
    let page = Page {
        name: facts.name.clone(),
        subtitle: format!("{} · {} · fold {}", facts.dataset, facts.configuration, facts.fold),
        state: progress.state.name(),
        state_line: state_line(progress),
        tiles: tiles(facts, log, progress, validation),
        charts: if log.is_empty() { Vec::new() } else { rows(&curves::charts(facts, log)) },
        validation: validation.map(measured),
        cases: drawn,
        classes: validation.map_or_else(Vec::new, |v| v.agreement.classes.iter().map(|c| c.name.clone()).collect()),
        notes,
        facts: table(facts),
        version: env!("CARGO_PKG_VERSION"),
    };
    page.render().or_error(ErrorKind::Internal)
}

/// Diagrams of one width side by side.
fn rows(charts: &[Chart]) -> Vec<Vec<Diagram>> {
    let diagram = |c: &Chart| Diagram { title: c.title.clone(), legend: c.legend(), svg: c.svg() };
    charts.chunk_by(|a, b| a.width == b.width).map(|row| row.iter().map(diagram).collect()).collect()
}

fn state_line(progress: &Progress) -> String {
    let epochs = format!("{} of {} epochs", progress.done, progress.epochs);
    match progress.left_seconds {
        Some(left) => format!("{epochs}, about {} left", human_duration(left)),
        None => epochs,
    }
}

fn tiles(facts: &RunFacts, log: &[EpochRecord], progress: &Progress, validation: Option<&Validation>) -> Vec<Tile> {
    let mut tiles = Vec::new();
    if let Some(mean) = validation.and_then(|v| v.agreement.mean_over_classes.dice) {
        tiles.push(Tile {
            label: "Dice, whole cases",
            value: format!("{:.3}", mean.mean),
            note: format!("95 % interval {:.3} to {:.3}, {} cases", mean.low, mean.high, mean.cases),
        });
    }
    if let Some((dice, epoch)) = progress.best {
        let last = progress.last.map_or(String::new(), |last| format!(", last {last:.3}"));
        tiles.push(Tile {
            label: "Best smoothed Dice on patches",
            value: format!("{dice:.3}"),
            note: format!("epoch {epoch}{last}"),
        });
    }
    if let Some(record) = log.last() {
        let val = record.val_loss.map_or(String::new(), |loss| format!("validation {}", axis::number(loss, 3)));
        tiles.push(Tile { label: "Training loss", value: axis::number(record.loss, 3), note: val });
    }
    let waited: f64 = log.iter().map(|r| r.wait_seconds).sum();
    let note = match progress.spent_seconds > 0.0 {
        true => format!("{:.0} % waiting for patches", 100.0 * waited / progress.spent_seconds),
        false => String::new(),
    };
    tiles.push(Tile { label: "Time in epochs", value: human_duration(progress.spent_seconds), note });
    tiles.push(Tile {
        label: "Parameters",
        value: thousands(facts.parameters),
        note: format!("{} stages on {}", facts.features_per_stage.len(), facts.device),
    });
    tiles
}

fn measured(validation: &Validation) -> Measured {
    let report = &validation.agreement;
    let mut classes: Vec<ClassRow> = report.means.iter().map(|c| class_row(&c.name, &c.means, false)).collect();
    classes.push(class_row("mean over classes", &report.mean_over_classes, true));
    let few = report.classes.len() <= MAX_COLUMNS;
    let mut columns = vec!["mean Dice".to_owned()];
    if few {
        columns.extend(report.classes.iter().map(|class| class.name.clone()));
    }
    let row = |case: &CaseReport| {
        let mut values = vec![number(mean_dice(case), 3)];
        if few {
            values.extend(case.classes.iter().map(|class| number(class.dice, 3)));
        }
        CaseRow { case: case.case.clone(), values }
    };
    Measured {
        heading: format!(
            "{} cases, {} mirroring",
            report.cases.len(),
            if validation.mirroring { "with" } else { "without" }
        ),
        tolerance_mm: report.settings.tolerance_mm,
        resamples: report.bootstrap_resamples,
        classes,
        columns,
        cases: report.cases.iter().map(row).collect(),
        failed: report.failed.iter().map(|f| (f.case.clone(), f.error.clone())).collect(),
    }
}

fn class_row(name: &str, means: &Means, overall: bool) -> ClassRow {
    let text = |mean: &Option<Mean>, digits: usize| match mean {
        Some(m) => format!("{:.digits$} [{:.digits$}, {:.digits$}]", m.mean, m.low, m.high),
        None => "–".into(),
    };
    ClassRow {
        name: name.to_owned(),
        cases: means.dice.map_or(0, |mean| mean.cases),
        dice: text(&means.dice, 3),
        surface_dice: text(&means.surface_dice, 3),
        hausdorff: text(&means.hausdorff_95_mm, 2),
        infinite: means.hausdorff_95_infinite,
        whisker: means.dice.map(|m| [m.low, m.mean, m.high].map(|v| 100.0 * v)),
        overall,
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".into(), |value| format!("{value:.digits$}"))
}

/// Mean over the classes with a defined Dice in this case.
pub(super) fn mean_dice(case: &CaseReport) -> Option<f64> {
    let values: Vec<f64> = case.classes.iter().filter_map(|class| class.dice).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The best, the median and the worst case by mean Dice: which of them it is, its Dice, its name.
pub(super) fn representative(report: &Report) -> Vec<(&'static str, f64, &str)> {
    let mut scored: Vec<(f64, &str)> =
        report.cases.iter().filter_map(|case| Some((mean_dice(case)?, case.case.as_str()))).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let places: &[(usize, &'static str)] = match scored.len() {
        0 => &[],
        1 => &[(0, "only")],
        2 => &[(0, "better"), (1, "worse")],
        n => &[(0, "best"), (n / 2, "median"), (n - 1, "worst")],
    };
    places.iter().map(|(place, which)| (*which, scored[*place].0, scored[*place].1)).collect()
}

/// Pictures of the best, median and worst case, and why some could not be drawn.
fn draw(report: &Report, cases: &[ValidationCase], labels: &Path) -> (Vec<Case>, Vec<String>) {
    let (mut drawn, mut notes) = (Vec::new(), Vec::new());
    for (which, dice, id) in representative(report) {
        let Some(case) = cases.iter().find(|case| case.id == id) else { continue };
        match overlay::pictures(case, &labels.join(format!("{id}.nii.gz")), &report.classes) {
            Ok(pictures) => {
                drawn.push(Case { which, case: id.to_owned(), dice: format!("{dice:.3}"), pictures });
            }
            Err(error) => notes.push(format!("No pictures of {id}: {}", error.chain())),
        }
    }
    (drawn, notes)
}

fn table(facts: &RunFacts) -> Vec<(String, String)> {
    let list = |numbers: &[usize], by: &str| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(by);
    let mirrored = match facts.mirror_axes.as_slice() {
        [] => "none".into(),
        axes => list(axes, ", "),
    };
    let mut rows: Vec<(String, String)> = [
        ("Dataset", facts.dataset.clone()),
        ("Plans", format!("{}, {}", facts.plans, facts.configuration)),
        ("SHA-256 of plans.json", facts.plans_sha256.clone()),
        ("Fold", facts.fold.clone()),
        (
            "Cases",
            format!("{} for training, {} for validation", facts.training_cases.len(), facts.validation_cases.len()),
        ),
        ("Channels per stage", list(&facts.features_per_stage, ", ")),
        ("Patch", format!("{} voxels (z, y, x)", list(&facts.patch_zyx, " × "))),
        ("Batch", format!("{} patches, {} steps per epoch", facts.batch_size, facts.steps_per_epoch)),
        ("Epochs", facts.epochs.to_string()),
        ("First learning rate", facts.initial_lr.to_string()),
        ("Mirrored axes", mirrored),
        ("Seed", facts.seed.to_string()),
        ("Computed on", facts.device.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    rows.extend(facts.notes.iter().map(|(name, value)| (name.clone(), value.clone())));
    rows
}

/// A whole number with narrow spaces between thousands.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(1_234_567), "1\u{202f}234\u{202f}567");
    }
}
