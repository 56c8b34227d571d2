//! How long samples take on one core, other programs not counted (Linux). A measurement:
//! `cargo build --release --workspace --examples && target/release/examples/patch_time`
#![allow(missing_docs)]

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use scanside_trainer::augment::spatial::{Matrix, Source};
use scanside_trainer::augment::{Augmenter, Draw, Noise, Plan};

/// Milliseconds that this thread has had a core.
fn core_ms() -> f64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    times.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).expect("nanoseconds") / 1e6
}

/// Label 1 and 2 in a ball that takes up most of the case, -1 in its corners.
fn ball(shape_zyx: [usize; 3]) -> Vec<i16> {
    let [z, y, x] = shape_zyx;
    let label = |i: usize| {
        let place = [i / x / y, i / x % y, i % x];
        let distance: f64 = (0..3).map(|d| (2.0 * place[d] as f64 / shape_zyx[d] as f64 - 1.0).powi(2)).sum();
        [1, 2, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1][(distance * 3.9) as usize]
    };
    (0..z * y * x).map(label).collect()
}

fn main() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(0);
    for (shape_zyx, patch_zyx, channels, repeats) in [
        ([36, 50, 35], [40, 56, 40], 1, 2000),
        ([160, 192, 160], [128, 128, 128], 1, 40),
        ([30, 256, 256], [16, 192, 192], 2, 60),
    ] {
        let voxels: usize = shape_zyx.iter().product();
        let image: Vec<f32> = (0..voxels * channels).map(|_| rng.random_range(-2.0..2.0)).collect();
        let labels = ball(shape_zyx);
        let source = Source { shape_zyx, channels, image: &image, labels: &labels };
        let plan = Plan::new(patch_zyx, &vec![true; channels]);
        let mut augmenter = Augmenter::new(plan.clone());
        let count: usize = patch_zyx.iter().product();
        let (mut patch, mut patch_labels) = (vec![0.0; count * channels], vec![0; count]);
        let window = plan.initial_zyx();
        let start = std::array::from_fn(|d| (shape_zyx[d] as i64 - window[d] as i64) / 2);
        println!("patch {patch_zyx:?} of {shape_zyx:?}, {channels} channels");

        let mut time = |name: &str, repeats: usize, draw: &mut dyn FnMut() -> Draw| {
            let begun = core_ms();
            for _ in 0..repeats {
                augmenter.apply(&source, start, &draw(), &mut patch, &mut patch_labels);
            }
            println!("  {name:16} {:8.3} ms", (core_ms() - begun) / repeats as f64);
        };
        let none = Draw::none(channels);
        let few = repeats / 10;
        time("crop", few, &mut || none.clone());
        let turned = Some(Matrix::of_volume([0.3, -0.2, 0.4], 1.1));
        time("turned", few, &mut || Draw { matrix: turned, ..none.clone() });
        let flat = Some(Matrix::in_plane(0.5, 0.9));
        time("in plane", few, &mut || Draw { matrix: flat, ..none.clone() });
        let noise = Some(Noise { standard_deviation: 0.05, seed: 1 });
        time("noise", few, &mut || Draw { noise, ..none.clone() });
        time("blur", few, &mut || Draw { blur: vec![Some([0.95; 3]); channels], ..none.clone() });
        time("brightness", few, &mut || Draw { brightness: vec![Some(1.1); channels], ..none.clone() });
        time("contrast", few, &mut || Draw { contrast: vec![Some(1.1); channels], ..none.clone() });
        time("low resolution", few, &mut || Draw { low_resolution: vec![Some([0.7; 3]); channels], ..none.clone() });
        time("gamma", few, &mut || Draw { gamma: vec![Some(1.2); channels], ..none.clone() });
        time("mirror", few, &mut || Draw { mirror: [true; 3], ..none.clone() });
        time("all, at random", repeats, &mut || Draw::random(&plan, &mut rng));
    }
}
