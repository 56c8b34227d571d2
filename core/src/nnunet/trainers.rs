//! What a trainer's name says about the network.
//!
//! nnU-Net asks the trainer class to build the network, and a class can build anything. The classes that come with
//! nnU-Net are known; of others only Python could tell.

/// What a trainer builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trainer {
    /// The network of the plans.
    Plain,
    /// The network of the plans with batch normalisation instead of theirs.
    BatchNorm,
    /// A transformer that the plans do not describe.
    Primus,
    /// A class that does not come with nnU-Net.
    Unknown,
}

/// Trainers that come with nnU-Net v2 and change only the training.
const PLAIN: &[&str] = &[
    "nnUNetTrainer",
    "nnUNetTrainerAdam",
    "nnUNetTrainerAdam1en3",
    "nnUNetTrainerAdam3en4",
    "nnUNetTrainerAdan",
    "nnUNetTrainerAdan1en1",
    "nnUNetTrainerAdan1en3",
    "nnUNetTrainerAdan3en4",
    "nnUNetTrainerAdanCosAnneal",
    "nnUNetTrainerBenchmark_5epochs",
    "nnUNetTrainerBenchmark_5epochs_noDataLoading",
    "nnUNetTrainerCELoss",
    "nnUNetTrainerCosAnneal",
    "nnUNetTrainerDA5",
    "nnUNetTrainerDA5Segord0",
    "nnUNetTrainerDA5ord0",
    "nnUNetTrainerDiceCELoss_noSmooth",
    "nnUNetTrainerDiceLoss",
    "nnUNetTrainerDiceTopK10Loss",
    "nnUNetTrainerNoDA",
    "nnUNetTrainerNoDeepSupervision",
    "nnUNetTrainerNoMirroring",
    "nnUNetTrainerTopk10Loss",
    "nnUNetTrainerTopk10LossLS01",
    "nnUNetTrainerVanillaAdam",
    "nnUNetTrainerVanillaAdam1en3",
    "nnUNetTrainerVanillaAdam3en4",
    "nnUNetTrainer_DASegOrd0",
    "nnUNetTrainer_DASegOrd0_NoMirroring",
    "nnUNetTrainer_noDummy2DDA",
    "nnUNetTrainer_onlyMirror01",
    "nnUNetTrainer_onlyMirror01_1500ep",
    "nnUNetTrainer_onlyMirror01_DA5",
    "nnUNetTrainer_onlyMirror01_DASegOrd0",
    "nnUNetTrainer_probabilisticOversampling",
    "nnUNetTrainer_probabilisticOversampling_010",
    "nnUNetTrainer_probabilisticOversampling_033",
    "nnUNetTrainer_warmup",
    "nnUNet_Trainer_BS8",
];

/// What the trainer class called `name` builds.
pub fn trainer(name: &str) -> Trainer {
    // The same trainers with another number of epochs: `_250epochs`, `_5epochs_NoMirroring`. They come with many
    // numbers, and people add more.
    let base = name.strip_suffix("_NoMirroring").unwrap_or(name);
    let base = match base.strip_suffix("epochs").or_else(|| base.strip_suffix("epoch")) {
        Some(rest) => {
            let trimmed = rest.trim_end_matches(|c: char| c.is_ascii_digit());
            if trimmed.len() < rest.len() { trimmed.trim_end_matches('_') } else { name }
        }
        None => name,
    };
    if base == "nnUNetTrainerBN" {
        Trainer::BatchNorm
    } else if PLAIN.contains(&name) || PLAIN.contains(&base) {
        Trainer::Plain
    } else if name == "AbstractPrimus" || name.starts_with("nnUNet_Primus") || name.starts_with("_Primus") {
        Trainer::Primus
    } else {
        Trainer::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_trainers_are_known() {
        for name in [
            "nnUNetTrainer",
            "nnUNetTrainer_4000epochs_NoMirroring",
            "nnUNetTrainer_1epoch",
            "nnUNetTrainer_2000epochs",
            "nnUNetTrainerDA5_10epochs",
            "nnUNetTrainerCELoss_5epochs",
            "nnUNetTrainerBenchmark_5epochs",
            "nnUNetTrainer_DASegOrd0_NoMirroring",
        ] {
            assert_eq!(trainer(name), Trainer::Plain, "{name}");
        }
        assert_eq!(trainer("nnUNetTrainerBN"), Trainer::BatchNorm);
        assert_eq!(trainer("nnUNet_PrimusV2L_Trainer"), Trainer::Primus);
        assert_eq!(trainer("_Primus_S_96_BS1"), Trainer::Primus);
        for name in ["nnUNetTrainerUMambaBot", "MedNeXtTrainer_250epochs", "epochs", "_5epochs", ""] {
            assert_eq!(trainer(name), Trainer::Unknown, "{name}");
        }
    }
}
