//! Distillation terms against their formulas in PyTorch (`golden/make_distill.py`).

use scanside_trainer::distill::boundary::BoundarySettings;
use scanside_trainer::distill::feature::{self, FeatureTarget};
use scanside_trainer::distill::logit::LogitSettings;
use scanside_trainer::export::tensors::{TensorFile, read_tensors};
use scanside_trainer::network::values;
use scanside_trainer::targets::Heads;
use serde_json::Value;
use std::path::Path;
use tch::{Kind, Tensor};

fn tensor(file: &TensorFile, name: &str) -> Tensor {
    let (shape, values) = &file.tensors[name];
    Tensor::from_slice(values).reshape(shape.iter().map(|n| *n as i64).collect::<Vec<_>>())
}

fn assert_same(what: &str, value: &Tensor, logits: &Tensor, file: &TensorFile, name: &str) {
    let expected = f64::from(file.tensors[name].1[0]);
    let got = f64::try_from(&value.detach()).unwrap();
    assert!((got - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{what}: {got} instead of {expected}");
    value.backward();
    let expected = &file.tensors[&format!("{name}_gradient")].1;
    let gradient = values(&logits.grad()).unwrap();
    let largest = expected.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    for (got, expected) in gradient.iter().zip(expected) {
        assert!((got - expected).abs() <= 1e-4 * largest, "{what}: gradient {got} instead of {expected}");
    }
}

#[test]
fn terms_and_gradients_are_those_of_their_formulas() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/network/distill.safetensors");
    let file = read_tensors(&path).unwrap();
    let cases: Value = serde_json::from_str(&file.metadata["cases"]).unwrap();
    let cases = cases.as_object().unwrap();
    assert_eq!(cases.len(), 9);
    for (name, facts) in cases {
        let heads = match facts["kind"].as_str().unwrap() {
            "labels" => Heads::Labels(facts["heads"].as_u64().unwrap() as usize),
            _ => Heads::Regions(vec![vec![1]; facts["heads"].as_u64().unwrap() as usize]),
        };
        let spacing: Vec<f64> = facts["spacing"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let mut teacher = tensor(&file, &format!("{name}.teacher"));
        if name == "half_teacher" {
            teacher = teacher.to_kind(Kind::Half);
        }
        let student = || tensor(&file, &format!("{name}.student")).set_requires_grad(true);

        let settings = LogitSettings::default();
        let weights = settings.voxel_weights(&tensor(&file, &format!("{name}.foreground"))).unwrap();
        let expected = &file.tensors[&format!("{name}.weights")].1;
        assert!(values(&weights).unwrap().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{name}");
        let logits = student();
        let target = settings.target(&heads, &teacher, &weights).unwrap();
        let value = settings.at(&heads, &logits, &target).unwrap();
        assert_same(&format!("{name}, logits"), &value, &logits, &file, &format!("{name}.logit"));

        let logits = student();
        let settings = BoundarySettings { spacing: [spacing[0], spacing[1], spacing[2]], edge: 0.05 };
        let edges = settings.edges(&heads, &teacher).unwrap();
        let value = settings.loss(&heads, &logits, &edges).unwrap();
        assert_same(&format!("{name}, edges"), &value, &logits, &file, &format!("{name}.boundary"));
    }
}

#[test]
fn features_are_weighed_by_what_they_matter_to_the_teacher() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/network/distill.safetensors");
    let file = read_tensors(&path).unwrap();
    let named = |i: usize, what: &str| tensor(&file, &format!("feature.{i}.{what}"));
    let target = |i| FeatureTarget { activations: named(i, "held"), gradient: named(i, "gradient") };
    let targets: Vec<FeatureTarget> = (0..2).map(target).collect();
    let lifted: Vec<Tensor> = (0..2).map(|i| named(i, "lifted").set_requires_grad(true)).collect();
    let value = feature::loss(&targets, &lifted).unwrap();
    let expected = file.tensors["feature.value"].1[0];
    assert!((f64::try_from(&value.detach()).unwrap() / f64::from(expected) - 1.0).abs() < 1e-5);
    value.backward();
    for (i, lifted) in lifted.iter().enumerate() {
        let expected = &file.tensors[&format!("feature.{i}.lifted_gradient")].1;
        let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        let gradient = values(&lifted.grad()).unwrap();
        assert!(gradient.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-4 * largest), "place {i}");
    }
}

#[test]
fn a_student_that_says_what_its_teacher_says_has_no_loss() {
    let logits = Tensor::randn([1, 3, 4, 6, 4], (Kind::Float, tch::Device::Cpu)) * 3;
    let coarse = Tensor::randn([1, 3, 2, 3, 2], (Kind::Float, tch::Device::Cpu));
    let (heads, both) = (Heads::Labels(3), [logits.shallow_clone(), coarse.shallow_clone(), coarse]);
    let foreground = Tensor::zeros([1, 4, 6, 4], (Kind::Int64, tch::Device::Cpu));
    let settings = LogitSettings::default();
    let value = settings.deep(&heads, &both, &settings.targets(&heads, &both, &foreground).unwrap()).unwrap();
    assert!(f64::try_from(value).unwrap().abs() < 1e-6);
    let settings = BoundarySettings::new([1.0, 1.0, 3.0]);
    let value = settings.loss(&heads, &logits, &settings.edges(&heads, &logits).unwrap()).unwrap();
    // Differences of the same numbers, rounded in another order.
    assert!(f64::try_from(value).unwrap().abs() < 1e-6);
}
