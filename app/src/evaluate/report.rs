//! The report on all cases: the JSON document, and the numbers of the table.

use super::classes::{Class, ClassList};
use super::measure::{Agreement, Comparison, LiesElsewhere};
use super::pairs::{Pair, Pairs};
use crate::error::Error;
use scanside_core::metrics::{Bootstrap, Interval};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Version of the JSON document.
const FORMAT: u32 = 1;

/// Names in a sentence about files without a counterpart.
const MOST_NAMED: usize = 3;

/// How the comparison was done.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Surfaces that lie no farther apart agree.
    pub tolerance_mm: f64,
    /// Volumes were compared voxel for voxel, wherever their files say that the voxels lie.
    #[serde(default)]
    pub ignore_geometry: bool,
}

impl From<Comparison> for Settings {
    fn from(Comparison { tolerance_mm, ignore_geometry }: Comparison) -> Self {
        Settings { tolerance_mm, ignore_geometry }
    }
}

/// Everything that was found. Numbers that do not exist are `null`: see `scanside_core::metrics` for when that is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    format: u32,
    #[serde(flatten)]
    /// How it was done.
    pub settings: Settings,
    /// Resamples behind the intervals.
    pub bootstrap_resamples: usize,
    bootstrap_seed: u64,
    /// Those with a name, then the values that have none.
    pub classes: Vec<Class>,
    /// Cases that could be compared.
    pub cases: Vec<CaseReport>,
    /// Cases that could not.
    pub failed: Vec<FailedCase>,
    predictions_without_label: Vec<String>,
    labels_without_prediction: Vec<String>,
    /// In the order of the classes.
    pub means: Vec<ClassMeans>,
    /// The mean over classes of the means over cases.
    pub mean_over_classes: Means,
    #[serde(skip)]
    nothing_matches: bool,
    #[serde(skip)]
    elsewhere: usize,
}

/// One case.
#[derive(Debug, Serialize, Deserialize)]
pub struct CaseReport {
    /// Its name.
    pub case: String,
    prediction: String,
    label: String,
    /// In the order of the report's classes.
    pub classes: Vec<ClassReport>,
}

/// One class of one case.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClassReport {
    /// The class.
    pub name: String,
    /// Overlap, 0 to 1.
    pub dice: Option<f64>,
    /// Share of both surfaces within the tolerance, 0 to 1.
    pub surface_dice: Option<f64>,
    /// 95 % Hausdorff distance, where finite.
    pub hausdorff_95_mm: Option<f64>,
    /// Only one of prediction and label holds the class, so the distance is infinite, which JSON cannot say.
    pub hausdorff_95_infinite: bool,
    true_positive: u64,
    false_positive: u64,
    false_negative: u64,
    /// Volume in the prediction.
    pub prediction_ml: f64,
    /// Volume in the label.
    pub label_ml: f64,
}

/// A case that could not be compared.
#[derive(Debug, Serialize, Deserialize)]
pub struct FailedCase {
    /// Its name.
    pub case: String,
    /// Why.
    pub error: String,
}

/// Means of one class over cases.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClassMeans {
    /// The class.
    pub name: String,
    #[serde(flatten)]
    /// Its means.
    pub means: Means,
}

/// Means over the cases that have a value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Means {
    /// Of Dice.
    pub dice: Option<Mean>,
    /// Of the surface Dice.
    pub surface_dice: Option<Mean>,
    /// Over finite distances.
    pub hausdorff_95_mm: Option<Mean>,
    /// Infinite distances, which the mean leaves out.
    pub hausdorff_95_infinite: usize,
}

/// A mean with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Cases with a value.
    pub cases: usize,
}

impl From<Interval> for Mean {
    fn from(Interval { mean, low, high, cases }: Interval) -> Self {
        Mean { mean, low, high, cases }
    }
}

/// A case, and how well each class agrees.
pub type Compared<'a> = (&'a Pair, Result<Vec<(Class, Agreement)>, Error>);

impl Report {
    /// Collects cases: `compared` holds pairs of `pairs` with what was measured.
    pub fn new(settings: Settings, declared: &ClassList, pairs: &Pairs, compared: Vec<Compared<'_>>) -> Self {
        let nothing_matches = compared.is_empty();
        let mut failed = Vec::new();
        let mut elsewhere = 0;
        let mut good: Vec<(&Pair, BTreeMap<Class, Agreement>)> = Vec::new();
        for (pair, result) in compared {
            match result {
                Ok(classes) => good.push((pair, classes.into_iter().collect())),
                Err(error) => {
                    elsewhere += usize::from(error.find::<LiesElsewhere>().is_some());
                    failed.push(FailedCase { case: pair.name.clone(), error: error.chain() });
                }
            }
        }
        // Values without a name come after those with one, as far as any case holds them.
        let named: BTreeSet<&Class> = declared.named.iter().collect();
        let unnamed: BTreeSet<&Class> =
            good.iter().flat_map(|(_, found)| found.keys()).filter(|class| !named.contains(class)).collect();
        let classes: Vec<Class> = declared.named.iter().chain(unnamed).cloned().collect();
        let table: Vec<Vec<Agreement>> = good
            .iter()
            .map(|(_, found)| classes.iter().map(|class| found.get(class).copied().unwrap_or_default()).collect())
            .collect();
        let cases = good
            .iter()
            .zip(&table)
            .map(|((pair, _), row)| CaseReport {
                case: pair.name.clone(),
                prediction: pair.prediction.display().to_string(),
                label: pair.label.display().to_string(),
                classes: classes.iter().zip(row).map(|(class, a)| ClassReport::new(class, a)).collect(),
            })
            .collect();
        let bootstrap = Bootstrap::default();
        let means = (0..classes.len())
            .map(|class| {
                let column: Vec<Vec<Agreement>> = table.iter().map(|row| vec![row[class]]).collect();
                ClassMeans { name: classes[class].name.clone(), means: Means::of(&bootstrap, &column) }
            })
            .collect();
        Report {
            format: FORMAT,
            settings,
            bootstrap_resamples: bootstrap.resamples,
            bootstrap_seed: bootstrap.seed,
            mean_over_classes: Means::of(&bootstrap, &table),
            classes,
            cases,
            failed,
            predictions_without_label: pairs.predictions_without_label.clone(),
            labels_without_prediction: pairs.labels_without_prediction.clone(),
            means,
            nothing_matches,
            elsewhere,
        }
    }

    /// What a reader of the table must not miss, a sentence each. Files without a counterpart are counted; the report has
    /// all of their names.
    pub fn notes(&self) -> Vec<String> {
        let lone = [
            (&self.predictions_without_label, "prediction", "label"),
            (&self.labels_without_prediction, "label", "prediction"),
        ];
        let mut notes: Vec<String> =
            lone.into_iter().filter_map(|(names, has, lacks)| lonely(names, has, lacks)).collect();
        notes.extend(self.failed.iter().map(|failed| format!("{}: {}", failed.case, failed.error)));
        notes
    }

    /// Cases that failed only because their two files lie in different places.
    pub fn elsewhere(&self) -> usize {
        self.elsewhere
    }

    /// No prediction has a label of its name.
    pub fn nothing_matches(&self) -> bool {
        self.nothing_matches
    }
}

/// One sentence about files without a counterpart; nothing where there are none.
fn lonely(names: &[String], has: &str, lacks: &str) -> Option<String> {
    let named = names.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if names.len() > MOST_NAMED { ", ..." } else { "" };
    match names.len() {
        0 => None,
        1 => Some(format!("1 {has} without a {lacks} of its name: {named}")),
        count => Some(format!("{count} {has}s without a {lacks} of their name: {named}{more}")),
    }
}

impl ClassReport {
    fn new(class: &Class, agreement: &Agreement) -> Self {
        ClassReport {
            name: class.name.clone(),
            dice: agreement.dice,
            surface_dice: agreement.surface_dice,
            hausdorff_95_mm: agreement.hausdorff_95_mm.filter(|mm| mm.is_finite()),
            hausdorff_95_infinite: agreement.hausdorff_95_mm.is_some_and(f64::is_infinite),
            true_positive: agreement.counts.true_positive,
            false_positive: agreement.counts.false_positive,
            false_negative: agreement.counts.false_negative,
            prediction_ml: agreement.prediction_ml,
            label_ml: agreement.label_ml,
        }
    }
}

impl Means {
    /// Means of a table of cases and classes.
    fn of(bootstrap: &Bootstrap, table: &[Vec<Agreement>]) -> Self {
        let mean = |of: fn(&Agreement) -> Option<f64>| {
            let values: Vec<Vec<Option<f64>>> = table.iter().map(|row| row.iter().map(of).collect()).collect();
            bootstrap.mean_over_classes(&values).map(Mean::from)
        };
        let infinite = |a: &&Agreement| a.hausdorff_95_mm.is_some_and(f64::is_infinite);
        Means {
            dice: mean(|a| a.dice),
            surface_dice: mean(|a| a.surface_dice),
            hausdorff_95_mm: mean(|a| a.hausdorff_95_mm.filter(|mm| mm.is_finite())),
            hausdorff_95_infinite: table.iter().flatten().filter(infinite).count(),
        }
    }
}
