//! What was measured of a model, as JSON and as a line of a table.

use super::layers::Layer;
use super::scan_size::WholeScan;
use crate::units::human_bytes;
use serde::{Deserialize, Serialize};

/// One model, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// File name.
    pub model: String,
    /// SHA-256 over graph and weights; of a compiled model, over its bytes. Empty in measurements of older versions.
    #[serde(default)]
    pub graph_sha256: String,
    /// Name of the CPU. Empty in measurements of older versions.
    #[serde(default)]
    pub machine: String,
    /// The engine.
    pub engine: String,
    /// Instruction set of the kernels.
    pub instructions: String,
    /// How weights and tensors were stored: `f32`, `f16` or `int8`.
    pub precision: String,
    /// Voxels per patch, `z, y, x`.
    pub patch: [usize; 3],
    /// Threads.
    pub threads: usize,
    /// Timed runs.
    pub runs: usize,
    /// Reading the model and preparing its engine.
    pub load_seconds: f64,
    /// One pass of one patch: the median of the timed runs.
    pub median_seconds: f64,
    /// The fastest of them.
    pub least_seconds: f64,
    /// The slowest.
    pub most_seconds: f64,
    /// Multiply-adds of a pass, in thousand millions, where they are known.
    pub gmac: Option<f64>,
    /// Announced: the program with its model, workspace, input and output, or what reading the model took, whichever is
    /// more.
    pub announced_bytes: usize,
    /// Peak resident memory of this process.
    pub peak_rss_bytes: Option<usize>,
    /// A scan of the size that was asked about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub whole_scan: Option<WholeScan>,
    /// The network's steps, where they were timed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub layers: Vec<Layer>,
}

/// The line above those of [`Measured::line`].
pub fn header() -> String {
    format!(
        "{:<28} {:>7} {:>4} {:>9} {:>9} {:>9} {:>8} {:>11} {:>11}",
        "model", "engine", "thr", "median s", "min s", "max s", "GFLOP/s", "announced", "peak RSS"
    )
}

impl Measured {
    /// A line of a table, under [`header`].
    pub fn line(&self) -> String {
        let rate = self.gmac.map_or_else(|| "-".into(), |g| format!("{:.1}", 2.0 * g / self.median_seconds));
        let rss = self.peak_rss_bytes.map_or_else(|| "-".into(), |bytes| human_bytes(bytes as u64));
        format!(
            "{:<28} {:>7} {:>4} {:>9.4} {:>9.4} {:>9.4} {rate:>8} {:>11} {rss:>11}",
            self.model,
            self.engine,
            self.threads,
            self.median_seconds,
            self.least_seconds,
            self.most_seconds,
            human_bytes(self.announced_bytes as u64)
        )
    }
}
