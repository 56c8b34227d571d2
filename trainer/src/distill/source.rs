//! Where teachers come from, and which cases they were trained on.
//!
//! Students are evaluated on the validation cases of their fold. A teacher that was trained on one of them passes its labels
//! on to the student, and the evaluation is no longer independent: such a teacher is refused.

use super::model_teacher::ModelFile;
use crate::dataset::splits::{self, Split};
use crate::export::TrainedNetwork;
use scanside_app::digest;
use scanside_app::error::{Error, ErrorKind};
use scanside_core::nnunet::FoldName;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// A teacher's network.
#[derive(Debug)]
pub enum TeacherNetwork {
    /// A U-Net with its heads at all resolutions.
    Trained(TrainedNetwork),
    /// A model file.
    Model(Box<ModelFile>),
}

/// A teacher's network and what is known of it.
#[derive(Debug)]
pub struct TeacherSource {
    /// Its name, for errors and pages.
    pub name: String,
    /// Its network.
    pub network: TeacherNetwork,
    /// The cases it was trained on, if they are known.
    pub trained_on: Option<Vec<String>>,
}

impl TeacherNetwork {
    /// SHA-256 over its weights' names and values, or of a file's graph.
    pub fn sha256(&self) -> String {
        match self {
            TeacherNetwork::Model(file) => file.graph_sha256(),
            TeacherNetwork::Trained(trained) => {
                let mut hasher = Sha256::new();
                hasher.update(format!("{:?}", trained.unet()));
                for (name, (shape, values)) in trained.weights() {
                    hasher.update(format!("{name} {shape:?}"));
                    values.iter().for_each(|value| hasher.update(value.to_le_bytes()));
                }
                digest::hex(&hasher.finalize())
            }
        }
    }
}

/// The cases that a fold of a model folder was trained on; `None` for a model of another dataset.
///
/// # Errors
/// There are too few cases for the fold.
pub fn cases_of_fold(
    dataset: &str,
    own_dataset: &str,
    fold: FoldName,
    known: &[Split],
    ids: &[String],
) -> Result<Option<Vec<String>>, Error> {
    if dataset != own_dataset {
        return Ok(None);
    }
    Ok(Some(splits::fold(known, ids, fold)?.train))
}

/// The cases that any fold of a model file was trained on; `None` where its provenance does not state them, or names another
/// dataset.
///
/// # Errors
/// There are too few cases for a fold.
pub fn cases_of_file(
    provenance: &BTreeMap<String, String>,
    own_dataset: &str,
    known: &[Split],
    ids: &[String],
) -> Result<Option<Vec<String>>, Error> {
    let (Some(dataset), Some(folds)) = (provenance.get("dataset"), provenance.get("folds")) else { return Ok(None) };
    let mut all = BTreeSet::new();
    for fold in folds.split_whitespace() {
        let Ok(fold) = fold.parse() else { return Ok(None) };
        match cases_of_fold(dataset, own_dataset, fold, known, ids)? {
            Some(cases) => all.extend(cases),
            None => return Ok(None),
        }
    }
    Ok((!all.is_empty()).then(|| all.into_iter().collect()))
}

/// Refuses teachers that were, or may have been, trained on the `validation` cases of the students.
///
/// # Errors
/// There is such a teacher. With `trusted`, teachers whose training cases are not known are accepted.
pub fn check_leaks(teachers: &[TeacherSource], validation: &[String], trusted: bool) -> Result<(), Error> {
    let validation: BTreeSet<&String> = validation.iter().collect();
    for teacher in teachers {
        let problem = match &teacher.trained_on {
            Some(cases) => {
                let common: Vec<&String> = cases.iter().filter(|id| validation.contains(id)).collect();
                let Some(first) = common.first() else { continue };
                format!(
                    "the teacher {} was trained on {} of the {} validation cases of the students ({first} ...); use a \
                     teacher of the same fold, or another --fold",
                    teacher.name,
                    common.len(),
                    validation.len()
                )
            }
            None if trusted => continue,
            None => format!(
                "the training cases of the teacher {} are not known; if none of the {} validation cases of the students is \
                 among them, add --trust-teacher",
                teacher.name,
                validation.len()
            ),
        };
        return Err(Error::new(ErrorKind::Input, problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::TrainedNetwork;
    use scanside_core::nnunet::architecture::{Activation, Encoder, Norm, Stage, UNet};
    use scanside_core::nnunet::layers::Layers;

    fn teacher(trained_on: Option<&[&str]>) -> TeacherSource {
        let stage = |stride: usize| Stage { features: 1, kernel: vec![1; 3], stride: vec![stride; 3] };
        let unet = UNet {
            input_channels: 1,
            heads: 2,
            stages: vec![stage(1), stage(2)],
            encoder: Encoder::Plain { convs: vec![1; 2] },
            decoder_convs: vec![1],
            conv_bias: true,
            norm: Norm::Instance { epsilon: 1e-5, affine: true },
            activation: Activation::Relu,
            dropout: false,
            activation_first: false,
        };
        let weights = Layers::of(&unet).expected().into_iter().map(|t| {
            let values = vec![0.0; t.values() as usize];
            (t.names[0].clone(), (t.shape, values))
        });
        TeacherSource {
            name: "T".into(),
            network: TeacherNetwork::Trained(TrainedNetwork::new(unet.clone(), weights.collect()).unwrap()),
            trained_on: trained_on.map(|cases| cases.iter().map(|id| id.to_string()).collect()),
        }
    }

    #[test]
    fn teachers_trained_on_validation_cases_are_refused() {
        let validation = ["c".to_string(), "d".to_string()];
        assert!(check_leaks(&[teacher(Some(&["a", "b"]))], &validation, false).is_ok());
        let error = check_leaks(&[teacher(Some(&["a"])), teacher(Some(&["b", "d"]))], &validation, true).unwrap_err();
        assert!(error.chain().contains("1 of the 2 validation cases"), "{error}");
        let error = check_leaks(&[teacher(None)], &validation, false).unwrap_err();
        assert!(error.chain().contains("--trust-teacher"), "{error}");
        assert!(check_leaks(&[teacher(None)], &validation, true).is_ok());
    }

    #[test]
    fn training_cases_of_folds_and_files_are_known() {
        let ids: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let known = splits::k_fold(&ids);
        let seen = |dataset: &str, fold| cases_of_fold(dataset, "D", fold, &known, &ids).unwrap();
        assert_eq!(seen("D", FoldName::Number(1)), Some(known[1].train.clone()));
        assert_eq!(seen("D", FoldName::All), Some(ids.clone()));
        assert_eq!(seen("E", FoldName::Number(1)), None);

        let file = |entries: &[(&str, &str)]| {
            let entries = entries.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            cases_of_file(&entries, "D", &known, &ids).unwrap()
        };
        assert_eq!(file(&[("dataset", "D"), ("folds", "1")]), Some(known[1].train.clone()));
        assert_eq!(file(&[("dataset", "D"), ("folds", "0 1")]), Some(ids.clone()));
        assert_eq!(file(&[("dataset", "E"), ("folds", "1")]), None);
        assert_eq!(file(&[("dataset", "D")]), None);
        assert_eq!(file(&[("dataset", "D"), ("folds", "first")]), None);
    }
}
