//! The time of each kernel on every instruction set of this CPU, on one thread: `cargo bench -p scanside-benches`.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use scanside_benches::{KERNELS, PATCH};
use scanside_core::executor::Serial;
use scanside_core::network::Isa;
use scanside_core::network::Network;
use scanside_core::patch::{Patch, PatchMut};
use scanside_core::workspace::Block;
use scanside_testing::numbers::values;
use std::hint::black_box;

fn kernels(c: &mut Criterion) {
    let voxels: usize = PATCH.iter().product();
    for kernel in KERNELS {
        let mut group = c.benchmark_group(kernel.name);
        group.throughput(Throughput::Elements(voxels as u64));
        for isa in Isa::available() {
            let (graph, weights) = (kernel.build)();
            let input = values(graph.channels * voxels, 7);
            let mut output = vec![0.0; graph.heads * voxels];
            let network = Network::new(isa, graph, weights).expect("a sound network");
            let mut workspace = vec![Block::ZERO; network.workspace_blocks(1)];
            group.bench_function(isa.name(), |bencher| {
                bencher.iter(|| {
                    let (input, output) = (Patch::F32(black_box(&input)), PatchMut::F32(&mut output));
                    network.run(input, output, &mut workspace, &Serial, &mut ());
                });
            });
        }
        group.finish();
    }
}

criterion_group!(all, kernels);
criterion_main!(all);
