//! Parts of a manifest in words, for people.

use super::{Normalization, Resampling};
use core::fmt;

impl fmt::Display for Normalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Normalization::ZScore { masked: true } => f.write_str("z-score within the nonzero mask"),
            Normalization::ZScore { masked: false } => f.write_str("z-score"),
            Normalization::Ct { mean, std, lower, upper } => {
                write!(f, "clipped to {lower} to {upper}, minus {mean}, divided by {std}")
            }
            Normalization::None => f.write_str("unchanged"),
            Normalization::RescaleTo01 => f.write_str("rescaled to 0..1"),
            Normalization::RgbTo01 => f.write_str("divided by 255"),
            Normalization::PercentileTo01 { lower_percent, upper_percent } => {
                write!(f, "clipped to the percentiles {lower_percent} to {upper_percent}, rescaled to 0..1")
            }
        }
    }
}

impl fmt::Display for Resampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separate = match *self {
            Resampling::Spline { order, order_z, force_separate_z } => {
                let name = |order| match order {
                    0 => "nearest neighbour",
                    1 => "linear",
                    _ => "cubic spline",
                };
                f.write_str(name(order))?;
                if force_separate_z != Some(false) && order_z != order {
                    write!(f, " ({} along a separate axis)", name(order_z))?;
                }
                force_separate_z
            }
            Resampling::Torch { force_separate_z } => {
                f.write_str("trilinear as in PyTorch")?;
                force_separate_z
            }
            Resampling::Keep => return f.write_str("none"),
        };
        match separate {
            None => f.write_str(", the coarse axis separately where spacings differ much"),
            Some(true) => f.write_str(", the coarse axis separately"),
            Some(false) => Ok(()),
        }
    }
}
