//! Diagrams of curves over epochs.

use super::axis::{Axis, number};
use super::svg::{Anchor, Svg};
use std::fmt::Write;

/// Widths of drawings in their own units: two side by side, three side by side.
pub const HALF: f64 = 620.0;
/// As [`HALF`].
pub const THIRD: f64 = 400.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 26.0;
/// Curves with more points are thinned out: a screen does not resolve them.
const MAX_POINTS: usize = 500;
/// Number of colours in the style sheet.
pub const COLOURS: usize = 8;

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The most important curve.
    Strong,
    /// One of several.
    Plain,
    /// The reference of another curve with the same colour.
    Dashed,
    /// One of many, not in the legend.
    Faint,
}

/// A curve over epochs.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Epoch and value; NaN interrupts the curve.
    pub points: Vec<(f64, f64)>,
    /// Number of its colour.
    pub colour: usize,
    /// How it is drawn.
    pub weight: Weight,
}

/// A diagram of curves.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Its heading.
    pub title: String,
    /// A description of the curves, for screen readers.
    pub description: String,
    /// The curves; later ones are drawn over earlier ones.
    pub series: Vec<Series>,
    /// Fixed ends of the value axis; `None` to derive them from the values.
    pub range: Option<(f64, f64)>,
    /// Digits after the point in the legend.
    pub digits: usize,
    /// Its width: [`HALF`] or [`THIRD`].
    pub width: f64,
}

/// A curve's entry in the legend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegendEntry {
    /// Its name.
    pub name: String,
    /// Its last value.
    pub last: String,
    /// Class of the style sheet.
    pub class: String,
}

impl Chart {
    /// The named curves with their last values.
    pub fn legend(&self) -> Vec<LegendEntry> {
        let named = self.series.iter().filter(|series| series.weight != Weight::Faint);
        named
            .map(|series| {
                let last = series.points.iter().rev().map(|(_, value)| *value).find(|value| value.is_finite());
                LegendEntry {
                    name: series.name.clone(),
                    last: last.map_or("–".into(), |value| number(value, self.digits)),
                    class: class(series),
                }
            })
            .collect()
    }

    /// The drawing as one `svg` element.
    pub fn svg(&self) -> String {
        let (from, to) = self.epochs();
        let right = self.width - RIGHT;
        let axis = Axis::over(self.range.unwrap_or_else(|| self.values()), self.range.is_some());
        let x = |epoch: f64| LEFT + (epoch - from) / (to - from) * (right - LEFT);
        let y = |value: f64| TOP + (axis.high - value) / (axis.high - axis.low) * (HEIGHT - TOP - BOTTOM);

        let mut svg = Svg::described(self.width, HEIGHT, &self.description);
        svg.group("grid", |svg| {
            axis.ticks.iter().for_each(|tick| svg.plain_path(&format!("M{LEFT} {:.1}H{right:.1}", y(*tick))));
        });
        svg.group("tick", |svg| {
            for tick in &axis.ticks {
                svg.text((LEFT - 8.0, y(*tick) + 4.0), Anchor::End, &axis.text(*tick));
            }
            let epochs = Axis::over((from, to), true);
            for tick in epochs.ticks.iter().filter(|tick| tick.fract() == 0.0) {
                let anchor = if *tick == to { Anchor::End } else { Anchor::Middle };
                svg.text((x(*tick), HEIGHT - 8.0), anchor, &tick.to_string());
            }
        });
        for series in &self.series {
            svg.path(&class(series), &curve(&series.points, x, |value| y(value.clamp(axis.low, axis.high))));
        }
        svg.finish()
    }

    fn epochs(&self) -> (f64, f64) {
        let all = || self.series.iter().flat_map(|series| series.points.iter().map(|(epoch, _)| *epoch));
        let (from, to) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
        match (from.is_finite(), to > from) {
            (true, true) => (from, to),
            (true, false) => (from, from + 1.0),
            _ => (0.0, 1.0),
        }
    }

    fn values(&self) -> (f64, f64) {
        let all = || self.series.iter().flat_map(|s| s.points.iter().map(|(_, v)| *v)).filter(|v| v.is_finite());
        let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
        if low.is_finite() { (low, high) } else { (0.0, 1.0) }
    }
}

fn class(series: &Series) -> String {
    let weight = match series.weight {
        Weight::Strong => "strong",
        Weight::Plain => "plain",
        Weight::Dashed => "dashed",
        Weight::Faint => "faint",
    };
    format!("line {weight} c{}", series.colour % COLOURS)
}

/// Every n-th point, and the last.
fn thinned(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> {
    let step = points.len().div_ceil(MAX_POINTS).max(1);
    let last = points.len().wrapping_sub(1);
    points.iter().enumerate().filter(move |(i, _)| i % step == 0 || *i == last).map(|(_, point)| *point)
}

/// The path of a curve, with gaps where values are not numbers.
fn curve(points: &[(f64, f64)], x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let (mut pen_is_up, mut alone) = (true, true);
    for (epoch, value) in thinned(points) {
        if !value.is_finite() {
            pen_is_up = true;
            continue;
        }
        let _ = write!(path, "{}{:.1} {:.1}", if pen_is_up { 'M' } else { 'L' }, x(epoch), y(value));
        alone &= pen_is_up;
        pen_is_up = false;
    }
    if alone && !pen_is_up {
        // A line of length 0, which round ends turn into a dot.
        path += "h0";
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>, range: Option<(f64, f64)>) -> Chart {
        let series = vec![Series { name: "loss".into(), points, colour: 9, weight: Weight::Strong }];
        Chart { title: "Loss".into(), description: "a \"b\" <c>".into(), series, range, digits: 3, width: HALF }
    }

    #[test]
    fn gaps_interrupt_the_curve_and_a_lone_point_is_seen() {
        let svg = chart(vec![(0.0, 0.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 0.5)], Some((0.0, 1.0))).svg();
        let path = svg.split(r#"class="line strong c1" d=""#).nth(1).unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(path.matches('L').count(), 1, "{path}");
        assert!(svg.contains("a &quot;b&quot; &lt;c>"));
        assert!(chart(vec![(0.0, 0.3)], None).svg().contains("h0"));
        assert!(!chart(vec![], None).svg().contains("NaN"));
    }

    #[test]
    fn long_curves_are_thinned_and_keep_their_end() {
        let points: Vec<(f64, f64)> = (0..1000).map(|i| (f64::from(i), 0.0)).collect();
        let kept: Vec<_> = thinned(&points).collect();
        assert!(kept.len() <= MAX_POINTS + 1);
        assert_eq!(kept.last(), points.last());
    }

    #[test]
    fn the_legend_has_the_last_values() {
        let legend = chart(vec![(0.0, 1.0), (1.0, 0.5), (2.0, f64::NAN)], None).legend();
        assert_eq!(legend[0].last, "0.500");
        assert_eq!(chart(vec![], None).legend()[0].last, "–");
    }
}
