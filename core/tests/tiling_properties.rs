//! Properties of whole runs: what goes in comes out, and no schedule changes the result.

use proptest::prelude::*;
use scanside_core::executor::Serial;
use scanside_core::manifest::{Normalization, Resampling};
use scanside_core::volume::DenseScan;
use scanside_testing::engines::{self, Identity, Mixing};
use scanside_testing::executors::{Backwards, Threads};
use scanside_testing::runs;

fn random(count: usize, seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed | 1;
    (0..count).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

fn axes() -> impl Strategy<Value = [usize; 3]> {
    prop_oneof![Just([0, 1, 2]), Just([0, 2, 1]), Just([1, 0, 2]), Just([1, 2, 0]), Just([2, 0, 1]), Just([2, 1, 0])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Labels as intensities through a network that returns its input: crop, padding, tiles, transposition, mirroring
    /// and un-crop together are the identity.
    #[test]
    fn an_identity_network_gives_its_input_back(
        shape in [1usize..24, 1usize..24, 1usize..24], patch in [1usize..12, 1usize..12, 1usize..12],
        frame in 0usize..4, transpose in axes(), mirror in any::<bool>(), seed: u64,
    ) {
        let [n0, n1, n2] = shape;
        let values: Vec<f32> = random(n0 * n1 * n2, seed).enumerate().map(|(i, r)| {
            let (z, y, x) = (i / (n1 * n2), i / n2 % n1, i % n2);
            let inside = z >= frame && y >= frame && x + frame < n2;
            if inside { (r >> 33) as f32 % 4.0 } else { 0.0 }
        }).map(|v: f32| v.floor()).collect();
        let expected: Vec<u16> = values.iter().map(|&v| v as u16).collect();
        let mut manifest = runs::manifest(patch, 1, 4);
        manifest.grid.transpose_forward = transpose;
        if mirror {
            manifest.mirror_axes = vec![0, 2];
        }
        let scan = DenseScan::new(&values, shape, [1.0; 3]).unwrap();
        let engine = Identity { patch, heads: 4 };
        let labels = runs::run(&manifest, scan, &engine, &Serial, |_| {}).unwrap();
        prop_assert_eq!(labels, expected);
    }

}

proptest! {
    // Every item gets a thread of its own here, which is what takes the time.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Workers, their order, threads and the size of reads change nothing, with resampling, channels, folds,
    /// masked normalisation and patches of either precision in play.
    #[test]
    fn no_schedule_changes_a_label(
        shape in [2usize..20, 2usize..20, 2usize..20], patch in [2usize..9, 2usize..9, 2usize..9],
        spacing in [0.4f64..2.5, 0.4f64..2.5, 0.4f64..2.5], transpose in axes(), coarse in any::<bool>(),
        torch in any::<bool>(), half in any::<bool>(), workers in 2usize..5, planes in 1usize..7, seed: u64,
    ) {
        let voxels: Vec<f32> = random(2 * shape.iter().product::<usize>(), seed)
            .map(|r| if r % 5 == 0 { 0.0 } else { (r >> 40) as f32 / (1 << 20) as f32 - 7.0 }).collect();
        let mut manifest = runs::manifest(patch, 2, 3);
        manifest.grid.transpose_forward = transpose;
        manifest.channels[0].normalization = Normalization::ZScore { masked: true };
        manifest.channels[1].normalization = Normalization::RescaleTo01;
        manifest.folds = 2;
        manifest.mirror_axes = vec![1];
        if coarse {
            manifest.grid.spacing_mm[0] = Some(4.5);
        }
        if torch {
            manifest.resample_data = Resampling::Torch { force_separate_z: None };
            manifest.resample_logits = Resampling::Torch { force_separate_z: None };
        }
        let engine = Mixing { patch, channels: 2, heads: 3, folds: 2, precision: engines::precision(half) };
        let scan = DenseScan::new(&voxels, shape, spacing).unwrap();
        let extents = scanside_core::preprocess::target_shape(
            transpose.map(|a| shape[a]), transpose.map(|a| spacing[a]), manifest.grid.spacing_mm.map(|s| s.unwrap()));
        prop_assume!(!extents.contains(&0));
        let plain = runs::run(&manifest, scan, &engine, &Serial, |_| {}).unwrap();
        let read_in_blocks = |plan: &mut scanside_core::pipeline::MemoryPlan| plan.planes_per_read = planes;
        let backwards = runs::run(&manifest, scan, &engine, &Backwards(workers), read_in_blocks).unwrap();
        prop_assert_eq!(&plain, &backwards);
        let threads = runs::run(&manifest, scan, &engine, &Threads(workers), |_| {}).unwrap();
        prop_assert_eq!(&plain, &threads);
        prop_assert!(plain.len() == shape.iter().product::<usize>());
    }
}
