//! Networks, losses, gradients and steps against PyTorch and nnU-Net's own classes (`golden/make_network.py`).

use scanside_core::nnunet::architecture::{Activation, Encoder, Norm, Stage, UNet};
use scanside_trainer::export::tensors::{TensorFile, read_tensors};
use scanside_trainer::loss::SegmentationLoss;
use scanside_trainer::network::{Engine, Network, Precision, values};
use scanside_trainer::optimise::{Sgd, SgdSettings};
use scanside_trainer::targets::{Heads, Targets};
use scanside_trainer::torch_error::OrTorchError;
use scanside_trainer::training::step::{Outputs, TrainingState};
use scanside_trainer::training::terms::label_terms;
use serde_json::Value;
use std::path::Path;
use tch::{Device, Tensor};

fn golden(name: &str) -> TensorFile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/network").join(name);
    read_tensors(&path).unwrap()
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

fn unet(facts: &Value) -> UNet {
    let (features, kernels, strides) =
        (numbers(&facts["features_per_stage"]), &facts["kernel_sizes"], &facts["strides"]);
    let stages = (0..features.len())
        .map(|s| Stage { features: features[s], kernel: numbers(&kernels[s]), stride: numbers(&strides[s]) })
        .collect();
    let encoder = match facts["residual"].as_bool().unwrap() {
        false => Encoder::Plain { convs: numbers(&facts["n_conv_per_stage"]) },
        true => Encoder::Residual {
            blocks: numbers(&facts["n_blocks_per_stage"]),
            stem_features: features[0],
            bottleneck: None,
        },
    };
    UNet {
        input_channels: facts["input_channels"].as_u64().unwrap() as usize,
        heads: facts["num_classes"].as_u64().unwrap() as usize,
        stages,
        encoder,
        decoder_convs: numbers(&facts["n_conv_per_stage_decoder"]),
        conv_bias: true,
        norm: Norm::Instance { epsilon: 1e-5, affine: true },
        activation: Activation::Leaky(0.01),
        dropout: false,
        activation_first: false,
    }
}

fn targets(facts: &Value, heads: usize) -> Targets {
    let heads = match facts["kind"].as_str().unwrap() {
        "labels" => Heads::Labels(heads),
        _ => Heads::Regions(
            facts["regions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|region| numbers(region).into_iter().map(|v| v as i16).collect())
                .collect(),
        ),
    };
    Targets { heads, ignore: facts["ignore"].as_i64().map(|v| v as i16) }
}

fn tensor(file: &TensorFile, name: &str) -> Tensor {
    let (shape, values) = file.tensors.get(name).unwrap_or_else(|| panic!("no {name}"));
    let shape: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
    Tensor::from_slice(values).reshape(shape)
}

fn number(file: &TensorFile, name: &str) -> f64 {
    f64::from(file.tensors[name].1[0])
}

fn build(file: &TensorFile, facts: &Value) -> Network {
    let network = Network::new(&unet(facts), Device::Cpu).unwrap();
    let given = file.tensors.keys().filter(|name| name.starts_with("weight.")).count();
    assert_eq!(network.parameters.len(), given);
    for parameter in network.parameters.iter() {
        let values = tensor(file, &format!("weight.{}", parameter.name));
        tch::no_grad(|| parameter.tensor.shallow_clone().copy_(&values));
    }
    network
}

/// The largest difference, as a share of the largest value (at least `least`).
fn apart(got: &[f32], expected: &[f32], least: f32) -> f32 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(least, |m, v| m.max(v.abs()));
    got.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

#[test]
fn networks_losses_gradients_and_steps_are_those_of_nnunet() {
    tch::set_num_threads(1);
    for name in ["plain", "regions", "residual"] {
        let file = golden(&format!("{name}.safetensors"));
        let facts: Value = serde_json::from_str(&file.metadata["network"]).unwrap();
        let network = build(&file, &facts);
        let targets = targets(&facts["targets"], network.unet().heads);
        let loss = SegmentationLoss::new(targets.clone(), facts["batch_dice"].as_bool().unwrap());
        let (images, labels) = (tensor(&file, "image"), tensor(&file, "labels"));

        let logits = network.forward(&images).unwrap();
        for (i, logits) in logits.iter().enumerate() {
            let expected = &file.tensors[&format!("logits.{i}")].1;
            let difference = apart(&values(logits).unwrap(), expected, 1.0);
            assert!(difference <= 1e-4, "{name}: logits {i} differ by {difference}");
            let labels = scanside_trainer::loss::downsample(&labels, &logits.size()[2..]).unwrap();
            let (dice, ce) = loss.terms(logits, &labels).unwrap();
            for (term, value) in [("dice", dice), ("ce", ce)] {
                let expected = number(&file, &format!("{term}.{i}"));
                let value = f64::try_from(&value.detach()).unwrap();
                assert!((value - expected).abs() <= 1e-5, "{name}: {term} {i} is {value} instead of {expected}");
            }
        }
        let value = loss.deep(&logits, &labels).unwrap();
        let sum = value.dice + value.cross_entropy;
        let total = f64::try_from(&sum.detach()).unwrap();
        assert!((total - number(&file, "loss")).abs() <= 1e-5, "{name}: {total}");
        sum.backward();
        let largest: f32 = file
            .tensors
            .iter()
            .filter(|(key, _)| key.starts_with("gradient."))
            .flat_map(|(_, (_, values))| values.iter().map(|v| v.abs()))
            .fold(0.0, f32::max);
        for parameter in network.parameters.iter() {
            let expected = &file.tensors[&format!("gradient.{}", parameter.name)].1;
            let gradient = parameter.tensor.grad();
            let got = if gradient.defined() { values(&gradient).unwrap() } else { vec![0.0; expected.len()] };
            // Biases before a normalisation have a gradient of zero: what is there is rounding, another on each CPU.
            let floor = if parameter.name.ends_with(".conv.bias") { 1e-3 } else { 1e-4 };
            let difference = apart(&got, expected, floor * largest);
            assert!(difference <= 1e-3, "{name}: gradient of {} differs by {difference}", parameter.name);
        }

        let optimiser = Sgd::new(SgdSettings::default(), network.parameters.len());
        let engine = Engine::Torch(Precision::F32);
        let mut state = TrainingState { network, engine, optimiser, average: None, projections: Vec::new() };
        for (step, expected) in file.tensors["losses"].1.iter().enumerate() {
            let terms = |outputs: &Outputs<'_>| label_terms(&loss, outputs.logits, &labels).or_torch_error();
            let value = state.step(&images, 1e-2, false, terms).unwrap();
            let difference = (value.loss - f64::from(*expected)).abs();
            assert!(difference <= 1e-3, "{name}: step {step} has the loss {} instead of {expected}", value.loss);
        }
    }
}

#[test]
fn losses_of_edge_cases_are_those_of_nnunet() {
    tch::set_num_threads(1);
    let file = golden("losses.safetensors");
    let cases: Value = serde_json::from_str(&file.metadata["cases"]).unwrap();
    let cases = cases.as_object().unwrap();
    assert_eq!(cases.len(), 9);
    for (name, facts) in cases {
        let targets = targets(&facts["targets"], facts["heads"].as_u64().unwrap() as usize);
        let loss = SegmentationLoss::new(targets, facts["batch_dice"].as_bool().unwrap());
        let logits = tensor(&file, &format!("{name}.logits")).set_requires_grad(true);
        let (dice, ce) = loss.terms(&logits, &tensor(&file, &format!("{name}.labels"))).unwrap();
        for (term, value) in [("dice", &dice), ("ce", &ce)] {
            let expected = number(&file, &format!("{name}.{term}"));
            let value = f64::try_from(&value.detach()).unwrap();
            let tolerance = 1e-5 * expected.abs().max(1.0);
            assert!((value - expected).abs() <= tolerance, "{name}: {term} is {value} instead of {expected}");
        }
        (dice + ce).backward();
        let expected = &file.tensors[&format!("{name}.gradient")].1;
        let difference = apart(&values(&logits.grad()).unwrap(), expected, 1e-6);
        assert!(difference <= 1e-4, "{name}: gradients differ by {difference}");
    }
}
