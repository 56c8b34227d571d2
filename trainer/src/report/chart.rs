//! Curves as inline SVG. Colours come from the page's style sheet, so that they follow light and dark.

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
/// More points than this are not told apart on a screen.
const MOST_POINTS: usize = 500;
/// Colours the style sheet has.
pub const COLOURS: usize = 8;

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The one to look at.
    Strong,
    /// One of several.
    Plain,
    /// What another curve of the same colour is compared with.
    Dashed,
    /// One of many, without a place in the legend.
    Faint,
}

/// A curve over epochs.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Epoch and value; values that are no numbers interrupt the curve.
    pub points: Vec<(f64, f64)>,
    /// Which of the page's colours.
    pub colour: usize,
    /// How it is drawn.
    pub weight: Weight,
}

/// A diagram of curves.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Its heading.
    pub title: String,
    /// What the curves are, for people who cannot see them.
    pub description: String,
    /// The curves; later ones are drawn over earlier ones.
    pub series: Vec<Series>,
    /// Fixed ends of the value axis; by the values where there are none.
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

        let mut svg = format!(
            r#"<svg viewBox="0 0 {} {HEIGHT}" role="img" aria-label="{}"><g class="grid">"#,
            self.width,
            escape(&self.description)
        );
        for tick in &axis.ticks {
            let at = y(*tick);
            let _ = write!(svg, r#"<path d="M{LEFT} {at:.1}H{right:.1}"/>"#);
        }
        svg += r#"</g><g class="tick">"#;
        for tick in &axis.ticks {
            let (at, left) = (y(*tick) + 4.0, LEFT - 8.0);
            let _ = write!(svg, r#"<text x="{left}" y="{at:.1}" text-anchor="end">{}</text>"#, axis.text(*tick));
        }
        let epochs = Axis::over((from, to), true);
        for tick in epochs.ticks.iter().filter(|tick| tick.fract() == 0.0) {
            let (at, bottom) = (x(*tick), HEIGHT - 8.0);
            let anchor = if *tick == to { "end" } else { "middle" };
            let _ = write!(svg, r#"<text x="{at:.1}" y="{bottom}" text-anchor="{anchor}">{tick}</text>"#);
        }
        svg += "</g>";
        for series in &self.series {
            let _ = write!(svg, r#"<path class="{}" d=""#, class(series));
            let mut pen_is_up = true;
            let mut alone = true;
            for (epoch, value) in thinned(&series.points) {
                if !value.is_finite() {
                    pen_is_up = true;
                    continue;
                }
                let (px, py) = (x(epoch), y(value.clamp(axis.low, axis.high)));
                let _ = write!(svg, "{}{px:.1} {py:.1}", if pen_is_up { 'M' } else { 'L' });
                alone &= pen_is_up;
                pen_is_up = false;
            }
            if alone && !pen_is_up {
                // A line of no length, which round ends make a dot.
                svg += "h0";
            }
            svg += r#""/>"#;
        }
        svg + "</svg>"
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
    let step = points.len().div_ceil(MOST_POINTS).max(1);
    let last = points.len().wrapping_sub(1);
    points.iter().enumerate().filter(move |(i, _)| i % step == 0 || *i == last).map(|(_, point)| *point)
}

/// An axis with round numbers.
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<f64>,
    digits: usize,
}

impl Axis {
    /// An axis over a range: as it is, or widened to round numbers.
    pub(super) fn over((low, high): (f64, f64), fixed: bool) -> Axis {
        let (low, high) = if high > low { (low, high) } else { (low - 0.5, low + 0.5) };
        let rough = (high - low) / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|s| *s >= rough * 0.999).unwrap_or(power);
        let (first, last) = if fixed {
            ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor())
        } else {
            ((low / step).floor(), (high / step).ceil())
        };
        let ticks: Vec<f64> = (first as i64..=last as i64).map(|n| n as f64 * step).collect();
        let digits = (-step.log10().floor()).max(0.0) as usize;
        let (low, high) = if fixed { (low, high) } else { (first * step, last * step) };
        Axis { low, high, ticks, digits }
    }

    pub(super) fn text(&self, tick: f64) -> String {
        // Minus zero is zero.
        number(tick + 0.0, self.digits)
    }
}

/// A number for people, with a minus as wide as a plus.
pub fn number(value: f64, digits: usize) -> String {
    format!("{value:.digits$}").replace('-', "−")
}

/// Text for an element or an attribute.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>, range: Option<(f64, f64)>) -> Chart {
        let series = vec![Series { name: "loss".into(), points, colour: 9, weight: Weight::Strong }];
        Chart { title: "Loss".into(), description: "a \"b\" <c>".into(), series, range, digits: 3, width: HALF }
    }

    #[test]
    fn axes_have_round_numbers() {
        let axis = Axis::over((-0.83, 0.41), false);
        assert_eq!(axis.ticks.iter().map(|t| axis.text(*t)).collect::<Vec<_>>(), ["−1.0", "−0.5", "0.0", "0.5"]);
        let axis = Axis::over((0.0, 999.0), true);
        assert_eq!(axis.ticks, [0.0, 500.0]);
        assert_eq!((axis.low, axis.high), (0.0, 999.0));
        let flat = Axis::over((0.01, 0.01), false);
        assert!(flat.low < 0.01 && flat.high > 0.01);
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
        assert!(kept.len() <= MOST_POINTS + 1);
        assert_eq!(kept.last(), points.last());
    }

    #[test]
    fn the_legend_tells_last_values() {
        let legend = chart(vec![(0.0, 1.0), (1.0, 0.5), (2.0, f64::NAN)], None).legend();
        assert_eq!(legend[0].last, "0.500");
        assert_eq!(chart(vec![], None).legend()[0].last, "–");
    }
}
