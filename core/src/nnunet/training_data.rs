//! What a folder says about the data that its model was trained on: ranges from `dataset_fingerprint.json`, name and
//! licence from `dataset.json`.
//!
//! nnU-Net copies the fingerprint into a model's folder and does not read it again, and takes nothing but channels and
//! labels from `dataset.json`. So what is missing or has another form is unknown; it does not make the model unusable.

use crate::manifest::{Card, Envelope};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A longer file is cut off, and so has no form: 100,000 training scans take 20 MB.
const MOST_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct Fingerprint {
    #[serde(default)]
    shapes_after_crop: Vec<[usize; 3]>,
    #[serde(default)]
    spacings: Vec<[f64; 3]>,
    #[serde(default)]
    foreground_intensity_properties_per_channel: BTreeMap<String, Intensities>,
}

#[derive(Deserialize)]
struct Intensities {
    percentile_00_5: f64,
    percentile_99_5: f64,
}

/// The ranges that the folder's `dataset_fingerprint.json` gives for a model of `channels` channels; nothing where the file
/// is missing or has another form.
pub(super) fn envelope(folder: &Path, channels: usize) -> Option<Envelope> {
    envelope_of(&text(&folder.join("dataset_fingerprint.json"))?, channels)
}

fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Data and licence as the folder's `dataset.json` states them; nothing where it states neither.
pub(super) fn card(folder: &Path) -> Option<Card> {
    card_of(&text(&folder.join("dataset.json"))?)
}

fn card_of(text: &str) -> Option<Card> {
    let dataset: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let stated = |key: &str| dataset.get(key).and_then(|value| value.as_str()).map(str::trim).filter(|v| !v.is_empty());
    let mut data: Vec<String> =
        ["name", "description", "reference"].into_iter().filter_map(stated).map(str::to_owned).collect();
    if let (false, Some(cases)) = (data.is_empty(), dataset.get("numTraining").and_then(serde_json::Value::as_u64)) {
        data.push(format!("{cases} training cases"));
    }
    let licence = stated("licence").or_else(|| stated("license")).unwrap_or_default().to_owned();
    let card = Card { data: data.join("; "), licence, ..Card::default() };
    (card != Card::default()).then_some(card)
}

fn envelope_of(text: &str, channels: usize) -> Option<Envelope> {
    let fingerprint: Fingerprint = serde_json::from_str(text).ok()?;
    let mut envelope = Envelope::of_scans(&fingerprint.shapes_after_crop, &fingerprint.spacings);
    let of_channel = |channel: usize| {
        let found = fingerprint.foreground_intensity_properties_per_channel.get(&channel.to_string())?;
        Some([found.percentile_00_5, found.percentile_99_5])
    };
    let known: Vec<[f64; 2]> = (0..channels).map_while(of_channel).collect();
    if known.len() == channels {
        envelope.foreground_intensities = known;
    }
    (envelope.is_possible() && envelope != Envelope::default()).then_some(envelope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_come_from_the_file() {
        let text = r#"{
            "foreground_intensity_properties_per_channel": {
                "0": {"max": 486420.0, "mean": 22360.3, "median": 362.8, "min": 0.0, "percentile_00_5": 28.0,
                      "percentile_99_5": 277682.0, "std": 60656.1}
            },
            "median_relative_size_after_cropping": 1.0,
            "shapes_after_crop": [[34, 52, 35], [36, 52, 38]],
            "spacings": [[1.0, 1.0, 1.0], [1.0, 0.5, 2.0]]
        }"#;
        let envelope = envelope_of(text, 1).expect("an envelope");
        assert_eq!(envelope.voxels_zyx, Some([[34, 36], [52, 52], [35, 38]]));
        assert_eq!(envelope.spacing_mm_zyx, Some([[1.0, 1.0], [0.5, 1.0], [1.0, 2.0]]));
        assert_eq!(envelope.extent_mm_zyx, Some([[34.0, 36.0], [26.0, 52.0], [35.0, 76.0]]));
        assert_eq!(envelope.foreground_intensities, [[28.0, 277_682.0]]);
        // Intensities of fewer channels than the model has are not taken.
        assert_eq!(envelope_of(text, 2).expect("an envelope").foreground_intensities, [[0.0; 2]; 0]);
    }

    #[test]
    fn data_and_licence_come_from_the_description() {
        let card = card_of(r#"{"name": "Liver", "reference": " ", "license": "CC0", "numTraining": 12, "labels": {}}"#);
        let card = card.expect("a card");
        assert_eq!((card.data.as_str(), card.licence.as_str()), ("Liver; 12 training cases", "CC0"));
        assert_eq!(card_of(r#"{"numTraining": 12, "name": 7}"#), None);
    }

    #[test]
    fn another_form_leaves_ranges_unknown() {
        for text in ["", "[]", "{}", r#"{"spacings": "1"}"#, r#"{"shapes_after_crop": [[1, 2]]}"#] {
            assert_eq!(envelope_of(text, 1), None, "{text}");
        }
        let impossible = r#"{"shapes_after_crop": [[0, 1, 1]], "spacings": [[1, 1, 1]]}"#;
        assert_eq!(envelope_of(impossible, 1), None);
    }
}
