//! The training and validation cases of each fold.

use super::random::RandomState;
use scanside_app::error::{Error, ErrorKind, OrError, OrPathError};
use scanside_core::nnunet::FoldName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// Folds of a cross-validation, and the seed of their shuffle: nnU-Net's.
const FOLDS: usize = 5;
const SEED: u32 = 12345;

/// One fold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Training cases.
    pub train: Vec<String>,
    /// Validation cases.
    pub val: Vec<String>,
}

/// nnU-Net's five folds of these cases, which are sorted by name. Of fewer than five cases, where nnU-Net has no folds,
/// each is left out once; of a single one there is no fold.
pub fn k_fold(ids: &[String]) -> Vec<Split> {
    let folds = if ids.len() == 1 { 0 } else { FOLDS.min(ids.len()) };
    let mut order: Vec<usize> = (0..ids.len()).collect();
    RandomState::new(SEED).shuffle(&mut order);
    let mut start = 0;
    (0..folds)
        .map(|fold| {
            let size = ids.len() / folds + usize::from(fold < ids.len() % folds);
            let held: BTreeSet<usize> = order[start..start + size].iter().copied().collect();
            start += size;
            let pick = |val: bool| {
                ids.iter().enumerate().filter(|(i, _)| held.contains(i) == val).map(|(_, id)| id.clone()).collect()
            };
            Split { train: pick(false), val: pick(true) }
        })
        .collect()
}

/// The cases of one fold. For folds beyond those of the file, nnU-Net draws four fifths of the cases at random for training;
/// `all` trains and validates on every case. `ids` are all cases, sorted by name.
///
/// # Errors
/// There are too few cases to leave one out.
pub fn fold(splits: &[Split], ids: &[String], name: FoldName) -> Result<Split, Error> {
    let FoldName::Number(number) = name else {
        return Ok(Split { train: ids.to_vec(), val: ids.to_vec() });
    };
    if let Some(split) = splits.get(number as usize) {
        return Ok(split.clone());
    }
    let train = (ids.len() as f64 * 0.8) as usize;
    if train == 0 {
        return Err(Error::new(
            ErrorKind::Input,
            format!("{} case(s) cannot be split into training and validation; use fold `all`", ids.len()),
        ));
    }
    let chosen = RandomState::new(SEED.wrapping_add(number)).choose(ids.len() as u32, train);
    let held: BTreeSet<u32> = chosen.iter().copied().collect();
    Ok(Split {
        train: chosen.iter().map(|&i| ids[i as usize].clone()).collect(),
        val: (0..ids.len() as u32).filter(|i| !held.contains(i)).map(|i| ids[i as usize].clone()).collect(),
    })
}

/// Reads `splits_final.json` and checks it against the cases of the dataset, which are sorted by name.
///
/// # Errors
/// The file is missing or invalid, or a fold has no training case, an unknown case, or a case twice.
pub fn read(path: &Path, ids: &[String]) -> Result<Vec<Split>, Error> {
    let text = std::fs::read_to_string(path).or_cannot_read(ErrorKind::Input, path)?;
    let splits: Vec<Split> = serde_json::from_str(&text).or_error_with(ErrorKind::Input, || {
        format!("{} must be a list of {{\"train\": [...], \"val\": [...]}}", path.display())
    })?;
    let bad = |fold: usize, what: String| {
        Err(Error::new(ErrorKind::Input, format!("{}: fold {fold} {what}", path.display())).about(path))
    };
    for (number, split) in splits.iter().enumerate() {
        if split.train.is_empty() {
            return bad(number, "has no training case".into());
        }
        for (role, names) in [("trains", &split.train), ("validates", &split.val)] {
            let mut seen = BTreeSet::new();
            for name in names {
                if ids.binary_search(name).is_err() {
                    return bad(number, format!("{role} on {name}, but the dataset has no such case"));
                }
                if !seen.insert(name) {
                    return bad(number, format!("{role} on {name} twice"));
                }
            }
        }
    }
    Ok(splits)
}

/// `splits_final.json` as nnU-Net writes it.
pub fn to_json(splits: &[Split]) -> String {
    crate::plan::json::pretty(&serde_json::json!(splits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("case_{i:03}")).collect()
    }

    fn numbers(names: &[String]) -> Vec<usize> {
        names.iter().map(|name| name[5..].parse().unwrap()).collect()
    }

    #[test]
    fn folds_equal_those_of_sklearn() {
        // sklearn 1.9.1: KFold(5, shuffle=True, random_state=12345).split(range(n)), the validation parts.
        let expected: [(usize, &[&[usize]]); 3] = [
            (5, &[&[0], &[4], &[3], &[1], &[2]]),
            (8, &[&[3, 7], &[0, 4], &[1, 6], &[5], &[2]]),
            (23, &[&[3, 8, 10, 17, 19], &[0, 7, 12, 15, 16], &[6, 11, 14, 18, 20], &[9, 13, 21, 22], &[1, 2, 4, 5]]),
        ];
        for (n, folds) in expected {
            let splits = k_fold(&ids(n));
            let val: Vec<_> = splits.iter().map(|split| numbers(&split.val)).collect();
            assert_eq!(val, folds);
            for split in &splits {
                assert_eq!(split.train.len() + split.val.len(), n);
                assert!(split.train.is_sorted() && !split.train.iter().any(|id| split.val.contains(id)));
            }
        }
    }

    #[test]
    fn few_cases_are_left_out_one_by_one() {
        assert_eq!(k_fold(&ids(0)), []);
        assert_eq!(k_fold(&ids(1)), []);
        let splits = k_fold(&ids(3));
        assert_eq!(splits.len(), 3);
        assert!(splits.iter().all(|split| split.train.len() == 2 && split.val.len() == 1));
        assert!(fold(&[], &ids(1), FoldName::Number(0)).unwrap_err().to_string().contains("use fold `all`"));
        assert_eq!(fold(&[], &ids(1), FoldName::All).unwrap().train, ids(1));
    }

    #[test]
    fn further_folds_are_drawn_at_random() {
        // numpy: RandomState(12345 + 7).choice(11, 8, replace=False).
        let ids = ids(11);
        let split = fold(&k_fold(&ids), &ids, FoldName::Number(7)).unwrap();
        assert_eq!(numbers(&split.train), [6, 7, 0, 4, 10, 1, 8, 2]);
        assert_eq!(numbers(&split.val), [3, 5, 9]);
        assert_eq!(fold(&k_fold(&ids), &ids, FoldName::Number(4)).unwrap(), k_fold(&ids)[4]);
    }

    #[test]
    fn a_file_is_checked_against_the_cases() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("splits_final.json");
        let ids = ids(7);
        std::fs::write(&path, to_json(&k_fold(&ids))).unwrap();
        assert_eq!(read(&path, &ids).unwrap(), k_fold(&ids));
        for (text, says) in [
            (r#"[{"train": [], "val": []}]"#, "fold 0 has no training case"),
            (r#"[{"train": ["case_001"], "val": ["x"]}]"#, "validates on x, but the dataset has no such case"),
            (r#"[{"train": ["case_001", "case_001"], "val": []}]"#, "trains on case_001 twice"),
            (r#"{"train": []}"#, "must be a list"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path, &ids).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
