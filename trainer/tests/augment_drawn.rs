//! Steps with parameters drawn at random, against as many draws of nnU-Net's own: how often they are taken, and means and
//! variances of what comes out. Golden files: `golden/make_augment.py`.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use safetensors::SafeTensors;
use scanside_trainer::augment::spatial::{Matrix, Source};
use scanside_trainer::augment::{Augmenter, Draw, Plan, Rotation};
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/augment");
const DRAWS: usize = 20_000;

fn distributions() -> Value {
    serde_json::from_slice(&std::fs::read(format!("{FOLDER}/distributions.json")).unwrap()).unwrap()
}

fn numbers<T: std::str::FromStr>(value: &Value) -> Vec<T> {
    let number = |value: &Value| value.to_string().parse().ok().expect("a number");
    value.as_array().expect("a list").iter().map(number).collect()
}

fn triple<T: std::str::FromStr>(value: &Value) -> [T; 3] {
    numbers(value).try_into().ok().expect("three numbers")
}

/// One file's tensor, with its shape.
fn tensor<T, const N: usize>(file: &str, name: &str, from: fn([u8; N]) -> T) -> (Vec<T>, Vec<usize>) {
    let bytes = std::fs::read(format!("{FOLDER}/{file}.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    let values = tensor.data().chunks_exact(N).map(|bytes| from(bytes.try_into().unwrap())).collect();
    (values, tensor.shape().to_vec())
}

/// The numbers that the golden script takes of an image of two channels, and of its labels.
fn features(image: &[f32], labels: Option<&[i16]>, shape_zyx: [usize; 3]) -> Vec<f64> {
    let voxels: usize = shape_zyx.iter().product();
    let image: Vec<f64> = image.iter().map(|&v| f64::from(v)).collect();
    let (first, second) = image.split_at(voxels);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let deviation = |values: &[f64]| {
        let centre = mean(values);
        mean(&values.iter().map(|v| (v - centre).powi(2)).collect::<Vec<_>>()).sqrt()
    };
    let [_, height, width] = shape_zyx;
    let least = first.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = first.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut result = vec![mean(first), deviation(first), least, largest, first[(height + 2) * width + 3]];
    for (axis, stride) in [height * width, width, 1].into_iter().enumerate() {
        let extent = shape_zyx[axis];
        let place = |i: usize| i / stride % extent;
        let steps: Vec<f64> =
            (0..voxels).filter(|&i| place(i) + 1 < extent).map(|i| (first[i + stride] - first[i]).abs()).collect();
        result.push(mean(&steps));
        let weight = |i: usize| (place(i) as f64 - (extent as f64 - 1.0) / 2.0) / extent as f64;
        result.push(mean(&(0..voxels).map(|i| first[i] * weight(i)).collect::<Vec<_>>()));
    }
    result.extend([deviation(second), deviation(first) * deviation(second)]);
    if let Some(labels) = labels {
        let part = |count: usize| count as f64 / voxels as f64;
        result.extend((0..4).map(|label| part(labels.iter().filter(|&&l| l == label).count())));
        result.extend([first, second].map(|channel| part(channel.iter().filter(|&&v| v == 0.0).count())));
    }
    result
}

/// By how much each of the two channels was changed: the standard deviation of the difference.
fn changes(after: &[f32], before: &[f32]) -> [f64; 2] {
    let difference: Vec<f64> = after.iter().zip(before).map(|(a, b)| f64::from(a - b)).collect();
    let (first, second) = difference.split_at(difference.len() / 2);
    [first, second].map(|values| {
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / first.len() as f64;
        let centre = mean(&mut values.iter().copied());
        mean(&mut values.iter().map(|v| (v - centre).powi(2))).sqrt()
    })
}

/// Holds the mean of each feature and of its square against nnU-Net's, within five standard errors of the difference.
fn assert_same_moments(name: &str, rows: &[Vec<f64>], golden: &Value) {
    let count = rows.len() as f64;
    let golden_count = golden["count"].as_f64().unwrap();
    for (power, mean, variance) in [(1, "mean", "variance"), (2, "square_mean", "square_variance")] {
        let (means, variances): (Vec<f64>, Vec<f64>) = (numbers(&golden[mean]), numbers(&golden[variance]));
        assert_eq!(means.len(), rows[0].len(), "{name}");
        for (feature, (&expected, &variance)) in means.iter().zip(&variances).enumerate() {
            let values: Vec<f64> = rows.iter().map(|row| row[feature].powi(power)).collect();
            let got = values.iter().sum::<f64>() / count;
            let spread = values.iter().map(|v| (v - got).powi(2)).sum::<f64>() / count;
            let tolerance = 5.0 * (spread / count + variance / golden_count).sqrt() + 1e-6 * (1.0 + expected.abs());
            assert!(
                (got - expected).abs() <= tolerance,
                "{name}: feature {feature} to the power of {power} is {got} on average, not {expected} within {tolerance}"
            );
        }
    }
}

fn assert_same_frequency(name: &str, taken: usize, golden: &Value) {
    let (draws, expected) = (golden["draws"].as_f64().unwrap(), golden["count"].as_f64().unwrap());
    let (got, expected) = (taken as f64 / DRAWS as f64, expected / draws);
    let tolerance = 5.0 * (expected * (1.0 - expected) * (1.0 / draws + 1.0 / DRAWS as f64)).sqrt();
    assert!(
        (got - expected).abs() <= tolerance,
        "{name} is taken {got} of the time, not {expected} within {tolerance}"
    );
}

#[test]
fn plans_ask_for_what_nnunet_derives_from_a_patch() {
    let golden = distributions();
    for expected in golden["plans"].as_array().unwrap() {
        let plan = Plan::new(triple(&expected["patch"]), &[false]);
        assert_eq!(plan.rotation == Rotation::InPlane, expected["in_plane"].as_bool().unwrap(), "{expected}");
        assert!((plan.rotation.largest_angle() - expected["angle"].as_f64().unwrap()).abs() < 1e-12, "{expected}");
        assert_eq!(plan.initial_zyx(), triple::<usize>(&expected["window"]), "{expected}");
        assert_eq!(plan.mirror_zyx, [true; 3]);
    }
}

/// The turns and the scale of a matrix.
fn undone(matrix: &Matrix, rotation: Rotation) -> (Vec<f64>, f64) {
    let [a, b, c] = matrix.0;
    match rotation {
        Rotation::InPlane => (vec![c[1].atan2(b[1])], (b[1] * c[2] - b[2] * c[1]).sqrt()),
        Rotation::Volume => {
            let scale = c.iter().map(|v| v * v).sum::<f64>().sqrt();
            (vec![c[1].atan2(c[2]), -(c[0] / scale).asin(), b[0].atan2(a[0])], scale)
        }
    }
}

/// The factors or exponents of one step, per channel.
type Factors = fn(&Draw) -> &[Option<f32>];

#[test]
fn parameters_are_spread_as_in_nnunet() {
    let golden = distributions();
    let draws = 400_000;
    for (name, patch_zyx) in [("volume", [9, 12, 14]), ("plane", [3, 12, 14])] {
        let plan = Plan::new(patch_zyx, &[false; 2]);
        let golden = &golden["parameters"][name];
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(10);
        let draws: Vec<Draw> = (0..draws).map(|_| Draw::random(&plan, &mut rng)).collect();
        let matrices = draws.iter().map(|draw| draw.matrix.map(|matrix| undone(&matrix, plan.rotation)));
        let (turns, scales): (Vec<_>, Vec<_>) = matrices
            .map(|matrix| {
                let (turns, scale) = matrix.unwrap_or((vec![0.0], 1.0));
                let turned = turns.iter().any(|angle| angle.abs() > 1e-12);
                (vec![turned.then_some(turns)], vec![((scale - 1.0).abs() > 1e-12).then(|| vec![scale])])
            })
            .unzip();
        assert_same_parameters("rotation", turns.into_iter(), &golden["rotation"]);
        assert_same_parameters("scaling", scales.into_iter(), &golden["scaling"]);
        let noise = draws.iter().map(|draw| vec![draw.noise.map(|noise| vec![f64::from(noise.standard_deviation)])]);
        assert_same_parameters("noise", noise, &golden["noise"]);
        let blur = draws.iter().map(|draw| draw.blur.iter().map(|sigmas| sigmas.map(Vec::from)).collect());
        assert_same_parameters("blur", blur, &golden["blur"]);
        let low = draws.iter().map(|draw| {
            assert!(draw.low_resolution.iter().flatten().all(|scales| scales[1] == scales[2]));
            draw.low_resolution.iter().map(|scales| scales.map(|scales| vec![f64::from(scales[1])])).collect()
        });
        assert_same_parameters("low_resolution", low, &golden["low_resolution"]);
        let factors: [(&str, Factors); 4] = [
            ("brightness", |draw| &draw.brightness),
            ("contrast", |draw| &draw.contrast),
            ("gamma_inverted", |draw| &draw.gamma_inverted),
            ("gamma", |draw| &draw.gamma),
        ];
        for (name, factors) in factors {
            let drawn = draws
                .iter()
                .map(|draw| factors(draw).iter().map(|factor| factor.map(|factor| vec![f64::from(factor)])).collect());
            assert_same_parameters(name, drawn, &golden[name]);
        }
    }
}

/// `drawn`: for each draw, for each channel, the parameters if the step is taken.
fn assert_same_parameters(name: &str, drawn: impl Iterator<Item = Vec<Option<Vec<f64>>>>, golden: &Value) {
    let number = |key: &str| golden[key].as_f64().unwrap();
    let (mut draws, mut taken, mut first, mut channels) = (0, 0, 0, 0);
    let mut values = Vec::new();
    for draw in drawn {
        draws += 1;
        channels = draw.len();
        taken += usize::from(draw.iter().any(Option::is_some));
        first += usize::from(draw[0].is_some());
        values.extend(draw.into_iter().flatten().flatten());
    }
    let per_channel = number("p_per_channel");
    let any = 1.0 - (1.0 - per_channel).powi(channels as i32);
    for (count, expected) in [(taken, number("p") * any), (first, number("p") * per_channel)] {
        let got = count as f64 / draws as f64;
        let tolerance = 5.0 * (expected * (1.0 - expected) / draws as f64).sqrt();
        assert!((got - expected).abs() <= tolerance, "{name}: {got} of the time, not {expected} within {tolerance}");
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let slack = 2e-3 * (number("largest") - number("least"));
    assert!((least - number("least")).abs() < slack, "{name}: from {least}, not {}", number("least"));
    assert!((largest - number("largest")).abs() < slack, "{name}: to {largest}, not {}", number("largest"));
    let rows: Vec<Vec<f64>> = values.into_iter().map(|value| vec![value, f64::from(u8::from(value < 1.0))]).collect();
    let below = rows.iter().map(|row| row[1]).sum::<f64>() / rows.len() as f64;
    let expected = number("below_one");
    let spread = expected * (1.0 - expected) * (1.0 / rows.len() as f64 + 1.0 / number("count"));
    assert!((below - expected).abs() <= 5.0 * spread.sqrt() + 1e-5, "{name}: {below} are below 1, not {expected}");
    let rows: Vec<Vec<f64>> = rows.into_iter().map(|row| vec![row[0]]).collect();
    assert_same_moments(name, &rows, golden);
}

#[test]
fn matrices_are_drawn_as_by_nnunet() {
    let golden = distributions();
    for (name, patch_zyx) in [("spatial", [9, 12, 14]), ("plane.spatial", [3, 12, 14])] {
        let plan = Plan::new(patch_zyx, &[false]);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
        let drawn = (0..DRAWS).filter_map(|_| Draw::random(&plan, &mut rng).matrix);
        let rows: Vec<Vec<f64>> = drawn.map(|matrix| matrix.0.concat()).collect();
        assert_same_frequency(name, rows.len(), &golden["steps"][name]);
        assert_same_moments(name, &rows, &golden["steps"][name]);
    }
}

/// Takes one step of a draw and leaves out the others.
type Only = fn(Draw) -> Draw;

#[test]
fn each_step_comes_out_as_by_nnunet() {
    let golden = distributions();
    let (image, shape) = tensor("drawn", "image", f32::from_le_bytes);
    let shape_zyx: [usize; 3] = shape[1..].try_into().unwrap();
    let steps: [(&str, [usize; 3], Only); 9] = [
        ("noise", shape_zyx, |draw| Draw { noise: draw.noise, ..Draw::none(2) }),
        ("blur", shape_zyx, |draw| Draw { blur: draw.blur, ..Draw::none(2) }),
        ("brightness", shape_zyx, |draw| Draw { brightness: draw.brightness, ..Draw::none(2) }),
        ("contrast", shape_zyx, |draw| Draw { contrast: draw.contrast, ..Draw::none(2) }),
        ("low_resolution", shape_zyx, |draw| Draw { low_resolution: draw.low_resolution, ..Draw::none(2) }),
        ("plane.low_resolution", [3, 12, 14], |draw| Draw { low_resolution: draw.low_resolution, ..Draw::none(2) }),
        ("gamma_inverted", shape_zyx, |draw| Draw { gamma_inverted: draw.gamma_inverted, ..Draw::none(2) }),
        ("gamma", shape_zyx, |draw| Draw { gamma: draw.gamma, ..Draw::none(2) }),
        ("mirror", shape_zyx, |draw| Draw { mirror: draw.mirror, ..Draw::none(2) }),
    ];
    let labels = vec![0; shape_zyx.iter().product()];
    let source = Source { shape_zyx, channels: 2, image: &image, labels: &labels };
    for (name, drawn_for, only) in steps {
        // The image is that of the golden script; how thick its slices seem decides what is drawn.
        let drawn_for = Plan::new(drawn_for, &[false; 2]);
        let mut augmenter = Augmenter::new(Plan::new(shape_zyx, &[false; 2]));
        let start_zyx = augmenter.window([0; 3]).centre_start(shape_zyx).map(|n| -n);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(12);
        let (mut got, mut got_labels) = (vec![0.0; image.len()], labels.clone());
        let mut rows = Vec::new();
        for _ in 0..DRAWS {
            let draw = only(Draw::random(&drawn_for, &mut rng));
            if draw == Draw::none(2) {
                continue;
            }
            augmenter.apply(&source, start_zyx, &draw, &mut got, &mut got_labels);
            if got != image {
                let mut row = features(&got, None, shape_zyx);
                row.extend(changes(&got, &image));
                rows.push(row);
            }
        }
        println!("{name}: taken {} times", rows.len());
        assert_same_frequency(name, rows.len(), &golden["steps"][name]);
        assert_same_moments(name, &rows, &golden["steps"][name]);
    }
}

#[test]
fn whole_patches_come_out_as_by_nnunet() {
    let golden = distributions();
    let (image, shape) = tensor("spatial", "image", f32::from_le_bytes);
    let (labels, _) = tensor("spatial", "labels", i16::from_le_bytes);
    let source =
        Source { shape_zyx: shape[1..].try_into().unwrap(), channels: shape[0], image: &image, labels: &labels };
    for expected in golden["pipelines"].as_array().unwrap() {
        let patch_zyx = triple(&expected["patch"]);
        let start_zyx = triple(&expected["start"]);
        let plan = Plan::new(patch_zyx, &[true, false]);
        let mut augmenter = Augmenter::new(plan.clone());
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(13);
        let voxels: usize = patch_zyx.iter().product();
        let (mut got, mut got_labels) = (vec![0.0; voxels * 2], vec![0; voxels]);
        let mut rows = Vec::new();
        for _ in 0..DRAWS / 2 {
            let draw = Draw::random(&plan, &mut rng);
            augmenter.apply(&source, start_zyx, &draw, &mut got, &mut got_labels);
            rows.push(features(&got, Some(&got_labels), patch_zyx));
        }
        assert_same_moments(&format!("a patch of {patch_zyx:?}"), &rows, expected);
    }
}
