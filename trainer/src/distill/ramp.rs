//! The weight of distillation over the training: it starts at 0, so that a student learns from the labels first.

use std::f64::consts::PI;

/// Half a cosine that rises from 0 to 1 between two fractions of the training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    /// Fraction of the training up to which the weight is 0.
    pub from: f64,
    /// Fraction from which on it is 1.
    pub to: f64,
}

impl Default for Ramp {
    fn default() -> Self {
        Ramp { from: 0.05, to: 0.4 }
    }
}

impl Ramp {
    /// The weight at step `step` of `steps`.
    pub fn at(&self, step: u64, steps: u64) -> f64 {
        let done = step as f64 / steps.max(1) as f64;
        if done >= self.to {
            return 1.0;
        }
        let share = ((done - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        0.5 * (1.0 - (PI * share).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_rise_from_0_to_1() {
        let ramp = Ramp::default();
        let weights: Vec<f64> = (0..=1000).map(|step| ramp.at(step, 1000)).collect();
        assert_eq!(weights[..=50], [0.0; 51]);
        assert_eq!(weights[400..], [1.0; 601]);
        assert!((weights[225] - 0.5).abs() < 1e-12);
        assert!(weights.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn a_ramp_without_length_is_a_step() {
        let ramp = Ramp { from: 0.5, to: 0.5 };
        assert_eq!([ramp.at(4, 10), ramp.at(5, 10)], [0.0, 1.0]);
    }
}
