//! Where teachers come from, and what they have seen.
//!
//! A student is judged by cases that its fold holds back. A teacher that was trained on them has told the student their
//! labels, and the judgement is worth nothing: such a teacher is refused.

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
    /// For people.
    pub name: String,
    /// Its network.
    pub network: TeacherNetwork,
    /// The cases it was trained on, if that is known.
    pub seen: Option<Vec<String>>,
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

/// What a fold of a model folder was trained on, if it is of the same dataset.
///
/// # Errors
/// The fold cannot be drawn.
pub fn seen_by_fold(
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

/// What a model file was trained on, if it says so and is of the same dataset: all that any of its folds has seen.
///
/// # Errors
/// A fold cannot be drawn.
pub fn seen_by_file(
    provenance: &BTreeMap<String, String>,
    own_dataset: &str,
    known: &[Split],
    ids: &[String],
) -> Result<Option<Vec<String>>, Error> {
    let (Some(dataset), Some(folds)) = (provenance.get("dataset"), provenance.get("folds")) else { return Ok(None) };
    let mut seen = BTreeSet::new();
    for fold in folds.split_whitespace() {
        let Ok(fold) = fold.parse() else { return Ok(None) };
        match seen_by_fold(dataset, own_dataset, fold, known, ids)? {
            Some(cases) => seen.extend(cases),
            None => return Ok(None),
        }
    }
    Ok((!seen.is_empty()).then(|| seen.into_iter().collect()))
}

/// Refuses teachers that have seen, or may have seen, what the students are judged by.
///
/// # Errors
/// There is such a teacher. With `trusted`, only those that are known to have seen it are refused.
pub fn check_leaks(teachers: &[TeacherSource], held_back: &[String], trusted: bool) -> Result<(), Error> {
    let held: BTreeSet<&String> = held_back.iter().collect();
    for teacher in teachers {
        match &teacher.seen {
            Some(seen) => {
                let told: Vec<&String> = seen.iter().filter(|id| held.contains(id)).collect();
                if let Some(first) = told.first() {
                    return Err(Error::new(
                        ErrorKind::Input,
                        format!(
                            "the teacher {} was trained on {} of the {} cases that the students are judged by ({first} ...); \
                             take one of the same fold, or judge by another --fold",
                            teacher.name,
                            told.len(),
                            held.len()
                        ),
                    ));
                }
            }
            None if trusted => {}
            None => {
                return Err(Error::new(
                    ErrorKind::Input,
                    format!(
                        "it is not known which cases the teacher {} was trained on; if none of the {} that the students \
                         are judged by was among them, say --trust-teacher",
                        teacher.name,
                        held.len()
                    ),
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::TrainedNetwork;
    use scanside_core::nnunet::architecture::{Activation, Encoder, Norm, Stage, UNet};
    use scanside_core::nnunet::layers::Layers;

    fn teacher(seen: Option<&[&str]>) -> TeacherSource {
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
            seen: seen.map(|seen| seen.iter().map(|id| id.to_string()).collect()),
        }
    }

    #[test]
    fn teachers_that_know_the_answers_are_refused() {
        let held = ["c".to_string(), "d".to_string()];
        assert!(check_leaks(&[teacher(Some(&["a", "b"]))], &held, false).is_ok());
        let failure = check_leaks(&[teacher(Some(&["a"])), teacher(Some(&["b", "d"]))], &held, true).unwrap_err();
        assert!(failure.chain().contains("1 of the 2 cases"), "{failure}");
        let failure = check_leaks(&[teacher(None)], &held, false).unwrap_err();
        assert!(failure.chain().contains("--trust-teacher"), "{failure}");
        assert!(check_leaks(&[teacher(None)], &held, true).is_ok());
    }

    #[test]
    fn folds_of_a_folder_know_what_they_were_trained_on() {
        let ids: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let known = splits::k_fold(&ids);
        let seen = |dataset: &str, fold| seen_by_fold(dataset, "D", fold, &known, &ids).unwrap();
        assert_eq!(seen("D", FoldName::Number(1)), Some(known[1].train.clone()));
        assert_eq!(seen("D", FoldName::All), Some(ids.clone()));
        assert_eq!(seen("E", FoldName::Number(1)), None);

        let file = |entries: &[(&str, &str)]| {
            let entries = entries.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            seen_by_file(&entries, "D", &known, &ids).unwrap()
        };
        assert_eq!(file(&[("dataset", "D"), ("folds", "1")]), Some(known[1].train.clone()));
        assert_eq!(file(&[("dataset", "D"), ("folds", "0 1")]), Some(ids.clone()));
        assert_eq!(file(&[("dataset", "E"), ("folds", "1")]), None);
        assert_eq!(file(&[("dataset", "D")]), None);
        assert_eq!(file(&[("dataset", "D"), ("folds", "first")]), None);
    }
}
