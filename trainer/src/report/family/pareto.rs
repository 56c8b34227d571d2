//! Mean Dice against seconds per patch, as inline SVG.

use crate::report::axis::Axis;
use crate::report::svg::{Anchor, Svg};
use scanside_app::evaluate::Mean;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;
/// A label's height, and the mean width of its letters.
const LINE: f64 = 15.0;
const LETTER: f64 = 6.8;
/// Distance of a label from its point.
const GAP: f64 = 9.0;
/// Radius of a point.
const RADIUS: f64 = 4.5;
/// Round numbers of a decade.
const ROUND: [f64; 3] = [1.0, 2.0, 5.0];

/// A measured network.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) name: String,
    pub(super) seconds: f64,
    pub(super) dice: Mean,
    /// Number of its colour.
    pub(super) colour: usize,
}

/// The Pareto-optimal points, by seconds: no other is as fast and better, or faster and as good.
pub(super) fn front(points: &[Point]) -> Vec<&Point> {
    let mut sorted: Vec<&Point> = points.iter().collect();
    sorted.sort_by(|a, b| a.seconds.total_cmp(&b.seconds).then(b.dice.mean.total_cmp(&a.dice.mean)));
    let mut best = f64::NEG_INFINITY;
    sorted.retain(|point| {
        let better = point.dice.mean > best;
        best = best.max(point.dice.mean);
        better
    });
    sorted
}

/// The picture as one `svg` element; seconds on a logarithmic axis.
pub(super) fn svg(points: &[Point]) -> String {
    let ticks = decades(points.iter().map(|point| point.seconds));
    let (from, to) = (ticks[0].ln(), ticks[ticks.len() - 1].ln());
    let lows = points.iter().map(|point| point.dice.low).fold(f64::INFINITY, f64::min);
    let highs = points.iter().map(|point| point.dice.high).fold(f64::NEG_INFINITY, f64::max);
    let axis = Axis::over((lows, highs), false);
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let x = |seconds: f64| LEFT + (seconds.ln() - from) / (to - from) * (right - LEFT);
    let y = |dice: f64| TOP + (axis.high - dice) / (axis.high - axis.low) * (bottom - TOP);

    let description = "Mean Dice with its 95 % interval against seconds per patch, a point for each run";
    let mut svg = Svg::described(WIDTH, HEIGHT, description);
    svg.group("grid", |svg| {
        axis.ticks.iter().for_each(|tick| svg.plain_path(&format!("M{LEFT} {:.1}H{right}", y(*tick))));
        ticks.iter().for_each(|tick| svg.plain_path(&format!("M{:.1} {TOP}V{bottom}", x(*tick))));
    });
    svg.group("tick", |svg| {
        for tick in &axis.ticks {
            svg.text((LEFT - 8.0, y(*tick) + 4.0), Anchor::End, &axis.text(*tick));
        }
        for tick in &ticks {
            let digits = (-tick.log10().floor()).max(0.0) as usize;
            svg.text((x(*tick), bottom + 17.0), Anchor::Middle, &format!("{tick:.digits$}"));
        }
        svg.text((right, HEIGHT - 6.0), Anchor::End, "seconds per patch");
        svg.text((LEFT + 6.0, TOP + 12.0), Anchor::Start, "mean Dice");
    });
    let line: Vec<String> =
        front(points).iter().map(|point| format!("{:.1} {:.1}", x(point.seconds), y(point.dice.mean))).collect();
    svg.path("front", &format!("M{}", line.join("L")));
    let places: Vec<(f64, f64)> = points.iter().map(|point| (x(point.seconds), y(point.dice.mean))).collect();
    for (point, place) in points.iter().zip(&places) {
        let interval = format!("M{:.1} {:.1}V{:.1}", place.0, y(point.dice.low), y(point.dice.high));
        svg.path(&format!("line plain c{}", point.colour), &interval);
        svg.circle(&format!("dot d{}", point.colour), *place, RADIUS);
    }
    svg.group("label", |svg| {
        for (point, label) in points.iter().zip(labels(points, &places, right)) {
            let anchor = if label.leftwards { Anchor::End } else { Anchor::Start };
            svg.text((label.x, label.y + 4.0), anchor, &point.name);
        }
    });
    svg.finish()
}

/// Round numbers such that all values lie between the first and the last, which differ.
fn decades(values: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let (least, most) = (values.clone().fold(f64::INFINITY, f64::min), values.fold(0.0, f64::max));
    let rounds: Vec<f64> = (least.log10().floor() as i32 - 1..=most.log10().ceil() as i32 + 1)
        .flat_map(|power| ROUND.map(|digit| digit * 10f64.powi(power)))
        .collect();
    let first = rounds.iter().rposition(|round| *round <= least * 0.95).unwrap_or(0);
    let last = rounds.iter().position(|round| *round >= most * 1.05).unwrap_or(rounds.len() - 1);
    rounds[first..=last].to_vec()
}

/// The position of a name: its end next to the point, and its vertical centre.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Label {
    x: f64,
    y: f64,
    leftwards: bool,
    width: f64,
}

impl Label {
    fn ends(&self) -> (f64, f64) {
        if self.leftwards { (self.x - self.width, self.x) } else { (self.x, self.x + self.width) }
    }

    fn overlaps(&self, other: &Label) -> bool {
        let ((a, b), (c, d)) = (self.ends(), other.ends());
        a < d && c < b && (self.y - other.y).abs() < LINE
    }
}

/// Places names beside their points without overlaps, as far as there is room. The points of twins are close together.
fn labels(points: &[Point], places: &[(f64, f64)], right: f64) -> Vec<Label> {
    let mut placed: Vec<Label> = Vec::with_capacity(points.len());
    for (point, (px, py)) in points.iter().zip(places) {
        let width = point.name.chars().count() as f64 * LETTER;
        let at = |leftwards: bool, shift: f64| {
            let x = if leftwards { px - GAP } else { px + GAP };
            Label { x, y: py + shift, leftwards, width }
        };
        let shifts = (0..12).flat_map(|n| [f64::from(n) * LINE, -f64::from(n) * LINE]);
        let candidates = shifts.flat_map(|shift| [at(false, shift), at(true, shift)]);
        let inside = |label: &Label| {
            let (from, to) = label.ends();
            from >= LEFT && to <= right + RIGHT && label.y >= TOP && label.y <= HEIGHT - BOTTOM
        };
        let free = |label: &Label| inside(label) && !placed.iter().any(|other| other.overlaps(label));
        let label = candidates.clone().find(free).unwrap_or(at(false, 0.0));
        placed.push(label);
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(name: &str, seconds: f64, dice: f64) -> Point {
        let dice = Mean { mean: dice, low: dice - 0.01, high: dice + 0.01, cases: 20 };
        Point { name: name.into(), seconds, dice, colour: 1 }
    }

    #[test]
    fn the_front_has_the_points_that_no_other_dominates() {
        let points = [
            point("slow and good", 4.0, 0.9),
            point("slower and as good", 5.0, 0.9),
            point("fast", 0.5, 0.8),
            point("as fast and worse", 0.5, 0.7),
            point("between", 1.0, 0.85),
            point("dominated", 2.0, 0.84),
        ];
        let names: Vec<&str> = front(&points).iter().map(|point| point.name.as_str()).collect();
        assert_eq!(names, ["fast", "between", "slow and good"]);
        assert_eq!(front(&[]), Vec::<&Point>::new());
    }

    #[test]
    fn seconds_lie_between_round_numbers() {
        assert_eq!(decades([0.03, 1.2].into_iter()), [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]);
        assert_eq!(decades([1.0].into_iter()), [0.5, 1.0, 2.0]);
    }

    #[test]
    fn names_lie_inside_and_not_over_each_other() {
        let points: Vec<Point> = (0..6).map(|n| point(&format!("r4_fold_0_seed_{n}"), 0.2, 0.85)).collect();
        let places = vec![(500.0, 150.0); points.len()];
        let labels = labels(&points, &places, WIDTH - RIGHT);
        for (i, label) in labels.iter().enumerate() {
            assert!(labels[..i].iter().all(|other| !other.overlaps(label)), "{labels:?}");
        }
        let edge = self::labels(&points[..1], &[(WIDTH - RIGHT, 150.0)], WIDTH - RIGHT);
        assert!(edge[0].leftwards);
        let svg = svg(&points);
        assert_eq!(svg.matches("<circle").count(), 6);
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
