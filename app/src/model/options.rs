//! How to open a model.

use crate::error::{Error, ErrorKind};
use scanside_core::network::Isa;
use scanside_core::nnunet::{FoldName, ImportOptions};
use scanside_core::onnx::Settings;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// The checkpoint that nnU-Net's training ends with.
pub const DEFAULT_CHECKPOINT: &str = "checkpoint_final.pth";

/// Which engine runs a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineChoice {
    /// The fastest engine that can run the model.
    #[default]
    Auto,
    /// Scanside's own kernels.
    Native,
    /// tract's executor.
    Tract,
}

/// How networks store their weights and unquantised tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrecisionChoice {
    /// As the model file stores its weights.
    #[default]
    Auto,
    /// Single precision.
    F32,
    /// Half precision; sums are made in single precision.
    F16,
}

impl PrecisionChoice {
    /// Whether to store in half precision; nothing where the file decides.
    pub fn half(self) -> Option<bool> {
        match self {
            PrecisionChoice::Auto => None,
            PrecisionChoice::F32 => Some(false),
            PrecisionChoice::F16 => Some(true),
        }
    }
}

impl fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PrecisionChoice::Auto => "auto",
            PrecisionChoice::F32 => "f32",
            PrecisionChoice::F16 => "f16",
        })
    }
}

/// Which parts of a model to open, and how to prepare its network. Whatever opens a model takes these options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelOptions {
    /// The manifest of an ONNX file that has none inside, as JSON or TOML.
    pub manifest: Option<PathBuf>,
    /// Folds of an nnU-Net folder to average; those of 0 to 4 that are there where none is named.
    pub folds: Vec<FoldName>,
    /// File name of an nnU-Net folder's checkpoints.
    pub checkpoint: String,
    /// Take the folder of a trainer that does not come with nnU-Net, if the tensors are those of the planned network.
    pub trust_trainer: bool,
    /// Which engine runs the network.
    pub engine: EngineChoice,
    /// How weights and unquantised tensors are stored.
    pub precision: PrecisionChoice,
    /// Name of the kernels' instruction set; the best of this CPU where none is named.
    pub instructions: Option<String>,
}

impl Default for ModelOptions {
    fn default() -> Self {
        ModelOptions {
            manifest: None,
            folds: Vec::new(),
            checkpoint: DEFAULT_CHECKPOINT.to_owned(),
            trust_trainer: false,
            engine: EngineChoice::Auto,
            precision: PrecisionChoice::Auto,
            instructions: None,
        }
    }
}

impl ModelOptions {
    pub(super) fn settings(&self) -> Result<Settings, Error> {
        Ok(Settings { half: self.precision.half(), isa: self.isa()? })
    }

    /// The instruction set that is named.
    pub(super) fn isa(&self) -> Result<Isa, Error> {
        let named = self.instructions.as_deref().map(instruction_set);
        named.unwrap_or_else(|| Ok(Isa::detect())).map_err(|sentence| Error::new(ErrorKind::Usage, sentence))
    }

    pub(super) fn import(&self) -> ImportOptions {
        ImportOptions {
            folds: (!self.folds.is_empty()).then(|| self.folds.clone()),
            checkpoint: self.checkpoint.clone(),
            trust_unknown_trainer: self.trust_trainer,
        }
    }
}

/// The instruction set of this name.
///
/// # Errors
/// A sentence that names those of this CPU.
pub fn instruction_set(name: &str) -> Result<Isa, String> {
    Isa::available().find(|isa| isa.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names: Vec<&str> = Isa::available().map(Isa::name).collect();
        format!("this CPU has {}", names.join(", "))
    })
}
