//! A scan of which only the size is known: how many windows a model needs for it.

use crate::error::{Error, ErrorKind, OrError};
use scanside_core::manifest::Manifest;
use scanside_core::pipeline::{Run, RunOptions};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The most voxels along an axis.
const MOST_VOXELS: usize = 65_535;
/// Voxel distances that are taken, millimetres.
const SPACINGS: std::ops::RangeInclusive<f64> = 0.01..=100.0;
/// How sizes are written.
const FORM: &str = "give voxels along x, y and z, and if they are not the model's own their distance in millimetres: \
                    512x512x300@0.8x0.8x1";

/// Voxels and their distance, as scanners and viewers name them: x, y, z.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScanSize {
    voxels: [usize; 3],
    /// In millimetres; the model's own where nothing is said.
    spacing_mm: Option<[f64; 3]>,
}

/// The run of a scan of one size with one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WholeScan {
    /// The scan, as it was asked for.
    pub volume: String,
    /// Windows, half a patch apart.
    pub windows: usize,
    /// Passes of the network over them, mirrored as the model's plan says.
    pub passes: usize,
    /// What these take, at the pace that was measured.
    pub network_seconds: f64,
}

impl ScanSize {
    /// What the whole scan takes, none of it cut away.
    ///
    /// # Errors
    /// The model cannot lay out such a scan.
    pub(super) fn run(&self, manifest: &Manifest, seconds_per_pass: f64) -> Result<WholeScan, Error> {
        let backwards = |[x, y, z]: [f64; 3]| [z, y, x];
        let [x, y, z] = self.voxels;
        let shape_zyx = [z, y, x];
        let spacing = self.spacing_mm.map_or_else(|| own_spacing(manifest), backwards);
        let run = Run::described(manifest, shape_zyx, spacing, RunOptions::default()).or_error(ErrorKind::Usage)?;
        let passes = run.passes();
        Ok(WholeScan {
            volume: self.to_string(),
            windows: run.layout().tiling.tiles(),
            passes,
            network_seconds: passes as f64 * seconds_per_pass,
        })
    }
}

/// The distance of voxels along the file's axes `z, y, x` at which nothing is resampled.
fn own_spacing(manifest: &Manifest) -> [f64; 3] {
    let mut spacing = [1.0; 3];
    for (axis, mm) in manifest.grid.transpose_forward.iter().zip(manifest.grid.spacing_mm) {
        spacing[*axis] = mm.unwrap_or(1.0);
    }
    spacing
}

impl FromStr for ScanSize {
    type Err = String;

    fn from_str(text: &str) -> Result<ScanSize, String> {
        let (voxels, spacing) = match text.split_once('@') {
            None => (text, None),
            Some((voxels, spacing)) => (voxels, Some(spacing)),
        };
        let voxels = three(voxels, |n: &usize| (1..=MOST_VOXELS).contains(n)).ok_or(FORM)?;
        let spacing_mm = match spacing {
            None => None,
            Some(spacing) => Some(three(spacing, |mm: &f64| SPACINGS.contains(mm)).ok_or(FORM)?),
        };
        Ok(ScanSize { voxels, spacing_mm })
    }
}

/// Three numbers with an `x` between them.
fn three<T: FromStr>(text: &str, good: impl Fn(&T) -> bool) -> Option<[T; 3]> {
    let numbers: Option<Vec<T>> = text.split('x').map(|n| n.trim().parse().ok().filter(&good)).collect();
    numbers?.try_into().ok()
}

impl fmt::Display for ScanSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.voxels;
        write!(f, "{x}x{y}x{z}")?;
        match self.spacing_mm {
            Some([x, y, z]) => write!(f, "@{x}x{y}x{z}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_alike() {
        for text in ["512x512x300", "512x512x300@0.8x0.8x1", "1x65535x2@0.01x100x3.25"] {
            assert_eq!(text.parse::<ScanSize>().map(|size| size.to_string()), Ok(text.to_owned()));
        }
        for wrong in [
            "",
            "512",
            "512x512",
            "1x2x3x4",
            "0x5x5",
            "65536x1x1",
            "5x5x5@",
            "5x5x5@1x1",
            "5x5x5@1x1x0",
            "5x5x5@1xnanx1",
        ] {
            assert_eq!(wrong.parse::<ScanSize>(), Err(FORM.to_owned()), "{wrong}");
        }
    }
}
