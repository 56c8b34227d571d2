//! Axes of diagrams.

/// An axis with round tick values.
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<f64>,
    digits: usize,
}

impl Axis {
    /// An axis over a range: exactly (`fixed`), or extended to round numbers.
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
        // Turns -0 into 0.
        number(tick + 0.0, self.digits)
    }
}

/// A formatted number, with a typographic minus sign.
pub fn number(value: f64, digits: usize) -> String {
    format!("{value:.digits$}").replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
