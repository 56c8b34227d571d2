//! A network's speed and memory: the JSON object that `scanside bench --json` prints, kept as `speed.json` in its run.

use crate::work::read_text;
use scanside_app::error::{Error, ErrorKind, OrError};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What was measured. Of the object's other fields none is needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Seconds per patch: the median of the runs.
    pub median_seconds: f64,
    /// The most that the process ever held.
    pub peak_rss_bytes: Option<u64>,
    /// Billions of multiply-adds per patch, where they are known.
    #[serde(default)]
    pub gmac: Option<f64>,
    /// How it was measured.
    #[serde(flatten)]
    pub conditions: Conditions,
}

/// How a speed was measured. Only speeds of the same conditions are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// Threads of the network.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub instructions: String,
    /// How weights and tensors were stored.
    pub precision: String,
    /// Voxels of the patch: `z, y, x`.
    pub patch: [usize; 3],
}

impl Speed {
    /// Reads `speed.json`; nothing where there is no such file.
    ///
    /// # Errors
    /// The file is not what `scanside bench --json` prints of one model.
    pub fn read(path: &Path) -> Result<Option<Speed>, Error> {
        if !path.is_file() {
            return Ok(None);
        }
        let told = || format!("{} is not what `scanside bench --json` prints of one model", path.display());
        let speed: Speed = serde_json::from_str(&read_text(path)?).or_error_with(ErrorKind::Input, told)?;
        if !(speed.median_seconds > 0.0 && speed.median_seconds.is_finite()) {
            return Err(Error::new(
                ErrorKind::Input,
                format!("{}: {} seconds per patch are no measurement", path.display(), speed.median_seconds),
            ));
        }
        Ok(Some(speed))
    }
}

impl Conditions {
    /// For a sentence: `2 threads, avx2, f32, patch 40 × 56 × 40`.
    pub fn told(&self) -> String {
        let threads = if self.threads == 1 { "1 thread".into() } else { format!("{} threads", self.threads) };
        let [z, y, x] = self.patch;
        format!("{threads}, {}, {}, patch {z} × {y} × {x}", self.instructions, self.precision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bench_prints_is_read_and_other_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("speed.json");
        assert_eq!(Speed::read(&path).unwrap(), None);
        let printed = r#"{"model":"r4.onnx","engine":"native","instructions":"avx2","precision":"f32","patch":[40,56,40],
            "threads":2,"runs":5,"load_seconds":0.1,"median_seconds":0.25,"least_seconds":0.2,"most_seconds":0.3,
            "gmac":3.9,"announced_bytes":9,"peak_rss_bytes":null}"#;
        std::fs::write(&path, printed).unwrap();
        let speed = Speed::read(&path).unwrap().unwrap();
        assert_eq!((speed.median_seconds, speed.peak_rss_bytes), (0.25, None));
        assert_eq!(speed.conditions.told(), "2 threads, avx2, f32, patch 40 × 56 × 40");
        for strange in ["{}", "", &printed.replace("0.25", "0.0"), &format!("{printed}\n{printed}")] {
            std::fs::write(&path, strange).unwrap();
            assert_eq!(Speed::read(&path).unwrap_err().kind(), ErrorKind::Input, "{strange}");
        }
    }
}
