//! The page of a family: one self-contained HTML file.

use super::Family;
use super::document::{Document, Estimate, Row, Spread};
use super::pareto::{self, Point};
use super::pictures::{self, Drawn};
use super::relations::{Member, Role};
use crate::report::axis::number;
use crate::report::chart::LegendEntry;
use crate::report::page::thousands;
use crate::validate::ValidationCase;
use askama::Template;
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_app::evaluate::{Mean, Means};

/// Largest number of students with a key number at the top of the page.
const MAX_STUDENTS: usize = 3;
/// Fewest points of a diagram of Dice against seconds.
const MIN_POINTS: usize = 2;

#[derive(Template)]
#[template(path = "family.html")]
struct Page<'a> {
    document: &'a Document,
    subtitle: String,
    tiles: Vec<Tile>,
    measured: String,
    /// Ends of the axis of the small intervals.
    axis: String,
    rows: Vec<PageRow>,
    speed_text: Option<String>,
    pareto: Option<String>,
    seeds: Vec<SeedRow>,
    classes: Vec<ClassTable>,
    charts: Vec<Diagram>,
    drawn: Vec<Drawn>,
    class_names: Vec<String>,
    notes: Vec<String>,
    version: &'static str,
}

struct Tile {
    label: String,
    value: String,
    note: String,
}

/// A run, as text.
struct PageRow {
    name: String,
    kind: String,
    colour: usize,
    teacher: bool,
    dashed: bool,
    whisker: Option<[f64; 3]>,
    dice: String,
    kept: String,
    gained: String,
    surface_dice: String,
    hausdorff: String,
    channels: String,
    parameters: String,
    parameters_saved: String,
    gmac: String,
    gmac_saved: String,
    bytes: String,
    seconds: String,
    speed_up: String,
    peak: String,
    epochs: String,
    batch: String,
    seed: String,
    labelled: String,
    loss: String,
}

struct SeedRow {
    runs: String,
    seeds: String,
    dice: String,
    kept: String,
    gained: String,
}

struct ClassTable {
    name: String,
    rows: Vec<ClassRow>,
}

struct ClassRow {
    run: String,
    cases: usize,
    dice: String,
    surface_dice: String,
    hausdorff: String,
}

struct Diagram {
    title: String,
    legend: Vec<LegendEntry>,
    svg: String,
}

/// The page as text. Pictures are drawn of those `cases` whose files are there.
///
/// # Errors
/// The template cannot be rendered; it is checked when the program is built.
pub fn render(family: &Family, cases: &[ValidationCase]) -> Result<String, Error> {
    let document = family.document();
    let settings = &document.settings;
    let (drawn, notes) = pictures::draw(family, cases);
    let range = range(&document.runs);
    let diagram = |chart: crate::report::chart::Chart| Diagram {
        title: chart.title.clone(),
        legend: chart.legend(),
        svg: chart.svg(),
    };
    let logged = document.runs.iter().any(|row| !row.curve.is_empty());
    let page = Page {
        document,
        subtitle: format!("{} · {} · fold {}", settings.dataset, settings.configuration, settings.fold),
        tiles: tiles(document),
        measured: format!(
            "{} cases of fold {}, {} mirroring, distance of tiles at most {} of a patch",
            settings.cases.len(),
            settings.fold,
            if settings.mirroring { "with" } else { "without" },
            settings.step_size
        ),
        axis: range.map_or_else(String::new, |(low, high)| format!("{low:.2} to {high:.2}")),
        rows: family.members.iter().zip(&document.runs).map(|(m, row)| page_row(family, m, row, range)).collect(),
        speed_text: document.speed_conditions.as_ref().map(|conditions| conditions.text()),
        pareto: picture(family),
        seeds: document.seeds.iter().map(seed_row).collect(),
        classes: classes(document),
        charts: if logged { super::curves::charts(&family.members).into_iter().map(diagram).collect() } else { vec![] },
        drawn,
        class_names: document.runs[0].classes.iter().map(|class| class.name.clone()).collect(),
        notes,
        version: env!("CARGO_PKG_VERSION"),
    };
    page.render().or_error(ErrorKind::Internal)
}

/// Ends of all intervals of the mean Dice, widened to hundredths.
fn range(rows: &[Row]) -> Option<(f64, f64)> {
    let means: Vec<Mean> = rows.iter().filter_map(|row| row.mean_over_classes.dice).collect();
    let low = means.iter().map(|mean| mean.low).reduce(f64::min)?;
    let high = means.iter().map(|mean| mean.high).reduce(f64::max)?;
    let (low, high) = ((100.0 * low).floor() / 100.0, (100.0 * high).ceil() / 100.0);
    Some((low, if high > low { high } else { low + 0.01 }))
}

fn tiles(document: &Document) -> Vec<Tile> {
    let mut tiles = Vec::new();
    if let Some(mean) = document.runs[0].mean_over_classes.dice {
        tiles.push(Tile {
            label: "The teacher's mean Dice".into(),
            value: number(mean.mean, 3),
            note: format!("95 % interval {} to {}, {} cases", number(mean.low, 3), number(mean.high, 3), mean.cases),
        });
    }
    // One of each size that learnt from all labels; the tables contain other seeds and runs with few labels.
    let labels = all_labels(document);
    let mut students: Vec<&Row> =
        document.runs.iter().filter(|row| row.role == Role::Distilled && row.labelled_cases == labels).collect();
    students.dedup_by_key(|row| row.parameters.count);
    for row in students.into_iter().take(MAX_STUDENTS) {
        if let Some(kept) = row.dice_kept {
            let mut note = format!(
                "of the teacher's Dice [{}, {}]; {} of its parameters",
                percent(kept.low, 1),
                percent(kept.high, 1),
                percent(1.0 - row.parameters.saved, 1)
            );
            if let Some(times) = row.speed_up {
                note += &format!("; {times:.1} times as fast");
            }
            tiles.push(Tile { label: format!("{} keeps", row.name), value: percent(kept.value, 1), note });
        }
    }
    tiles
}

fn page_row(family: &Family, member: &Member, row: &Row, range: Option<(f64, f64)>) -> PageRow {
    let dice = row.mean_over_classes.dice;
    let whisker = dice.zip(range).map(|(mean, (low, high))| {
        [mean.low, mean.mean, mean.high].map(|value| (100.0 * (value - low) / (high - low)).clamp(0.0, 100.0))
    });
    let list = |numbers: &[usize]| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let teacher = member.role == Role::Teacher;
    let saved = |share: f64| if teacher { "–".into() } else { percent(share, 1) };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".into());
    let not_measured = || "not measured".to_owned();
    // Not known for imported networks.
    let here = |text: String| if row.epochs > 0 { text } else { "–".into() };
    PageRow {
        name: row.name.clone(),
        kind: kind(family.document(), row),
        colour: member.colour,
        teacher,
        dashed: family.document().runs.iter().any(|r| r.plain_twin.as_ref().is_some_and(|t| t.name == row.name)),
        whisker,
        dice: mean_text(&dice, 3),
        kept: or_dash(row.dice_kept.map(share_text)),
        gained: or_dash(row.plain_twin.as_ref().and_then(|twin| twin.dice_gained).map(gain_text)),
        surface_dice: mean_text(&row.mean_over_classes.surface_dice, 3),
        hausdorff: distance_text(&row.mean_over_classes),
        channels: or_dash(Some(list(&row.channels)).filter(|list| !list.is_empty())),
        parameters: thousands(row.parameters.count),
        parameters_saved: saved(row.parameters.saved),
        gmac: row.gmac_per_patch.map_or_else(|| "not known".into(), |gmac| format!("{:.2}", gmac.amount)),
        gmac_saved: or_dash(row.gmac_per_patch.and_then(|gmac| gmac.saved).map(saved)),
        bytes: row.model_bytes.map_or_else(|| "not exported".into(), megabytes),
        seconds: row.speed.as_ref().map_or_else(not_measured, |speed| format!("{:.3}", speed.median_seconds)),
        speed_up: or_dash(row.speed_up.map(|times| format!("{times:.1} ×"))),
        peak: or_dash(row.speed.as_ref().and_then(|speed| speed.peak_rss_bytes).map(megabytes)),
        epochs: here(format!("{} of {} × {} steps", row.epochs_done, row.epochs, row.steps_per_epoch)),
        batch: here(row.batch_size.to_string()),
        seed: here(row.seed.to_string()),
        labelled: or_dash(Some(row.labelled_cases).filter(|cases| *cases > 0).map(|cases| cases.to_string())),
        loss: row.loss.clone().unwrap_or_default(),
    }
}

/// Number of cases whose labels were available. The training cases of an imported teacher may not be known.
fn all_labels(document: &Document) -> usize {
    document.runs.iter().map(|row| row.labelled_cases).max().unwrap_or(0)
}

/// The kind of a run, in a few words.
fn kind(document: &Document, row: &Row) -> String {
    let whole = all_labels(document);
    let mut text = match (row.role, &row.taught_by) {
        (Role::Teacher, _) => "teacher".to_owned(),
        (Role::Plain, _) => "labels alone".into(),
        (Role::Distilled, Some(name)) if *name != document.teacher => format!("distilled from {name}"),
        (Role::Distilled, _) => "distilled".into(),
    };
    if row.role != Role::Teacher && row.labelled_cases != whole {
        text += &format!(", labels of {} cases instead of {whole}", row.labelled_cases);
    }
    text
}

fn seed_row(group: &super::document::SeedGroup) -> SeedRow {
    let text = |spread: Option<Spread>, show: &dyn Fn(f64) -> String| match spread {
        Some(s) => format!("{} ({} to {})", show(s.mean), show(s.least), show(s.most)),
        None => "–".into(),
    };
    let by_case = |estimate: Option<Estimate>, show: &dyn Fn(f64) -> String| match estimate {
        Some(e) => format!(", [{}, {}]", show(e.low), show(e.high)),
        None => String::new(),
    };
    SeedRow {
        runs: group.runs.join(", "),
        seeds: group.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
        dice: text(group.mean_dice, &|value| number(value, 3)),
        kept: text(group.dice_kept, &|value| percent(value, 1)) + &by_case(group.dice_kept_by_case, &|v| percent(v, 1)),
        gained: text(group.dice_gained, &|value| signed(value, 3))
            + &by_case(group.dice_gained_by_case, &|v| signed(v, 3)),
    }
}

fn classes(document: &Document) -> Vec<ClassTable> {
    let table = |place: usize| {
        let row = |row: &Row| {
            let means = &row.classes.get(place)?.means;
            Some(ClassRow {
                run: row.name.clone(),
                cases: means.dice.map_or(0, |mean| mean.cases),
                dice: mean_text(&means.dice, 3),
                surface_dice: mean_text(&means.surface_dice, 3),
                hausdorff: distance_text(means),
            })
        };
        ClassTable {
            name: document.runs[0].classes[place].name.clone(),
            rows: document.runs.iter().filter_map(row).collect(),
        }
    };
    (0..document.runs[0].classes.len()).map(table).collect()
}

/// Dice against seconds of the runs that were measured under one set of conditions.
fn picture(family: &Family) -> Option<String> {
    let conditions = family.document().speed_conditions.as_ref()?;
    let point = |(member, row): (&Member, &Row)| {
        let speed = row.speed.as_ref().filter(|speed| speed.conditions == *conditions)?;
        let dice = row.mean_over_classes.dice?;
        Some(Point { name: row.name.clone(), seconds: speed.median_seconds, dice, colour: member.colour })
    };
    let points: Vec<Point> = family.members.iter().zip(&family.document().runs).filter_map(point).collect();
    (points.len() >= MIN_POINTS).then(|| pareto::svg(&points))
}

fn mean_text(mean: &Option<Mean>, digits: usize) -> String {
    match mean {
        Some(m) => format!("{} [{}, {}]", number(m.mean, digits), number(m.low, digits), number(m.high, digits)),
        None => "–".into(),
    }
}

fn distance_text(means: &Means) -> String {
    let text = mean_text(&means.hausdorff_95_mm, 2);
    match means.hausdorff_95_infinite {
        0 => text,
        infinite => format!("{text}, {infinite} infinite"),
    }
}

fn share_text(share: Estimate) -> String {
    format!("{} [{}, {}]", percent(share.value, 1), percent(share.low, 1), percent(share.high, 1))
}

fn gain_text(gain: Estimate) -> String {
    format!("{} [{}, {}]", signed(gain.value, 3), signed(gain.low, 3), signed(gain.high, 3))
}

fn percent(share: f64, digits: usize) -> String {
    format!("{} %", number(100.0 * share, digits))
}

fn signed(value: f64, digits: usize) -> String {
    let text = number(value, digits);
    if value > 0.0 { format!("+{text}") } else { text }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", number(bytes as f64 / 1e6, if bytes < 10_000_000 { 2 } else { 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_signs_and_units() {
        assert_eq!(signed(0.0123, 3), "+0.012");
        assert_eq!(signed(-0.0123, 3), "−0.012");
        assert_eq!(percent(0.9876, 1), "98.8 %");
        assert_eq!((megabytes(1_234_567), megabytes(22_400_000)), ("1.23 MB".into(), "22 MB".into()));
    }
}
