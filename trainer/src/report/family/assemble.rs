//! Builds the document from the members: the numbers of each, compared with the teacher and with its twin, and over seeds.

use super::comparable;
use super::document::{
    Amount, CaseDice, Count, CurvePoint, Document, Estimate, FORMAT, LeftOut, Row, SeedGroup, Settings, Spread, Twin,
};
use super::relations::{self, Member, Role};
use super::speed::{Conditions, Speed};
use crate::work::Work;
use scanside_core::metrics::Bootstrap;

/// Bootstrap intervals of fewer cases are too narrow.
const FEW_CASES: usize = 10;
const BILLION: f64 = 1e9;

/// Dice by case and class.
type Table = Vec<Vec<Option<f64>>>;

/// The document of members, the teacher first.
pub(super) fn document(work: &Work, members: &[Member], left_out: Vec<LeftOut>) -> Document {
    let teacher = &members[0].entry;
    let cases = teacher.cases();
    let tables: Vec<Table> = members.iter().map(|member| member.entry.dice(&cases)).collect();
    let speed_conditions = members.iter().find_map(|m| m.entry.speed.as_ref()).map(|speed| speed.conditions.clone());
    let rows: Vec<Row> = (0..members.len()).map(|place| row(members, place, &tables, &cases)).collect();
    let validation = &teacher.validation;
    Document {
        format: FORMAT,
        work: work.root().display().to_string(),
        teacher: teacher.facts.name.clone(),
        settings: Settings {
            dataset: teacher.facts.dataset.clone(),
            configuration: teacher.facts.configuration.clone(),
            fold: teacher.facts.fold.clone(),
            cases: cases.iter().map(|case| case.to_string()).collect(),
            mirroring: validation.mirroring,
            step_size: validation.step_size,
            tolerance_mm: validation.agreement.settings.tolerance_mm,
            bootstrap_resamples: Bootstrap::default().resamples,
        },
        remarks: remarks(members, speed_conditions.as_ref()),
        speed_conditions,
        seeds: relations::seeds(members).iter().map(|group| seed_group(members, &rows, &tables, group)).collect(),
        runs: rows,
        left_out,
    }
}

fn row(members: &[Member], place: usize, tables: &[Table], cases: &[&str]) -> Row {
    let bootstrap = Bootstrap::default();
    let Member { entry, role, twin, .. } = &members[place];
    let (facts, teacher) = (&entry.facts, &members[0].entry);
    let saved = |part: u64, whole: u64| 1.0 - part as f64 / whole as f64;
    let kept = match role {
        Role::Teacher => None,
        _ => bootstrap.ratio_over_classes(&tables[place], &tables[0]).map(Estimate::from),
    };
    let plain_twin = twin.map(|twin| Twin {
        name: members[twin].entry.facts.name.clone(),
        dice_gained: bootstrap.difference_over_classes(&tables[place], &tables[twin]).map(Estimate::from),
    });
    Row {
        name: facts.name.clone(),
        role: *role,
        taught_by: entry.teacher().map(str::to_owned),
        loss: entry.loss().map(str::to_owned),
        channels: facts.features_per_stage.clone(),
        parameters: Count { count: facts.parameters, saved: saved(facts.parameters, teacher.facts.parameters) },
        gmac_per_patch: entry
            .macs
            .map(|macs| Amount { amount: macs as f64 / BILLION, saved: teacher.macs.map(|whole| saved(macs, whole)) }),
        model_bytes: entry.model_bytes,
        labelled_cases: facts.training_cases.len(),
        seed: facts.seed,
        epochs_done: entry.progress.done,
        epochs: facts.epochs,
        steps_per_epoch: facts.steps_per_epoch,
        batch_size: facts.batch_size,
        mean_over_classes: entry.validation.agreement.mean_over_classes.clone(),
        classes: entry.validation.agreement.means.clone(),
        dice_kept: kept,
        plain_twin,
        speed: entry.speed.clone(),
        speed_up: speed_up(teacher.speed.as_ref(), entry.speed.as_ref()),
        cases: cases.iter().map(|id| CaseDice { case: id.to_string(), dice: entry.case_dice(id) }).collect(),
        curve: entry
            .log
            .iter()
            .map(|r| CurvePoint { epoch: r.epoch, smoothed_dice: r.ema_dice, validation_loss: r.val_loss })
            .collect(),
    }
}

fn speed_up(teacher: Option<&Speed>, own: Option<&Speed>) -> Option<f64> {
    let (teacher, own) = (teacher?, own?);
    (teacher.conditions == own.conditions).then(|| teacher.median_seconds / own.median_seconds)
}

fn seed_group(members: &[Member], rows: &[Row], tables: &[Table], group: &[usize]) -> SeedGroup {
    let bootstrap = Bootstrap::default();
    let own = mean_table(group.iter().map(|place| &tables[*place]));
    let twins: Option<Vec<usize>> = group.iter().map(|place| members[*place].twin).collect();
    let twins = twins.map(|twins| mean_table(twins.iter().map(|twin| &tables[*twin])));
    let of = |value: fn(&Row) -> Option<f64>| spread(group.iter().map(|place| value(&rows[*place])).collect());
    SeedGroup {
        runs: group.iter().map(|place| rows[*place].name.clone()).collect(),
        seeds: group.iter().map(|place| rows[*place].seed).collect(),
        mean_dice: of(|row| row.mean_over_classes.dice.map(|mean| mean.mean)),
        dice_kept: of(|row| row.dice_kept.map(|kept| kept.value)),
        dice_gained: of(|row| row.plain_twin.as_ref()?.dice_gained.map(|gained| gained.value)),
        dice_kept_by_case: bootstrap.ratio_over_classes(&own, &tables[0]).map(Estimate::from),
        dice_gained_by_case: twins
            .and_then(|twins| bootstrap.difference_over_classes(&own, &twins))
            .map(Estimate::from),
    }
}

/// The mean of tables of the same cases and classes; `None` where one of them has no value.
fn mean_table<'a>(tables: impl Iterator<Item = &'a Table>) -> Table {
    let tables: Vec<&Table> = tables.collect();
    let count = tables.len() as f64;
    let mean = |case: usize, class: usize| {
        let sum: Option<f64> = tables.iter().map(|table| table[case][class]).sum();
        sum.map(|sum| sum / count)
    };
    let classes = |(case, row): (usize, &Vec<Option<f64>>)| (0..row.len()).map(|class| mean(case, class)).collect();
    tables.first().map_or_else(Vec::new, |first| first.iter().enumerate().map(classes).collect())
}

/// Mean and range, where all have a value.
fn spread(values: Vec<Option<f64>>) -> Option<Spread> {
    let values: Vec<f64> = values.into_iter().collect::<Option<_>>()?;
    let (least, most) = (values.iter().copied().reduce(f64::min)?, values.iter().copied().reduce(f64::max)?);
    Some(Spread { mean: values.iter().sum::<f64>() / values.len() as f64, least, most })
}

fn remarks(members: &[Member], conditions: Option<&Conditions>) -> Vec<String> {
    let teacher = &members[0].entry;
    let mut remarks = Vec::new();
    let measured = teacher.cases().len();
    if measured < FEW_CASES {
        remarks.push(format!("Only {measured} case(s) were measured: bootstrap intervals of so few are too narrow."));
    }
    if let Some(seen) = comparable::leak(teacher, teacher) {
        remarks.push(format!("The teacher was trained on {seen} of the {measured} cases that are measured."));
    }
    for failed in &teacher.validation.agreement.failed {
        remarks.push(format!("{} could not be measured: {}", failed.case, failed.error));
    }
    for member in members {
        let entry = &member.entry;
        remarks.extend(entry.remarks.iter().cloned());
        if let (Some(speed), Some(conditions)) = (&entry.speed, conditions)
            && speed.conditions != *conditions
        {
            remarks.push(format!(
                "The speed of {} was measured under other conditions ({} instead of {}) and is not compared.",
                entry.facts.name,
                speed.conditions.text(),
                conditions.text()
            ));
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_needs_all_its_values() {
        let found = spread(vec![Some(0.8), Some(0.9), Some(0.7)]).unwrap();
        assert!((found.mean - 0.8).abs() < 1e-12);
        assert_eq!((found.least, found.most), (0.7, 0.9));
        assert_eq!(spread(vec![Some(0.8), None]), None);
        assert_eq!(spread(vec![]), None);
    }

    #[test]
    fn tables_are_averaged_cell_by_cell() {
        let one = vec![vec![Some(0.5), Some(1.0)], vec![None, Some(0.25)]];
        let other = vec![vec![Some(1.0), None], vec![Some(0.5), Some(0.75)]];
        assert_eq!(mean_table([&one, &other].into_iter()), [[Some(0.75), None], [None, Some(0.5)]]);
        assert!(mean_table([].into_iter()).is_empty());
    }
}
