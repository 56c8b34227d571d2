//! A compiled model: opened, checked, and run where it is small. What memory held before a run must not show in the
//! logits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scanside_core::engine::Engine;
use scanside_core::executor::Serial;
use scanside_core::network::{Image, Isa, NativeEngine, Network};
use scanside_core::patch::{Patch, PatchMut};
use scanside_core::workspace::{Block, numbers, numbers_mut};
use std::hint::black_box;

const HEADER: usize = 64;
const ENTRY: usize = 32;
/// Weights beside a lone graph: this byte makes small positive numbers of every form.
const WEIGHTS: [u8; 1 << 15] = [0x3c; 1 << 15];

/// What may be asked of a run here; larger networks are only opened.
const MOST_NUMBERS: usize = 1 << 16;
const MOST_BLOCKS: usize = (4 << 20) / size_of::<Block>();
const MOST_MACS: u64 = 1 << 21;

fuzz_target!(|bytes: &[u8]| {
    let mut image = if Image::is_image(bytes) { bytes.to_vec() } else { image_of(bytes) };
    mend(&mut image);
    let mut blocks = vec![Block::ZERO; image.len().div_ceil(size_of::<Block>())];
    numbers_mut(&mut blocks)[..image.len()].copy_from_slice(&image);
    let image = match Image::open(&numbers::<u8>(&blocks)[..image.len()]) {
        Ok(image) => image,
        Err(e) => return drop(black_box(e.to_string())),
    };
    match image.manifest() {
        Ok(manifest) => manifest.check().expect("a manifest that was accepted"),
        Err(e) => drop(black_box(e.to_string())),
    }
    match image.networks(Isa::detect()) {
        Ok(networks) => networks.into_iter().for_each(run),
        Err(e) => drop(black_box(e.to_string())),
    }
});

/// An image of one graph, whose bytes these are.
fn image_of(graph: &[u8]) -> Vec<u8> {
    const GRAPH: u32 = 2;
    const OF_WEIGHTS: u32 = 3;
    let mut image = vec![0; HEADER + 2 * ENTRY];
    image[..12].copy_from_slice(b"SCANSIDE\x01\0\0\0");
    image[12..16].copy_from_slice(&2u32.to_le_bytes());
    for (i, (kind, bytes)) in [(GRAPH, graph), (OF_WEIGHTS, &WEIGHTS[..])].into_iter().enumerate() {
        let start = image.len() as u64;
        let entry = &mut image[HEADER + ENTRY * i..][..ENTRY];
        entry[..4].copy_from_slice(&kind.to_le_bytes());
        entry[8..16].copy_from_slice(&start.to_le_bytes());
        entry[16..24].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        image.extend_from_slice(bytes);
        image.resize(image.len().next_multiple_of(64), 0);
    }
    image
}

/// Corrects length and checksum: with wrong ones, nothing behind them would be read.
fn mend(image: &mut [u8]) {
    if image.len() >= HEADER {
        let (len, sum) = (image.len() as u64, crc32fast::hash(&image[HEADER..]));
        image[16..24].copy_from_slice(&len.to_le_bytes());
        image[24..28].copy_from_slice(&sum.to_le_bytes());
    }
}

fn run(network: Network<'_>) {
    let graph = network.graph();
    let voxels: usize = graph.patch.iter().product();
    let macs = graph.steps.iter().fold(0u64, |sum, step| sum.saturating_add(step.macs()));
    let (inputs, outputs) = (graph.channels * voxels, graph.heads * voxels);
    let engine = NativeEngine::new(vec![network]).expect("one fold");
    let footprint = engine.footprint(1);
    let blocks = footprint.least_workspace_blocks.max(footprint.workspace_blocks);
    if inputs.max(outputs) > MOST_NUMBERS || blocks > MOST_BLOCKS || macs > MOST_MACS {
        return;
    }
    let input: Vec<f32> = (0..inputs).map(|i| (i * 7919 % 2003) as f32 / 1001.0 - 1.0).collect();
    let runs = [0u8, 0xff].map(|poison| {
        let mut workspace = vec![Block::ZERO; footprint.least_workspace_blocks];
        numbers_mut::<u8>(&mut workspace).fill(poison);
        let mut output = vec![f32::from_bits(u32::from_ne_bytes([poison; 4])); outputs];
        engine
            .infer(0, Patch::F32(&input), PatchMut::F32(&mut output), &mut workspace, &Serial)
            .expect("buffers of the sizes that were asked");
        output.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    });
    assert!(runs[0] == runs[1], "the logits depend on what memory held before");
}
