//! Which folds of a model folder there are, and which are averaged.

use super::error::NnUnetError;
use super::options::{FoldName, ImportOptions};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The folds of a cross-validation, which nnU-Net averages where none is named: 0 to 4.
const CROSS_VALIDATION: u32 = 5;

/// The folds of a model folder, by what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folds {
    /// Those with a checkpoint of the name that was looked for: numbered ones ascending, `all` last.
    pub trained: Vec<FoldName>,
    /// Those without.
    pub empty: Vec<FoldName>,
}

impl Folds {
    /// Looks for checkpoints of this name.
    ///
    /// # Errors
    /// There is none, or the folder cannot be read.
    pub fn find(path: &Path, checkpoint: &str) -> Result<Folds, NnUnetError> {
        let io = |source| NnUnetError::Io { path: path.to_path_buf(), source };
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(path).map_err(io)? {
            let entry = entry.map_err(io)?;
            names.extend(fold_name(&entry.file_name()).filter(|_| entry.path().is_dir()));
        }
        let (trained, empty): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|fold| checkpoint_path(path, *fold, checkpoint).is_file());
        if trained.is_empty() {
            let others = empty.iter().flat_map(|fold| checkpoints(&fold_path(path, *fold))).collect::<BTreeSet<_>>();
            return Err(NnUnetError::NoFold {
                path: path.to_path_buf(),
                checkpoint: checkpoint.into(),
                others: others.into_iter().collect(),
            });
        }
        Ok(Folds { trained, empty })
    }

    /// All numbered folds with a checkpoint, or `all` where there is no other.
    pub fn numbered_or_all(&self) -> Vec<FoldName> {
        let numbered: Vec<_> = self.trained.iter().copied().filter(|fold| *fold != FoldName::All).collect();
        if numbered.is_empty() { self.trained.clone() } else { numbered }
    }

    /// The folds that nnU-Net's commands average: those of the cross-validation, or `all` where it has none.
    fn default_choice(self, path: &Path) -> Result<FoldChoice, NnUnetError> {
        let validated = |fold: &FoldName| matches!(fold, FoldName::Number(n) if *n < CROSS_VALIDATION);
        let averaged: Vec<_> = match self.trained.iter().copied().filter(validated).collect::<Vec<_>>() {
            none if none.is_empty() => self.trained.iter().copied().filter(|fold| *fold == FoldName::All).collect(),
            some => some,
        };
        if averaged.is_empty() {
            return Err(NnUnetError::OtherFolds { path: path.to_path_buf(), folds: self.trained });
        }
        let left_out = self.trained.into_iter().filter(|fold| !averaged.contains(fold)).collect();
        Ok(FoldChoice { averaged, left_out, empty: self.empty })
    }
}

/// The folds that are averaged, and those that are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldChoice {
    /// Averaged, in this order.
    pub averaged: Vec<FoldName>,
    /// Not averaged, although they have a checkpoint and no choice was made.
    pub left_out: Vec<FoldName>,
    /// Without a checkpoint, where no choice was made.
    pub empty: Vec<FoldName>,
}

impl FoldChoice {
    /// The folds that the options name, or nnU-Net's choice.
    pub(super) fn new(path: &Path, options: &ImportOptions) -> Result<FoldChoice, NnUnetError> {
        let Some(folds) = &options.folds else {
            return Folds::find(path, &options.checkpoint)?.default_choice(path);
        };
        for fold in folds {
            let folder = fold_path(path, *fold);
            if folder.is_dir() && !folder.join(&options.checkpoint).is_file() {
                let (checkpoint, others) = (options.checkpoint.clone(), checkpoints(&folder));
                return Err(NnUnetError::NoCheckpoint { path: folder, checkpoint, others });
            }
        }
        Ok(FoldChoice { averaged: folds.clone(), ..FoldChoice::default() })
    }
}

/// The fold that a folder of this name holds.
pub(super) fn fold_name(file_name: &OsStr) -> Option<FoldName> {
    let fold: FoldName = file_name.to_str()?.strip_prefix("fold_")?.parse().ok()?;
    // `fold_007` would be looked for as `fold_7`.
    (file_name.to_str() == Some(format!("fold_{fold}").as_str())).then_some(fold)
}

fn fold_path(folder: &Path, fold: FoldName) -> PathBuf {
    folder.join(format!("fold_{fold}"))
}

pub(super) fn checkpoint_path(folder: &Path, fold: FoldName, checkpoint: &str) -> PathBuf {
    fold_path(folder, fold).join(checkpoint)
}

/// Names of the checkpoints in a fold's folder, in alphabetical order.
fn checkpoints(fold: &Path) -> Vec<String> {
    let names = fs::read_dir(fold).into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".pth")).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder whose folds hold these files.
    fn folder(folds: &[(&str, &[&str])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (fold, files) in folds {
            fs::create_dir(folder.path().join(fold)).unwrap();
            for file in *files {
                fs::write(folder.path().join(fold).join(file), b"").unwrap();
            }
        }
        folder
    }

    const FINAL: &[&str] = &["checkpoint_final.pth", "progress.png"];
    const BEST: &[&str] = &["checkpoint_best.pth", "progress.png"];

    fn numbers(numbers: &[u32]) -> Vec<FoldName> {
        numbers.iter().copied().map(FoldName::Number).collect()
    }

    fn choice(folds: &[(&str, &[&str])], options: ImportOptions) -> Result<FoldChoice, String> {
        FoldChoice::new(folder(folds).path(), &options).map_err(|e| e.to_string())
    }

    #[test]
    fn the_folds_of_a_cross_validation_are_averaged() {
        let folds = ["fold_6", "fold_5", "fold_4", "fold_3", "fold_0", "fold_all", "fold_007", "other"];
        let all: Vec<(&str, &[&str])> = folds.map(|name| (name, FINAL)).to_vec();
        let mut expected = FoldChoice { averaged: numbers(&[0, 3, 4]), left_out: numbers(&[5, 6]), empty: vec![] };
        expected.left_out.push(FoldName::All);
        assert_eq!(choice(&all, ImportOptions::default()), Ok(expected));
        let found = Folds::find(folder(&all).path(), "checkpoint_final.pth").unwrap();
        assert_eq!(found.numbered_or_all(), numbers(&[0, 3, 4, 5, 6]));
    }

    #[test]
    fn empty_folds_are_told() {
        let folds: &[(&str, &[&str])] = &[("fold_0", FINAL), ("fold_3", &["progress.png"]), ("fold_all", &[])];
        let expected =
            FoldChoice { averaged: numbers(&[0]), left_out: vec![], empty: vec![FoldName::Number(3), FoldName::All] };
        assert_eq!(choice(folds, ImportOptions::default()), Ok(expected));
        let all: &[(&str, &[&str])] = &[("fold_0", &[]), ("fold_all", FINAL)];
        let expected = FoldChoice { averaged: vec![FoldName::All], left_out: vec![], empty: numbers(&[0]) };
        assert_eq!(choice(all, ImportOptions::default()), Ok(expected));
        assert_eq!(Folds::find(folder(all).path(), FINAL[0]).unwrap().numbered_or_all(), [FoldName::All]);
    }

    #[test]
    fn what_is_there_instead_is_named() {
        let best: &[(&str, &[&str])] = &[("fold_0", BEST), ("fold_1", &["checkpoint_latest.pth"])];
        let error = choice(best, ImportOptions::default()).unwrap_err();
        assert!(
            error.ends_with("checkpoint_final.pth in it; there are checkpoint_best.pth, checkpoint_latest.pth"),
            "{error}"
        );
        let named = |folds| ImportOptions { folds: Some(folds), ..ImportOptions::default() };
        let error = choice(best, named(numbers(&[0]))).unwrap_err();
        assert!(error.ends_with("fold_0 has no checkpoint_final.pth; there is checkpoint_best.pth"), "{error}");
        let later: &[(&str, &[&str])] = &[("fold_5", FINAL), ("fold_9", FINAL)];
        let error = choice(later, ImportOptions::default()).unwrap_err();
        assert!(
            error.ends_with("has no fold from 0 to 4, which are averaged where none is named; it has 5, 9"),
            "{error}"
        );
        assert_eq!(choice(later, named(numbers(&[9, 5]))).unwrap().averaged, numbers(&[9, 5]));
        let error = choice(&[], ImportOptions::default()).unwrap_err();
        assert!(error.ends_with("fold_all with a checkpoint_final.pth in it"), "{error}");
    }
}
