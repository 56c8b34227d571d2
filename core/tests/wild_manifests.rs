//! No manifest, scan, option or engine makes a run panic: what cannot be run is an error before anything large is
//! allocated.

use proptest::prelude::*;
use proptest::sample::select;
use scanside_core::engine::{Engine, EngineError, EngineFootprint, EngineShape};
use scanside_core::executor::{Executor, Serial};
use scanside_core::manifest::{Channel, Label, Labels, Manifest, NetworkGrid, Normalization, Resampling};
use scanside_core::patch::{Patch, PatchMut};
use scanside_core::pipeline::{Run, RunOptions, Surroundings};
use scanside_core::volume::DenseScan;
use scanside_core::workspace::Block;

/// Gives the logits of a network that was never trained: zeros.
struct Zeros {
    shape: EngineShape,
    footprint: EngineFootprint,
}

impl Engine for Zeros {
    fn name(&self) -> &'static str {
        "zeros"
    }
    fn shape(&self) -> EngineShape {
        self.shape
    }
    fn footprint(&self, _: usize) -> EngineFootprint {
        self.footprint
    }
    fn infer<X: Executor>(
        &self,
        _: usize,
        _: Patch<'_>,
        output: PatchMut<'_>,
        _: &mut [Block],
        _: &X,
    ) -> Result<(), EngineError> {
        match output {
            PatchMut::F32(out) => out.fill(0.0),
            PatchMut::F16(out) => out.fill(0),
        }
        Ok(())
    }
}

/// Mostly what scans have, sometimes anything.
fn extent() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 1usize..24, 1 => 0usize..3, 1 => (0u32..usize::BITS).prop_map(|bit| 1 << bit), 1 => any::<usize>()]
}

fn number() -> impl Strategy<Value = f64> {
    let odd = [0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324, f64::MAX, 1e-9, 1e9];
    prop_oneof![8 => 0.2f64..4.0, 1 => any::<f64>(), 1 => select(odd.to_vec())]
}

fn normalization() -> impl Strategy<Value = Normalization> {
    prop_oneof![
        any::<bool>().prop_map(|masked| Normalization::ZScore { masked }),
        Just(Normalization::None),
        Just(Normalization::RescaleTo01),
        Just(Normalization::RgbTo01),
        (any::<f32>(), number(), any::<f32>(), any::<f32>()).prop_map(|(mean, std, lower, upper)| Normalization::Ct {
            mean,
            std: std as f32,
            lower,
            upper
        }),
        (-1.0f64..101.0, number()).prop_map(|(lower_percent, more)| Normalization::PercentileTo01 {
            lower_percent,
            upper_percent: lower_percent + more
        }),
    ]
}

fn resampling() -> impl Strategy<Value = Resampling> {
    let separate = || any::<Option<bool>>();
    prop_oneof![
        6 => (select(vec![0u8, 1, 3]), 0u8..2, separate()).prop_map(|(order, order_z, force_separate_z)| {
            Resampling::Spline { order, order_z, force_separate_z }
        }),
        1 => (any::<u8>(), any::<u8>(), separate()).prop_map(|(order, order_z, force_separate_z)| {
            Resampling::Spline { order, order_z, force_separate_z }
        }),
        2 => separate().prop_map(|force_separate_z| Resampling::Torch { force_separate_z }),
        1 => Just(Resampling::Keep),
    ]
}

fn labels() -> impl Strategy<Value = Labels> {
    let values = prop_oneof![4 => Just((0u16..3).collect()), 1 => prop::collection::vec(any::<u16>(), 0..6)];
    (values, any::<bool>()).prop_map(|(values, regions)| {
        let heads = values.into_iter().map(|value| Label::new("", value)).collect();
        if regions { Labels::Regions { heads } } else { Labels::Exclusive { heads } }
    })
}

fn axes() -> impl Strategy<Value = [usize; 3]> {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    prop_oneof![9 => select(orders.to_vec()), 1 => [extent(), extent(), extent()]]
}

prop_compose! {
    fn grid()(
        patch in [extent(), extent(), extent()], flat in prop::bool::weighted(0.2),
        spacing in [prop::option::of(number()), prop::option::of(number()), prop::option::of(number())], axes in axes(),
    ) -> NetworkGrid {
        let mut grid = NetworkGrid::new(patch, spacing);
        (grid.two_dimensional, grid.transpose_forward) = (flat, axes);
        if flat && patch[0] < 16 {
            grid.patch_zyx[0] = 1;
        }
        grid
    }
}

prop_compose! {
    fn manifest()(
        grid in grid(), normalizations in prop::collection::vec(normalization(), 0..3), labels in labels(),
        data in resampling(), logits in resampling(), crop in any::<bool>(),
        folds in prop_oneof![8 => 1usize..3, 1 => extent()],
        mirrors in prop_oneof![4 => Just(vec![]), 4 => Just(vec![1, 2]), 1 => prop::collection::vec(extent(), 0..70)],
    ) -> Manifest {
        let channels = normalizations.into_iter().map(|n| Channel::new("", n)).collect();
        let mut manifest = Manifest::new(grid, channels, labels);
        (manifest.resample_data, manifest.resample_logits) = (data, logits);
        (manifest.crop_to_nonzero, manifest.folds, manifest.mirror_axes) = (crop, folds, mirrors);
        manifest
    }
}

fn footprint() -> impl Strategy<Value = EngineFootprint> {
    let odd = || prop_oneof![4 => 0usize..100, 1 => any::<usize>()];
    (odd(), odd(), odd(), odd()).prop_map(|(shared_bytes, blocks, worker_bytes, calls)| EngineFootprint {
        shared_bytes,
        workspace_blocks: blocks,
        least_workspace_blocks: blocks / 2,
        worker_bytes,
        calls,
        ..Default::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn nothing_makes_a_run_panic(
        manifest in manifest(), shape in [extent(), extent(), extent()], spacing in [number(), number(), number()],
        step in prop_oneof![6 => select(vec![0.5, 1.0]), 1 => number()], mirror in any::<bool>(), footprint in footprint(),
        workers in extent(), budget in prop::option::of(any::<usize>()),
    ) {
        let options = RunOptions { step, mirror };
        let Ok(run) = Run::described(&manifest, shape, spacing, options) else { return Ok(()) };
        prop_assert_eq!(manifest.check(), Ok(()));
        let shape_of_engine = EngineShape {
            channels: manifest.channels.len(),
            heads: manifest.labels.heads().len(),
            folds: manifest.folds,
            patch_zyx: manifest.grid.patch_zyx,
        };
        let engine = Zeros { shape: shape_of_engine, footprint };
        let passes = run.passes();
        let network: usize = run.layout().tiling.padded.iter().product();
        let Ok(planned) = run.plan(&engine, &Surroundings::bare(), workers, budget) else { return Ok(()) };
        prop_assert!(budget.is_none_or(|budget| planned.memory.peak_bytes <= budget));
        prop_assert!(planned.rounds() <= passes);

        // What is small enough is run.
        let voxels = shape.iter().product::<usize>();
        let patch: usize = manifest.grid.patch_zyx.iter().product();
        let work = passes.saturating_mul(patch).max(network).max(voxels);
        if work > 1 << 21 || planned.memory.peak_bytes > 64 << 20 {
            return Ok(());
        }
        let values: Vec<u8> = (0..voxels * manifest.channels.len()).map(|i| (i * 7919 % 251) as u8).collect();
        let mut scan = DenseScan::new(&values, shape, spacing).unwrap();
        let run = Run::look(&manifest, &mut scan, options).unwrap();
        let Ok(planned) = run.plan(&engine, &Surroundings::bare(), workers, None) else { return Ok(()) };
        let mut labels = Vec::new();
        planned.segment(&mut scan, &Serial, &mut labels, &mut ()).unwrap();
        prop_assert_eq!(labels.len(), voxels);
    }
}
