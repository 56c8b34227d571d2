//! Each step of augmentation with given parameters, against nnU-Net's own. Golden files: `golden/make_augment.py`.

use safetensors::SafeTensors;
use scanside_trainer::augment::spatial::{Matrix, PatchMut, Rows, Source, Window, crop, resample};
use scanside_trainer::augment::{Augmenter, Draw, Noise, Plan, blur, finish, intensity, low_resolution};

/// The tensors of a golden file.
struct Golden(Vec<u8>);

impl Golden {
    fn open(name: &str) -> Golden {
        let path = format!("{}/tests/golden/augment/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        Golden(std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    fn shape<const N: usize>(&self, name: &str) -> [usize; N] {
        self.tensors().tensor(name).unwrap().shape().try_into().unwrap()
    }

    fn values<T, const N: usize>(&self, name: &str, from: fn([u8; N]) -> T) -> Vec<T> {
        let tensors = self.tensors();
        let data = tensors.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data().to_vec();
        data.chunks_exact(N).map(|bytes| from(bytes.try_into().unwrap())).collect()
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        self.values(name, f32::from_le_bytes)
    }

    fn f64<const N: usize>(&self, name: &str) -> [f64; N] {
        self.values(name, f64::from_le_bytes).try_into().unwrap()
    }

    fn i64(&self, name: &str) -> [i64; 3] {
        self.values(name, i64::from_le_bytes).try_into().unwrap()
    }

    fn i16(&self, name: &str) -> Vec<i16> {
        self.values(name, i16::from_le_bytes)
    }
}

#[track_caller]
fn assert_close(name: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{name}");
    let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{name}: {worst} apart");
    println!("{name}: {worst:e} apart");
}

#[test]
fn turned_and_scaled_patches_equal_those_of_nnunet() {
    let golden = Golden::open("spatial");
    let [channels, z, y, x] = golden.shape("image");
    let (image, labels) = (golden.f32("image"), golden.i16("labels"));
    let source = Source { shape_zyx: [z, y, x], channels, image: &image, labels: &labels };
    let mut rows = Rows::default();
    let (mut apart, mut voxels) = (0, 0);
    for name in ["both", "beyond", "turned", "scaled", "corners", "plane", "plane_scaled", "crop"] {
        let patch_zyx: [usize; 3] = golden.shape(&format!("{name}.labels"));
        let window = Window {
            start_zyx: golden.i64(&format!("{name}.start")),
            shape_zyx: golden.i64(&format!("{name}.window")).map(|n| n as usize),
        };
        let (angles, [scale]) = (golden.f64(&format!("{name}.angles")), golden.f64(&format!("{name}.scale")));
        let count: usize = patch_zyx.iter().product();
        let (mut got, mut got_labels) = (vec![f32::NAN; count * channels], vec![99; count]);
        if name == "crop" {
            crop(&source, window.centre_start(patch_zyx), patch_zyx, &mut got, &mut got_labels);
        } else {
            let in_plane = name.starts_with("plane");
            let matrix = if in_plane { Matrix::in_plane(angles[0], scale) } else { Matrix::of_volume(angles, scale) };
            let mut patch = PatchMut { shape_zyx: patch_zyx, image: &mut got, labels: &mut got_labels };
            resample(&source, &window, &matrix, &mut rows, &mut patch);
        }
        assert_close(name, &got, &golden.f32(&format!("{name}.image")), 1e-4);
        let expected = golden.i16(&format!("{name}.labels"));
        let wrong = got_labels.iter().zip(&expected).filter(|(a, b)| a != b).count();
        println!("{name}: {wrong} of {count} labels apart");
        assert!(expected.iter().any(|&label| label != expected[0]), "{name}: one label says little");
        apart += wrong;
        voxels += count;
    }
    assert!(apart * 1000 <= voxels, "{apart} of {voxels} labels are apart");
}

#[test]
fn blur_equals_that_of_nnunet() {
    let golden = Golden::open("steps");
    let mut scratch = vec![f32::NAN; 3];
    for name in ["blur.a", "blur.b", "blur.c"] {
        let mut channel = golden.f32("image");
        let sigmas = golden.f64(&format!("{name}.sigmas"));
        blur::gaussian(&mut channel, golden.shape("image"), sigmas, &mut scratch);
        assert_close(name, &channel, &golden.f32(name), 1e-5);
    }
}

#[test]
fn low_resolution_equals_that_of_nnunet() {
    let golden = Golden::open("steps");
    let mut scratch = vec![f32::NAN; 3];
    for name in ["low.half", "low.most", "low.plane", "low.all"] {
        let mut channel = golden.f32("image");
        let scales = golden.f32(&format!("{name}.scales")).try_into().unwrap();
        low_resolution::simulate(&mut channel, golden.shape("image"), scales, &mut scratch);
        assert_close(name, &channel, &golden.f32(name), 1e-5);
    }
}

#[test]
fn changes_of_intensity_equal_those_of_nnunet() {
    let golden = Golden::open("steps");
    let check = |name: &str, step: &dyn Fn(&mut [f32])| {
        let mut channel = golden.f32("image");
        step(&mut channel);
        assert_close(name, &channel, &golden.f32(name), 1e-5);
    };
    check("brightness", &|channel| intensity::multiply(channel, 1.17));
    check("contrast.less", &|channel| intensity::change_contrast(channel, 0.77));
    check("contrast.more", &|channel| intensity::change_contrast(channel, 1.23));
    check("gamma.low", &|channel| intensity::change_gamma(channel, 0.72, false));
    check("gamma.high", &|channel| intensity::change_gamma(channel, 1.46, false));
    check("gamma.inverted_low", &|channel| intensity::change_gamma(channel, 0.75, true));
    check("gamma.inverted_high", &|channel| intensity::change_gamma(channel, 1.4, true));
}

#[test]
fn mirroring_equals_that_of_nnunet() {
    let golden = Golden::open("steps");
    for (name, axes) in [
        ("mirror.0", [true, false, false]),
        ("mirror.1", [false, true, false]),
        ("mirror.2", [false, false, true]),
        ("mirror.02", [true, false, true]),
        ("mirror.012", [true; 3]),
    ] {
        let mut channel = golden.f32("image");
        finish::mirror(&mut channel, golden.shape("image"), axes);
        assert_close(name, &channel, &golden.f32(name), 0.0);
    }
}

/// The parameters of `WHOLE` in the golden script.
fn whole_draw() -> Draw {
    Draw {
        matrix: Some(Matrix::of_volume([0.2, -0.3, 0.4], 1.1)),
        noise: None,
        blur: vec![Some([0.6, 0.8, 0.95]), Some([0.9, 0.55, 0.7])],
        brightness: vec![Some(1.1), Some(0.85)],
        contrast: vec![Some(1.2), Some(0.8)],
        low_resolution: vec![Some([0.6; 3]), Some([0.8; 3])],
        gamma_inverted: vec![Some(0.8), Some(1.3)],
        gamma: vec![Some(1.4), Some(0.75)],
        mirror: [true, false, true],
    }
}

#[test]
fn all_steps_follow_one_another_as_in_nnunet() {
    let (golden, case) = (Golden::open("whole"), Golden::open("spatial"));
    let [channels, z, y, x] = case.shape("image");
    let (image, labels) = (case.f32("image"), case.i16("labels"));
    let source = Source { shape_zyx: [z, y, x], channels, image: &image, labels: &labels };
    let patch_zyx: [usize; 3] = golden.shape("labels");
    let mut augmenter = Augmenter::new(Plan::new(patch_zyx, &[true, false]));
    let count: usize = patch_zyx.iter().product();
    let (mut got, mut got_labels) = (vec![f32::NAN; count * channels], vec![99; count]);
    augmenter.apply(&source, [3, 0, 5], &whole_draw(), &mut got, &mut got_labels);
    assert_close("all steps", &got, &golden.f32("image"), 1e-4);
    assert_eq!(got_labels, golden.i16("labels"));
}

#[test]
fn noise_is_blurred_as_in_nnunet() {
    let golden = Golden::open("whole");
    let shape_zyx = [9, 12, 14];
    let voxels: usize = shape_zyx.iter().product();
    let (image, labels) = (vec![0.0; 2 * voxels], vec![0; voxels]);
    let source = Source { shape_zyx, channels: 2, image: &image, labels: &labels };
    let mut augmenter = Augmenter::new(Plan::new(shape_zyx, &[false; 2]));
    let start_zyx = augmenter.window([0; 3]).centre_start(shape_zyx).map(|n| -n);
    let (mut got, mut got_labels) = (image.clone(), labels.clone());
    let (mut sums, draws) = ([0.0; 2], 300);
    for seed in 0..draws {
        let noise = Some(Noise { standard_deviation: 0.1, seed });
        let draw = Draw { noise, blur: whole_draw().blur, ..Draw::none(2) };
        augmenter.apply(&source, start_zyx, &draw, &mut got, &mut got_labels);
        for (sum, channel) in sums.iter_mut().zip(got.chunks_exact(voxels)) {
            *sum += (channel.iter().map(|&v| f64::from(v * v)).sum::<f64>() / voxels as f64).sqrt();
        }
    }
    for (sum, expected) in sums.into_iter().zip(golden.f64::<2>("noise_left")) {
        let got = sum / draws as f64;
        assert!((got / expected - 1.0).abs() < 0.01, "{got} is left of the noise, not {expected}");
    }
}
