//! The network's own sizes into `plans.json`, and out of it.
//!
//! nnU-Net builds a network from the plans' `architecture`. A student has the same stages with fewer channels, so its
//! plans must say so.

use super::{ModelFacts, TrainedNetwork};
use scanside_app::error::{Error, ErrorKind, OrError};
use scanside_core::nnunet::architecture::{Encoder, UNet};
use scanside_core::nnunet::labels::Dataset;
use scanside_core::nnunet::plans::{Configuration, Plans};
use scanside_core::nnunet::trainers::{self, Trainer};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Plans and dataset, read together.
pub struct Described {
    /// The plans.
    pub plans: Plans,
    /// Channels and labels.
    pub dataset: Dataset,
    /// The configuration trained.
    pub configuration: Configuration,
    /// The network that nnU-Net would build.
    pub unet: UNet,
}

impl Described {
    /// Reads the two texts with nnU-Net's rules.
    ///
    /// # Errors
    /// They break one of them, or ask for what is not supported.
    pub fn read(plans: &str, dataset: &str, configuration: &str, trainer_name: &str) -> Result<Described, Error> {
        let plans = Plans::parse(plans, Path::new("plans.json")).or_error(ErrorKind::Input)?;
        let dataset = Dataset::parse(dataset, Path::new("dataset.json")).or_error(ErrorKind::Input)?;
        let channels = dataset.channels.len();
        let configuration = plans.configuration(configuration, channels).or_error(ErrorKind::Input)?;
        let trainer = trainers::trainer(trainer_name);
        if !matches!(trainer, Trainer::Plain | Trainer::BatchNorm) {
            return Err(Error::new(
                ErrorKind::Input,
                format!("the network of the trainer {trainer_name} is not known"),
            ));
        }
        let heads = dataset.labels.heads().len();
        let unet = UNet::from_plans(&configuration, trainer, channels, heads).or_error(ErrorKind::Input)?;
        Ok(Described { plans, dataset, configuration, unet })
    }

    /// Plans that describe `network`, as text and read.
    pub(super) fn of(network: &TrainedNetwork, facts: &ModelFacts) -> Result<(String, Described), Error> {
        let text = for_network(&facts.plans, &facts.configuration, &network.unet)?;
        let described = Described::read(&text, &facts.dataset, &facts.configuration, &facts.trainer_name)?;
        if described.unet != network.unet {
            return Err(Error::new(
                ErrorKind::Input,
                format!(
                    "the network is not the one that configuration {} of plans.json describes, and they differ in more \
                     than numbers of channels",
                    facts.configuration
                ),
            ));
        }
        Ok((text, described))
    }
}

/// `plans` with the channels and the decoder's depth of `unet` written into `configuration`. Plans that say the same already come back as they
/// are, to the letter; so do those of before nnU-Net 2.4, which describe no architecture.
///
/// # Errors
/// The text is not what nnU-Net writes.
pub fn for_network(plans: &str, configuration: &str, unet: &UNet) -> Result<String, Error> {
    let mut root: Value =
        serde_json::from_str(plans).or_error_with(ErrorKind::Input, || "plans.json is not valid JSON")?;
    let missing = |what: &str| Error::new(ErrorKind::Input, format!("plans.json has no {what}"));
    let configurations =
        root.get_mut("configurations").and_then(Value::as_object_mut).ok_or_else(|| missing("configurations"))?;
    let Some(architecture) = inherited(configurations, configuration) else { return Ok(plans.to_owned()) };
    let mut architecture = architecture.clone();
    let arguments = architecture
        .get_mut("arch_kwargs")
        .and_then(Value::as_object_mut)
        .ok_or_else(|| missing(&format!("arch_kwargs for the configuration {configuration}")))?;
    let before = arguments.clone();
    let features: Vec<usize> = unet.stages.iter().map(|stage| stage.features).collect();
    if arguments.get("features_per_stage").is_none_or(|said| !all_equal(said, &features)) {
        arguments.insert("features_per_stage".into(), json!(features));
    }
    if arguments.get("n_conv_per_stage_decoder").is_some_and(|said| !all_equal(said, &unet.decoder_convs)) {
        arguments.insert("n_conv_per_stage_decoder".into(), json!(unet.decoder_convs));
    }
    if let Encoder::Residual { stem_features, bottleneck, .. } = &unet.encoder {
        let said = arguments.get("stem_channels").and_then(Value::as_u64);
        let implied = features.first().copied();
        if said.map(|channels| channels as usize).or(implied) != Some(*stem_features) {
            arguments.insert("stem_channels".into(), json!(stem_features));
        }
        if let Some(inner) = bottleneck
            && arguments.get("bottleneck_channels").is_none_or(|said| !all_equal(said, inner))
        {
            arguments.insert("bottleneck_channels".into(), json!(inner));
        }
    }
    if *arguments == before {
        return Ok(plans.to_owned());
    }
    let own = configurations.get_mut(configuration).and_then(Value::as_object_mut);
    own.ok_or_else(|| missing(configuration))?.insert("architecture".into(), architecture);
    serde_json::to_string_pretty(&root).or_error(ErrorKind::Input)
}

/// A list, or one number that stands for all.
fn all_equal(said: &Value, numbers: &[usize]) -> bool {
    match said {
        Value::Array(list) => {
            list.len() == numbers.len() && list.iter().zip(numbers).all(|(a, b)| a.as_u64() == Some(*b as u64))
        }
        one => numbers.iter().all(|number| one.as_u64() == Some(*number as u64)),
    }
}

/// The architecture of a configuration, or of the one it inherits from.
fn inherited<'a>(configurations: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let mut name = name;
    // A chain is no longer than there are configurations, unless it runs in a circle.
    for _ in 0..configurations.len() {
        let configuration = configurations.get(name)?;
        if let Some(architecture) = configuration.get("architecture") {
            return Some(architecture);
        }
        name = configuration.get("inherits_from")?.as_str()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use scanside_core::nnunet::architecture::{Activation, Norm, Stage};

    fn unet(features: &[usize]) -> UNet {
        let stage = |features| Stage { features, kernel: vec![3; 3], stride: vec![1; 3] };
        UNet {
            input_channels: 1,
            heads: 2,
            stages: features.iter().map(|n| stage(*n)).collect(),
            encoder: Encoder::Plain { convs: vec![2; features.len()] },
            decoder_convs: vec![2; features.len() - 1],
            conv_bias: true,
            norm: Norm::Instance { epsilon: 1e-5, affine: true },
            activation: Activation::Leaky(0.01),
            dropout: false,
            activation_first: false,
        }
    }

    const PLANS: &str = r#"{"configurations": {
        "big": {"inherits_from": "small"},
        "small": {"architecture": {"arch_kwargs": {"features_per_stage": [32, 64], "n_stages": 2}}, "spacing": [1.0]}
    }}"#;

    #[test]
    fn equal_plans_are_left_to_the_letter() {
        assert_eq!(for_network(PLANS, "big", &unet(&[32, 64])).unwrap(), PLANS);
        let scalar = PLANS.replace("[32, 64]", "32");
        assert_eq!(for_network(&scalar, "small", &unet(&[32, 32])).unwrap(), scalar);
    }

    #[test]
    fn narrower_networks_are_written_into_their_own_configuration() {
        let text = for_network(PLANS, "big", &unet(&[8, 16])).unwrap();
        let plans: Value = serde_json::from_str(&text).unwrap();
        let arguments = &plans["configurations"]["big"]["architecture"]["arch_kwargs"];
        assert_eq!(*arguments, json!({"features_per_stage": [8, 16], "n_stages": 2}));
        let parent = &plans["configurations"]["small"];
        assert_eq!(parent["architecture"]["arch_kwargs"]["features_per_stage"], json!([32, 64]));
        assert_eq!(parent["spacing"], json!([1.0]));
    }

    #[test]
    fn a_stem_of_its_own_width_is_said() {
        let residual = UNet {
            encoder: Encoder::Residual { blocks: vec![1, 1], stem_features: 8, bottleneck: None },
            ..unet(&[16, 32])
        };
        let text = for_network(PLANS, "small", &residual).unwrap();
        let plans: Value = serde_json::from_str(&text).unwrap();
        let arguments = &plans["configurations"]["small"]["architecture"]["arch_kwargs"];
        assert_eq!(*arguments, json!({"features_per_stage": [16, 32], "stem_channels": 8, "n_stages": 2}));
    }

    #[test]
    fn what_is_no_plan_is_refused() {
        for text in ["", "{}", r#"{"configurations": {"a": {"architecture": {}}}}"#] {
            assert_eq!(for_network(text, "a", &unet(&[8, 16])).unwrap_err().kind(), ErrorKind::Input);
        }
        let circle = r#"{"configurations": {"a": {"inherits_from": "b"}, "b": {"inherits_from": "a"}}}"#;
        assert_eq!(for_network(circle, "a", &unet(&[8, 16])).unwrap(), circle);
    }
}
