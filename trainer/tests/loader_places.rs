//! Where patches are cut, against nnU-Net's own choice over many draws. Golden file: `golden/make_augment.py`.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use scanside_trainer::loader::PatchSampler;
use serde_json::Value;

const DRAWS: usize = 20_000;

fn distributions() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/augment/distributions.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn triple(value: &Value) -> [usize; 3] {
    <[f64; 3]>::try_from(numbers(value)).expect("three numbers").map(|n| n as usize)
}

#[test]
fn foreground_is_asked_of_the_same_samples() {
    let golden = distributions();
    let expected = golden["forced"].as_array().unwrap();
    assert!(expected.len() >= 40);
    for (batch, expected) in (1..).zip(expected) {
        let forced = (0..batch).filter(|&sample| PatchSampler::foreground(sample, batch)).count();
        assert_eq!(forced as u64, expected.as_u64().unwrap(), "of {batch}");
        assert_eq!(forced, (0..batch).rev().take_while(|&sample| PatchSampler::foreground(sample, batch)).count());
    }
}

#[test]
fn windows_lie_where_nnunet_puts_them() {
    for (case, expected) in distributions()["places"].as_array().unwrap().iter().enumerate() {
        let lists = expected["classes"].as_array().unwrap();
        let locations: Vec<Vec<u32>> =
            lists.iter().map(|list| numbers(list).into_iter().map(|index| index as u32).collect()).collect();
        let annotated = expected["ignore"].as_bool().unwrap().then(|| locations.len() - 1);
        let patches =
            PatchSampler { patch_zyx: triple(&expected["patch"]), window_zyx: triple(&expected["window"]), annotated };
        let (shape, forced) = (triple(&expected["shape"]), expected["forced"].as_bool().unwrap());
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(case as u64);
        let starts: Vec<[f64; 3]> =
            (0..DRAWS).map(|_| patches.choose(shape, &locations, forced, &mut rng).map(|n| n as f64)).collect();

        for d in 0..3 {
            let along = || starts.iter().map(|start| start[d]);
            let ends = (along().fold(f64::INFINITY, f64::min), along().fold(f64::NEG_INFINITY, f64::max));
            let expected = (numbers(&expected["least"])[d], numbers(&expected["largest"])[d]);
            assert_eq!(ends, expected, "place {case}: ends along axis {d}");
        }
        let golden_count = expected["count"].as_f64().unwrap();
        for (power, mean, variance) in [(1, "mean", "variance"), (2, "square_mean", "square_variance")] {
            for (d, (mean, variance)) in
                numbers(&expected[mean]).into_iter().zip(numbers(&expected[variance])).enumerate()
            {
                // The fourth is the product of the first two: whether they depend on each other.
                let feature = |start: &[f64; 3]| if d < 3 { start[d] } else { start[0] * start[1] };
                let got = starts.iter().map(|start| feature(start).powi(power)).sum::<f64>() / DRAWS as f64;
                let tolerance = 5.0 * (variance * (1.0 / DRAWS as f64 + 1.0 / golden_count)).sqrt() + 1e-9;
                assert!(
                    (got - mean).abs() <= tolerance,
                    "place {case}: number {d} to the power of {power} is {got} on average, not {mean} within {tolerance}"
                );
            }
        }
    }
}
