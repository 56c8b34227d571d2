//! Features and their gradients: the core's kernels against libtorch's autograd, and a student that learns from them.

use scanside_app::Error;
use scanside_core::nnunet::architecture::{Activation, Encoder, Norm, Stage, UNet};
use scanside_trainer::distill::feature::{self, FeatureTarget, compared};
use scanside_trainer::loss::SegmentationLoss;
use scanside_trainer::network::{Answer, Engine, Feature, Initialise, Network, Precision};
use scanside_trainer::optimise::{Sgd, SgdSettings};
use scanside_trainer::targets::{Heads, Targets};
use scanside_trainer::torch_error::OrTorchError;
use scanside_trainer::training::projection::Projection;
use scanside_trainer::training::settings::ProjectionSettings;
use scanside_trainer::training::step::{Outputs, TrainingState};
use scanside_trainer::training::terms::{LossTerm, label_terms};
use std::sync::Mutex;
use tch::{Device, Kind, Tensor};

const PATCH: [usize; 3] = [8, 12, 12];

fn unet(width: usize, encoder: Encoder) -> UNet {
    let stage = |features: usize, stride: usize| Stage { features, kernel: vec![3; 3], stride: vec![stride; 3] };
    UNet {
        input_channels: 1,
        heads: 3,
        stages: vec![stage(width, 1), stage(2 * width, 2), stage(4 * width, 2)],
        encoder,
        decoder_convs: vec![2; 2],
        conv_bias: true,
        norm: Norm::Instance { epsilon: 1e-5, affine: true },
        activation: Activation::Leaky(0.01),
        dropout: false,
        activation_first: false,
    }
}

fn plain(width: usize) -> UNet {
    unet(width, Encoder::Plain { convs: vec![2; 3] })
}

/// libtorch has one source of random numbers, and tests run side by side.
static RANDOM: Mutex<()> = Mutex::new(());

fn network(unet: &UNet) -> Network {
    let _alone = RANDOM.lock().unwrap();
    let mut network = Network::new(unet, Device::Cpu).unwrap();
    network.initialise(5).unwrap();
    network
}

fn batch() -> (Tensor, Tensor) {
    let _alone = RANDOM.lock().unwrap();
    tch::manual_seed(8);
    let [z, y, x] = PATCH.map(|n| n as i64);
    let labels = Tensor::randint(3, [2, z, y, x], (Kind::Int64, Device::Cpu));
    (Tensor::randn([2, 1, z, y, x], (Kind::Float, Device::Cpu)), labels)
}

fn loss() -> SegmentationLoss {
    SegmentationLoss::new(Targets { heads: Heads::Labels(3), ignore: None }, false)
}

fn torch() -> Engine {
    Engine::Torch(Precision::F32)
}

fn native(unet: &UNet) -> Engine {
    let engine = Engine::new(unet, PATCH, Device::Cpu, 2, Precision::F32).unwrap();
    assert!(matches!(engine, Engine::Native(_)));
    engine
}

fn ask(engine: &mut Engine, network: &Network, images: &Tensor, labels: &Tensor) -> (Answer, Vec<Tensor>) {
    let features = compared(2);
    let answer = engine.forward(network, images, &features).unwrap();
    let value = loss().deep(&answer.logits, labels).unwrap();
    let gradients = engine.feature_gradients(&answer, &features, &(value.dice + value.cross_entropy)).unwrap();
    (answer, gradients)
}

fn off(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.size(), want.size());
    f64::try_from((got - want).norm() / want.norm()).unwrap()
}

#[test]
fn both_engines_compute_the_same_features_and_gradients() {
    let unet = plain(8);
    let (network, (images, labels)) = (network(&unet), batch());
    assert_eq!(compared(2), [Feature::Decoder(0), Feature::Decoder(1), Feature::Bottleneck]);
    let (wanted_answer, wanted) = ask(&mut torch(), &network, &images, &labels);
    let mut engine = native(&unet);
    // Twice: nothing may be left over from the first.
    for _ in 0..2 {
        let (answer, gradients) = ask(&mut engine, &network, &images, &labels);
        for (i, feature) in compared(2).into_iter().enumerate() {
            assert_eq!(answer.features[i].size()[1] as usize, feature.channels(&unet));
            let off = [off(&answer.features[i], &wanted_answer.features[i]), off(&gradients[i], &wanted[i])];
            assert!(off[0] < 1e-4 && off[1] < 1e-3, "{feature:?} is off by {off:?}");
        }
    }
}

/// Three steps of a student of half the channels that learns from the labels and from its teacher's activations.
fn learn(teacher: &UNet, student: &UNet, engines: [Engine; 2]) -> Vec<(Vec<f64>, Vec<f64>, f64)> {
    let [mut teaching, engine] = engines;
    let (teacher_network, (images, labels)) = (network(teacher), batch());
    let (answer, gradients) = ask(&mut teaching, &teacher_network, &images, &labels);
    let target =
        |(activations, gradient): (&Tensor, Tensor)| FeatureTarget { activations: activations.detach(), gradient };
    let targets: Vec<FeatureTarget> = answer.features.iter().zip(gradients).map(target).collect();

    let network = network(student);
    let projection = |feature: Feature| {
        let (student_channels, teacher_channels) = (feature.channels(student), feature.channels(teacher));
        let settings = ProjectionSettings { feature, student_channels, teacher_channels };
        Projection::new(&settings, Device::Cpu).unwrap()
    };
    let projections: Vec<Projection> = {
        let _alone = RANDOM.lock().unwrap();
        tch::manual_seed(1);
        compared(2).into_iter().map(projection).collect()
    };
    let optimiser = Sgd::new(SgdSettings::default(), network.parameters.len() + projections.len());
    let mut state = TrainingState { network, engine, optimiser, average: None, projections };
    let loss = loss();
    let terms = |outputs: &Outputs<'_>| -> Result<Vec<LossTerm>, Error> {
        let mut terms = label_terms(&loss, outputs.logits, &labels).or_torch_error()?;
        let value = feature::loss(&targets, &outputs.projected).or_torch_error()?;
        terms.push(LossTerm { name: "feature", weight: 0.05, value });
        Ok(terms)
    };
    let step = |_| {
        let value = state.step(&images, 1e-2, true, terms);
        let value = value.unwrap();
        let numbers = |list: &[(&str, f64)]| list.iter().map(|(_, number)| *number).collect();
        (numbers(&value.terms), numbers(&value.term_gradients), value.gradient_norm)
    };
    (0..3).map(step).collect()
}

#[test]
fn students_learn_the_same_from_them_on_both_engines() {
    let (teacher, student) = (plain(8), plain(4));
    let by_torch = learn(&teacher, &student, [torch(), torch()]);
    let by_kernels = learn(&teacher, &student, [native(&teacher), native(&student)]);
    let close = |a: f64, b: f64| (a - b).abs() < 1e-3 * b.abs().max(1e-2);
    for (kernels, torch) in by_kernels.iter().zip(&by_torch) {
        let all = |a: &[f64], b: &[f64]| a.len() == 3 && a.iter().zip(b).all(|(a, b)| close(*a, *b));
        assert!(all(&kernels.0, &torch.0) && all(&kernels.1, &torch.1), "{kernels:?} instead of {torch:?}");
        assert!(close(kernels.2, torch.2), "{kernels:?} instead of {torch:?}");
        assert!(torch.1.iter().all(|norm| *norm > 0.0), "{torch:?}");
    }
    assert!(by_torch[2].0[2] < by_torch[0].0[2], "the distance does not fall: {by_torch:?}");
}

#[test]
fn residual_encoders_have_the_same_features() {
    let residual = Encoder::Residual { blocks: vec![1, 1, 1], stem_features: 8, bottleneck: None };
    let (teacher, student) = (unet(8, residual), plain(4));
    let steps = learn(&teacher, &student, [torch(), torch()]);
    assert!(steps[2].0[2] < steps[0].0[2], "{steps:?}");
}

/// Eight bits of a number: the answer is near, the gradients point where those of single precision do.
#[test]
fn bfloat16_is_near_single_precision() {
    for unet in [plain(8), unet(8, Encoder::Residual { blocks: vec![1; 3], stem_features: 8, bottleneck: None })] {
        let (images, labels) = batch();
        let asked = [Precision::F32, Precision::Bf16].map(|precision| {
            let mut network = network(&unet);
            network.parameters.zero_gradients();
            let answer = network.answer(&images, &compared(2), precision).unwrap();
            assert!(answer.logits.iter().chain(&answer.features).all(|t| t.kind() == Kind::Float));
            let value = loss().deep(&answer.logits, &labels).unwrap();
            let sum = value.dice + value.cross_entropy;
            sum.backward();
            let gradients: Vec<Tensor> =
                network.parameters.gradients().into_iter().flatten().map(|g| g.flatten(0, -1)).collect();
            assert!(gradients.iter().all(|g| g.kind() == Kind::Float));
            (answer.logits[0].detach(), f64::try_from(sum.detach()).unwrap(), Tensor::cat(&gradients, 0))
        });
        let [(logits, loss, gradient), (near, near_loss, near_gradient)] = &asked;
        let (away, angle) = (off(near, logits), gradient.dot(near_gradient) / gradient.norm() / near_gradient.norm());
        assert!(away > 1e-5 && away < 0.05, "logits are off by {away}");
        assert!((loss - near_loss).abs() < 0.01, "{near_loss} instead of {loss}");
        let cosine = f64::try_from(&angle).unwrap();
        // PyTorch's own autocast comes to 0.97 on such a network.
        assert!(cosine > 0.95, "the directions of the gradients differ: cosine {cosine}");
    }
}
