//! How much memory students take on a board without an operating system: the table of `docs/embedding.md`.
//!
//! ```text
//! cargo run -p scanside-core --no-default-features --features std --example board_memory
//! ```
//!
//! The networks are nnU-Net's with their channels divided by `r`; their weights are random, since memory does not depend on
//! them.

use scanside_core::manifest::{Channel, Label, Labels, Manifest, NetworkGrid, Normalization, Resampling};
use scanside_core::network::{
    Activation, ConvGeometry, GraphBuilder, Isa, NativeEngine, Network, Quant, SpecError, ValueSpec,
};
use scanside_core::pipeline::{Run, RunError, RunOptions, Surroundings};
use std::error::Error;

const HEADS: usize = 3;
/// A scan on the network's own grid: 1.5 mm voxels of a body part 20 x 20 x 15 cm.
const SCAN_ZYX: [usize; 3] = [100, 134, 134];
const SPACING_MM: f64 = 1.5;
/// Channels of nnU-Net's stages.
const CHANNELS: [usize; 6] = [32, 64, 128, 256, 320, 320];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Precision {
    F32,
    F16,
    Int8,
}

/// A U-Net being built: two convolutions a stage, norm and activation after each.
struct UNet {
    builder: GraphBuilder,
    precision: Precision,
}

impl UNet {
    fn block(&mut self, input: ValueSpec, cout: usize, stride: usize) -> Result<ValueSpec, SpecError> {
        let g = ConvGeometry {
            cin: input.channels(),
            cout,
            input: input.grid,
            output: input.grid.map(|n| n / stride),
            kernel: [3; 3],
            stride: [stride; 3],
            dilation: [1; 3],
            pad: [1; 3],
        };
        let bias = vec![0.0; cout];
        // The first convolution stays in float.
        let int = self.precision == Precision::Int8 && g.cin > 1;
        let b = &mut self.builder;
        let value = if int {
            let quant = Quant { scale: 0.02, zero: 30 };
            let input = b.on_grid("grid", input, quant, false);
            let weights: Vec<i8> = random(cout * g.cin * g.taps()).map(|v| (100.0 * v) as i8).collect();
            b.conv_int("convolution", input, &g, &weights, &vec![0.001; cout], &bias, quant)?
        } else {
            let weights: Vec<f32> = random(cout * g.cin * g.taps()).collect();
            b.conv("convolution", input, &g, &weights, &bias, true)
        };
        let value = b.norm("norm", value, &vec![1.0; cout], &bias, 1e-5);
        Ok(b.activation("activation", value, Activation::Leaky(0.01)))
    }

    fn build(r: usize, patch: usize, precision: Precision) -> Result<Network<'static>, SpecError> {
        let builder = GraphBuilder::new(1, [patch; 3], precision != Precision::F32);
        let mut net = UNet { builder, precision };
        // Halved until four voxels are left.
        let stages = (patch.ilog2() as usize - 1).min(CHANNELS.len());
        let channels = CHANNELS.map(|c| c / r);
        let mut value = net.builder.input();
        let mut skips = Vec::new();
        for (stage, &cout) in channels.iter().enumerate().take(stages) {
            if stage > 0 {
                skips.push(value.clone());
            }
            value = net.block(value, cout, if stage > 0 { 2 } else { 1 })?;
            value = net.block(value, cout, 1)?;
        }
        while let Some(skip) = skips.pop() {
            let (cin, cout) = (value.channels(), skip.channels());
            let weights: Vec<f32> = random(cin * cout * 8).collect();
            let up = net.builder.upsample(value, cout, [2; 3], &weights, &vec![0.0; cout]);
            value = net.builder.concat(vec![up, skip]);
            value = net.block(value, cout, 1)?;
            value = net.block(value, cout, 1)?;
        }
        let head = ConvGeometry {
            cin: channels[0],
            cout: HEADS,
            input: [patch; 3],
            output: [patch; 3],
            kernel: [1; 3],
            stride: [1; 3],
            dilation: [1; 3],
            pad: [0; 3],
        };
        let weights: Vec<f32> = random(HEADS * channels[0]).collect();
        value = net.builder.conv("head", value, &head, &weights, &[0.0; HEADS], false);
        let (graph, weights) = net.builder.finish(value)?;
        Network::new(Isa::SCALAR, graph, weights)
    }
}

fn random(count: usize) -> impl Iterator<Item = f32> {
    let mut state = 1u32;
    (0..count).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    })
}

fn manifest(patch: usize) -> Manifest {
    let grid = NetworkGrid::new([patch; 3], [Some(SPACING_MM); 3]);
    let channels = vec![Channel::new("CT", Normalization::Ct { mean: 100.0, std: 50.0, lower: -100.0, upper: 300.0 })];
    let heads = (0..HEADS as u16).map(|value| Label::new(value.to_string(), value)).collect();
    let mut manifest = Manifest::new(grid, channels, Labels::Exclusive { heads });
    manifest.resample_data = Resampling::Torch { force_separate_z: None };
    manifest
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("| model | patch | precision | flash, MB | RAM in low-memory mode, MB | RAM, MB |");
    println!("|---|---|---|---|---|---|");
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    for r in [8, 4] {
        for patch in [32, 64, 96] {
            for precision in [Precision::F32, Precision::F16, Precision::Int8] {
                let network = UNet::build(r, patch, precision)?;
                let weights = network.weights().bytes().len();
                let engine = NativeEngine::new(vec![network]).ok_or("no network")?;
                let manifest = manifest(patch);
                let run = Run::described(&manifest, SCAN_ZYX, [SPACING_MM; 3], RunOptions::default())?;
                // The weights lie in flash and the scan comes slice by slice, so neither is in RAM.
                let board = Surroundings { process_bytes: Some(0), ..Surroundings::bare() };
                let best = run.clone().plan(&engine, &board, 1, None)?.memory.peak_bytes;
                let least = match run.plan(&engine, &board, 1, Some(1)) {
                    Err(RunError::DoesNotFit(needs)) => needs.least_bytes.unwrap_or(best),
                    _ => best,
                };
                println!(
                    "| r={r} | {patch}^3 | {} | {:.1} | {:.1} | {:.1} |",
                    format!("{precision:?}").to_lowercase(),
                    megabytes(weights),
                    megabytes(least),
                    megabytes(best)
                );
            }
        }
    }
    Ok(())
}
