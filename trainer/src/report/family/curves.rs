//! The runs' curves, all in one diagram.

use super::relations::Member;
use crate::report::chart::{Chart, HALF, Series, Weight};
use crate::report::curves::series;
use crate::report::log::EpochRecord;

/// Dice and loss on validation patches by epoch.
pub(super) fn charts(members: &[Member]) -> Vec<Chart> {
    let curves = |of: fn(&EpochRecord) -> Option<f64>| -> Vec<Series> {
        let drawn = |(place, member): (usize, &Member)| {
            series(&member.entry.facts.name, member.colour, weight(members, place), &member.entry.log, of)
        };
        members.iter().enumerate().map(drawn).collect()
    };
    vec![
        Chart {
            title: "Smoothed Dice on validation patches".into(),
            description: "Mean Dice over classes on validation patches, smoothed, by epoch, a curve for each run"
                .into(),
            series: curves(|record| record.ema_dice),
            range: Some((0.0, 1.0)),
            digits: 3,
            width: HALF,
        },
        Chart {
            title: "Loss on validation patches".into(),
            description: "Loss of the labels on validation patches by epoch, a curve for each run".into(),
            series: curves(|record| record.val_loss),
            range: None,
            digits: 3,
            width: HALF,
        },
    ]
}

/// The teacher is strong; twins, which have their student's colour, are dashed.
fn weight(members: &[Member], place: usize) -> Weight {
    match place {
        0 => Weight::Strong,
        _ if members.iter().any(|member| member.twin == Some(place)) => Weight::Dashed,
        _ => Weight::Plain,
    }
}
