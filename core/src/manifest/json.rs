//! Manifests as JSON. Feature `std`.

use super::{FORMAT_VERSION, Manifest, ManifestError, ManifestFault};
use serde_json::Value;

impl Manifest {
    /// Reads a manifest and checks its rules.
    ///
    /// # Errors
    /// The text is not JSON, holds unknown or wrong keys, was written for a newer version, or breaks a rule.
    pub fn from_json(text: &str) -> Result<Manifest, ManifestError> {
        Self::from_value(serde_json::from_str(text).map_err(|e| ManifestFault::Unreadable(e.to_string()))?)
    }

    /// As [`Self::from_json`].
    pub(crate) fn from_value(value: Value) -> Result<Manifest, ManifestError> {
        // Before anything else: a newer manifest may hold fields this program would call wrong.
        match value.get("format").and_then(Value::as_u64) {
            Some(v) if v > u64::from(FORMAT_VERSION) => return Err(ManifestFault::NewerFormat(v).into()),
            Some(0) | None => return Err(ManifestFault::NoFormat.into()),
            Some(_) => {}
        }
        let manifest: Manifest = serde_json::from_value(value).map_err(|e| ManifestFault::Unreadable(e.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = r#"{"format": 1, "grid": {"patch_zyx": [8, 8, 8], "spacing_mm": [1.0, null, 2.5]},
        "channels": [{"name": "CT", "normalization": {"kind": "z_score"}}],
        "labels": {"kind": "exclusive", "heads": [{"name": "background", "value": 0}, {"name": "organ", "value": 1}]}}"#;

    #[test]
    fn what_is_read_is_checked() {
        let manifest = Manifest::from_json(SOUND).unwrap();
        assert_eq!((manifest.folds, manifest.grid.spacing_mm), (1, [Some(1.0), None, Some(2.5)]));
        for (old, new, says) in [
            ("\"format\": 1", "\"format\": 2", "written in format 2"),
            ("\"format\": 1", "\"format\": 0", "does not name its format"),
            ("\"format\": 1,", "", "does not name its format"),
            ("\"channels\"", "\"chanels\"", "unknown field `chanels`"),
            ("[8, 8, 8]", "[8, 0, 8]", "the patch [8, 0, 8] is not possible"),
            ("\"value\": 1", "\"value\": 0", "have the same value 0"),
            ("}", "", "expected"),
        ] {
            let error = Manifest::from_json(&SOUND.replace(old, new)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
