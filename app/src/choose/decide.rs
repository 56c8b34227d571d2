//! Which of several models to take: the most accurate within the limits, and the text that explains the choice.

use crate::units::{human_bytes, human_seconds};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The entry of a manifest's `accuracy` that models are compared by.
pub(super) const ACCURACY: &str = "mean_dice";

/// One of the models, with what a run of the scan would take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The model's file or folder.
    pub model: PathBuf,
    /// The model's own name.
    pub name: String,
    /// Mean Dice, 0 to 1, where the model states it.
    pub mean_dice: Option<f64>,
    /// How its weights are stored: `f32`, `f16` or `int8`.
    pub precision: String,
    /// Tiles.
    pub tiles: Option<usize>,
    /// Passes of the network over them.
    pub network_passes: Option<usize>,
    /// Threads, within the memory allowed.
    pub workers: Option<usize>,
    /// Low-memory mode, because of the memory allowed.
    pub layers_in_bands: Option<bool>,
    /// Announced for this scan, within the memory allowed.
    pub peak_ram_bytes: Option<usize>,
    /// The least memory that suffices, where the memory allowed does not.
    pub least_ram_bytes: Option<usize>,
    /// Measured on this machine; nothing where the run does not fit in memory.
    pub seconds_per_window: Option<f64>,
    /// From the program's start to the label file.
    pub predicted_seconds: Option<f64>,
    /// It keeps within the limits.
    pub fits: bool,
    /// Why it does not.
    pub why_not: Option<String>,
}

/// What a run may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Peak memory in bytes; what the machine has free where no limit is given.
    pub ram_bytes: Option<u64>,
    /// From the program's start to the label file.
    pub seconds: Option<f64>,
}

/// The index of the model to use, and the reason.
pub fn choose(candidates: &[Candidate]) -> Option<(usize, String)> {
    let fitting = || candidates.iter().enumerate().filter(|(_, c)| c.fits);
    let count = fitting().count();
    let most_accurate = fitting().filter_map(|(i, c)| Some((i, c, c.mean_dice?))).min_by(|a, b| {
        // The largest Dice; of equals the fastest; of these the first, as `min_by` does it.
        let seconds = |c: &Candidate| c.predicted_seconds.unwrap_or(f64::INFINITY);
        b.2.total_cmp(&a.2).then(seconds(a.1).total_cmp(&seconds(b.1)))
    });
    if let Some((index, _, dice)) = most_accurate {
        let equals = fitting().filter(|(_, c)| c.mean_dice == Some(dice)).count();
        let unknown = fitting().filter(|(_, c)| c.mean_dice.is_none()).count();
        let mut why = match count {
            1 => format!("the only model that fits, mean Dice {dice:.3}"),
            _ => format!("mean Dice {dice:.3}, the highest of the {count} models that fit"),
        };
        if equals > 1 {
            why += &format!("; the fastest of {equals} with this Dice");
        }
        if unknown > 0 {
            why += &match unknown {
                1 => "; 1 of them does not state its accuracy, and so comes last".to_owned(),
                _ => format!("; {unknown} of them do not state their accuracy, and so come last"),
            };
        }
        return Some((index, why));
    }
    let (index, _) = fitting().next()?;
    Some((index, "none of the models that fit states its accuracy; chose the first one given".into()))
}

/// Why a run does not fit, if it does not.
pub(super) fn over_time(predicted_seconds: f64, budget: Budget) -> Option<String> {
    let allowed = budget.seconds.filter(|allowed| predicted_seconds > *allowed)?;
    let [needed, allowed_text] = [predicted_seconds, allowed].map(human_seconds);
    if needed == allowed_text {
        return Some(format!("needs slightly more than the {allowed_text} allowed"));
    }
    Some(format!("needs {needed}, {allowed_text} allowed"))
}

/// What would have to be allowed so that one of the models fits; `options` allow memory and time, up to their values.
pub fn nothing_fits(candidates: &[Candidate], budget: Budget, options: [&str; 2]) -> String {
    let name = |c: &Candidate| c.model.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let mut allowed = Vec::new();
    allowed.extend(budget.ram_bytes.map(human_bytes));
    allowed.extend(budget.seconds.map(human_seconds));
    let allowed = if allowed.is_empty() { "the memory of this machine".into() } else { allowed.join(" and ") };
    let mut sentence = match candidates {
        [_] => format!("the model does not fit in {allowed}"),
        _ => format!("none of the {} models fits in {allowed}", candidates.len()),
    };
    // A model whose memory suffices may need even less; what it was given is known to do.
    let ram = |c: &Candidate| c.least_ram_bytes.or(c.peak_ram_bytes);
    if let Some((c, bytes)) = candidates.iter().filter_map(|c| Some((c, ram(c)?))).min_by_key(|(_, bytes)| *bytes) {
        let megabytes = bytes.div_ceil(1_000_000);
        sentence += &format!("; the least memory is {megabytes} MB, with {} ({}{megabytes}M)", name(c), options[0]);
    }
    let times = candidates.iter().filter_map(|c| Some((c, c.predicted_seconds?)));
    if let Some((c, seconds)) = times.min_by(|a, b| a.1.total_cmp(&b.1)) {
        sentence += &format!("; the shortest time is {}, with {}", human_seconds(seconds), name(c));
        sentence += &format!(" ({}{}s)", options[1], seconds.ceil());
    }
    sentence
}

/// The models as a table.
pub fn table(candidates: &[Candidate], chosen: Option<usize>) -> String {
    const NONE: &str = "-";
    let bytes = |bytes: usize| human_bytes(bytes as u64);
    let file = |c: &Candidate| c.model.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let width = candidates.iter().map(|c| file(c).chars().count()).max().unwrap_or(0).max("model".len());
    let mut text = format!(
        "  {:<width$} {:>6} {:>6} {:>9} {:>4} {:>8} {:>7} {:>10} {:>12}  fits\n",
        "model", "Dice", "stored", "peak RAM", "thr", "windows", "passes", "ms/window", "time"
    );
    for (index, c) in candidates.iter().enumerate() {
        let or_none = |value: Option<String>| value.unwrap_or_else(|| NONE.into());
        let mark = if chosen == Some(index) { '>' } else { ' ' };
        let ram = c.peak_ram_bytes.map(bytes).or(c.least_ram_bytes.map(|b| format!("> {}", bytes(b - 1))));
        let bands = if c.layers_in_bands == Some(true) { ", low-memory mode" } else { "" };
        let fits = match &c.why_not {
            None => format!("yes{bands}"),
            Some(why) => format!("no: {why}"),
        };
        text += &format!(
            "{mark} {:<width$} {:>6} {:>6} {:>9} {:>4} {:>8} {:>7} {:>10} {:>12}  {fits}\n",
            file(c),
            or_none(c.mean_dice.map(|d| format!("{d:.3}"))),
            c.precision,
            or_none(ram),
            or_none(c.workers.map(|n| n.to_string())),
            or_none(c.tiles.map(|n| n.to_string())),
            or_none(c.network_passes.map(|n| n.to_string())),
            or_none(c.seconds_per_window.map(|s| format!("{:.1}", 1e3 * s))),
            or_none(c.predicted_seconds.map(human_seconds)),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(model: &str, mean_dice: Option<f64>, seconds: f64, fits: bool) -> Candidate {
        Candidate {
            model: model.into(),
            name: String::new(),
            mean_dice,
            precision: "f32".into(),
            tiles: Some(4),
            network_passes: Some(8),
            workers: Some(2),
            layers_in_bands: Some(false),
            peak_ram_bytes: Some(100_000_000),
            least_ram_bytes: None,
            seconds_per_window: Some(0.1),
            predicted_seconds: Some(seconds),
            fits,
            why_not: (!fits).then(|| "too slow".into()),
        }
    }

    fn chosen(candidates: &[Candidate]) -> Option<usize> {
        choose(candidates).map(|(index, _)| index)
    }

    #[test]
    fn the_most_accurate_that_fits_is_taken() {
        let best = candidate("teacher", Some(0.9), 90.0, false);
        let (middle, small) = (candidate("r2", Some(0.89), 20.0, true), candidate("r4", Some(0.88), 5.0, true));
        let unknown = candidate("other", None, 1.0, true);
        assert_eq!(chosen(&[small.clone(), best.clone(), middle.clone(), unknown.clone()]), Some(2));
        // Of equals the fastest, of equal times the first.
        let twin = candidate("twin", Some(0.89), 10.0, true);
        assert_eq!(chosen(&[middle.clone(), twin.clone(), small.clone()]), Some(1));
        assert_eq!(chosen(&[middle.clone(), middle.clone()]), Some(0));
        // What is not known comes after what is, however fast.
        let slow = candidate("r8", Some(0.1), 50.0, true);
        assert_eq!(chosen(&[unknown.clone(), slow]), Some(1));
        assert_eq!(chosen(&[best.clone(), unknown.clone(), unknown]), Some(1));
        assert_eq!(chosen(&[best]), None);
    }

    #[test]
    fn what_would_be_needed_is_said() {
        let short = Candidate {
            peak_ram_bytes: None,
            least_ram_bytes: Some(79_100_000),
            predicted_seconds: None,
            ..candidate("r4.onnx", Some(0.88), 0.0, false)
        };
        let slow = candidate("r2.onnx", Some(0.89), 20.4, false);
        let budget = Budget { ram_bytes: Some(100_000_000), seconds: Some(10.0) };
        let said = nothing_fits(&[short, slow], budget, ["--max-ram ", "--max-time "]);
        assert_eq!(
            said,
            "none of the 2 models fits in 100 MB and 10.0 s; the least memory is 80 MB, with r4.onnx (--max-ram 80M); \
             the shortest time is 20.4 s, with r2.onnx (--max-time 21s)"
        );
        assert_eq!(over_time(9.0, budget), None);
        assert_eq!(over_time(9.0, Budget { seconds: None, ..budget }), None);
        assert!(over_time(11.0, budget).is_some_and(|why| why.contains("11.0 s")));
        let rounded_alike = over_time(10.01, budget).expect("more than 10 s");
        assert_eq!(rounded_alike, "needs slightly more than the 10.0 s allowed");
    }
}
