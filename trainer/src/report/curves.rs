//! The diagrams of a run's page, from its log.

use super::chart::{Chart, HALF, Series, THIRD, Weight};
use super::log::EpochRecord;
use super::run::RunFacts;
use std::collections::BTreeSet;

/// With more classes than this, the curves of single classes are faint and the legend contains only their mean.
const MAX_NAMED: usize = 7;

/// The diagrams of a run.
pub fn charts(facts: &RunFacts, log: &[EpochRecord]) -> Vec<Chart> {
    vec![losses(log), pseudo_dice(facts, log), learning_rate(log), seconds(log), throughput(log)]
}

pub(super) fn series(
    name: &str,
    colour: usize,
    weight: Weight,
    log: &[EpochRecord],
    of: impl Fn(&EpochRecord) -> Option<f64>,
) -> Series {
    let points = log.iter().map(|record| (record.epoch as f64, of(record).unwrap_or(f64::NAN))).collect();
    Series { name: name.to_owned(), points, colour, weight }
}

fn losses(log: &[EpochRecord]) -> Chart {
    let names: BTreeSet<&String> = log.iter().flat_map(|record| record.terms.keys()).collect();
    let mut curves: Vec<Series> = names
        .into_iter()
        .enumerate()
        // The first two colours are those of the total losses.
        .map(|(i, name)| {
            let shown = format!("{} term", name.replace('_', " "));
            series(&shown, i + 2, Weight::Plain, log, |r| r.terms.get(name).copied())
        })
        .collect();
    curves.push(series("training", 0, Weight::Strong, log, |r| Some(r.loss)));
    curves.push(series("validation", 1, Weight::Strong, log, |r| r.val_loss));
    Chart {
        title: "Loss".into(),
        description: "Training loss with its terms, without their weights, and validation loss, by epoch".into(),
        series: curves,
        range: None,
        digits: 3,
        width: HALF,
    }
}

fn pseudo_dice(facts: &RunFacts, log: &[EpochRecord]) -> Chart {
    let many = facts.classes.len() > MAX_NAMED;
    let weight = if many { Weight::Faint } else { Weight::Plain };
    let mut curves: Vec<Series> = facts
        .classes
        .iter()
        .enumerate()
        // The first colour is the mean's.
        .map(|(i, name)| series(name, i + 1, weight, log, |r| r.pseudo_dice.get(i).copied().flatten()))
        .collect();
    curves.push(series("smoothed mean", 0, Weight::Strong, log, |r| r.ema_dice));
    Chart {
        title: "Dice on validation patches".into(),
        description: "Dice per class over all validation patches of an epoch, and its smoothed mean".into(),
        series: curves,
        range: Some((0.0, 1.0)),
        digits: 3,
        width: HALF,
    }
}

fn learning_rate(log: &[EpochRecord]) -> Chart {
    Chart {
        title: "Learning rate".into(),
        description: "Learning rate by epoch".into(),
        series: vec![series("learning rate", 0, Weight::Strong, log, |r| Some(r.lr))],
        range: log.iter().map(|r| r.lr).reduce(f64::max).filter(|most| *most > 0.0).map(|most| (0.0, most)),
        digits: 5,
        width: THIRD,
    }
}

fn seconds(log: &[EpochRecord]) -> Chart {
    let most = log.iter().map(|r| r.seconds).fold(0.0, f64::max);
    Chart {
        title: "Seconds per epoch".into(),
        description: "Seconds per epoch, and how many of them the network waited for patches".into(),
        series: vec![
            series("all", 0, Weight::Strong, log, |r| Some(r.seconds)),
            series("waiting for patches", 1, Weight::Plain, log, |r| Some(r.wait_seconds)),
        ],
        range: (most > 0.0).then_some((0.0, most * 1.05)),
        digits: 1,
        width: THIRD,
    }
}

fn throughput(log: &[EpochRecord]) -> Chart {
    let rate = |r: &EpochRecord| (r.seconds > 0.0).then(|| r.samples as f64 / r.seconds);
    let most = log.iter().filter_map(rate).fold(0.0, f64::max);
    Chart {
        title: "Patches per second".into(),
        description: "Patches trained on per second, by epoch".into(),
        series: vec![series("patches per second", 0, Weight::Strong, log, rate)],
        range: (most > 0.0).then_some((0.0, most * 1.05)),
        digits: 1,
        width: THIRD,
    }
}
