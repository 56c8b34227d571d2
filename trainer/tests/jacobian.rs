//! Gradients with respect to the image: against finite differences, and learned by a student.

use scanside_core::nnunet::architecture::{Activation, Encoder, Norm, Stage, UNet};
use scanside_trainer::distill::jacobian::{direction, image_gradient, loss};
use scanside_trainer::network::{Engine, Initialise, Network, Precision};
use scanside_trainer::optimise::{Sgd, SgdSettings};
use scanside_trainer::torch_error::OrTorchError;
use scanside_trainer::training::step::TrainingState;
use scanside_trainer::training::terms::LossTerm;
use tch::{Device, Kind, Tensor};

fn network(width: usize) -> Network {
    let stage = |features: usize, stride: usize| Stage { features, kernel: vec![3; 3], stride: vec![stride; 3] };
    let unet = UNet {
        input_channels: 1,
        heads: 2,
        stages: vec![stage(width, 1), stage(2 * width, 2)],
        encoder: Encoder::Plain { convs: vec![2; 2] },
        decoder_convs: vec![2],
        conv_bias: true,
        norm: Norm::Instance { epsilon: 1e-5, affine: true },
        // Norms are what makes the network no matrix here: differences of kinked functions say little.
        activation: Activation::None,
        dropout: false,
        activation_first: false,
    };
    let mut network = Network::new(&unet, Device::Cpu).unwrap();
    network.initialise(width as u64).unwrap();
    network
}

fn number(tensor: &Tensor) -> f64 {
    f64::try_from(tensor.detach()).unwrap()
}

fn answer(network: &Network, images: &Tensor) -> Tensor {
    network.answer(images, &[], Precision::F32).unwrap().logits.swap_remove(0)
}

#[test]
fn gradients_equal_finite_differences_and_students_learn_them() {
    tch::set_num_threads(1);
    let (teacher, student) = (network(6), network(4));
    let images = Tensor::randn([1, 1, 6, 8, 6], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    let along = |step| direction(3, step, &[1, 2, 6, 8, 6], Device::Cpu).unwrap();
    assert_eq!(number(&(along(1) - along(1)).abs().max()), 0.0);
    assert!(number(&(along(1) * along(2)).mean(Kind::Float).abs()) < 0.2);
    let signs = along(1);
    assert_eq!(number(&signs.abs().min()), 1.0);

    let found = image_gradient(&images, &answer(&teacher, &images), &signs, false).unwrap();
    let nudge = Tensor::randn_like(&images).detach();
    let product = |by: f64| number(&(answer(&teacher, &(images.detach() + &nudge * by)) * &signs).sum(Kind::Double));
    let expected = (product(1e-3) - product(-1e-3)) / 2e-3;
    let got = number(&(&found * &nudge).sum(Kind::Double));
    assert!((got - expected).abs() < 0.02 * expected.abs().max(1.0), "{got} instead of {expected}");
    assert!(number(&loss(&found, &found).unwrap()) == 0.0);

    // The gradient of the loss with respect to a weight, which is a second derivative, against differences.
    let distance = |student: &Network| {
        let gradient = image_gradient(&images, &answer(student, &images), &signs, true).unwrap();
        loss(&gradient, &found).unwrap()
    };
    distance(&student).backward();
    let weight = student.parameters.iter().find(|p| p.shape.len() == 5).unwrap().tensor.shallow_clone();
    let gradient = weight.grad().copy();
    let nudge = Tensor::randn_like(&weight).detach();
    let moved = |by: f64| {
        tch::no_grad(|| weight.shallow_clone().f_add_(&(&nudge * by)).map(|_| ())).unwrap();
        let value = number(&distance(&student));
        tch::no_grad(|| weight.shallow_clone().f_sub_(&(&nudge * by)).map(|_| ())).unwrap();
        value
    };
    let expected = (moved(1e-3) - moved(-1e-3)) / 2e-3;
    let got = number(&(&gradient * &nudge).sum(Kind::Double));
    assert!((got - expected).abs() < 0.05 * expected.abs().max(0.1), "{got} instead of {expected}");

    let optimiser = Sgd::new(SgdSettings::default(), student.parameters.len());
    let engine = Engine::Torch(Precision::F32);
    let mut state = TrainingState { network: student, engine, optimiser, average: None, projections: Vec::new() };
    let mut step = || {
        let value = state.step(&images, 1e-2, true, |outputs| {
            let student = image_gradient(&images, &outputs.logits[0], &signs, true).or_torch_error()?;
            Ok(vec![LossTerm { name: "jacobian", weight: 1.0, value: loss(&student, &found).or_torch_error()? }])
        });
        value.unwrap().loss
    };
    let losses: Vec<f64> = (0..8).map(|_| step()).collect();
    assert!(losses[7] < 0.9 * losses[0], "{losses:?}");
}
