//! Options of `segment` for what is made of labels and beside them.

use clap::Args;
use scanside_app::Error;
use scanside_app::components;
use scanside_app::extras::Extras;
use scanside_app::run::CaseOptions;
use scanside_app::statistics::StatisticsTable;
use scanside_core::manifest::Labels;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(crate) struct ExtraArgs {
    /// Keep only the largest component of a label, as nnU-Net's postprocessing does. LABEL is a name or a value; A+B takes
    /// several as one, "all" takes all.
    #[arg(long, value_name = "LABEL", num_args = 1..)]
    keep_largest: Vec<String>,
    /// Apply nnU-Net's postprocessing.pkl, which nnUNetv2_find_best_configuration writes: steps that keep the largest component.
    /// They come before those of --keep-largest.
    #[arg(long, value_name = "FILE.pkl")]
    postprocessing: Option<PathBuf>,
    /// Write statistics of each label to a table: voxels, volume, intensity, centroid in mm (LPS), and whether it touches the
    /// edge of the scan. Several processes may add to one table.
    #[arg(long, value_name = "FILE.csv|FILE.json")]
    statistics: Option<PathBuf>,
    /// Draw the scan with its labels: a file, or for a folder of cases a folder for CASE.png.
    #[arg(long, value_name = "FILE.png")]
    preview: Option<PathBuf>,
}

impl ExtraArgs {
    /// Adds these options to those of a run by a model with such labels.
    pub(crate) fn complete(&self, options: CaseOptions, labels: &Labels) -> Result<CaseOptions, Error> {
        let of_nnunet = self.postprocessing.as_deref().map(|path| components::rules_of_nnunet(path, labels));
        let mut keep_largest = of_nnunet.transpose()?.unwrap_or_default();
        keep_largest.extend(components::rules(&self.keep_largest, labels)?);
        Ok(CaseOptions {
            keep_largest,
            extras: Extras {
                statistics: self.statistics.as_deref().map(StatisticsTable::at).transpose()?,
                preview: self.preview.clone(),
            },
            ..options
        })
    }
}
