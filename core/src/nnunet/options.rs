//! What to take from a model folder.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A fold's name: `fold_0`, `fold_1` ... or `fold_all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FoldName {
    /// One of a cross-validation's folds.
    Number(u32),
    /// Trained on all cases.
    All,
}

impl fmt::Display for FoldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FoldName::Number(number) => write!(f, "{number}"),
            FoldName::All => f.write_str("all"),
        }
    }
}

impl FromStr for FoldName {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" { Ok(FoldName::All) } else { text.parse().map(FoldName::Number) }
    }
}

/// What to take from a model folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// The folds, in the order of the model's outputs. `None`: those of 0 to 4 that have the checkpoint, or `fold_all`
    /// where there is none of them. `nnUNetv2_predict_from_modelfolder` averages the same.
    pub folds: Option<Vec<FoldName>>,
    /// Name of the checkpoint file in each fold.
    pub checkpoint: String,
    /// Take a trainer class that does not come with nnU-Net to build the network of the plans. The checkpoint's tensors
    /// are compared with that network all the same; if the class builds another one that happens to have the same tensors,
    /// the labels are wrong without notice.
    pub trust_unknown_trainer: bool,
}

impl Default for ImportOptions {
    fn default() -> Self {
        ImportOptions { folds: None, checkpoint: "checkpoint_final.pth".into(), trust_unknown_trainer: false }
    }
}
