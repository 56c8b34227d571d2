//! A network's speed and memory: the JSON object that `scanside bench --json` prints, stored as `speed.json` in its run.

use crate::work::read_text;
use scanside_app::error::{Error, ErrorKind, OrError};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The measurement. Other fields of the object are not needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Seconds per patch: the median of the runs.
    pub median_seconds: f64,
    /// Peak memory of the process.
    pub peak_rss_bytes: Option<u64>,
    /// Billions of multiply-adds per patch, where they are known.
    #[serde(default)]
    pub gmac: Option<f64>,
    /// The conditions of the measurement.
    #[serde(flatten)]
    pub conditions: Conditions,
}

/// The conditions of a measurement. Only speeds with equal conditions are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// Threads of the network.
    pub threads: usize,
    /// Instruction set of the kernels.
    pub instructions: String,
    /// Number format of weights and tensors.
    pub precision: String,
    /// Voxels of the patch: `z, y, x`.
    pub patch: [usize; 3],
}

impl Speed {
    /// Reads `speed.json`; `None` where there is no such file.
    ///
    /// # Errors
    /// The file is not the output of `scanside bench --json` for one model.
    pub fn read(path: &Path) -> Result<Option<Speed>, Error> {
        if !path.is_file() {
            return Ok(None);
        }
        let foreign = || format!("{} is not the output of `scanside bench --json` for one model", path.display());
        let speed: Speed = serde_json::from_str(&read_text(path)?).or_error_with(ErrorKind::Input, foreign)?;
        if !(speed.median_seconds > 0.0 && speed.median_seconds.is_finite()) {
            return Err(Error::new(
                ErrorKind::Input,
                format!("{}: {} seconds per patch are not a measurement", path.display(), speed.median_seconds),
            ));
        }
        Ok(Some(speed))
    }
}

impl Conditions {
    /// As text: `2 threads, avx2, f32, patch 40 × 56 × 40`.
    pub fn text(&self) -> String {
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
        assert_eq!(speed.conditions.text(), "2 threads, avx2, f32, patch 40 × 56 × 40");
        for strange in ["{}", "", &printed.replace("0.25", "0.0"), &format!("{printed}\n{printed}")] {
            std::fs::write(&path, strange).unwrap();
            assert_eq!(Speed::read(&path).unwrap_err().kind(), ErrorKind::Input, "{strange}");
        }
    }
}
