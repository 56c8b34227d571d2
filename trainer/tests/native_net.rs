//! The native network against libtorch's autograd, and against itself.
#![allow(missing_docs)]

use scanside_core::executor::{Executor, Serial};
use scanside_core::nnunet::architecture::{Activation, Encoder, Norm, Stage, UNet};
use scanside_core::nnunet::layers::{Affine, EncoderStage, Expected, Layers, Role, Unit};
use scanside_testing::executors::Threads;
use scanside_testing::numbers;
use scanside_trainer::network::Feature;
use scanside_trainer::network::native::{GradientSet, NativeNet, Tape};
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// Numbers in `[-size, size]`.
fn values(n: usize, seed: usize, size: f32) -> Vec<f32> {
    numbers::values(n, seed).into_iter().map(|v| v * size).collect()
}

struct Case {
    unet: UNet,
    patch: [usize; 3],
    tensors: Vec<Expected>,
    weights: Vec<Vec<f32>>,
    image: Vec<f32>,
}

impl Case {
    fn new(channels: usize, heads: usize, stages: &[(usize, [usize; 3], [usize; 3])], patch: [usize; 3]) -> Case {
        let unet = UNet {
            input_channels: channels,
            heads,
            stages: stages
                .iter()
                .map(|(features, kernel, stride)| Stage {
                    features: *features,
                    kernel: kernel.to_vec(),
                    stride: stride.to_vec(),
                })
                .collect(),
            encoder: Encoder::Plain { convs: vec![2; stages.len()] },
            decoder_convs: vec![2; stages.len() - 1],
            conv_bias: true,
            norm: Norm::Instance { epsilon: 1e-5, affine: true },
            activation: Activation::Leaky(0.01),
            dropout: false,
            activation_first: false,
        };
        Case::of(unet, patch)
    }

    fn of(unet: UNet, patch: [usize; 3]) -> Case {
        let tensors = Layers::of(&unet).expected();
        let weights = tensors
            .iter()
            .enumerate()
            .map(|(i, t)| {
                let n = t.values() as usize;
                let fan = t.shape.iter().skip(1).product::<usize>().max(1) as f32;
                match t.role {
                    Role::Scale => values(n, i, 0.5).into_iter().map(|v| 1.0 + v).collect(),
                    Role::Weight => values(n, i, (3.0 / fan).sqrt()),
                    _ => values(n, i, 0.3),
                }
            })
            .collect();
        let image = values(unet.input_channels * patch.iter().product::<usize>(), 77, 2.0);
        Case { unet, patch, tensors, weights, image }
    }

    fn slices(&self) -> Vec<&[f32]> {
        self.weights.iter().map(Vec::as_slice).collect()
    }

    /// Gradients of the logits: those of the loss `sum(r * logits)`.
    fn logit_gradients(&self, net: &NativeNet) -> Vec<Vec<f32>> {
        let n = |l: usize| self.unet.heads * net.grid(l).iter().product::<usize>();
        (0..net.levels()).map(|l| values(n(l), 91 + l, 1.0 / (1 << l) as f32)).collect()
    }

    fn native(&self, net: &NativeNet, executor: &impl Executor, features: &[(Feature, &[f32])]) -> (Tape, GradientSet) {
        let mut weights = net.weight_set();
        net.prepare(&self.slices(), &mut weights);
        let (mut tape, mut gradients) = (net.tape(), net.gradients());
        let given = self.logit_gradients(net);
        let given: Vec<&[f32]> = given.iter().map(Vec::as_slice).collect();
        // Twice on one tape: nothing may be left over from the first.
        for _ in 0..2 {
            gradients.clear();
            net.forward(&weights, &self.image, &mut tape, executor);
            net.backward(&weights, &self.image, &mut tape, &given, features, &mut gradients, executor);
        }
        (tape, gradients)
    }
}

fn long(v: &[usize]) -> Vec<i64> {
    v.iter().map(|n| *n as i64).collect()
}

/// The same network in libtorch's operators. It goes through the layers by itself, not with `Layers::walk`: a mistake in
/// that walk must not be made here as well.
struct Torch {
    tensors: BTreeMap<String, Tensor>,
    epsilon: Option<f64>,
}

impl Torch {
    fn new(case: &Case) -> Torch {
        let tensors =
            case.tensors.iter().zip(&case.weights).map(|(t, w)| {
                (t.names[0].clone(), Tensor::from_slice(w).reshape(long(&t.shape)).set_requires_grad(true))
            });
        let epsilon = match case.unet.norm {
            Norm::Instance { epsilon, .. } => Some(f64::from(epsilon)),
            _ => None,
        };
        Torch { tensors: tensors.collect(), epsilon }
    }

    fn get(&self, tensors: &[Expected], role: Role) -> Option<&Tensor> {
        tensors.iter().find(|t| t.role == role).map(|t| &self.tensors[&t.names[0]])
    }

    fn unit(&self, x: &Tensor, unit: &Unit) -> Tensor {
        let t = unit.tensors();
        let pad: Vec<i64> = unit.kernel.iter().map(|k| *k as i64 / 2).collect();
        let Some(w) = self.get(&t, Role::Weight) else { panic!("no weight") };
        let y = x.conv3d(w, self.get(&t, Role::Bias), long(&unit.stride), pad, [1; 3], 1);
        let y = match self.epsilon {
            Some(epsilon) => y.instance_norm(
                self.get(&t, Role::Scale),
                self.get(&t, Role::Shift),
                None::<&Tensor>,
                None::<&Tensor>,
                true,
                0.1,
                epsilon,
                false,
            ),
            None => y,
        };
        y.leaky_relu()
    }

    fn affine(&self, affine: &Affine) -> (&Tensor, Option<&Tensor>) {
        let t = affine.tensors();
        match self.get(&t, Role::Weight) {
            Some(w) => (w, self.get(&t, Role::Bias)),
            None => panic!("no weight"),
        }
    }

    /// Logits, the highest resolution first; the bottleneck; outputs of decoder stages, the highest resolution first.
    fn forward(&self, case: &Case) -> (Vec<Tensor>, Tensor, Vec<Tensor>) {
        let layers = Layers::of(&case.unet);
        let shape = [&[1, case.unet.input_channels as i64], long(&case.patch).as_slice()].concat();
        let mut x = Tensor::from_slice(&case.image).reshape(shape);
        let mut skips = Vec::new();
        for stage in &layers.encoder {
            let EncoderStage::Plain(units) = stage else { panic!("a residual stage") };
            x = units.iter().fold(x, |x, unit| self.unit(&x, unit));
            skips.push(x.shallow_clone());
        }
        let bottleneck = x.shallow_clone();
        let (mut logits, mut outputs) = (Vec::new(), Vec::new());
        for (i, stage) in layers.decoder.iter().enumerate() {
            let (w, b) = self.affine(&stage.upsample);
            let up = x.conv_transpose3d(w, b, long(&stage.upsample_stride), [0; 3], [0; 3], 1, [1; 3]);
            let joined = Tensor::cat(&[&up, &skips[skips.len() - 2 - i]], 1);
            x = stage.convs.iter().fold(joined, |x, unit| self.unit(&x, unit));
            let (w, b) = self.affine(&stage.head);
            logits.insert(0, x.conv3d(w, b, [1; 3], [0; 3], [1; 3], 1));
            outputs.insert(0, x.shallow_clone());
        }
        (logits, bottleneck, outputs)
    }
}

fn floats(t: &Tensor) -> Vec<f32> {
    Vec::<f32>::try_from(t.flatten(0, -1)).unwrap()
}

fn size(v: &[f32]) -> f64 {
    v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// The size of the difference over that of what is wanted.
fn off(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let difference: Vec<f32> = got.iter().zip(want).map(|(a, b)| a - b).collect();
    size(&difference) / size(want).max(1e-30)
}

/// Logits, features and gradients of all tensors against libtorch.
fn check(name: &str, case: &Case) {
    tch::set_num_threads(1);
    let net = NativeNet::new(&case.unet, case.patch, 2).unwrap();
    // Gradients that come to the bottleneck and to a decoder stage from elsewhere.
    let places = [Feature::Bottleneck, Feature::Decoder(net.levels() - 1)];
    let more = places.map(|f| {
        let (channels, grid) = net.feature_shape(f);
        values(channels * grid.iter().product::<usize>(), 55, 0.5)
    });
    let features = [(places[0], more[0].as_slice()), (places[1], more[1].as_slice())];
    let (tape, gradients) = case.native(&net, &Threads(2), &features);

    let torch = Torch::new(case);
    let (logits, bottleneck, outputs) = torch.forward(case);
    let mut worst = 0f64;
    let mut loss = Tensor::zeros([1], (Kind::Float, tch::Device::Cpu));
    for (level, (want, given)) in logits.iter().zip(case.logit_gradients(&net)).enumerate() {
        let off = off(tape.logits(level), &floats(want));
        assert!(off < 1e-4, "{name}: logits of level {level} are off by {off:.1e}");
        worst = worst.max(off);
        loss += (want.flatten(0, -1) * Tensor::from_slice(&given)).sum(Kind::Float);
    }
    for (i, t) in [&bottleneck, &outputs[net.levels() - 1]].into_iter().enumerate() {
        let mut got = vec![0.0; more[i].len()];
        net.read_feature(&tape, places[i], &mut got);
        let off = off(&got, &floats(t));
        assert!(off < 1e-4, "{name}: {:?} is off by {off:.1e}", places[i]);
        loss += (t.flatten(0, -1) * Tensor::from_slice(&more[i])).sum(Kind::Float);
    }
    loss.backward();
    let mut weight = 1.0;
    for (tensor, (short, got)) in case.tensors.iter().zip(gradients.iter()) {
        assert_eq!(short, tensor.names[0]);
        let want = floats(&torch.tensors[short].grad());
        if tensor.role == Role::Weight {
            weight = size(&want);
        }
        if size(got) == 0.0 && tensor.role == Role::Bias && short.contains(".conv.") {
            // What a norm takes out again; libtorch is left with rounding.
            assert!(torch.epsilon.is_some() && size(&want) < 1e-4 * weight, "{name}: {short} is {:.1e}", size(&want));
            continue;
        }
        let off = off(got, &want);
        assert!(off < 1e-3, "{name}: the gradient of {short} is off by {off:.1e}");
        worst = worst.max(off);
    }
    println!("{name}: everything within {worst:.1e}");
}

fn plain() -> Case {
    let (k, s) = ([3; 3], [2; 3]);
    Case::new(1, 3, &[(8, k, [1; 3]), (16, k, s), (24, k, s)], [8, 12, 12])
}

fn anisotropic() -> Case {
    let flat = [1, 3, 3];
    Case::new(2, 4, &[(8, flat, [1; 3]), (12, [3; 3], [1, 2, 2]), (20, [3; 3], [2; 3])], [6, 20, 12])
}

/// Widths that are no multiples of a vector, of four rows, or of anything.
fn odd() -> Case {
    Case::new(2, 2, &[(5, [3; 3], [1; 3]), (9, [3; 3], [1, 3, 1]), (7, [1, 3, 3], [1, 1, 3])], [5, 21, 39])
}

#[test]
fn logits_and_gradients_are_those_of_libtorch() {
    check("plain", &plain());
    check("anisotropic", &anisotropic());
    check("odd", &odd());
    // Without norm, bias gradients count.
    let bare = plain();
    check("bare", &Case::of(UNet { norm: Norm::Off, ..bare.unet }, bare.patch));
}

#[test]
fn the_number_of_workers_changes_no_bit() {
    for case in [plain(), anisotropic(), odd()] {
        let run = |workers: usize| {
            let net = NativeNet::new(&case.unet, case.patch, workers).unwrap();
            let (tape, gradients) = case.native(&net, &Threads(workers), &[]);
            let logits: Vec<u32> = (0..net.levels()).flat_map(|l| tape.logits(l)).map(|v| v.to_bits()).collect();
            let gradients: Vec<u32> = gradients.iter().flat_map(|(_, v)| v).map(|v| v.to_bits()).collect();
            (logits, gradients)
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3));
    }
}

/// The loss as a function of single weights, by differences.
#[test]
fn gradients_are_slopes() {
    let mut case = plain();
    let net = NativeNet::new(&case.unet, case.patch, 1).unwrap();
    let gradients = case.native(&net, &Serial, &[]).1;
    let given = case.logit_gradients(&net);
    let (mut tape, mut weights) = (net.tape(), net.weight_set());
    let mut loss = |case: &Case| {
        net.prepare(&case.slices(), &mut weights);
        net.forward(&weights, &case.image, &mut tape, &Serial);
        let product = |l: usize| tape.logits(l).iter().zip(&given[l]).map(|(a, b)| f64::from(*a) * f64::from(*b));
        (0..net.levels()).map(|l| product(l).sum::<f64>()).sum::<f64>()
    };
    for (i, (name, gradient)) in gradients.iter().enumerate().filter(|(_, (_, g))| size(g) > 0.0) {
        // Along the gradient itself, so that rounding counts for little; activations that change sign on the way do count.
        let before = case.weights[i].clone();
        let step = 5e-4 * size(&before) / size(gradient);
        let mut at = |sign: f64| {
            for ((w, b), g) in case.weights[i].iter_mut().zip(&before).zip(gradient) {
                *w = (f64::from(*b) + sign * step * f64::from(*g)) as f32;
            }
            loss(&case)
        };
        let slope = (at(1.0) - at(-1.0)) / (2.0 * step);
        let want = size(gradient).powi(2);
        assert!((slope - want).abs() < 0.05 * want, "{name}: the slope is {slope}, the gradient's {want}");
        case.weights[i] = before;
    }
}

#[test]
fn memory_is_told() {
    let case = plain();
    let net = NativeNet::new(&case.unet, case.patch, 2).unwrap();
    // Activations of both units of a level, the joined ones and their gradients: more than these nobody could do without.
    let full = 8 * case.patch.iter().product::<usize>() * 4;
    assert!(net.tape_bytes() > 9 * full, "{} bytes", net.tape_bytes());
    assert_eq!(net.tape().bytes(), net.tape_bytes());
}

#[test]
fn what_is_not_native_is_refused_with_its_name() {
    let case = plain();
    let refused = |unet: UNet, patch| NativeNet::new(&unet, patch, 1).unwrap_err().to_string();
    let batch = UNet { norm: Norm::Batch { epsilon: 1e-5, affine: true }, ..case.unet.clone() };
    assert!(refused(batch, case.patch).contains("batch norm"));
    let residual = Encoder::Residual { blocks: vec![1; 3], stem_features: 8, bottleneck: None };
    assert!(refused(UNet { encoder: residual, ..case.unet.clone() }, case.patch).contains("residual"));
    assert!(refused(case.unet, [8, 12, 14]).contains("do not divide"));
}
