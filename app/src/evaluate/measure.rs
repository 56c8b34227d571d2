//! One case: two volumes on one grid.

use super::classes::{Class, ClassList};
use crate::error::{Error, ErrorKind, OrError};
use crate::geometry::{Difference, Elsewhere, difference};
use rayon::prelude::*;
use scanside_core::metrics::{Counts, overlap, surface_distances, volume_ml};
use scanside_core::volume::Grid;
use scanside_formats::LabelMap;

/// How two label maps are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Surfaces that lie no farther apart agree, in millimetres.
    pub tolerance_mm: f64,
    /// Compare voxel for voxel, wherever the files say that the voxels lie.
    pub ignore_geometry: bool,
}

/// How well one class of one case agrees.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    /// Overlap, 0 to 1; nothing where neither holds the class.
    pub dice: Option<f64>,
    /// Share of both surfaces that lies within the tolerance of the other, 0 to 1.
    pub surface_dice: Option<f64>,
    /// 95 % Hausdorff distance; infinite where only one of the two holds the class.
    pub hausdorff_95_mm: Option<f64>,
    /// Voxels.
    pub counts: Counts,
    /// Volume in the prediction.
    pub prediction_ml: f64,
    /// Volume in the label.
    pub label_ml: f64,
}

/// Measures every class that has a name, and every value without one, on the threads of the current pool.
///
/// # Errors
/// The two do not lie on one grid ([`LiesElsewhere`] where only their places differ), or hold more different values than
/// labels do.
pub fn measure(
    mut prediction: LabelMap,
    mut label: LabelMap,
    declared: &ClassList,
    how: Comparison,
) -> Result<Vec<(Class, Agreement)>, Error> {
    same_grid(prediction.grid(), label.grid(), !how.ignore_geometry)?;
    if let Some(ignore) = declared.ignore {
        for (p, l) in prediction.labels.iter_mut().zip(&mut label.labels).filter(|(_, l)| **l == ignore) {
            (*p, *l) = (0, 0);
        }
    }
    let classes = declared.with_values_of([&prediction.labels, &label.labels])?;
    let values: Vec<&[u32]> = classes.iter().map(|class| class.values.as_slice()).collect();
    let grid = label.geometry.grid();
    let (shape, spacing_mm) = (grid.shape_zyx, grid.spacing_mm);
    let found = overlap(&prediction.labels, &label.labels, shape, &values).or_error(ErrorKind::Internal)?;
    let measured = found.into_par_iter().zip(&values).map(|(class, values)| {
        let counts = class.counts;
        let mut agreement = Agreement {
            dice: counts.dice(),
            counts,
            prediction_ml: volume_ml(counts.prediction_voxels(), spacing_mm),
            label_ml: volume_ml(counts.reference_voxels(), spacing_mm),
            ..Agreement::default()
        };
        if let Some(bounds) = class.bounds {
            let surfaces = surface_distances(&prediction.labels, &label.labels, shape, values, &bounds, spacing_mm)
                .or_error(ErrorKind::DoesNotFit)?;
            agreement.surface_dice = surfaces.surface_dice(how.tolerance_mm);
            agreement.hausdorff_95_mm = surfaces.hausdorff_mm(95.0);
        }
        Ok(agreement)
    });
    let measured: Result<Vec<Agreement>, Error> = measured.collect();
    Ok(classes.into_iter().zip(measured?).collect())
}

/// A prediction whose voxels lie elsewhere in the patient than the label's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "prediction and label lie {} mm apart: one corner is at {} mm in the prediction and at {} mm in the label (x, y, z in \
     LPS); resample one of them to the grid of the other",
    rounded(places.apart_mm),
    point(places.corners_mm[0]),
    point(places.corners_mm[1])
)]
pub struct LiesElsewhere {
    /// A corner of both.
    pub places: Elsewhere,
}

fn same_grid(prediction: &Grid, label: &Grid, place: bool) -> Result<(), Error> {
    let by = |[z, y, x]: [usize; 3]| format!("{x} x {y} x {z}");
    let spacing = |[z, y, x]: [f64; 3]| format!("{} x {} x {} mm", rounded(x), rounded(y), rounded(z));
    let sentence = match difference(prediction, label) {
        None => return Ok(()),
        Some(Difference::Place(_)) if !place => return Ok(()),
        Some(Difference::Place(places)) => return Err(Error::of(ErrorKind::Input, LiesElsewhere { places })),
        Some(Difference::Shape) => format!(
            "the prediction has {} voxels (x, y, z), the label {}; both must lie on the grid of the scan",
            by(prediction.shape_zyx),
            by(label.shape_zyx)
        ),
        Some(Difference::Spacing) => format!(
            "the prediction's voxels are {} apart (x, y, z), the label's {}; both must lie on the grid of the scan",
            spacing(prediction.spacing_mm),
            spacing(label.spacing_mm)
        ),
    };
    Err(Error::new(ErrorKind::Input, sentence))
}

/// Files store positions in single precision; further digits mean nothing.
fn rounded(mm: f64) -> f64 {
    (1e4 * mm).round() / 1e4
}

fn point([x, y, z]: [f64; 3]) -> String {
    format!("({}, {}, {})", rounded(x), rounded(y), rounded(z))
}
