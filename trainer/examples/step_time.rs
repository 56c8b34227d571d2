//! Core-seconds of a training step of one sample: the native network beside libtorch, both on one thread, in one process.
//!
//! `cargo build --release --workspace --examples && target/release/examples/step_time [rounds]`
#![allow(missing_docs)]

use scanside_core::executor::Serial;
use scanside_core::nnunet::architecture::{Activation, Encoder, Norm, Stage, UNet};
use scanside_core::nnunet::layers::Role;
use scanside_trainer::network::Network;
use scanside_trainer::network::native::NativeNet;
use tch::{Device, Kind, Tensor};

const PATCH: [usize; 3] = [40, 56, 40];

/// Seconds that a core worked for this thread.
fn core_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e9
}

/// Runs it some times; gives the least seconds.
fn least(rounds: usize, mut f: impl FnMut()) -> f64 {
    let mut run = || {
        let start = core_seconds();
        f();
        core_seconds() - start
    };
    (0..rounds).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn unet() -> UNet {
    let stage = |(i, features): (usize, &usize)| Stage {
        features: *features,
        kernel: vec![3; 3],
        stride: vec![if i == 0 { 1 } else { 2 }; 3],
    };
    UNet {
        input_channels: 1,
        heads: 3,
        stages: [32, 64, 128, 256].iter().enumerate().map(stage).collect(),
        encoder: Encoder::Plain { convs: vec![2; 4] },
        decoder_convs: vec![2; 3],
        conv_bias: true,
        norm: Norm::Instance { epsilon: 1e-5, affine: true },
        activation: Activation::Leaky(0.01),
        dropout: false,
        activation_first: false,
    }
}

fn values(n: usize, seed: usize, size: f32) -> Vec<f32> {
    (0..n).map(|i| (((i * 7919 + seed * 104_729) % 200_003) as f32 / 100_001.0 - 1.0) * size).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(3);
    let unet = unet();
    let net = NativeNet::new(&unet, PATCH, 1)?;
    let tensors = net.tensors().to_vec();
    let weights: Vec<Vec<f32>> = tensors
        .iter()
        .enumerate()
        .map(|(i, t)| match t.role {
            Role::Scale => vec![1.0; t.values() as usize],
            Role::Weight => {
                values(t.values() as usize, i, (3.0 / t.shape[1..].iter().product::<usize>() as f32).sqrt())
            }
            _ => vec![0.0; t.values() as usize],
        })
        .collect();
    let slices: Vec<&[f32]> = weights.iter().map(Vec::as_slice).collect();
    let image = values(PATCH.iter().product(), 1, 2.0);
    let given: Vec<Vec<f32>> =
        (0..net.levels()).map(|l| values(unet.heads * net.grid(l).iter().product::<usize>(), l, 1e-3)).collect();
    let given: Vec<&[f32]> = given.iter().map(Vec::as_slice).collect();

    let (mut tape, mut gradients) = (net.tape(), net.gradients());
    let mut set = net.weight_set();
    let prepare = least(rounds, || net.prepare(&slices, &mut set));
    let forward = least(rounds, || net.forward(&set, &image, &mut tape, &Serial));
    let backward = least(rounds, || net.backward(&set, &image, &mut tape, &given, &[], &mut gradients, &Serial));
    println!("native: prepare {prepare:.3}, forward {forward:.3}, backward {backward:.3} core-seconds");
    println!("native: {:.3} core-seconds a sample in batches of 2", prepare / 2.0 + forward + backward);
    println!("native: {} MiB", net.tape_bytes() >> 20);

    tch::set_num_threads(1);
    let network = Network::new(&unet, Device::Cpu)?;
    for (parameter, values) in network.parameters.iter().zip(&weights) {
        let values = Tensor::from_slice(values).view_as(&parameter.tensor);
        tch::no_grad(|| parameter.tensor.shallow_clone().copy_(&values));
    }
    let x = Tensor::from_slice(&image).reshape([1, 1, PATCH[0] as i64, PATCH[1] as i64, PATCH[2] as i64]);
    let (mut ahead, mut whole) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        let start = core_seconds();
        let logits = network.forward(&x)?;
        ahead = ahead.min(core_seconds() - start);
        let mut loss = Tensor::zeros([1], (Kind::Float, Device::Cpu));
        for (logits, given) in logits.iter().zip(&given) {
            loss += (logits.flatten(0, -1) * Tensor::from_slice(given)).sum(Kind::Float);
        }
        loss.backward();
        whole = whole.min(core_seconds() - start);
    }
    println!("libtorch: forward {ahead:.3}, step {whole:.3} core-seconds");
    Ok(())
}
